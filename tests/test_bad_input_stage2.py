"""Bad input of stage 2 through the command line: encoders, labels, subjects, studies, killed workers.

As in ``test_bad_input``: the place, what was found, what was expected and what to do, with exit status 2.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
import torch
import yaml
from support.daic_tree import ELLIE, Tree
from support.espnet_fakes import make_config, make_experiment

from sertransfer.cli.main import main
from sertransfer.front_end import FrontEnd
from sertransfer.models.checkpoint import Checkpoint, write_checkpoint
from sertransfer.models.registry import build_model
from sertransfer.transfer.tuning import storage as storages
from sertransfer.transfer.tuning.storage import open_storage

ANSWER = (1.25, 1.75, "Participant", "a")
SMALL = {"width": 0.0625}
QUICK = ("-q", "--resamples", "10", "--probe.c_grid", "[1.0]", "--shortcuts", "false", "--folds", "2")
MODEL = "valid.acc.ave_10best.pth"


@pytest.fixture
def run(capsys):
    def run(*words: object) -> tuple[int, str]:
        status = main([str(word) for word in words])
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return status, error

    return run


def check(result: tuple[int, str], *expected: str) -> None:
    status, error = result
    assert status == 2, error
    assert "; expected " in error
    for text in expected:
        assert text in error, f"{text!r} is not in {error}"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    state = build_model("pyresnet_tiny", 4, **SMALL).state_dict()
    classes = ("angry", "neutral", "happy", "sad")
    write_checkpoint(Checkpoint("pyresnet_tiny", SMALL, classes, FrontEnd(), None, state, {}), path)
    return path


def make_tree(root: Path) -> Tree:
    root.mkdir(parents=True)
    tree = Tree(root)
    for number in range(300, 312):
        tree.session(number, [ELLIE, ANSWER], seconds=2, rms=0.01 * (1 + number % 2))
    scores = dict.fromkeys(range(300, 312, 2), 12)
    tree.splits(range(300, 308), range(308, 311), [311], scores=scores)
    return tree


def prepare(tree: Tree, output: Path, *words: str) -> Path:
    assert main(["prepare", "daic-woz", str(tree.root), "-o", str(output), *words]) == 0
    return output


@pytest.fixture(scope="module")
def interviews(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interviews")
    tree = make_tree(folder / "daic")
    return tree.root, prepare(tree, folder / "m.csv")


def words_of(manifest: Path, weights: Path, folder: Path, command: str = "transfer") -> list[object]:
    return [command, "--manifest", manifest, "--checkpoint", weights, "--run-dir", folder]


# --- an ESPnet experiment -------------------------------------------------------------------------------


@pytest.fixture
def experiment(tmp_path):
    return make_experiment(tmp_path / "asr", make_config("transformer"))[0]


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("config.yaml", "no config.yaml"),
        (MODEL, "no model file"),
        ("../asr_stats/train/feats_stats.npz", "no exp/asr_stats/train/feats_stats.npz"),
    ],
)
def test_an_espnet_folder_without_a_part(run, interviews, experiment, tmp_path, part, expected):
    (experiment / part).unlink()
    result = run(*words_of(interviews[1], experiment, tmp_path / "run"), "--encoder", "asr")
    check(result, f"{experiment}: found {expected}", "copy the whole experiment")


def test_a_config_of_another_espnet(run, interviews, experiment, tmp_path):
    config = yaml.safe_load((experiment / "config.yaml").read_text())
    config |= {"version": "0.9", "encoder_conf": {"output_sise": 8, "num_blks": 3}}
    (experiment / "config.yaml").write_text(yaml.safe_dump(config))
    result = run(*words_of(interviews[1], experiment, tmp_path / "run"), "--encoder", "asr")
    check(result, "did you mean 'output_size'", "says ESPnet 0.9", str(experiment))


def test_a_pickle_that_is_not_weights(run, interviews, experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"encoder.x": Malicious()}, experiment / MODEL)
    result = run(*words_of(interviews[1], experiment, tmp_path / "run"), "--encoder", "asr")
    check(result, MODEL, "not weights", "mkdir")
    assert not (tmp_path / "ran").exists()


# --- subjects and labels --------------------------------------------------------------------------------


def test_a_subject_without_a_usable_sentence_stays_as_undecided(run, weights, tmp_path):
    tree = make_tree(tmp_path / "daic")
    laugh = [ELLIE, (1.25, 1.75, "Participant", "<laughter>")]
    tree.session(309, laugh, seconds=2, rms=0.1)
    (tree.root / "310_P" / "310_AUDIO.wav").write_bytes(b"no sound")
    output = tmp_path / "m.csv"
    result = run("prepare", "daic-woz", tree.root, "-o", output)
    check(result, "309_TRANSCRIPT.csv: found no usable sentence of the participant", "310_AUDIO.wav")
    prepare(tree, output, "--skip-bad")
    manifest = pd.read_csv(output, dtype=str)
    assert not {"daic309", "daic310"} & set(manifest["speaker"])
    assert run(*words_of(output, weights, tmp_path / "run"), *QUICK)[0] == 0
    subjects = pd.read_csv(tmp_path / "run" / "subjects.csv").set_index("subject")
    assert subjects.index.tolist() == ["daic308", "daic309", "daic310"]
    assert subjects["undecided"].tolist() == [False, True, True]
    # four of eight training subjects are positive: no majority, so the negative class
    assert subjects.loc[["daic309", "daic310"], "score"].tolist() == [0.5, 0.5]
    assert subjects.loc[["daic309", "daic310"], "prediction"].tolist() == ["not depressed"] * 2
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["subject"]["n"] == 3
    assert metrics["left_out"]["undecided_subjects"] == ["daic309", "daic310"]
    assert "majority class" in metrics["undecided_rule"]


def edit(manifest: Path, path: Path, split: str, label: str) -> Path:
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    table.loc[table["split"] == split, "label"] = label
    table.to_csv(path, index=False)
    return path


def test_one_class_only_in_training(run, weights, interviews, tmp_path):
    root, manifest = interviews
    same = edit(manifest, tmp_path / "m.csv", "train", "depressed")
    result = run(*words_of(same, weights, tmp_path / "run"), "--root", root)
    check(result, "split 'train': found no subject labelled 'not depressed'", "subjects of both classes")


def test_labels_that_are_absent_for_the_test_split(run, weights, interviews, tmp_path):
    result = run(*words_of(interviews[1], weights, tmp_path / "run"), "--split", "test")
    check(result, "split 'test': found 1 subject(s) without a label: daic311", "add full_test_split.csv")


# --- studies --------------------------------------------------------------------------------------------

TUNE = (
    "-q", "--trials", "2", "--random_trials", "2", "--outer_folds", "2", "--space.heads", "[logistic]",
    "--space.pca", "[2]", "--transfer.folds", "2", "--transfer.resamples", "10",
    "--transfer.shortcuts", "false",
)  # fmt: skip


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    return tmp_path_factory.mktemp("embeddings")


def tune_words(interviews, weights, embeddings, folder: Path, storage: Path) -> list[object]:
    given = words_of(interviews[1], weights, folder, "tune")
    return [*given, "--embeddings", embeddings, "--storage", storage, *TUNE]


def test_the_storage_of_another_study(run, weights, interviews, embeddings, tmp_path):
    storage = tmp_path / "study.db"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    foreign = optuna.create_study(storage=open_storage(storage), study_name="sertransfer/outer-1")
    foreign.set_user_attr("sertransfer_identity", {"space linear_c": "1, 2"})
    result = run(*tune_words(interviews, weights, embeddings, tmp_path / "run", storage))
    check(result, "study 'sertransfer/outer-1': found", "in its storage", "give another --storage")


KILLED = """
import os, signal, sys
from sertransfer.cli import main as cli
from sertransfer.transfer.tuning import nested
nested.inner_score = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
cli.main(sys.argv[1:])
"""


def test_a_worker_killed_in_mid_trial_is_replaced(
    run, weights, interviews, embeddings, tmp_path, monkeypatch
):
    monkeypatch.setattr(storages, "GRACE", 1)
    storage = tmp_path / "study.db"
    words = tune_words(interviews, weights, embeddings, tmp_path / "run", storage)
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, words)], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = optuna.load_study(storage=open_storage(storage), study_name="sertransfer/outer-1")
    assert [trial.state.name for trial in left.trials] == ["RUNNING"]
    status, error = run(*words)
    assert status == 0, error
    states = [
        trial.state.name
        for trial in optuna.load_study(storage=open_storage(storage), study_name="sertransfer/outer-1").trials
    ]
    assert states[0] == "FAIL"
    assert len(states) == 3
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert all(sum(counts.values()) == 2 for counts in metrics["tuning"]["trials"].values())
