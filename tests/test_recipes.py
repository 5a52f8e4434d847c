"""The two recipes, whole, on small generated corpora: raw folders to subject-level numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from sertransfer.demo.corpora import make_daic_woz, make_lssed

PROJECT = Path(__file__).parents[1]
QUICK = ["--epochs", "1", "--batch_size", "16", "--selection.rule", "last"]


def recipe(name, *words, cwd=None):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [PROJECT / "recipes" / name, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("recipes")
    make_lssed(place / "lssed", speakers=6, utterances_per_speaker=8)
    make_daic_woz(place / "daic", sessions=(8, 6, 2))
    return place


@pytest.fixture(scope="module")
def stage_1(place):
    words = (
        "--lssed-root", place / "lssed", "--run-dir", place / "ser",
        "--config", PROJECT / "configs/pretrain/demo.yaml", "--", *QUICK, "--prepare.split", "speaker",
    )  # fmt: skip
    return words, recipe("lssed_pretrain.sh", *words)


@pytest.fixture(scope="module")
def stage_2(place, stage_1):
    words = (
        "--encoder", "ser", "--checkpoint", place / "ser/checkpoints/model.safetensors",
        "--daic-root", place / "daic", "--run-dir", place / "daic_ser", "--", "--resamples", "200",
    )  # fmt: skip
    return words, recipe("daic_transfer.sh", *words)


def test_stage_1_leaves_a_run_folder(place, stage_1):
    _, done = stage_1
    assert done.returncode == 0, done.stderr
    metrics = json.loads((place / "ser/metrics.json").read_text())
    utterance = metrics["utterance"]
    assert utterance["classes"] == ["angry", "neutral", "happy", "sad"]
    assert sum(map(sum, utterance["confusion"])) == utterance["n"] > 0
    if utterance["speakers"] >= 6:
        assert utterance["wa_ci95"][0] <= utterance["wa"] <= utterance["wa_ci95"][1]
    else:
        assert utterance["wa_ci95"] is None
    assert set(metrics["majority"]) == {"wa", "ua"}
    assert metrics["generated"] is True
    for name in ("config.yaml", "report.html", "log.txt", "manifest.csv", "checkpoints/model.safetensors"):
        assert (place / "ser" / name).stat().st_size > 0, name


def test_stage_2_leaves_a_run_folder(place, stage_2):
    _, done = stage_2
    assert done.returncode == 0, done.stderr
    metrics = json.loads((place / "daic_ser/metrics.json").read_text())
    assert {"sentence", "subject", "majority", "split", "encoder", "mode", "errata"} <= set(metrics)
    subject = metrics["subject"]
    keys = {"n", "wa", "ua", "wa_ci95", "ua_ci95", "f1", "macro_f1", "sensitivity", "specificity", "auroc"}
    assert keys | {"confusion"} <= set(subject)
    assert (metrics["split"], metrics["encoder"], metrics["mode"]) == ("dev", "ser", "probe")
    assert subject["n"] == 6
    subjects = pd.read_csv(place / "daic_ser/subjects.csv")
    assert list(subjects.columns[:5]) == ["subject", "split", "label", "score", "prediction"]
    dev = subjects[subjects["split"] == "dev"]
    assert len(dev) == 6
    assert subject["wa"] == pytest.approx((dev["label"] == dev["prediction"]).mean())
    sentences = pd.read_csv(place / "daic_ser/sentences.csv")
    assert list(sentences.columns[:5]) == ["id", "subject", "split", "label", "score"]
    assert metrics["sentence"]["n"] == (sentences["split"] == "dev").sum()


def test_the_corpora_are_only_read(place, stage_1, stage_2):
    for root in ("lssed", "daic"):
        names = {path.name for path in (place / root).rglob("*") if path.is_file()}
        assert not {name for name in names if name.endswith((".json", ".tmp", ".html", ".npy"))}


def test_derived_files_are_the_owners_alone(place, stage_1, stage_2):
    for path in (place / "daic_ser").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_no_transcript_text_is_left_behind(place, stage_2):
    said = set()
    for transcript in (place / "daic").glob("*_P/*_TRANSCRIPT.csv"):
        table = pd.read_csv(transcript, sep="\t", dtype=str).dropna()
        said |= {value for value in table["value"] if len(value.split()) > 2}
    assert said
    for path in (place / "daic_ser").rglob("*"):
        if path.suffix in {".csv", ".json", ".txt", ".html", ".yaml"}:
            text = path.read_text()
            assert not [value for value in said if value in text], path


def test_a_second_run_does_nothing_again(place, stage_1, stage_2):
    for name, words in (("lssed_pretrain.sh", stage_1[0]), ("daic_transfer.sh", stage_2[0])):
        done = recipe(name, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("done before with the same inputs") == 3


def test_a_changed_corpus_is_prepared_again(place, stage_1, stage_2):
    words = list(stage_2[0])
    words[words.index("--run-dir") + 1] = place / "changed"
    assert recipe("daic_transfer.sh", *words[: words.index("--")], "--stop-stage", 1).returncode == 0
    transcript = next((place / "daic").glob("*_P/*_TRANSCRIPT.csv"))
    before = transcript.read_bytes()
    try:
        transcript.write_bytes(before + b"\n")
        done = recipe("daic_transfer.sh", *words[: words.index("--")], "--stop-stage", 1)
    finally:
        transcript.write_bytes(before)
    assert done.returncode == 0, done.stderr
    assert "done before" not in done.stdout


def test_another_framing_is_refused_with_what_to_train(place, stage_2):
    words = list(stage_2[0])
    words[words.index("--run-dir") + 1] = place / "other_framing"
    done = recipe("daic_transfer.sh", *words[: words.index("--")], "--framing", "25ms")
    assert done.returncode == 2
    assert "--front_end.framing" in done.stderr or "--framing 25ms" in done.stderr


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("lssed_pretrain.sh", [], "--lssed-root is missing"),
        ("lssed_pretrain.sh", ["--lssed-root", "/no/such"], "found no folder"),
        ("lssed_pretrain.sh", ["--lssed-root", "--model"], "found no value"),
        ("lssed_pretrain.sh", ["--lssed-root", "/", "--config", "none.yaml"], "see configs/pretrain"),
        ("lssed_pretrain.sh", ["--lsed-root", "/"], "found '--lsed-root'"),
        ("daic_transfer.sh", ["--encoder", "ser"], "--daic-root is missing"),
        ("daic_transfer.sh", ["--daic-root", "/"], "--encoder is missing"),
        ("daic_transfer.sh", ["--daic-root", "/", "--encoder", "ser"], "--checkpoint is missing"),
        ("daic_transfer.sh", ["--daic-root", "/", "--encoder", "ser", "--checkpoint", "/x"], "found nothing"),
        (
            "daic_transfer.sh",
            ["--daic-root", "/", "--encoder", "sre", "--checkpoint", "/"],
            "check both names",
        ),
        ("lssed_pretrain.sh", ["--lssed-root", "/", "--stage", "9" * 23], "--stage: found '999"),
        ("lssed_pretrain.sh", ["--lssed-root", "/", "--stage", "0x1"], "--stage: found '0x1'"),
        ("lssed_pretrain.sh", ["--lssed-root", "/", "--stage", "08"], "expected 1 to 3"),
        ("lssed_pretrain.sh", ["--lssed-root", "/", "--stop-stage", "00"], "expected 1 to 3"),
        ("lssed_pretrain.sh", ["--lssed-root", "/", "--stage", "3", "--stop-stage", "02"], "comes after"),
        ("lssed_pretrain.sh", ["--lssed-root", "/", "--processes", "9" * 23], "--processes: found"),
    ],
)
def test_bad_options_are_refused(name, words, expected):
    done = recipe(name, *words)
    assert done.returncode == 2
    assert expected in done.stderr


@pytest.mark.parametrize("name", ["lssed_pretrain.sh", "daic_transfer.sh"])
def test_help(name):
    done = recipe(name, "--help")
    assert done.returncode == 0
    assert "--stop-stage" in done.stdout


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("lssed_pretrain.sh", "--lssed-root"),
        ("daic_transfer.sh", "--daic-root"),
        ("cross_corpus.sh", "--a-root"),
        ("framing_ablation.sh", "--daic-root"),
        ("lssed_benchmark.sh", "--iemocap-root"),
    ],
)
def test_a_path_that_looks_like_an_option_reaches_no_program(name, option, tmp_path):
    """'find -delete' empties the working directory."""
    (tmp_path / "kept.txt").touch()
    (tmp_path / "-delete").mkdir()
    done = recipe(name, option, "-delete", cwd=tmp_path)
    assert done.returncode == 2
    assert "write such a path as './-delete'" in done.stderr
    assert (tmp_path / "kept.txt").exists()


def test_such_a_path_is_read_as_a_path_below_the_folder(tmp_path):
    make_lssed(tmp_path / "-delete", speakers=6, utterances_per_speaker=4)
    words = (
        "--lssed-root",
        "./-delete",
        "--run-dir",
        tmp_path / "run",
        "--stage",
        "01",
        "--stop-stage",
        "01",
    )
    done = recipe("lssed_pretrain.sh", *words, "--", "--prepare.split", "speaker", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(tmp_path / "run/manifest.csv")) == 24
