import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from sertransfer.errors import BadInput
from sertransfer.reporting.curves import (
    MOST_POINTS,
    average_precision,
    curve,
    plot_precision_recall,
    plot_roc,
    precision_recall_numbers,
    precision_recall_points,
    roc_numbers,
    roc_points,
)
from sertransfer.reporting.plots import COLOURS

THREE = curve("", [False, True, True], [0.1, 0.1, 0.9])


def texts(path):
    found = re.findall(r"<text[^>]*>(.*?)</text>", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [match.strip() for match in found]


def test_the_roc_names_its_area(tmp_path):
    plot_roc([THREE], tmp_path / "r.svg", title="ROC, subjects")
    assert {"AUROC 0.750", "ROC, subjects", "sensitivity"} <= set(texts(tmp_path / "r.svg"))


def test_precision_and_recall_name_their_area_and_the_share(tmp_path):
    plot_precision_recall([THREE], tmp_path / "p.svg", title="t")
    assert {"average precision 0.833", "share of positives 0.667"} <= set(texts(tmp_path / "p.svg"))


def test_several_curves_are_named(tmp_path):
    curves = [curve(name, [False, True], scores) for name, scores in (("a", [0, 1]), ("b", [1, 0]))]
    plot_roc(curves, tmp_path / "r.svg")
    plot_precision_recall(curves, tmp_path / "p.svg", title="t")
    assert {"a, 1.000", "b, 0.000"} <= set(texts(tmp_path / "r.svg"))
    assert {"a, 1.000", "b, 0.500"} <= set(texts(tmp_path / "p.svg"))


def test_a_curve_looks_as_its_run_does_whatever_stands_before_it(tmp_path):
    for place, name in ((1, "second"), (None, "first")):
        one = [curve("a", [False, True], [0, 1], place)]
        plot_roc(one, tmp_path / f"{name}.svg")
    assert COLOURS[1] in (tmp_path / "second.svg").read_text()
    assert COLOURS[0] in (tmp_path / "first.svg").read_text()
    assert COLOURS[1] not in (tmp_path / "first.svg").read_text()


def test_curves_of_one_class_are_refused(tmp_path):
    with pytest.raises(BadInput, match="one class"):
        plot_roc([curve("", [True], [0.1])], tmp_path / "r.svg")
    with pytest.raises(BadInput, match="one class"):
        plot_precision_recall([curve("", [False], [0.1])], tmp_path / "r.svg", title="t")


def test_the_numbers_are_those_of_the_curve():
    assert roc_numbers([THREE]).rows == [
        ["all", "above all", "0.000", "1.000"],
        ["all", "0.900", "0.500", "1.000"],
        ["all", "0.100", "1.000", "0.000"],
    ]
    assert precision_recall_numbers([THREE]).rows[1] == ["all", "0.100", "1.000", "0.667"]


def test_long_tables_are_thinned_to_the_last_point_and_say_so():
    scores = np.arange(1000) / 1000
    table = roc_numbers([curve("x", np.arange(1000) % 3 == 0, scores)])
    assert MOST_POINTS / 2 < len(table.rows) <= MOST_POINTS + 1
    assert table.rows[-1] == ["x", "0.000", "1.000", "0.000"]
    assert "CSV" in table.note


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=2, max_size=30))
def test_points_are_those_of_scikit_learn(items):
    truth, scores = (np.array(column) for column in zip(*items, strict=True))
    if truth.all() or not truth.any():
        return
    alarms, hits, _ = roc_points(truth, scores)
    expected_alarms, expected_hits, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert alarms == pytest.approx(expected_alarms)
    assert hits == pytest.approx(expected_hits)
    recall, precision, thresholds = precision_recall_points(truth, scores)
    expected_precision, expected_recall, expected_thresholds = precision_recall_curve(truth, scores)
    assert precision == pytest.approx(expected_precision[-2::-1])
    assert recall == pytest.approx(expected_recall[-2::-1])
    assert thresholds == pytest.approx(expected_thresholds[::-1])
    assert average_precision(truth, scores) == pytest.approx(average_precision_score(truth, scores))
