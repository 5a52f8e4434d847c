import numpy as np
import pytest
from sklearn import metrics as reference

from sertransfer.evaluation.calibration import (
    bins_of,
    brier,
    correct_prevalence,
    correct_shares,
    expected_calibration_error,
    reliability,
)


def test_calibration_by_hand():
    truth, scores = [True, False, True, False], [0.9, 0.1, 0.5, 1.0]
    assert brier(truth, scores) == pytest.approx((0.01 + 0.01 + 0.25 + 1) / 4)
    table = reliability(truth, scores, bins=2)  # 0.5 stands on the inner edge, 1.0 on the last
    assert [row["n"] for row in table] == [1, 3]
    assert [row["score"] for row in table] == pytest.approx([0.1, 0.8])
    assert [row["positive"] for row in table] == pytest.approx([0.0, 2 / 3])
    gap = (1 * 0.1 + 3 * (0.8 - 2 / 3)) / 4
    assert expected_calibration_error(truth, scores, bins=2) == pytest.approx(gap)
    assert [row["low"] for row in reliability([True], [0.95])] == [0.9]


def test_the_brier_score_is_scikit_learns():
    generator = np.random.default_rng(0)
    truth, scores = generator.random(50) < 0.4, generator.random(50)
    assert brier(truth, scores) == pytest.approx(reference.brier_score_loss(truth, scores))


@pytest.mark.parametrize("bins", [2, 5, 10, 20])
def test_a_score_on_an_edge_belongs_to_the_higher_bin(bins):
    edges = [float(f"{index / bins:.2f}") for index in range(bins)]  # as they are written: 0.3, 0.6, 0.7
    assert bins_of(edges, bins).tolist() == list(range(bins))
    below = np.nextafter(edges[1:], 0)
    assert bins_of(below, bins).tolist() == list(range(bins - 1))
    assert bins_of([0.0, 1.0], bins).tolist() == [0, bins - 1]


@pytest.mark.parametrize("score", [0.3, 0.6, 0.7])
def test_shares_of_ten_sentences_fall_into_their_own_bin(score):
    (row,) = reliability([True], [score])
    assert row["low"] == score


def test_correction_is_bayes_rule():
    """Two normal classes: the balanced posterior, corrected, is the posterior at the true prevalence."""
    generator = np.random.default_rng(0)
    x, prevalence = generator.normal(size=100), 0.2
    up, down = np.exp(-((x - 1) ** 2) / 2), np.exp(-((x + 1) ** 2) / 2)
    balanced = up / (up + down)
    expected = prevalence * up / (prevalence * up + (1 - prevalence) * down)
    assert correct_prevalence(balanced, 0.5, prevalence) == pytest.approx(expected)
    back = correct_prevalence(expected, prevalence, 0.5)
    assert back == pytest.approx(balanced)


def test_the_correction_of_several_classes_is_bayes_rule():
    x, shares = np.random.default_rng(0).normal(size=50), np.array([0.6, 0.3, 0.1])
    likely = np.exp(-((x[:, None] - np.array([-1.0, 0.0, 1.5])) ** 2) / 2)
    balanced = likely / likely.sum(axis=1, keepdims=True)
    expected = likely * shares / (likely * shares).sum(axis=1, keepdims=True)
    corrected = correct_shares(balanced, np.full(3, 1 / 3), shares)
    assert corrected == pytest.approx(expected)
    assert correct_shares(corrected, shares, np.full(3, 1 / 3)) == pytest.approx(balanced)


def test_a_score_without_information_is_calibrated_after_correction():
    truth = [True] * 12 + [False] * 23
    constant = np.full(35, 0.5)
    share = 12 / 35
    assert expected_calibration_error(truth, constant, bins=5) == pytest.approx(0.5 - share)  # 0.16
    corrected = correct_prevalence(constant, 0.5, share)
    assert expected_calibration_error(truth, corrected, bins=5) == pytest.approx(0, abs=1e-12)
    assert brier(truth, corrected) == pytest.approx(share * (1 - share))
