import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from sertransfer.evaluation.folds import auroc_within, auroc_within_interval


def separate_scales(seed=0, subjects=60, area=0.85, folds=3):
    """Scores whose folds have scales and offsets of their own, as fits with other settings have."""
    generator = np.random.default_rng(seed)
    positive, fold = np.arange(subjects) % 3 == 0, np.arange(subjects) // 3 % folds
    distance = stats.norm.ppf(area) * np.sqrt(2)
    scores = generator.normal(size=subjects) + distance * positive
    return positive, scores * np.array([0.5, 3, 1])[fold] + np.array([4, 0, -3])[fold], fold


def test_pairs_are_counted_within_folds():
    # fold 0: 1 of 1 pair in order; fold 1: 1.5 of 2 (one tie); pairs of two folds play no part
    positive = [True, False, True, False, False]
    scores = [0.2, 0.1, 0.9, 0.9, 0.3]
    assert auroc_within(positive, scores, [0, 0, 1, 1, 1]) == pytest.approx(2.5 / 3)
    assert auroc_within(positive, scores, [0] * 5) == pytest.approx(roc_auc_score(positive, scores))
    assert auroc_within(positive, scores, [0, 1, 0, 1, 1]) is None


def test_it_does_not_depend_on_the_scale_of_a_fold():
    positive, scores, fold = separate_scales()
    plain = (scores - np.array([4, 0, -3])[fold]) / np.array([0.5, 3, 1])[fold]
    within = auroc_within(positive, scores, fold)
    assert within == auroc_within(positive, plain, fold)
    assert roc_auc_score(positive, scores) < within - 0.05


def test_weights_count_like_repeated_items():
    positive, scores, fold = separate_scales()
    times = np.random.default_rng(1).integers(1, 5, size=len(fold))
    repeated = [np.repeat(values, times) for values in (positive, scores, fold)]
    assert auroc_within(positive, scores, fold, times) == pytest.approx(auroc_within(*repeated))


def test_the_interval_is_a_jackknife_within_folds():
    positive, scores, fold = separate_scales(area=0.7)
    names = [str(index) for index in range(60)]
    low, high = auroc_within_interval(positive, scores, fold, names)
    value = auroc_within(positive, scores, fold)
    variance = 0.0
    for number in range(3):
        own = np.flatnonzero(fold == number)
        without = [
            auroc_within(*(np.delete(values, index) for values in (positive, scores, fold))) for index in own
        ]
        variance += (len(own) - 1) / len(own) * np.square(np.subtract(without, np.mean(without))).sum()
    width = stats.t.ppf(0.975, 57) * np.sqrt(variance)
    middles = [value, (value * 20 + 0.5) / 21]
    expected = [
        stats.logistic.cdf(stats.logistic.ppf(middle) + side * width / (middle * (1 - middle)))
        for middle in middles
        for side in (-1, 1)
    ]
    assert low == pytest.approx(min(expected), abs=0.01)
    assert high == pytest.approx(max(expected), abs=0.01)


def test_the_interval_covers():
    covered = 0
    for seed in range(60):
        positive, scores, fold = separate_scales(seed)
        low, high = auroc_within_interval(positive, scores, fold, [str(index) for index in range(60)])
        covered += low <= 0.85 <= high
    assert covered >= 53  # 0.95 of 60 is 57, 0.92 is 55; 53 leaves three standard errors


def test_perfect_order_has_a_width_and_few_clusters_have_no_interval():
    positive, fold = np.arange(24) % 2 == 0, np.arange(24) // 8
    names = [str(index) for index in range(24)]
    low, high = auroc_within_interval(positive, positive.astype(float), fold, names)
    assert 0.5 < low < 0.95
    assert high == 1.0
    assert auroc_within_interval(positive, positive, fold, [str(index % 5) for index in range(24)]) is None
    assert auroc_within_interval(positive, positive, np.arange(24), names) is None


def test_sessions_of_a_person_widen_the_interval():
    positive, scores, fold = separate_scales(area=0.7)
    alone = auroc_within_interval(positive, scores, fold, [str(index) for index in range(60)])
    sessions = [np.repeat(values, 4) for values in (positive, scores, fold)]
    persons = np.repeat(np.arange(60), 4).astype(str).tolist()
    assert auroc_within_interval(*sessions, persons) == pytest.approx(alone, abs=0.01)
