"""Fine-tuning, from a manifest to subject-level numbers, killed and taken up again."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from support.transfer_fakes import NEGATIVE, POSITIVE, FakeEncoder, Killed, make_interviews

from sertransfer.audio.reading import read_segment
from sertransfer.cli.main import main
from sertransfer.demo.corpora import make_daic_woz
from sertransfer.encoders import ser
from sertransfer.encoders.sentence_model import load_sentence_model
from sertransfer.errors import BadInput
from sertransfer.front_end import Cropping, Denoise, FrontEnd
from sertransfer.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from sertransfer.models.pyresnet import PyResNet
from sertransfer.models.registry import build_model
from sertransfer.transfer import workflow
from sertransfer.transfer.finetune import workflow as finetune_training
from sertransfer.transfer.finetune.learners import Finetuner
from sertransfer.transfer.settings import FinetuneConfig, ThresholdConfig, TransferConfig

PROJECT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("no_report")
CONFIG = TransferConfig(
    mode="finetune",
    resamples=20,
    folds=2,
    shortcuts=False,
    finetune=FinetuneConfig(
        depth="all", lr=0.003, epochs=3, batch_size=8, inner_share=0.5, batch_norm="train"
    ),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    model = build_model("pyresnet_tiny", 4, width=0.0625, dropout=0.2)
    # levels are told apart only where they are not normalised away
    front_end = FrontEnd(mels=32, denoise=Denoise(method="none"), normalise="none")
    path = tmp_path_factory.mktemp("ser") / "model.safetensors"
    classes = ("angry", "neutral", "happy", "sad")
    options = {"width": 0.0625, "dropout": 0.2}
    write_checkpoint(
        Checkpoint(
            "pyresnet_tiny", options, classes, front_end, Cropping(0.2), model.state_dict(), {"corpus": "x"}
        ),
        path,
    )
    return path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_interviews(tmp_path_factory.mktemp("corpus"))


def run(manifest, checkpoint, folder, config=CONFIG, **options):
    return workflow.transfer(
        config, manifest, encoder="ser", checkpoint=checkpoint, run_dir=folder, progress=False, **options
    )


def sentence_scores(path, manifest, split):
    """Score a split's sentences from their waveforms, with the written network alone."""
    model = load_sentence_model(path)
    rows = manifest.table[manifest.table["split"] == split]
    return [
        model.score(torch.from_numpy(read_segment(manifest.source(audio), start, end)))
        for audio, start, end in zip(rows["audio"], rows["start"], rows["end"], strict=True)
    ]


@pytest.fixture(scope="module")
def undisturbed(manifest, checkpoint, tmp_path_factory):
    """A whole run, with a learning curve and a network, that the others are compared with."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "write_report", lambda path: (path / "report.html").write_text(""))
        metrics = run(manifest, checkpoint, folder)
    return folder, metrics


def test_a_run_leaves_what_a_probe_leaves(undisturbed, manifest):
    folder, metrics = undisturbed
    assert (metrics["mode"], metrics["encoder"], metrics["split"]) == ("finetune", "ser", "dev")
    assert metrics["subject"]["n"] == 6
    assert metrics["sentence"]["n"] == 24
    assert {"wa", "ua", "wa_ci95", "ua_ci95", "auroc", "confusion"} <= set(metrics["subject"])
    assert {"threshold", "aggregation", "out_of_fold", "calibration", "audit", "majority"} <= set(metrics)
    assert "probe" not in metrics
    found = metrics["finetune"]
    assert found["trained"][0] == "fc"
    assert 1 <= found["epoch"] <= found["epochs"] <= 3
    subjects = pd.read_csv(folder / "subjects.csv", dtype={"subject": str})
    sentences = pd.read_csv(folder / "sentences.csv", dtype={"id": str, "subject": str})
    votes = sentences.assign(vote=sentences["score"] >= 0.5).groupby("subject")["vote"].mean()
    assert subjects.set_index("subject")["score"].to_dict() == pytest.approx(votes.to_dict())
    assert list(pd.read_csv(folder / "epochs.csv")["epoch"]) == list(range(1, found["epochs"] + 1))
    left = {path.name for path in (folder / "checkpoints").iterdir()}
    assert left == {"model.safetensors"}


def test_the_inner_subjects_are_training_subjects_that_are_not_trained_on(undisturbed):
    folder, metrics = undisturbed
    inner = set(metrics["finetune"]["inner_subjects"])
    scored = pd.read_csv(folder / "out_of_fold.csv", dtype={"subject": str})
    assert set(scored["subject"]) == inner
    assert set(scored["split"]) == {"train"}
    assert set(scored["label"]) == {NEGATIVE, POSITIVE}
    assert 3 <= len(inner) <= 6  # half of nine


def test_the_written_network_gives_the_written_scores(undisturbed, manifest, checkpoint):
    folder, _metrics = undisturbed
    path = folder / "checkpoints" / "model.safetensors"
    read = read_checkpoint(path)
    assert read.classes == (NEGATIVE, POSITIVE)
    assert read.front_end == read_checkpoint(checkpoint).front_end
    assert read.provenance["finetuned_from"] == {"corpus": "x"}
    assert sentence_scores(path, manifest, "dev") == pytest.approx(
        pd.read_csv(folder / "sentences.csv")["score"].to_numpy(), abs=1e-5
    )


def test_training_has_the_precision_that_is_asked_for(manifest, checkpoint, tmp_path, monkeypatch):
    given, fit = [], finetune_training.fit

    def watched(*words, **more):
        given.append(more["precision"])
        fit(*words, **more)

    monkeypatch.setattr(finetune_training, "fit", watched)
    settings = FinetuneConfig(depth="head", epochs=1, inner_share=0.5, precision="bf16-mixed")
    run(manifest, checkpoint, tmp_path, replace(CONFIG, finetune=settings))
    assert given == ["bf16-mixed"]


@pytest.mark.parametrize("pooling", ["mean_std", "attention"])
def test_another_pooling_over_frames_is_learned_and_written(pooling, manifest, checkpoint, tmp_path):
    config = replace(CONFIG, finetune=FinetuneConfig(pooling=pooling, epochs=1, inner_share=0.5))
    metrics = run(manifest, checkpoint, tmp_path, config)
    assert metrics["finetune"]["pooling"] == pooling
    assert metrics["finetune"]["trained"] == ["head", "layer4"]
    path = tmp_path / "checkpoints" / "model.safetensors"
    written = pd.read_csv(tmp_path / "sentences.csv")["score"].to_numpy()
    assert sentence_scores(path, manifest, "dev") == pytest.approx(written, abs=1e-5)
    with pytest.raises(BadInput, match="found the network of a fine-tuned run of stage 2 with"):
        read_checkpoint(path)
    with pytest.raises(BadInput, match="was not fine-tuned"):
        load_sentence_model(checkpoint)


def test_a_model_that_sees_spans_of_time_keeps_its_pooling(manifest, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(PyResNet, "time_bins", 7)
    config = replace(CONFIG, finetune=FinetuneConfig(pooling="attention"))
    with pytest.raises(BadInput, match="spans of time"):
        run(manifest, checkpoint, tmp_path, config)


@pytest.mark.parametrize("batches", [2, 4])
def test_a_killed_run_ends_with_the_same_weights(
    undisturbed, manifest, checkpoint, tmp_path, monkeypatch, batches
):
    whole, metrics = undisturbed
    monkeypatch.setattr(finetune_training, "EVERY", 1)
    begun, step = [], Finetuner.training_step

    def step_or_die(self, batch, batch_idx):
        begun.append(batch_idx)
        if len(begun) > batches:
            raise Killed
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Finetuner, "training_step", step_or_die)
        with pytest.raises(Killed):
            run(manifest, checkpoint, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "resume.ckpt").exists()
    again = run(manifest, checkpoint, tmp_path / "run")
    assert again["finetune"] == metrics["finetune"]
    states = [read_checkpoint(f / "checkpoints/model.safetensors").state for f in (whole, tmp_path / "run")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    for name in ("sentences.csv", "subjects.csv", "out_of_fold.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()


def test_a_run_killed_after_it_stopped_early_stays_stopped(manifest, checkpoint, tmp_path, monkeypatch):
    config = replace(CONFIG, finetune=replace(CONFIG.finetune, lr=1.0, patience=1, epochs=6, depth="head"))
    with monkeypatch.context() as patch:
        patch.setattr(ser, "write_checkpoint", lambda *words: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(manifest, checkpoint, tmp_path, config)
    epochs = (tmp_path / "epochs.csv").read_bytes()
    metrics = run(manifest, checkpoint, tmp_path, config)
    assert metrics["finetune"]["epochs"] == len(epochs.splitlines()) - 1 < 6
    assert (tmp_path / "epochs.csv").read_bytes() == epochs


def test_the_reported_labels_influence_nothing(undisturbed, manifest, checkpoint, tmp_path):
    table = manifest.table.copy()
    flipped = table["label"].map({NEGATIVE: POSITIVE, POSITIVE: NEGATIVE})
    table["label"] = table["label"].where(table["split"] != "dev", flipped)
    run(manifest.with_table(table), checkpoint, tmp_path / "run")
    one, other = (pd.read_csv(folder / "sentences.csv") for folder in (undisturbed[0], tmp_path / "run"))
    assert one["score"].equals(other["score"])


def test_a_subject_without_a_usable_sentence_stays_undecided(checkpoint, tmp_path, real_report):
    manifest = make_interviews(tmp_path / "corpus", {"train": (3, 3), "dev": (2, 1)})
    manifest.source("306_P/306_AUDIO.wav").path.write_bytes(b"no audio")
    config = replace(
        CONFIG,
        finetune=replace(CONFIG.finetune, epochs=1, depth="head"),
        threshold=ThresholdConfig("out_of_fold"),
    )
    with pytest.raises(BadInput):
        run(manifest, checkpoint, tmp_path / "run", config)
    metrics = run(manifest, checkpoint, tmp_path / "run", config, skip_bad=True)
    assert metrics["left_out"]["undecided_subjects"] == ["306"]
    assert len(metrics["left_out"]["embedding"]) == 4
    assert metrics["threshold"]["rule"] == "out_of_fold"
    assert metrics["finetune"]["trained"] == ["fc"]
    report = (tmp_path / "run" / "report.html").read_text()
    assert "fine-tuning" in report


def test_shortcuts_stand_beside_a_finetuned_run(manifest, checkpoint, tmp_path):
    config = replace(CONFIG, shortcuts=True, finetune=replace(CONFIG.finetune, epochs=1, depth="head"))
    assert len(run(manifest, checkpoint, tmp_path, config)["shortcuts"]) == 2


def test_what_can_not_be_trained_is_refused(manifest, tmp_path, monkeypatch):
    fake = FakeEncoder()
    monkeypatch.setattr(workflow, "open_encoder", lambda *words, **options: fake)
    fake.name = "other"
    with pytest.raises(BadInput, match=r"encoder 'other'.*--mode probe"):
        workflow.transfer(CONFIG, manifest, encoder="other", checkpoint=tmp_path, run_dir=tmp_path / "r")
    fake.name = "ser"
    with pytest.raises(BadInput, match=r"set finetune\.pooling"):
        run(manifest, tmp_path, tmp_path / "r", replace(CONFIG, pooling="mean_std"))
    with pytest.raises(BadInput, match="'mix' with encoder 'ser'"):
        run(manifest, tmp_path, tmp_path / "r", replace(CONFIG, finetune=FinetuneConfig(layers="mix")))
    for name, value in (("layer_decay", 2), ("window", 0), ("store_gb", -1)):
        config = replace(CONFIG, finetune=FinetuneConfig(**{name: value}))
        with pytest.raises(BadInput, match=rf"finetune\.{name} = {value}"):
            run(manifest, tmp_path, tmp_path / "r", config)
    with pytest.raises(BadInput, match=r"finetune\.pooling = 'atention'.*'attention'"):
        replace(CONFIG, finetune=FinetuneConfig(pooling="atention")).check()
    assert not (tmp_path / "r").exists()


def test_later_settings_leave_older_runs_as_they_are():
    assert set(asdict(FinetuneConfig())) - set(FinetuneConfig().protocol()) == {
        "layers",
        "pooling",
        "window",
        "store_gb",
    }
    assert FinetuneConfig(window=3.0).protocol()["window"] == 3.0


def test_the_config_runs_on_the_demo_corpus(tmp_path, checkpoint, monkeypatch):
    make_daic_woz(tmp_path / "daic", sessions=(4, 4, 1))
    manifest = tmp_path / "manifest.csv"
    assert main(["prepare", "daic-woz", str(tmp_path / "daic"), "-o", str(manifest)]) == 0
    words = [
        "transfer",
        "--config",
        str(PROJECT / "configs/transfer/ser_finetune.yaml"),
        "--mode",
        "finetune",
    ]
    words += ["--encoder", "ser", "--checkpoint", str(checkpoint), "--manifest", str(manifest), "--quiet"]
    words += ["--run-dir", str(tmp_path / "run"), "--finetune.epochs", "1", "--resamples", "20"]
    assert main(words) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["mode"], metrics["subject"]["n"], metrics["generated"]) == ("finetune", 4, True)
    assert metrics["finetune"]["trained"] == ["fc", "layer4"]
