"""A run finds its encoder wherever both are moved, and knows the recordings that it was trained on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from support.transfer_fakes import make_interviews

from sertransfer.encoders.registry import PLACES
from sertransfer.errors import BadInput
from sertransfer.export.export import export
from sertransfer.front_end import Cropping, Denoise, FrontEnd
from sertransfer.io.checksums import HASH
from sertransfer.io.files import write_json
from sertransfer.manifest import Manifest
from sertransfer.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from sertransfer.models.registry import build_model
from sertransfer.training_audio import FILE, make_training_audio
from sertransfer.transfer import workflow
from sertransfer.transfer.predict import predict
from sertransfer.transfer.settings import FinetuneConfig, ProbeConfig, TransferConfig

pytestmark = pytest.mark.usefixtures("no_report")

PROBE = TransferConfig(resamples=20, folds=2, shortcuts=False, probe=ProbeConfig(c_grid=(0.01, 1.0)))
FINETUNE = replace(
    PROBE,
    mode="finetune",
    finetune=FinetuneConfig(depth="head", epochs=1, batch_size=16, inner_share=0.5),
)


def write_ser(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    model = build_model("pyresnet_tiny", 4, width=0.0625)
    front_end = FrontEnd(mels=32, denoise=Denoise(method="none"), normalise="none")
    state = dict(model.state_dict())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(
        Checkpoint("pyresnet_tiny", {"width": 0.0625}, tuple("abcd"), front_end, Cropping(0.2), state), path
    )
    return path


def run(manifest: Manifest, checkpoint: Path, folder: Path, config: TransferConfig = PROBE) -> dict:
    return workflow.transfer(
        config, manifest, encoder="ser", checkpoint=checkpoint, run_dir=folder, progress=False
    )


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return make_interviews(tmp_path / "corpus", sentences=6)


def score(folder: Path, audio: Path, **more: object) -> dict:
    """Score a recording by a transcript of two long turns."""
    turns = ["0.0\t0.3\tParticipant\tone two", "0.35\t0.6\tParticipant\tthree four"]
    text = "\n".join(["start_time\tstop_time\tspeaker\tvalue", *turns, ""])
    transcript = audio.with_name(f"{audio.stem}.tsv.csv")
    transcript.write_text(text)
    found = predict(folder, [audio], transcripts=[transcript], progress=False, **more)
    return found["recordings"][0]


def recording(manifest: Manifest, split: str) -> Path:
    return manifest.source(manifest.select(split=split).table["audio"][0]).path


def test_a_run_made_with_a_relative_path_works_from_everywhere(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    write_ser(home / "models/ser.safetensors")
    away.mkdir()
    monkeypatch.chdir(home)
    run(manifest, Path("models/ser.safetensors"), Path("runs/a"))
    audio = recording(manifest, "dev")
    expected = score(Path("runs/a"), audio)["score"]
    monkeypatch.chdir(away)
    assert (
        score(home / "runs/a", audio)["score"] == expected
    )  # beside the run folder, or by its absolute path
    export(home / "runs/a", away / "exported")
    shutil.copytree(home, tmp_path / "copied")
    home.rename(tmp_path / "gone")
    assert score(tmp_path / "copied/runs/a", audio)["score"] == expected  # moved together
    (tmp_path / "copied/runs/a").rename(away / "a")
    with pytest.raises(BadInput, match="--checkpoint"):
        score(away / "a", audio)
    with pytest.raises(BadInput, match="--checkpoint"):
        export(away / "a", away / "again")
    (tmp_path / "gone").rename(home)
    assert score(away / "a", audio)["score"] == expected  # only the run was moved
    (away / "a" / PLACES).unlink()  # a run of before
    with pytest.raises(BadInput, match="--checkpoint"):
        score(away / "a", audio)
    (away / "a").rename(home / "runs/b")
    assert score(home / "runs/b", audio)["score"] == expected


def test_another_file_of_the_same_name_is_passed_over(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    write_ser(home / "ser.safetensors")
    monkeypatch.chdir(home)
    run(manifest, Path("ser.safetensors"), home / "run")
    audio = recording(manifest, "dev")
    expected = score(home / "run", audio)["score"]
    other.mkdir()
    (home / "run").rename(other / "run")
    write_ser(other / "ser.safetensors", seed=1)
    monkeypatch.chdir(other)
    assert score(other / "run", audio)["score"] == expected
    (home / "ser.safetensors").unlink()
    with pytest.raises(BadInput, match="weights of fingerprint"):
        score(other / "run", audio)


@pytest.mark.parametrize("config", [PROBE, FINETUNE], ids=["probe", "finetune"])
def test_a_recording_that_was_trained_on_is_known_under_any_name(
    manifest: Manifest, tmp_path: Path, config: TransferConfig
) -> None:
    checkpoint = write_ser(tmp_path / "ser.safetensors")
    metrics = run(manifest, checkpoint, tmp_path / "run", config)
    assert metrics["audio_shared"] == {"status": "none", "utterances": 0, "speakers": 0}
    assert metrics["encoder_audio_shared"]["status"] == "unknown"
    samples, rate = soundfile.read(recording(manifest, "train"), dtype="int16")
    soundfile.write(tmp_path / "new name.flac", samples, rate)
    found = score(tmp_path / "run", tmp_path / "new name.flac")
    assert (found["audio_shared"], found["encoder_audio_shared"]) == ("shared", "unknown")
    assert any("was trained on this recording" in text for text in found["warnings"])
    fair = score(tmp_path / "run", recording(manifest, "dev"))
    assert fair["audio_shared"] == "none"
    assert not any("trained on this" in text for text in fair["warnings"])
    if config is FINETUNE:
        learnt = read_checkpoint(tmp_path / "run").training_audio
        assert learnt is not None
        assert (len(learnt.sets), learnt.whole) == (1, False)  # the encoder did not say
    (tmp_path / "run" / FILE).unlink()
    with pytest.raises(BadInput, match=f"{FILE}: found no file"):
        score(tmp_path / "run", tmp_path / "new name.flac")
    del metrics["files"][FILE], metrics[HASH]  # a run of before, which kept neither
    write_json(tmp_path / "run/metrics.json", metrics)
    assert score(tmp_path / "run", tmp_path / "new name.flac")["audio_shared"] == "unknown"


def test_reported_subjects_whose_audio_was_trained_on(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(recording(manifest, "train"), recording(manifest, "dev"))  # the same person, another name
    table = manifest.table
    first = {split: table[table["split"] == split]["speaker"].iloc[0] for split in ("train", "dev")}
    times = ["start", "end"]
    table.loc[table["speaker"] == first["dev"], times] = table.loc[
        table["speaker"] == first["train"], times
    ].to_numpy()
    checkpoint = write_ser(tmp_path / "ser.safetensors")
    metrics = run(manifest, checkpoint, tmp_path / "run")
    shared = metrics["audio_shared"]
    assert (shared["status"], shared["speakers"]) == ("shared", 1)
    assert shared["utterances"] == 6
    assert "the training subjects' audio holds 6 of the" in caplog.text


def test_an_encoder_that_was_trained_on_the_reported_subjects(manifest: Manifest, tmp_path: Path) -> None:
    from sertransfer.audio.fingerprint import utterance_prints

    heard = make_training_audio(utterance_prints(manifest.select(split="dev"), most=2).values(), "x")
    path = write_ser(tmp_path / "ser.safetensors")
    write_checkpoint(replace(read_checkpoint(path), training_audio=heard), path)
    metrics = run(manifest, path, tmp_path / "run")
    assert metrics["encoder_audio_shared"]["status"] == "shared"
    assert metrics["encoder_audio_shared"]["speakers"] == 6
    assert metrics["audio_shared"]["status"] == "none"
    assert score(tmp_path / "run", recording(manifest, "dev"))["encoder_audio_shared"] == "shared"


def test_the_wrong_kind_of_run_is_named_in_one_line(manifest: Manifest, tmp_path: Path) -> None:
    checkpoint = write_ser(tmp_path / "ser.safetensors")
    run(manifest, checkpoint, tmp_path / "run")
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained/config.yaml").write_text("classes: [a]\nfront_end: {}\noptimiser: {}\n")
    for folder, words in (
        (tmp_path / "pretrained", "a run folder of stage 1 ('sertransfer pretrain'), which is not finished"),
        (manifest.root, "a folder of recordings"),
        (tmp_path / "tuned", "a run folder of stage 2 ('sertransfer tune')"),
    ):
        if folder.name == "tuned":
            folder.mkdir()
            (folder / "config.yaml").write_text("transfer: {seed: 0}\nspace: {}\n")
        with pytest.raises(BadInput) as error:
            run(manifest, checkpoint, folder)
        assert len(error.value.faults) == 1
        assert words in str(error.value)
        assert not (folder / "inputs.json").exists()
    with pytest.raises(BadInput, match="keeps no network of its own") as error:
        run(manifest, tmp_path / "run", tmp_path / "other")
    assert len(error.value.faults) == 1
    assert np.isfinite(metrics_of(tmp_path / "run"))


def metrics_of(folder: Path) -> float:
    from sertransfer.reporting.runs import open_run

    return float(open_run(folder).metrics["subject"]["wa"])
