"""What came true of like scores: exact shares and intervals, and silence where there are too few."""

import pandas as pd
import pytest

from sertransfer.evaluation.calibration import reliability
from sertransfer.evaluation.metrics import clopper_pearson
from sertransfer.transfer.predict import FEWEST, precedents_of, read_precedents


def test_the_share_and_its_exact_interval():
    bins = {"dev subjects": reliability([True] * 4 + [False] * 2 + [True], [0.7] * 6 + [0.1], bins=5)}
    (row,) = precedents_of(0.65, bins)
    assert (row["n"], row["positive"]) == (6, pytest.approx(4 / 6))
    assert row["ci95"] == pytest.approx(list(clopper_pearson(4, 6)))
    assert "of 6 dev subjects with a score from 0.6 to 0.8, 67% were positive" in row["text"]


@pytest.mark.parametrize(("score", "n"), [(0.1, 1), (0.3, 0)])
def test_too_few_are_not_calibrated(score, n):
    bins = {"dev subjects": reliability([True], [0.1], bins=5)}
    (row,) = precedents_of(score, bins)
    assert (row["n"], row["positive"], row["ci95"]) == (n, None, None)
    assert row["text"].startswith("not calibrated")
    assert n < FEWEST


@pytest.mark.parametrize("score", [0.0, 0.2, 0.4, 0.6, 3 * 0.2, 0.8, 1.0])
def test_a_score_falls_into_the_bin_that_held_it(score):
    bins = {"x": reliability([True] * FEWEST, [score] * FEWEST, bins=5)}
    assert precedents_of(score, bins)[0]["n"] == FEWEST


def test_both_groups_are_read_from_the_run(tmp_path):
    pd.DataFrame({"label": ["d", "n"], "score": [0.9, 0.1]}).to_csv(tmp_path / "subjects.csv")
    rows = [{"subject": s, "split": "train", "label": lab, "score": x, "duration": 1.0}
            for s, lab, x in (("a", "d", 0.8), ("a", "d", 0.6), ("b", "n", 0.2))]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "out_of_fold.csv")
    metrics = {"classes": ["n", "d"], "split": "dev", "aggregation": "top_k", "top_k": 1}
    found = read_precedents(tmp_path, metrics)
    assert [row["score"] for row in found["dev subjects"]] == [0.1, 0.9]
    out_of_fold = found["training subjects (scored out of fold)"]
    assert [(row["score"], row["positive"]) for row in out_of_fold] == [(0.2, 0), (0.8, 1)]
