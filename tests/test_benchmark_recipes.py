"""The recipes of the benchmark and of Table 4, whole, on small generated corpora."""

import html
from pathlib import Path

import pandas as pd
import pytest
from support.warm_cli import warm_recipes

from sertransfer.demo.corpora import make_iemocap, make_lssed

PROJECT = Path(__file__).parents[1]
QUICK = ["--config", PROJECT / "configs/pretrain/demo.yaml", "--", "--epochs", 1, "--batch_size", 16]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    with warm_recipes(tmp_path_factory.mktemp("bin")) as run:
        yield run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("benchmark")
    for seed, name in enumerate("ab"):
        make_lssed(place / name, speakers=6, utterances_per_speaker=8, seed=seed)
    make_iemocap(place / "iemocap", dialogs=1, turns=9)
    return place


def test_the_benchmark_goes_from_raw_files_to_all_tables_and_figures(place, recipe):
    folder = place / "bench"
    words = (
        "--lssed-root", place / "a", "--iemocap-root", place / "iemocap", "--run-dir", folder,
        "--models", "pyresnet_tiny fcn_attention_alexnet", "--cross-model", "pyresnet_tiny",
        *QUICK, "--prepare-a.split", "speaker",
    )  # fmt: skip
    done = recipe("lssed_benchmark.sh", *words)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(folder / "tables.csv", dtype={"table": str})
    assert set(table["table"]) == {"1", "2", "3", "4", "5"}
    (row,) = table[table["run"] == "fcn_attention_alexnet"].to_dict("records")
    assert (row["table"], row["corpus"], row["paper_wa"]) == ("5", "lssed, test", 0.570)
    assert "generated data" in row["remark"]
    corpora = table[table["table"] == "1"].set_index("corpus")
    assert corpora.loc["lssed", "utterances"] == 48
    assert 35 < corpora.loc["iemocap", "utterances"] < 45
    assert (table["label"] == "frustrated").sum() == 1  # every label of a corpus is counted
    across = table[(table["table"] == "4") & (table["who"] == "pyresnet_tiny")]
    assert list(across["source"] + " to " + across["target"]) == ["lssed to iemocap", "iemocap to lssed"]
    assert not (folder / "cross/a").exists()  # what was trained on LSSED is not trained again
    assert done.stdout.count("stage 3: train on lssed") == 1
    for name in ("tables.tex", "tables.html", "tables.txt"):
        text = html.unescape((folder / name).read_text())
        for number in range(1, 6):
            assert f"the paper's Table {number}" in text, (name, number)
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert {"figure_1_lssed.svg", "figure_1_iemocap.svg", "figure_2_fcn_attention_alexnet.svg"} <= figures
    index = done.stdout[done.stdout.index("What is where") :]
    assert str(folder / "figures/figure_1_lssed.svg") in index
    again = recipe("lssed_benchmark.sh", *words[:10], "--stop-stage", 3, *words[10:])
    assert again.stdout.count("done before with the same inputs") == 4, again.stdout + again.stderr


def test_a_model_that_fails_is_named_and_stops_no_table_of_others(place, recipe):
    words = ("--lssed-root", place / "a", "--models", "pyresnet_tiny", "--run-dir", place / "failing")
    done = recipe("lssed_benchmark.sh", *words, *QUICK, "--optimiser.lr", "-1", "--prepare.split", "speaker")
    assert done.returncode == 2
    assert "found optimiser.lr = -1" in done.stderr
    assert "not in the tables: pyresnet_tiny" in done.stderr
    assert "found no finished run" in done.stderr


def test_each_corpus_is_scored_by_the_recogniser_of_the_other(place, recipe):
    words = (
        "--a", "lssed", "--a-root", place / "a", "--b", "lssed", "--b-root", place / "b",
        "--model", "pyresnet_tiny", "--run-dir", place / "cross",
        *QUICK, "--prepare.split", "speaker", "--prepare-b.seed", 3,
    )  # fmt: skip
    done = recipe("cross_corpus.sh", *words)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(place / "cross/tables.csv")
    ours = table[(table["table"] == 4) & (table["who"] == "pyresnet_tiny")]
    assert list(ours["source"] + " to " + ours["target"]) == [
        "lssed (a) to lssed (a_on_b)",
        "lssed (b) to lssed (b_on_a)",
    ]
    assert (ours["ua_within"] - ours["ua_across"]).to_numpy() == pytest.approx(ours["ua_loss"].to_numpy())
    assert ours["remark"].str.contains("generated data").all()
    assert "loss / (within - chance)" in done.stdout


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("lssed_benchmark.sh", [], "--lssed-root is missing"),
        ("lssed_benchmark.sh", ["--lssed-root", "/no/such"], "found no folder"),
        (
            "lssed_benchmark.sh",
            ["--lssed-root", "/", "--iemocap-root", "/no/such"],
            "--iemocap-root: found no",
        ),
        ("lssed_benchmark.sh", ["--lssed-root", "/", "--models", "vgg12"], "found 'vgg12'"),
        ("lssed_benchmark.sh", ["--lssed-root", "/", "--stage", "x"], "number of a stage"),
        ("cross_corpus.sh", ["--a", "lssed"], "--a or --b is missing"),
        ("cross_corpus.sh", ["--a", "x", "--b", "y", "--a-root", "/no/such"], "--a-root: found no folder"),
        ("cross_corpus.sh", ["--c", "lssed"], "found '--c'"),
    ],
)
def test_bad_options_are_refused(recipe, name, words, expected):
    done = recipe(name, *words)
    assert done.returncode == 2
    assert expected in done.stderr


@pytest.mark.parametrize("name", ["lssed_benchmark.sh", "cross_corpus.sh"])
def test_help(recipe, name):
    done = recipe(name, "--help")
    assert done.returncode == 0
    assert "--stop-stage" in done.stdout
