"""Bad input of stage 1, through the command line: what is refused, and what is done and reported."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchvision
from support.corpus_trees import write_emodb, write_wav

from sertransfer.cli.main import main
from sertransfer.models.registry import MODELS

# fmt: off
TRAINING = [
    "--epochs", "1", "--batch_size", "4", "-q", "--cropping.seconds", "0.2",
    "--front_end.mels", "32", "--front_end.denoise.method", "none",
]
# fmt: on
TINY = ["--model", "pyresnet_tiny", "--model.width", "0.0625"]


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """Spare the tests the drawing of plots that they do not look at."""
    for module in ("workflow", "evaluate"):
        monkeypatch.setattr(f"sertransfer.pretraining.{module}.write_report", lambda folder: None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> tuple[Path, Path]:
    """Three speakers, four classes each; the manifest's test speaker is 09."""
    folder = tmp_path_factory.mktemp("emodb")
    names = [f"{speaker}a01{code}a" for speaker in ("03", "08", "09") for code in "WNFT"]
    root = write_emodb(folder / "emodb", names)
    words = ["prepare", "emodb", str(root), "-o", str(folder / "m.csv"), "--test_speakers", "09"]
    assert main(words) == 0
    return root, folder / "m.csv"


def run(capsys, *words: object) -> tuple[int, str]:
    capsys.readouterr()
    status = main([str(word) for word in words])
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return status, error


def refused(capsys, *words: object) -> str:
    """Return what is said, which has all four parts of a fault: where, found, expected, what to do."""
    status, error = run(capsys, *words)
    assert status == 2, error
    for line in error.splitlines():
        if not line.endswith("faults in the input") and not line.startswith(
            ("  and ", "  also in ", "  --skip-bad ")
        ):
            assert ": found " in line, line
            assert "; expected " in line, line
            assert line.count("; ") >= 2, line
    return error


def without(corpus, tmp_path: Path, *, label: str, split: str) -> list[object]:
    """Return the options of a manifest that lacks *label* in *split*."""
    root, manifest = corpus
    lines = manifest.read_text().splitlines()
    column = {name: place for place, name in enumerate(lines[0].split(","))}
    rows = [line.split(",") for line in lines[1:]]
    kept = [row for row in rows if (row[column["label"]], row[column["split"]]) != (label, split)]
    assert len(kept) < len(rows)
    (tmp_path / "part.csv").write_text("\n".join([lines[0], *map(",".join, kept)]) + "\n")
    return ["--manifest", tmp_path / "part.csv", "--root", root]


# --- names ----------------------------------------------------------------------------------------------


def test_a_misspelt_model_is_refused_with_the_nearest_name(corpus, tmp_path, capsys):
    given = ["--manifest", corpus[1], "--run-dir", tmp_path / "run"]
    for misspelt, meant in (("pyresnet15", "pyresnet152"), ("mts3-alexnet", "mts3_alexnet")):
        error = refused(capsys, "pretrain", *given, "--model", misspelt)
        assert f"model: found '{misspelt}'; expected a known model; did you mean '{meant}'?" in error
        assert all(name in error for name in MODELS)
    error = refused(capsys, "prepare", "iemocop", corpus[0], "-o", tmp_path / "m.csv")
    assert "did you mean 'iemocap'?" in error


def test_an_option_that_a_model_does_not_have_is_refused(corpus, tmp_path, capsys):
    given = ["--manifest", corpus[1], "--run-dir", tmp_path / "run", "--model", "vgg11"]
    error = refused(capsys, "pretrain", *given, "--model.width", "0.5", "--model.epsilon", "0.1")
    assert "model vgg11: found option 'width'" in error
    assert "model vgg11: found option 'epsilon'" in error


# --- classes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "remedies"),
    [
        ("train", "leave them out of the classes"),
        ("test", "leave them out of the classes, or out of UA with --absent skip"),
    ],
)
def test_a_class_that_a_split_lacks(corpus, tmp_path, capsys, split, remedies):
    given = without(corpus, tmp_path, label="sad", split=split)
    error = refused(capsys, "pretrain", *given, "--run-dir", tmp_path / "run", *TINY, *TRAINING)
    assert (
        f"split '{split}' of the manifest: found no row labelled sad; expected every class; {remedies}"
        in error
    )
    fewer = ["--classes", "[angry, neutral, happy]"]
    assert run(capsys, "pretrain", *given, "--run-dir", tmp_path / "fewer", *TINY, *TRAINING, *fewer)[0] == 0
    metrics = json.loads((tmp_path / "fewer/metrics.json").read_text())
    assert metrics["utterance"]["classes"] == ["angry", "neutral", "happy"]
    assert sum(metrics["left_out"]["labels"][part].get("sad", 0) for part in ("train", "test")) > 0


def test_a_class_that_the_scored_split_lacks_is_left_out_of_ua_by_choice(corpus, tmp_path, capsys):
    whole = ["--manifest", corpus[1], "--run-dir", tmp_path / "run", *TINY, *TRAINING]
    assert run(capsys, "pretrain", *whole)[0] == 0
    _, manifest, *root = without(corpus, tmp_path, label="happy", split="test")
    words = ["evaluate", tmp_path / "run/checkpoints/model.safetensors", manifest, *root]
    error = refused(capsys, *words, "--run-dir", tmp_path / "scored", "-q")
    assert "found no row labelled happy" in error
    assert run(capsys, *words, "--run-dir", tmp_path / "scored", "-q", "--absent", "skip")[0] == 0
    block = json.loads((tmp_path / "scored/metrics.json").read_text())["utterance"]
    assert block["absent"] == ["happy"]


# --- audio ----------------------------------------------------------------------------------------------


def test_utterances_too_short_for_a_deep_network_are_filled_up_and_counted(corpus, tmp_path, capsys, caplog):
    given = ["--manifest", corpus[1], *TRAINING]
    with caplog.at_level(logging.WARNING):
        words = ["pretrain", *given, "--model", "fcn_attention_alexnet", "--run-dir", tmp_path / "deep"]
        assert run(capsys, *words)[0] == 0
    block = json.loads((tmp_path / "deep/metrics.json").read_text())["filled_up"]
    assert block == {
        "least_frames": 63,
        "least_seconds": 1.984,
        "mels": 31,
        "utterances": {"train": 8, "test": 4},
    }
    assert "takes 63 frames (1.98 s)" in (tmp_path / "deep/log.txt").read_text()
    assert "train 8 of 8, test 4 of 4" in (tmp_path / "deep/log.txt").read_text()
    assert run(capsys, "pretrain", *given, *TINY, "--run-dir", tmp_path / "any")[0] == 0
    block = json.loads((tmp_path / "any/metrics.json").read_text())["filled_up"]
    assert (block["least_frames"], block["mels"], block["utterances"]) == (1, 0, {"train": 0, "test": 0})
    assert "with zeros" not in (tmp_path / "any/log.txt").read_text()


def test_mixed_sample_rates_are_resampled_and_said(tmp_path, capsys):
    names = [f"{speaker}a01{code}a" for speaker in ("03", "08", "09") for code in "WNFT"]
    root = write_emodb(tmp_path / "emodb", names[3:])  # 8 kHz
    generator = np.random.default_rng(0)
    for name, rate in zip(names[:3], (16_000, 44_100, 44_100), strict=True):
        soundfile.write(root / f"wav/{name}.wav", generator.normal(0, 0.1, rate // 20), rate)
    words = ["prepare", "emodb", root, "-o", tmp_path / "m.csv", "--test_speakers", "09"]
    assert main([str(word) for word in words]) == 0
    said = "11 of 12 recordings (9 at 8000 Hz, 2 at 44100 Hz) are resampled to 16000 Hz"
    assert said in capsys.readouterr().out
    assert json.loads((tmp_path / "m.json").read_text())["sample_rates"] == {
        "8000": 9,
        "16000": 1,
        "44100": 2,
    }
    assert main(["describe", str(tmp_path / "m.csv")]) == 0
    assert said in capsys.readouterr().out
    words = ["pretrain", "--manifest", tmp_path / "m.csv", "--run-dir", tmp_path / "run", *TINY, *TRAINING]
    assert run(capsys, *words)[0] == 0
    (index,) = (tmp_path / "features").glob("*/index.csv")
    frames = {line.split(",")[2] for line in index.read_text().splitlines()[1:]}
    assert frames == {"2"}  # 0.05 s, whatever the rate


def test_one_rate_needs_no_remark(tmp_path, capsys):
    root = tmp_path / "emodb"
    for speaker in ("03", "08", "09"):
        for code in "WNFT":
            path = write_wav(root / f"wav/{speaker}a01{code}a.wav")
            soundfile.write(path, np.full(800, 0.1), 16_000)
    assert main(["prepare", "emodb", str(root), "-o", str(tmp_path / "m.csv")]) == 0
    assert "resampled" not in capsys.readouterr().out


# --- ImageNet weights -----------------------------------------------------------------------------------


def test_image_weights_that_do_not_fit(corpus, tmp_path, capsys):
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "squeezenet.pth")
    (tmp_path / "page.pth").write_text("<html>" * 50)
    torch.save({"epoch": 3, "state_dict": {}}, tmp_path / "training.pth")
    given = ["pretrain", "--manifest", corpus[1], "--run-dir", tmp_path / "run", *TRAINING]
    for model, name, expected in (
        ("resnet18", "squeezenet.pth", "found weights of squeezenet1_1; expected weights of this model's"),
        ("resnet18", "page.pth", "found a file that holds more than weights, or is damaged"),
        ("resnet18", "training.pth", "of other things than tensors; expected a state dict of torchvision"),
        ("resnet18", "none.pth", "found no such file"),
        (
            "pyresnet_tiny",
            "squeezenet.pth",
            "found a model of class PyResNet; expected a network of",
        ),
    ):
        words = [*given, "--model", model, "--model.image_weights", tmp_path / name]
        assert expected in refused(capsys, *words)
    assert not (tmp_path / "run/metrics.json").exists()


# --- training -------------------------------------------------------------------------------------------


def test_a_loss_that_becomes_nan_stops_with_step_utterances_and_last_good_checkpoint(
    corpus, tmp_path, capsys
):
    given = ["pretrain", "--manifest", corpus[1], "--run-dir", tmp_path / "run", *TINY, *TRAINING]
    words = [*given, "--optimiser.lr", "1e30", "--checkpoint_every", "1"]
    status, error = run(capsys, *words)
    assert status == 1
    assert error.count("\n") == 1
    for text in ("the loss is", "at step 1, in epoch 1", "utterances of the batch: 0", "lower optimiser.lr"):
        assert text in error, error
    place = error.partition("last good checkpoint: ")[2].partition(";")[0]
    assert Path(place).is_file()
    assert Path(place).parent == tmp_path / "run/checkpoints"
    assert not (tmp_path / "run/metrics.json").exists()
