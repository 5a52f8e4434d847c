"""The page over several runs."""

import json
import re

import pytest
from support.report_runs import STAGE_2, SUBJECTS, make_run

from sertransfer.cli.main import main
from sertransfer.reporting.comparison_page import run_names
from sertransfer.reporting.plots import COLOURS


@pytest.fixture
def folders(tmp_path):
    worse = SUBJECTS.replace("301,dev,depressed,0.6,depressed", "301,dev,depressed,0.4,not depressed")
    (tmp_path / "x").mkdir()
    same = {"config.yaml": "probe: {kind: logistic}\nseed: 1\n"}
    return [
        make_run(tmp_path / "one", STAGE_2, **same),
        make_run(tmp_path / "x/one", {**STAGE_2, "encoder": "asr"}, **{"subjects.csv": worse, **same}),
        make_run(tmp_path / "three", STAGE_2, **{"config.yaml": "probe: {kind: svm}\nseed: 1\n"}),
    ]


def test_scores_pairs_curves_agreement_and_settings_stand_on_one_page(folders, tmp_path, capsys, caplog):
    page = tmp_path / "c.html"
    words = ["compare", *map(str, folders), "--resamples", "20", "--html", str(page)]
    assert main(words) == 0
    assert f"comparison: {page}" in capsys.readouterr().out
    assert "--resamples and --seed have no effect" in caplog.text
    text = page.read_text()
    for part in (
        "3 runs on the same 3 subjects",
        "No difference between the runs is shown",
        "3 comparisons were made",
        "No interval: 3 clusters, and 6 are needed",
        "exact McNemar test",
        "The 3 subjects are taken to be independent of each other",
        ">x/one minus ",
        "-0.333",
        "wrong, 0.400",
        "2 of 3",
        "probe kind",
        "svm",
    ):
        assert part in text, part
    assert text.count("<figure") == 3
    assert ">seed<" not in text  # the same in all
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".svg"] == []


def test_two_runs_keep_their_json(folders, capsys):
    assert main(["compare", *map(str, folders[:2]), "--resamples", "20", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert set(result) >= {"a", "b", "mcnemar", "difference", "runs", "pairs", "subjects", "majority"}
    assert result["mcnemar"]["only_a"] == result["pairs"][0]["mcnemar"]["only_a"] == 1


def test_clusters_are_named_on_the_page(folders, tmp_path):
    for folder in folders:
        rows = (folder / "subjects.csv").read_text().splitlines()
        names = ["cluster", *("ab"[index % 2] for index in range(len(rows) - 1))]
        lines = [f"{row},{name}" for row, name in zip(rows, names, strict=True)]
        (folder / "subjects.csv").write_text("\n".join(lines) + "\n")
    page = tmp_path / "c.html"
    assert main(["compare", *map(str, folders), "--html", str(page)]) == 0
    text = page.read_text()
    assert "exact sign-flip test over clusters" in text
    assert "The 3 subjects form 2 clusters" in text
    assert "McNemar" not in text


def test_the_report_command_writes_the_report_again(folders, capsys):
    assert main(["report", str(folders[0])]) == 0
    assert f"report: {folders[0] / 'report.html'}" in capsys.readouterr().out
    (folders[0] / "metrics.json").unlink()
    assert main(["report", str(folders[0])]) == 2


def test_runs_have_the_shortest_names_that_tell_them_apart():
    assert run_names(["/a/b", "/a/c"]) == ["b", "c"]
    assert run_names(["/a/x/r", "/a/y/r"]) == ["x/r", "y/r"]
    assert run_names(["/a/b", "/a/b"]) == ["b", "b"]


def colours(figure):
    """Return the palette's colours in the order in which *figure* shows them."""
    return list(dict.fromkeys(re.findall("|".join(COLOURS), figure)))


def test_a_run_has_one_colour_in_all_figures(folders, tmp_path):
    """Also where the first run has no curve, since its table has no scores."""
    rows = (line.split(",") for line in SUBJECTS.splitlines())
    (folders[0] / "subjects.csv").write_text("\n".join(",".join(row[:3] + row[4:]) for row in rows) + "\n")
    page = tmp_path / "c.html"
    assert main(["compare", *map(str, folders), "--html", str(page)]) == 0
    scores, roc, precision = (part.partition("</svg>")[0] for part in page.read_text().split("<figure")[1:])
    assert colours(scores) == list(COLOURS[:3])
    assert colours(roc) == colours(precision) == list(COLOURS[1:3])
    assert "three, " in roc
    assert "x/one, " in roc
    assert 'aria-label="WA and UA' in scores
