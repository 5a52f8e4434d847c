"""Intervals: values by hand or by another implementation, and coverage in small."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from sertransfer.evaluation import intervals
from sertransfer.evaluation.intervals import Clusters, auroc_interval, decision_intervals


def decisions(positives, hits, negatives, kept):
    truth = np.repeat([1, 0], [positives, negatives])
    right = np.concatenate([np.arange(positives) < hits, np.arange(negatives) < kept])
    return truth, np.where(right, truth, 1 - truth)


def found(truth, predicted, clusters=None, unit="subjects"):
    names = clusters if clusters is not None else [str(item) for item in range(len(truth))]
    return decision_intervals(truth, predicted, ("no", "yes"), Clusters(names, unit))


def test_wilson_is_that_of_scipy():
    theirs = stats.binomtest(5, 12).proportion_ci(method="wilson")
    assert intervals.wilson(5 / 12, 12) == pytest.approx(tuple(theirs))


def test_recalls_and_wa_of_independent_items_are_exact():
    result = found(*decisions(12, 2, 23, 23))
    for key, hits, trials in (("recall yes", 2, 12), ("recall no", 23, 23), ("wa", 25, 35)):
        assert result[key].bounds == pytest.approx(list(stats.binomtest(hits, trials).proportion_ci()))


def test_ua_is_mover_of_wilson():
    """12 positive with 7 right, 23 negative with 15 right: no recall near 0 or 1."""
    low1, high1 = stats.binomtest(7, 12).proportion_ci(method="wilson")
    low0, high0 = stats.binomtest(15, 23).proportion_ci(method="wilson")
    p1, p0 = 7 / 12, 15 / 23
    low = (p1 + p0) / 2 - np.hypot(p1 - low1, p0 - low0) / 2
    high = (p1 + p0) / 2 + np.hypot(high1 - p1, high0 - p0) / 2
    assert found(*decisions(12, 7, 23, 15))["ua"].bounds == pytest.approx([low, high])


def test_no_interval_is_without_width_at_perfect_decisions():
    result = found(*decisions(12, 12, 23, 23))
    for key, interval in result.items():
        low, high = interval.bounds
        assert high == pytest.approx(1.0), key
        assert 0.6 < low < 0.95, key
    low, high = auroc_interval(
        [True] * 12 + [False] * 23, [2.0] * 12 + [1.0] * 23, Clusters(range(35))
    ).bounds
    assert 0.8 < low < 0.99
    assert high == 1.0


def test_f1_is_the_share_of_hits_among_what_is_of_the_class_or_called_it():
    """8 hits, 4 missed, 5 false alarms: J = 8 / 17, F1 = 16 / 25."""
    low, high = stats.binomtest(8, 17).proportion_ci()
    expected = [2 * low / (1 + low), 2 * high / (1 + high)]
    assert found(*decisions(12, 8, 23, 18))["f1 yes"].bounds == pytest.approx(expected)


def test_the_auroc_solves_the_score_equation_with_delongs_variance():
    generator = np.random.default_rng(3)
    truth = np.arange(35) % 3 == 0
    scores = generator.normal(size=35) + truth
    pos, neg = scores[truth], scores[~truth]
    wins = (pos[:, None] > neg).astype(float)
    area, m, n = wins.mean(), len(pos), len(neg)
    delong = wins.mean(1).var(ddof=1) / m + wins.mean(0).var(ddof=1) / n

    def hanley(theta):
        more = ((m + n) / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return theta * (1 - theta) * (1 + more) / (m * n)

    t = stats.t.ppf(0.975, min(34, 2 * m - 2))
    scale = max(1.0, delong / hanley(area))
    ends = [
        brentq(lambda theta: abs(theta - area) - t * np.sqrt(scale * hanley(theta)), *inside)
        for inside in ((1e-6, area), (area, 1 - 1e-6))
    ]
    assert auroc_interval(truth, scores, Clusters(range(35))).bounds == pytest.approx(ends, abs=1e-6)


@pytest.mark.parametrize(("speakers", "reason"), [(1, "1 speaker"), (2, "2 speakers"), (5, "5 speakers")])
def test_fewer_than_six_clusters_have_no_interval(speakers, reason):
    truth, predicted = decisions(30, 28, 30, 28)
    names = [str(item % speakers) for item in range(60)]
    result = found(truth, predicted, names, "speakers")
    assert {interval.reason for interval in result.values()} == {f"no interval: {reason}"}
    assert {interval.bounds is None for interval in result.values()} == {True}
    assert (
        auroc_interval(truth == 1, predicted, Clusters(names, "speakers")).reason == f"no interval: {reason}"
    )


def test_six_clusters_have_an_interval():
    truth, predicted = decisions(30, 28, 30, 28)
    result = found(truth, predicted, [str(item % 6) for item in range(60)], "speakers")
    assert all(interval.bounds is not None for interval in result.values())


def test_a_recall_needs_six_clusters_of_its_class():
    truth, predicted = decisions(10, 5, 30, 20)
    names = [f"p{item % 4}" for item in range(10)] + [f"n{item % 6}" for item in range(30)]
    result = found(truth, predicted, names, "persons")
    assert result["recall yes"].reason == "no interval: 4 persons of yes"
    assert result["recall no"].bounds is not None


def test_copies_of_an_item_add_nothing():
    """Twelve clusters of ten equal items know as much as twelve items."""
    hits = np.array([10, 10, 0, 10, 10, 0, 10, 10, 10, 0, 0, 10], dtype=float)
    size = float(intervals.effective_size(hits, np.full(12, 10.0)))
    assert 10 <= size <= 12
    assert float(intervals.effective_size(hits / 10, np.ones(12))) == pytest.approx(12)


def test_perfect_clusters_count_once():
    assert float(intervals.effective_size(np.full(8, 50.0), np.full(8, 50.0))) == pytest.approx(8)


@pytest.mark.parametrize(
    ("sensitivity", "specificity"), [(0.95, 0.95), (0.17, 0.98), (0.05, 0.98), (0.5, 0.5), (1.0, 0.98)]
)
def test_ua_of_35_subjects_is_covered(sensitivity, specificity):
    """Exactly, over all outcomes; a percentile bootstrap has 0.83, 0.88 and 0.44 of the first three."""
    covered = 0.0
    for hits in range(13):
        for kept in range(24):
            low, high = found(*decisions(12, hits, 23, kept))["ua"].bounds
            chance = stats.binom.pmf(hits, 12, sensitivity) * stats.binom.pmf(kept, 23, specificity)
            covered += chance * (low - 1e-9 <= (sensitivity + specificity) / 2 <= high + 1e-9)
    assert covered >= 0.92


def test_clusters_are_covered():
    """Twenty persons of five sessions, which agree."""
    generator = np.random.default_rng(0)
    sizes = np.zeros((20, 2))
    sizes[:7, 1] = sizes[7:, 0] = 5
    share = generator.beta(0.8 * 2, 0.2 * 2, size=(1000, 20, 1))
    hits = generator.binomial(np.broadcast_to(sizes, (1000, 20, 2)).astype(int), share)
    low, high = intervals.recall_mean_bounds(hits, np.broadcast_to(sizes, hits.shape))
    assert np.mean((low <= 0.8) & (high >= 0.8)) >= 0.92
