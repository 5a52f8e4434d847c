"""Tuning of fine-tuning: trainings are compared inside the training subjects, and a killed study goes on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.finetune_fakes import make_ssl, run, settings
from support.transfer_fakes import NEGATIVE, POSITIVE, FakeEncoder, Killed, make_interviews

from sertransfer.cli.main import main
from sertransfer.config import load_config
from sertransfer.errors import BadInput
from sertransfer.training.module import NonFiniteLoss
from sertransfer.transfer.finetune import workflow as finetune_workflow
from sertransfer.transfer.finetune.learners import Finetuner
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.tuning import workflow as tuning_workflow
from sertransfer.transfer.tuning.space import FinetuneSpace, FinetuneTuneConfig

PROJECT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("no_report")
SPACE = FinetuneSpace(
    lr=(0.001, 0.1), depth=("head",), layers=("output", "mix"), pooling=("mean",), stages=(1,)
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_interviews(tmp_path_factory.mktemp("corpus"), {"train": (2, 2), "dev": (1, 1)}, sentences=2)


@pytest.fixture(scope="module")
def ssl(tmp_path_factory):
    return make_ssl(tmp_path_factory.mktemp("ssl") / "m")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return the folder of stored features, which the runs share."""
    return tmp_path_factory.mktemp("kept")


def make(trials=3, **changes):
    base = settings(depth="last", epochs=2)
    values = {"transfer": base, "space": SPACE, "trials": trials, "random_trials": 2, **changes}
    return FinetuneTuneConfig(**values)


def tune(manifest, ssl, folder, config, **options):
    return tuning_workflow.tune(
        config, manifest, encoder="ssl", checkpoint=ssl, run_dir=folder, progress=False, **options
    )


def test_the_choice_is_trained_anew_and_a_killed_study_goes_on(
    manifest, ssl, kept, tmp_path, monkeypatch, real_report
):
    metrics = tune(manifest, ssl, tmp_path / "whole", make(), embeddings=kept)
    trials = pd.read_csv(tmp_path / "whole" / "trials.csv")
    assert len(trials) == 3
    chosen = trials[trials["best"]].iloc[0]
    assert chosen["inner_loss"] == trials["inner_loss"].min()
    assert metrics["finetune"]["inner_loss"] == pytest.approx(chosen["inner_loss"], abs=1e-12)
    assert metrics["finetune"]["epoch"] == chosen["epoch"]
    assert metrics["tuning"]["inner_loss"]["best"] == chosen["inner_loss"]
    assert "optimistic" in metrics["tuning"]["note"]
    report = (tmp_path / "whole" / "report.html").read_text()
    assert "Tuning of the fine-tuning" in report
    assert "is optimistic" in report
    best = load_config(TransferConfig, tmp_path / "whole" / "best.yaml", {})
    again = run(manifest, "ssl", ssl, tmp_path / "again", best, embeddings=kept)
    assert again["finetune"] == metrics["finetune"]
    assert again["subject"] == metrics["subject"]

    begun, step = [], Finetuner.training_step

    def step_or_die(self, batch, batch_idx):
        begun.append(batch_idx)
        if len(begun) == 4:  # in the second training, after its first epoch
            raise Killed
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Finetuner, "training_step", step_or_die)
        with pytest.raises(Killed):
            tune(manifest, ssl, tmp_path / "killed", make(), embeddings=kept)
    (left,) = (tmp_path / "killed" / "trials").iterdir()
    assert (left / "checkpoints" / "resume.ckpt").exists()
    tune(manifest, ssl, tmp_path / "killed", make(), embeddings=kept)
    for name in ("trials.csv", "best.yaml", "sentences.csv", "checkpoints/model.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert list((tmp_path / "killed" / "trials").iterdir()) == []


def test_the_reported_labels_choose_nothing(manifest, ssl, kept, tmp_path):
    tune(manifest, ssl, tmp_path / "one", make(trials=2), embeddings=kept)
    table = manifest.table.copy()
    flipped = table["label"].map({NEGATIVE: POSITIVE, POSITIVE: NEGATIVE})
    table["label"] = table["label"].where(table["split"] != "dev", flipped)
    tune(manifest.with_table(table), ssl, tmp_path / "other", make(trials=2), embeddings=kept)
    for name in ("best.yaml", "trials.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_a_training_that_breaks_down_is_a_trial_of_no_value(manifest, ssl, kept, tmp_path, monkeypatch):
    tried, train = [], finetune_workflow.train

    def train_or_break(config, task, folder):
        tried.append(config)
        if len(tried) == 1:
            raise NonFiniteLoss("the loss is nan")
        return train(config, task, folder)

    monkeypatch.setattr(finetune_workflow, "train", train_or_break)
    metrics = tune(manifest, ssl, tmp_path, make(trials=2), embeddings=kept)
    assert metrics["tuning"]["trials"] == {"complete": 1, "pruned": 1}
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert trials["state"].tolist() == ["pruned", "complete"]
    assert np.isnan(trials["inner_loss"][0])


def test_a_study_of_other_settings_is_refused(manifest, ssl, kept, tmp_path):
    storage = tmp_path / "shared.db"
    tune(manifest, ssl, tmp_path / "one", make(trials=1), embeddings=kept, storage=storage)
    other = make(trials=1, space=replace(SPACE, lr=(0.001, 0.2)))
    with pytest.raises(BadInput, match=r"space lr.*give another --storage"):
        tune(manifest, ssl, tmp_path / "other", other, embeddings=kept, storage=storage)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials = 0"),
        ({"study": "a/b"}, "study"),
        ({"space": FinetuneSpace(lr=(0.1, 0.01))}, r"space\.lr"),
        ({"space": FinetuneSpace(depth=("heads",))}, r"space\.depth = 'heads'.*'head'"),
        ({"space": FinetuneSpace(layer_decay=(2.0,))}, r"space\.layer_decay = 2"),
        ({"space": FinetuneSpace(stages=())}, r"space\.stages"),
        ({"transfer": TransferConfig()}, r"transfer\.mode = 'probe'"),
    ],
)
def test_what_no_study_can_work_with_is_named(changes, message):
    with pytest.raises(BadInput, match=message):
        make(**changes).check()


def test_a_mix_is_not_searched_for_an_encoder_without_blocks(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr("sertransfer.transfer.workflow.open_encoder", lambda *words, **options: FakeEncoder())
    with pytest.raises(BadInput, match="'mix' with encoder 'ser'"):
        tuning_workflow.tune(
            make(), manifest, encoder="ser", checkpoint=tmp_path, run_dir=tmp_path / "r", progress=False
        )
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("encoder", ["ser", "asr", "ssl"])
def test_the_configs_are_whole(encoder):
    config = load_config(FinetuneTuneConfig, PROJECT / f"configs/transfer/{encoder}_finetune_tune.yaml", {})
    config.check()
    assert bool(config.space.layers) == (encoder != "ser")


def test_the_command_asks_for_the_mode(manifest, ssl, tmp_path, capsys, monkeypatch):
    asked = {}

    def keep(config, manifest, **given):
        asked.update(given, config=config)
        return {"subject": {"n": 1, "wa": 1.0, "ua": None}, "majority": {"wa": None, "ua": None}}

    monkeypatch.setattr(tuning_workflow, "tune", keep)
    manifest_path = tmp_path / "manifest.csv"
    manifest.table.to_csv(manifest_path, index=False)
    words = ["tune", "--encoder", "ssl", "--checkpoint", str(ssl), "--manifest", str(manifest_path)]
    words += ["--root", str(tmp_path), "--run-dir", str(tmp_path / "run"), "--quiet", "--split", "test"]
    assert main([*words, "--mode", "finetune", "--trials", "4"]) == 0
    assert (asked["config"].trials, asked["config"].transfer.split) == (4, "test")
    assert main([*words, "--mode", "finetun"]) == 2
    assert "'finetune'" in capsys.readouterr().err


def test_a_run_that_an_earlier_version_began_with_a_journal_is_refused(tmp_path):
    (tmp_path / "study.journal").write_text('{"op_code":0}\n')
    with pytest.raises(
        BadInput, match=r"study\.journal: found the trials of an unfinished search by an earlier"
    ):
        tuning_workflow.open_studies(tmp_path, None)
    assert not (tmp_path / "study.db").exists()
    tuning_workflow.open_studies(tmp_path, tmp_path / "study.db")
    tuning_workflow.open_studies(tmp_path, None)
