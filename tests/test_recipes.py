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


STAMPED = """
cd "$1"
run_dir=$2 first_stage=1 stop_stage=1
stage 1 something x out sh -c 'echo 1 >out'
"""


@pytest.fixture
def stamped(tmp_path):
    """A stage alone, below a folder that is another one's."""
    script = tmp_path / "recipe.sh"
    script.write_text(f'source "{PROJECT}/recipes/stages.sh"\n{STAMPED}')
    (tmp_path / "run").mkdir()

    def start(**environment):
        variables = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **environment,
        }
        command = ["bash", script, tmp_path, "run"]
        return subprocess.run(command, capture_output=True, text=True, env=variables, check=False)

    return start


def test_a_stamp_is_not_written_through_links(stamped, tmp_path):
    (tmp_path / "bashrc").write_text("export PATH\n")
    for name in (".stage1.stamp.new", ".stage1.stamp"):
        (tmp_path / "run" / name).symlink_to(tmp_path / "bashrc")
    done = stamped()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bashrc").read_text() == "export PATH\n"
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".stage1.stamp"]
    assert not (tmp_path / "run/.stage1.stamp").is_symlink()
    assert "done before" in stamped().stdout


def test_folders_are_not_looked_for_elsewhere(tmp_path):
    """With ``CDPATH``, 'cd' goes to a folder of that name elsewhere and prints it."""
    for folder in ("here", "elsewhere"):
        (tmp_path / folder / "recipes").mkdir(parents=True)
        (tmp_path / folder / "corpus").mkdir()
    (tmp_path / "here/recipes/stages.sh").write_text((PROJECT / "recipes/stages.sh").read_text())
    (tmp_path / "here/recipes/one.sh").write_text(
        'source "$(dirname "$0")/stages.sh"\necho "$recipes"; hash_tree corpus\n'
    )
    (tmp_path / "here/corpus/a").touch()
    found = []
    for path in ("", str(tmp_path / "elsewhere")):
        done = subprocess.run(
            ["bash", "recipes/one.sh"], cwd=tmp_path / "here", env={**os.environ, "CDPATH": path},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found.append(done.stdout)
    assert found[0] == found[1]
    assert found[0].splitlines()[0] == str(tmp_path / "here/recipes")


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
