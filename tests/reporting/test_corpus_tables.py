"""Corpora side by side, beside the paper's Tables 1 to 3, and its two figures."""

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from support.corpus_trees import lssed_rows, write_lssed
from support.speech_trees import write_iemocap

from sertransfer.cli.main import main
from sertransfer.corpora.labels import CLASSES
from sertransfer.corpora.statistics import describe_files
from sertransfer.errors import BadInput
from sertransfer.manifest import GENERATED_MARKER
from sertransfer.reporting.corpus_tables import corpus_tables
from sertransfer.reporting.paper_tables import confusion_table, draw_figures, paper_figure, paper_table
from sertransfer.reporting.runs import Run


@pytest.fixture(scope="module")
def manifests(tmp_path_factory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("corpora")
    write_lssed(place / "lssed", lssed_rows([*("angry", "neutral", "happy", "sad") * 5, *CLASSES[4:]]))
    write_iemocap(place / "iemocap")
    (place / "iemocap" / GENERATED_MARKER).write_text("generated")
    for corpus, task in (("lssed", "eleven"), ("iemocap", "all")):
        words = ["prepare", corpus, str(place / corpus), "-o", str(place / f"{corpus}.csv"), "--task", task]
        assert main(words) == 0
    return place / "lssed.csv", place / "iemocap.csv"


def rows_of(table, **wanted):
    return [row for row in table.rows if all(row.get(key) == value for key, value in wanted.items())]


def test_the_papers_tables_add_up():
    for number, key, parts in (
        (2, "gender", ("young", "middle-aged", "old")),
        (3, "label", ("training", "test")),
    ):
        rows = {row[key]: row for row in paper_table(number)["rows"]}
        for row in rows.values():
            assert sum(row[part] for part in parts) == row["total"]
        for part in (*parts, "total"):
            assert sum(row[part] for name, row in rows.items() if name != "total") == rows["total"][part]
    assert [row["label"] for row in paper_table(3)["rows"]] == [*CLASSES, "total"]
    assert len(paper_table(1)["rows"]) == 8
    for matrix in paper_figure()["matrices"].values():
        assert [sum(row) for row in matrix] == pytest.approx([1] * 4, abs=2e-4)


def test_figure_2_gives_the_wa_and_ua_of_its_two_rows():
    counts = {row["label"]: row["test"] for row in paper_table(3)["rows"]}
    names = paper_figure()["classes"]
    printed = {row["model"]: row for row in paper_table(5)["rows"] if row["input"] == "clean"}
    for model, matrix in paper_figure()["matrices"].items():
        right = [matrix[index][index] for index in range(4)]
        assert sum(right) / 4 == pytest.approx(printed[model]["ua"], abs=6e-4)
        wa = sum(share * counts[name] for share, name in zip(right, names, strict=True))
        assert wa / sum(counts[name] for name in names) == pytest.approx(printed[model]["wa"], abs=6e-4)


def test_corpora_stand_side_by_side_with_the_papers_own_figures(manifests):
    overview, speakers, labels = corpus_tables(describe_files(manifests))
    (lssed,) = rows_of(overview, corpus="lssed")
    assert (lssed["utterances"], lssed["speakers"], lssed["classes"]) == (27, "5", 11)
    assert (lssed["language"], lssed["naturalness"], lssed["published"]) == ("English", "Natural", 2020)
    assert (lssed["paper_utterances"], lssed["paper_hours"]) == (147025, "206:25")
    (iemocap,) = rows_of(overview, corpus="iemocap")
    assert (iemocap["classes"], iemocap["paper_classes"], iemocap["remark"]) == (10, 10, "generated data")
    assert len(overview.rows) == 8  # the corpora of the paper that are not described are there too
    (women,) = rows_of(speakers, corpus="lssed", gender="female")
    assert (women["total"], women["paper_total"], women["paper_old"]) == (2, 485, 65)
    assert "paper_total" not in rows_of(speakers, corpus="iemocap", gender="female")[0]
    (sad,) = rows_of(labels, corpus="lssed", label="sad")
    assert (sad["total"], sad["paper_training"], sad["paper_test"]) == (5, 9641, 2410)
    assert sad["share"] == pytest.approx(5 / 27)
    assert rows_of(labels, corpus="lssed", label="total")[0]["paper_total"] == 147025
    assert rows_of(labels, corpus="iemocap", label="frustrated")[0]["total"] == 5


def test_the_total_of_eleven_labels_does_not_stand_beside_four(manifests, tmp_path):
    lines = manifests[0].read_text().splitlines()
    four = tmp_path / "four.csv"
    four.write_text("\n".join(lines[:21]) + "\n")
    table = corpus_tables(describe_files([four], root=manifests[0].parent / "lssed"))[2]
    assert "paper_total" not in rows_of(table, label="total")[0]
    assert rows_of(table, label="angry")[0]["paper_total"] == 6490


def test_what_is_wrong_with_each_manifest_is_said_at_once(manifests, tmp_path):
    with pytest.raises(BadInput) as caught:
        describe_files([tmp_path / "none.csv", manifests[0], tmp_path / "neither.csv"])
    assert [Path(fault.where).name for fault in caught.value.faults] == ["none.csv", "neither.csv"]


def test_the_command_describes_several_in_every_format(manifests, tmp_path, capsys):
    words = ["describe", *map(str, manifests)]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "the paper's Table 1" in text
    assert "206:25" in text
    assert main([*words, "--format", "csv", "-o", str(tmp_path / "tables.csv")]) == 0
    frame = pd.read_csv(tmp_path / "tables.csv")
    assert set(frame["table"]) == {1, 2, 3}
    for form, mark in (("latex", r"\caption"), ("html", "<table")):
        capsys.readouterr()
        assert main([*words, "--format", form]) == 0
        assert mark in capsys.readouterr().out


def test_one_manifest_is_described_as_before_and_in_other_formats(manifests, capsys):
    assert main(["describe", str(manifests[1])]) == 0
    text = capsys.readouterr().out
    assert "Share of each label (the paper's Figure 1)" in text
    assert "Note: the corpus is generated" in text
    assert main(["describe", str(manifests[1]), "--format", "csv"]) == 0
    frame = pd.read_csv(StringIO(capsys.readouterr().out))
    assert set(frame["corpus"].dropna()) >= {"iemocap", "lssed"}


@pytest.mark.parametrize("option", ["--root", "--figure"])
def test_what_is_for_one_manifest_is_refused_for_several(manifests, tmp_path, option, capsys):
    assert main(["describe", *map(str, manifests), option, str(tmp_path / "x.svg")]) == 2
    assert f"{option}: found 2 manifests; expected one" in capsys.readouterr().err


def make_run(name, *, model="pyresnet152", kind="pretrain", confusion=((8, 2), (1, 9)), **more) -> Run:
    scores = {"classes": ["angry", "neutral"], "confusion": confusion and [list(row) for row in confusion]}
    return Run(Path("x") / name, kind, {"utterance": scores, "model": model, "corpus": "toy", **more}, "", "")


def test_figure_2_in_numbers_has_the_papers_shares_beside_ours():
    table = confusion_table([make_run("a", generated=True), make_run("b", model="vgg11")])
    first, second = table.rows
    assert (first["run"], first["truth"], first["n"], first["as_neutral"]) == ("a", "angry", 10, 0.2)
    assert (second["as_neutral"], second["paper_as_neutral"]) == (0.9, 0.8685)
    assert first["remark"] == "generated data"
    headings = [column.heading for column in table.columns]
    assert headings[4:8] == ["angry", "neutral", "paper angry", "paper neutral"]
    assert confusion_table([make_run("b", model="vgg11")]) is None
    assert confusion_table([make_run("c", confusion=None), make_run("d", kind="evaluate")]) is None
    (empty, _) = confusion_table([make_run("e", confusion=((0, 0), (1, 1)))]).rows
    assert "as_angry" not in empty


def test_figures_are_drawn_for_each_corpus_and_each_recogniser(manifests, tmp_path):
    runs = [make_run("a"), make_run("../a"), make_run("b", confusion=None), make_run("c", generated=True)]
    written = draw_figures(tmp_path / "figures", descriptions=describe_files(manifests), runs=runs)
    assert [path.name for path in written] == [
        "figure_1_lssed.svg", "figure_1_iemocap.svg", "figure_2_a.svg", "figure_2_a_2.svg", "figure_2_c.svg",
    ]  # fmt: skip
    texts = [path.read_text() for path in written]
    assert all("<svg" in text for text in texts)
    assert ["(generated data)" in text for text in texts] == [False, True, False, False, True]
