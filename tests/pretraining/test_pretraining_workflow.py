import json
import os
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.training_fakes import make_tones, tone_config

from sertransfer.errors import BadInput
from sertransfer.models.checkpoint import read_checkpoint
from sertransfer.pretraining.classifier import Classifier
from sertransfer.pretraining.data import feature_workers
from sertransfer.pretraining.settings import Augment, EpochSelection, ModelSettings, Optimiser
from sertransfer.pretraining.workflow import pretrain
from sertransfer.training.module import NonFiniteLoss


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run with everything in it that can be left out, shared by the tests that only read it."""
    folder = tmp_path_factory.mktemp("stage1")
    manifest = make_tones(
        folder / "corpus", train=50, test=25, labels=("angry", "neutral", "happy", "sad", "bored")
    )
    table = manifest.table
    table.loc[table["id"] == "u3", "split"] = "dev"
    table.loc[table["id"] == "u74", "speaker"] = "s0"
    config = replace(tone_config(), epochs=8, augment=Augment(2, 2), class_weights="balanced")
    before = set(folder.iterdir())
    metrics = pretrain(config, manifest, folder / "exp" / "run", progress=True)
    assert set(folder.iterdir()) - before == {folder / "exp"}
    return config, manifest, folder / "exp" / "run", metrics


def test_the_run_learns_and_scores_its_test_split(finished):
    config, _, run_dir, metrics = finished
    block = metrics["utterance"]
    assert block["n"] == 20
    assert block["ua"] > metrics["majority"]["ua"] + 0.25
    if block["speakers"] >= 6:
        assert block["ua_ci95"][0] <= block["ua"] <= block["ua_ci95"][1]
    else:
        assert (block["ua_ci95"], block["no_interval"]["ua"][:11]) == (None, "no interval")
    assert block["classes"] == list(config.classes)
    assert np.trace(block["confusion"]) / 20 == block["wa"]
    assert json.loads((run_dir / "metrics.json").read_text()) == metrics
    scores = pd.read_csv(run_dir / "utterances.csv")
    assert list(scores) == [
        "id",
        "speaker",
        "split",
        "label",
        "prediction",
        *(f"score_{c}" for c in config.classes),
    ]
    assert (scores["label"] == scores["prediction"]).mean() == pytest.approx(block["wa"])
    np.testing.assert_allclose(scores[[f"score_{c}" for c in config.classes]].sum(axis=1), 1, atol=1e-4)


def test_what_is_left_out_is_counted_aloud(finished):
    _, _, run_dir, metrics = finished
    assert metrics["left_out"] == {
        "labels": {"train": {"bored": 10}, "test": {"bored": 5}},
        "other_splits": 1,
        "audio": [],
    }
    assert metrics["speakers_shared"] == 0
    assert metrics["train"]["n"] == 39
    log = (run_dir / "log.txt").read_text()
    assert "10 of 49 rows have labels outside the classes and are left out (bored 10)" in log
    assert "speakers shared between train and test: 0" in log
    assert "epoch 8 of 8: lr 0.001" in log


def test_the_run_folder_holds_all_that_the_run_is(finished):
    config, _, run_dir, metrics = finished
    names = {path.name for path in run_dir.iterdir()}
    assert {"config.yaml", "metrics.json", "report.html", "log.txt", "epochs.csv", "tensorboard"} <= names
    assert {path.name for path in (run_dir / "checkpoints").iterdir()} == {"model.safetensors"}
    assert len(pd.read_csv(run_dir / "epochs.csv")) == config.epochs
    assert metrics["assumptions"] == ["tones are speech"]
    checkpoint = read_checkpoint(run_dir / "checkpoints" / "model.safetensors")
    assert (checkpoint.classes, checkpoint.front_end) == (config.classes, config.front_end)
    assert (checkpoint.cropping, checkpoint.options) == (config.cropping, {"width": 0.0625})
    provenance = checkpoint.provenance
    assert (provenance["corpus"], provenance["epochs"], provenance["generated"]) == (["tones"], 8, False)
    assert provenance["train"]["labels"] == {"angry": 10, "neutral": 10, "happy": 10, "sad": 9}


def test_a_finished_run_is_not_run_again(finished):
    config, manifest, run_dir, metrics = finished
    stamp = (run_dir / "checkpoints" / "model.safetensors").stat().st_mtime_ns
    (run_dir / "checkpoints" / "resume.ckpt").touch()  # killed between its last two steps
    again = pretrain(replace(config, workers=1), manifest, run_dir, progress=False)
    assert not (run_dir / "checkpoints" / "resume.ckpt").exists()
    assert again == metrics
    assert (run_dir / "checkpoints" / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(BadInput, match="epochs"):
        pretrain(replace(config, epochs=9), manifest, run_dir, progress=False)


@pytest.mark.usefixtures("no_report")
def test_an_inner_split_selects_and_shared_and_generated_are_said(tmp_path, tones, config):
    manifest = tones(tmp_path / "corpus", train=48)
    manifest.table.loc[manifest.table["speaker"] == "t0", "speaker"] = "s0"
    (tmp_path / "corpus" / "DEMO.txt").write_text("generated")
    config = replace(config, epochs=2, selection=EpochSelection("inner", 0.2), channels_last=False)
    metrics = pretrain(config, manifest, tmp_path / "run", progress=False)
    chosen = metrics["selection"]
    assert chosen["rule"] == "inner"
    assert chosen["epoch"] in (1, 2)
    assert 0 < len(chosen["held_out_speakers"]) < 6
    assert metrics["speakers_shared"] == 1
    assert metrics["generated"] is True
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "speakers shared between train and test: 1" in log
    assert "generated" in log
    best = pd.read_csv(tmp_path / "run" / "epochs.csv")["inner_ua"].max()
    assert chosen["inner_ua"] == pytest.approx(best)


@pytest.mark.usefixtures("no_report")
def test_bad_audio_stops_the_run_or_is_left_out_by_choice(tmp_path, tones, config):
    manifest = tones(tmp_path / "corpus", test=0)
    (tmp_path / "corpus" / "5.wav").write_bytes(b"no sound")
    config = replace(config, epochs=1)
    with pytest.raises(BadInput, match=r"5\.wav"):
        pretrain(config, manifest, tmp_path / "run", progress=False)
    metrics = pretrain(config, manifest, tmp_path / "run", skip_bad=True, progress=False)
    assert metrics["train"]["n"] == 23
    assert [entry["item"] for entry in metrics["left_out"]["audio"]] == ["u5"]
    assert metrics["utterance"]["n"] == 0
    assert metrics["utterance"]["ua"] is None
    assert "no test split" in (tmp_path / "run" / "log.txt").read_text()


def test_a_manifest_without_training_rows_or_classes_is_refused(tmp_path, tones, config):
    manifest = tones(tmp_path / "corpus", train=0, test=6, labels=("angry", "neutral", "bored"))
    with pytest.raises(BadInput) as caught:
        pretrain(config, manifest, tmp_path / "run", progress=False)
    text = str(caught.value)
    assert "'train'" in text
    assert "no row labelled happy, sad" in text
    assert len(caught.value.faults) == 2


@pytest.mark.usefixtures("no_report")
def test_a_class_absent_from_the_test_split_is_found_before_training(tmp_path, tones, config):
    manifest = tones(tmp_path / "corpus")
    table = manifest.table
    manifest = manifest.with_table(
        table[(table["split"] == "train") | (table["label"] != "sad")].reset_index(drop=True)
    )
    with pytest.raises(BadInput, match=r"'test'.*no row labelled sad"):
        pretrain(config, manifest, tmp_path / "run", progress=False)
    metrics = pretrain(replace(config, epochs=1, absent="skip"), manifest, tmp_path / "skip", progress=False)
    assert metrics["utterance"]["absent"] == ["sad"]


def test_a_loss_that_breaks_down_stops_the_run(tmp_path, tones, config):
    config = replace(config, optimiser=Optimiser(lr=1e30), checkpoint_every=1)
    with pytest.raises(NonFiniteLoss, match="last good checkpoint"):
        pretrain(config, tones(tmp_path / "corpus", test=0), tmp_path / "run", progress=False)


def test_an_unknown_model_is_named_before_anything_is_written(tmp_path, tones, config):
    config = replace(config, model=ModelSettings("pyresnet15"))
    with pytest.raises(BadInput, match="pyresnet152"):
        pretrain(config, tones(tmp_path / "corpus"), tmp_path / "run", progress=False)


def test_mixed_half_precision_asks_for_a_gpu(tmp_path, tones, config, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(BadInput, match="32-true"):
        pretrain(
            replace(config, precision="16-mixed"),
            tones(tmp_path / "corpus"),
            tmp_path / "run",
            progress=False,
        )


@pytest.mark.usefixtures("no_report")
def test_an_interrupted_run_says_so_and_goes_on(tmp_path, tones, config, monkeypatch, capfd):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    manifest, started = tones(tmp_path / "corpus", test=4), []

    def interrupt(self, batch, batch_idx):
        started.append(batch_idx)
        if len(started) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "on_train_batch_start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pretrain(config, manifest, tmp_path / "run", progress=True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    pretrain(config, manifest, tmp_path / "run", progress=True)
    assert "resuming" in (tmp_path / "run" / "log.txt").read_text()
    shown = capfd.readouterr().err
    assert "Epoch" in shown
    assert "v_num" not in shown


def test_many_features_are_made_by_many_processes():
    assert feature_workers(3, 10**6) == 3
    assert feature_workers(0, 10) == 0
    assert feature_workers(0, 10**6) == os.cpu_count()
