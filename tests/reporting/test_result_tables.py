"""Run folders to the paper's tables, in every format."""

import json
from html.parser import HTMLParser
from io import StringIO

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sertransfer.cli.main import main
from sertransfer.cli.options import scores_text
from sertransfer.errors import BadInput
from sertransfer.io.files import hash_file
from sertransfer.io.run_folder import generated_remark
from sertransfer.models.registry import MODELS
from sertransfer.reporting.paper_tables import Degradation, paper_table, result_tables
from sertransfer.reporting.rendering import BANNERS, render
from sertransfer.reporting.tables import FORMATS, Column, ResultTable, format_tables

CLASSES = ["angry", "neutral", "happy", "sad"]


@pytest.fixture
def make(tmp_path):
    """Return a maker of run folders that hold what the tables read."""

    def run(name, *, config=None, inputs=None, weights="", **metrics):
        folder = tmp_path / name
        (folder / "checkpoints").mkdir(parents=True)
        if weights:
            (folder / "checkpoints/model.safetensors").write_text(weights)
            metrics["checkpoint"] = "checkpoints/model.safetensors"
        (folder / "config.yaml").write_text(yaml.safe_dump(config or {}))
        (folder / "inputs.json").write_text(json.dumps(inputs or {"manifest": name}))
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return folder

    return run


def scores(wa, ua, *, classes=CLASSES, **more):
    bounds = {"wa_ci95": [wa - 0.1, wa + 0.1], "ua_ci95": None}
    return {"n": 40, "wa": wa, "ua": ua, "classes": classes, **bounds, **more}


def stage_1(wa=0.6, ua=0.4, *, model="resnet152", corpus="lssed", **more):
    block = {"utterance": scores(wa, ua), "majority": {"wa": 0.57, "ua": 0.25}}
    return {**block, "model": model, "corpus": corpus, "split": "test", "generated": False, **more}


def rows_of(table, **wanted):
    frame = table.values()
    for key, value in wanted.items():
        frame = frame[frame[key] == value]
    return frame.to_dict("records")


def test_the_papers_figures_are_whole():
    rows = paper_table(5)["rows"]
    assert len(rows) == 21
    assert {row["model"] for row in rows} == {name for name in MODELS if not name.endswith("_tiny")}
    assert sum(abs(row["ua"] - 0.25) < 5e-4 for row in rows) == 5
    for row in paper_table(6)["rows"]:
        assert row["right"] / row["of"] == pytest.approx(row["wa"], abs=5e-4)
    assert [row["wa_loss"] for row in paper_table(4)["rows"]] == [0.596, 0.119]


def test_a_run_stands_beside_the_papers_row_with_interval_and_majority(make):
    (table,) = result_tables([make("mine", **stage_1())])
    (row,) = rows_of(table, run="mine")
    assert (row["algorithm"], row["backbone"], row["paper_wa"], row["paper_ua"]) == (
        "ResNet", "ResNet152", 0.601, 0.396,
    )  # fmt: skip
    assert (row["wa"], row["wa_low"], row["ua"]) == (0.6, 0.5, 0.4)
    assert "ua_low" not in row
    majorities = rows_of(table, algorithm="majority class")
    assert (majorities[0]["paper_wa"], majorities[1]["wa"]) == (0.570, 0.57)
    assert any("swapped" in note for note in table.notes)


def test_collapsed_generated_and_shared_rows_are_marked(make):
    folder = make("mine", **stage_1(0.5, 0.2503, generated=True, speakers_shared=7))
    (table,) = result_tables([folder])
    (row,) = rows_of(table, run="mine")
    for remark in ("collapsed", "generated data", "test speakers in training too: 7"):
        assert remark in row["remark"]
    assert rows_of(table, algorithm="FCN-Attention")[0]["remark"] == "paper collapsed"
    assert rows_of(table, algorithm="majority class")[1]["remark"] == "generated data"


def test_chance_is_that_of_the_classes_that_are_there(make):
    block = scores(0.5, 1 / 3, absent=["sad"])
    (table,) = result_tables([make("mine", **{**stage_1(), "utterance": block})])
    (row,) = rows_of(table, run="mine")
    assert "collapsed" in row["remark"]
    assert "UA without sad" in row["remark"]


def test_an_adversarial_model_gives_a_row_for_clean_and_one_for_generated_inputs(make):
    attack = {"epsilon": 0.1, "utterance": scores(0.3, 0.28)}
    folder = make("adv", **stage_1(0.55, 0.4, model="adv_resnet152", adversarial=attack))
    (table,) = result_tables([folder])
    assert [(row["algorithm"], row["wa"]) for row in rows_of(table, run="adv")] == [
        ("ADV-Real", 0.55),
        ("ADV-Fake", 0.3),
    ]


def test_models_that_the_paper_lacks_and_two_runs_of_one_model_are_shown(make):
    folders = [
        make("a", **stage_1()),
        make("b", **stage_1(0.61)),
        make("c", **stage_1(model="pyresnet_tiny")),
    ]
    (table,) = result_tables(folders)
    assert [row["run"] for row in rows_of(table, algorithm="ResNet", backbone="ResNet152")] == ["a", "b"]
    (tiny,) = rows_of(table, algorithm="pyresnet_tiny")
    assert pd.isna(tiny["paper_wa"])
    assert len(rows_of(table, algorithm="majority class")) == 2


def test_subjects_stand_beside_table_6_with_the_papers_intervals(make):
    block = scores(0.7, 0.6, classes=["not depressed", "depressed"])
    rest = {"subject": block, "majority": {"wa": 0.657, "ua": 0.5}, "mode": "probe", "split": "dev"}
    folders = [
        make(name, **rest, encoder=name, corpus="daic-woz", utterance={"n": 3}) for name in ("ser", "ssl")
    ]
    (table,) = result_tables(folders)
    (ser,) = rows_of(table, algorithm="SER")
    assert (ser["paper_wa"], ser["run"], ser["wa"]) == (0.714, "ser", 0.7)
    assert (ser["paper_wa_low"], ser["paper_wa_high"]) == (
        pytest.approx(0.537, abs=5e-4), pytest.approx(0.854, abs=5e-4),
    )  # fmt: skip
    (asr,) = rows_of(table, algorithm="ASR")
    assert asr["remark"] == "paper collapsed"
    assert rows_of(table, algorithm="SSL")[0]["run"] == "ssl"


@pytest.fixture
def pair(make):
    home = make("home", weights="w", inputs={"manifest": "m1"}, **stage_1(0.6, 0.45, corpus="iemocap"))
    away = make(
        "away",
        config={"command": "evaluate"},
        inputs={"manifest": "m2", "checkpoint": hash_file(home / "checkpoints/model.safetensors")},
        **stage_1(0.5, 0.3, corpus="lssed"),
    )
    return home, away


def test_a_checkpoint_scored_elsewhere_makes_a_row_of_table_4(pair):
    degradation, table = result_tables(pair)
    (row,) = rows_of(degradation, who="resnet152")
    assert (row["source"], row["target"]) == ("iemocap", "lssed")
    assert (row["ua_within"], row["ua_across"]) == (0.45, 0.3)
    assert row["ua_loss"] == pytest.approx(0.15)
    assert row["ua_relative"] == pytest.approx(0.75)
    assert row["wa_loss"] == pytest.approx(0.1)
    assert row["wa_relative"] == pytest.approx(0.1 / 0.35)
    assert row["majority_wa"] == 0.57
    assert len(rows_of(degradation, who="paper, Table 4")) == 2
    assert len(rows_of(table, backbone="ResNet152", algorithm="ResNet")) == 2


def test_the_same_corpus_under_another_manifest_is_told_apart_and_the_same_manifest_is_no_pair(make, pair):
    home, _ = pair
    weights = hash_file(home / "checkpoints/model.safetensors")
    inputs = {"manifest": "m3", "checkpoint": weights}
    other = make("other", config={"command": "evaluate"}, inputs=inputs, **stage_1(corpus="iemocap"))
    same = make(
        "same",
        config={"command": "evaluate"},
        inputs={**inputs, "manifest": "m1"},
        **stage_1(corpus="iemocap"),
    )
    degradation, _ = result_tables([home, other, same])
    (row,) = rows_of(degradation, who="resnet152")
    assert (row["source"], row["target"]) == ("iemocap (home)", "iemocap (other)")


@given(st.floats(0.26, 1), st.floats(0, 1))
def test_the_whole_way_to_chance_is_a_relative_loss_of_1(source, target):
    assert Degradation(source, 0.25, 0.25).relative == pytest.approx(1)
    assert Degradation(source, source, 0.25).relative == 0
    assert Degradation(source, target, 0.25).loss == pytest.approx(source - target)


def test_a_source_at_chance_has_nothing_to_lose():
    assert Degradation(0.25, 0.2, 0.25).relative is None


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


NASTY = ResultTable(
    "5", "A & B", (Column("algorithm", "a_b"), Column("wa", "WA"), Column("remark", "remark")),
    [{"algorithm": "<b>50 % {x}\\y_1</b>", "wa": 0.5, "wa_low": 0.25, "wa_high": 0.75}, {"algorithm": "z"}],
    ["100 % <i>"],
)  # fmt: skip


def test_text_aligns_and_dashes_what_there_is_not():
    text = format_tables([NASTY], "text")
    assert "0.500 [0.250, 0.750]" in text
    assert text.splitlines()[4].split() == ["z", "–"]
    assert text.endswith("Note: 100 % <i>\n")


def test_csv_holds_bare_values_of_all_tables():
    frame = pd.read_csv(StringIO(format_tables([NASTY, NASTY], "csv")))
    assert list(frame.columns) == ["table", "algorithm", "wa", "wa_low", "wa_high", "remark"]
    assert frame["wa"].tolist()[:1] == [0.5]
    assert len(frame) == 4


def test_latex_escapes_and_html_runs_nothing():
    latex = format_tables([NASTY], "latex")
    assert r"<b>50 \% \{x\}\textbackslash{}y\_1</b>" in latex
    assert r"\caption{A \& B. 100 \% <i>}" in latex
    assert r"a\_b & WA & remark" in latex
    page = Cells()
    page.feed(format_tables([NASTY], "html"))
    assert not {"b", "i"} & set(page.tags)
    assert "<b>50 % {x}\\y_1</b>" in page.text


@pytest.mark.parametrize("form", FORMATS)
def test_the_command_prints_or_writes_every_format(form, pair, tmp_path, capsys):
    words = ["tables", *map(str, pair), "--format", form]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "0.601" in printed
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").read_text() == printed


def test_everything_is_written_into_one_folder(make, tmp_path, capsys):
    confusion = [[5, 5, 0, 0], [0, 10, 0, 0], [0, 5, 5, 0], [0, 10, 0, 0]]
    block = {**scores(0.5, 0.5), "confusion": confusion}
    folders = [make(name, **{**stage_1(model="pyresnet152"), "utterance": block}) for name in ("one", "two")]
    place = tmp_path / "all"
    assert main(["tables", *map(str, folders), "--into", str(place)]) == 0
    printed = capsys.readouterr().out
    assert (place / "tables.txt").read_text() in printed
    assert "(the paper's Figure 2)" in printed
    assert r"\caption" in (place / "tables.tex").read_text()
    assert "<table" in (place / "tables.html").read_text()
    assert set(pd.read_csv(place / "tables.csv", dtype={"table": str})["table"]) == {"5", "figure_2"}
    figures = place / "figures"
    assert {path.name for path in figures.iterdir()} == {"figure_2_one.svg", "figure_2_two.svg"}
    (figures / "mine.svg").write_text("kept")
    assert main(["tables", str(folders[0]), "--into", str(place)]) == 0
    assert {path.name for path in figures.iterdir()} == {"figure_2_one.svg", "mine.svg"}


def test_every_folder_without_a_finished_run_is_named(make, tmp_path):
    odd = make("odd", found=1)
    with pytest.raises(BadInput) as caught:
        result_tables([tmp_path / "nothing", odd, make("fine", **stage_1())])
    assert [fault.where for fault in caught.value.faults] == [
        str(tmp_path / "nothing"),  # there is no such folder
        str(odd / "metrics.json"),
    ]


def test_only_figures_that_were_written_here_are_removed(make, tmp_path):
    confusion = [[5, 5, 0, 0], [0, 10, 0, 0], [0, 5, 5, 0], [0, 10, 0, 0]]
    block = {**scores(0.5, 0.5), "confusion": confusion}
    made = {**stage_1(model="pyresnet152"), "utterance": block}
    one, two, three = (str(make(name, **made)) for name in ("one", "two", "three"))
    figures = tmp_path / "all/figures"
    figures.mkdir(parents=True)
    (figures / "figure_2_of_mine.svg").write_text("drawn by hand")
    assert main(["tables", one, two, three, "--into", str(tmp_path / "all")]) == 0
    (figures / "figure_2_two.svg").write_text("drawn over")
    assert main(["tables", one, "--into", str(tmp_path / "all")]) == 0
    left = {path.name for path in figures.iterdir()}
    assert left == {"figure_2_one.svg", "figure_2_two.svg", "figure_2_of_mine.svg"}


def test_a_damaged_or_crafted_record_removes_nothing(make, tmp_path):
    one = str(make("one", **stage_1(model="pyresnet152")))
    kept = tmp_path / "kept.svg"
    kept.write_text("kept")
    (tmp_path / "all").mkdir()
    for record in ("[1]", "{", json.dumps({"../../kept.svg": hash_file(kept), str(kept): hash_file(kept)})):
        (tmp_path / "all/.figures.json").write_text(record)
        assert main(["tables", one, "--into", str(tmp_path / "all")]) == 0
        assert kept.read_text() == "kept"


@pytest.mark.parametrize("form", ["text", "latex", "html", "csv"])
def test_control_characters_of_names_are_escaped_in_every_form(form):
    made = ResultTable("1", "title", [Column("name", "name")], [{"name": "a\x1b[2J\nforged\u202e"}], [])
    text = format_tables([made], form)
    assert text.replace("\n", "").isprintable()
    assert "\nforged" not in text


def test_of_another_corpus_the_papers_empty_rows_are_left_out_unless_asked_for(make):
    mine = make("mine", **stage_1(corpus="emodb"))
    (table,) = result_tables([mine])
    frame = table.values()
    assert next((row["algorithm"], row.get("run")) for row in frame.to_dict("records")) == ("ResNet", "mine")
    assert len(frame) == 2  # ours, and the majority class of its test set
    assert any("--whole" in note for note in table.notes)
    (whole,) = result_tables([mine], whole=True)
    assert len(whole.values()) == 21 + 2
    assert not any("--whole" in note for note in whole.notes)
    # A run of LSSED beside it: every row of the paper's again.
    (both,) = result_tables([mine, make("theirs", **stage_1(model="resnet152"))])
    assert len(both.values()) == 21 + 1 + 3


@pytest.mark.parametrize(
    ("data", "model", "remark", "banner"),
    [
        (True, False, "generated data", "Generated data. "),
        (False, True, "model of generated data", "Model of generated data. "),
        (True, True, "generated data and model", "Generated data and model. "),
        (False, False, "", ""),
    ],
)
def test_what_is_generated_is_said_of_data_and_model(make, data, model, remark, banner):
    facts = {"generated": data or model, "generated_data": data, "generated_model": model}
    folder = make("mine", **{**stage_1(), **facts})
    (table,) = result_tables([folder])
    (row,) = rows_of(table, run="mine")
    assert row["remark"] == remark
    marked = rows_of(table, algorithm="majority class")[1].get("remark") == "generated data"
    assert marked is data
    metrics = json.loads((folder / "metrics.json").read_text())
    said = scores_text(metrics, "utterance").splitlines()[0]
    assert said == (
        f"40 utterances ({remark}: the scores say nothing about people)" if remark else "40 utterances"
    )
    page = render("tables.html.jinja", title="t", generated=remark, tables=[])
    assert f"<title>t ({remark})</title>" in page if remark else "<title>t</title>" in page
    assert BANNERS.get(remark, "").startswith(banner)


def test_what_is_generated_in_runs_of_earlier_versions():
    # Their evaluate did not say which; a transfer's encoder has it in the provenance of its checkpoint.
    assert generated_remark({"generated": True, "model": "x"}) == "generated data"
    assert generated_remark({"generated": True, "selection": {}}) == "generated data"
    details = {"provenance": {"generated": True}}
    old = {"generated": False, "encoder": "ser", "encoder_details": details}
    assert generated_remark(old) == "model of generated data"
    assert generated_remark({**old, "generated": True}) == "generated data and model"
