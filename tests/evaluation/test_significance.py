import itertools

import numpy as np
import pytest
from scipy import stats

from sertransfer.evaluation.metrics import exact_mcnemar
from sertransfer.evaluation.significance import (
    _design_effect,
    holm,
    joined_clusters,
    paired_interval,
    sign_flip_test,
)


def test_the_sign_flip_test_is_mcnemars_where_items_are_independent():
    generator = np.random.default_rng(0)
    for _ in range(20):
        a, b = generator.random((2, 30)) < 0.7
        found = sign_flip_test(a, b, [str(i) for i in range(30)])
        by_hand = exact_mcnemar(a, b)
        assert (found.only_a, found.only_b) == (by_hand["only_a"], by_hand["only_b"])
        assert found.p == pytest.approx(by_hand["p"])


def test_the_sign_flip_test_by_enumeration():
    generator = np.random.default_rng(1)
    clusters = np.repeat(np.arange(9), [1, 2, 3, 4, 5, 6, 7, 8, 9])
    a, b = generator.random((2, 45)) < 0.6
    nets = np.bincount(clusters, b.astype(float) - a)
    sums = [np.dot(signs, nets) for signs in itertools.product((-1, 1), repeat=9)]
    expected = np.mean(np.abs(sums) >= abs(nets.sum()) - 1e-9)
    found = sign_flip_test(a, b, clusters.astype(str).tolist())
    assert found.p == pytest.approx(expected)
    order = generator.permutation(45)
    assert sign_flip_test(a[order], b[order], clusters[order].astype(str).tolist()) == found


def test_five_clusters_never_reach_significance():
    items = np.repeat(np.arange(5), 20).astype(str).tolist()
    assert sign_flip_test(np.zeros(100), np.ones(100), items).p == 2 / 2**5


def test_false_alarms_with_five_sessions_a_person():
    """Persons differ in which system suits them; McNemar over sessions raises 9 to 19 % false alarms."""
    generator = np.random.default_rng(2)
    persons, sessions, draws = 20, 5, 600
    clusters = np.repeat(np.arange(persons), sessions)
    names = clusters.astype(str).tolist()
    alarms, naive = 0, 0
    for _ in range(draws):
        latent = 0.7 * generator.normal(size=(2, persons))[:, clusters]
        a, b = latent + 0.7 * generator.normal(size=(2, persons * sessions)) < 0.5
        alarms += sign_flip_test(a, b, names).p <= 0.05
        naive += exact_mcnemar(a, b)["p"] <= 0.05
    assert naive / draws > 0.08
    assert stats.binomtest(alarms, draws, 0.05, alternative="greater").pvalue > 0.01


def test_an_interval_by_hand():
    # 10 items of class x: 3 gained, 1 lost; 20 of y: 2 gained, none lost
    gain = [1] * 3 + [-1] + [0] * 6 + [1] * 2 + [0] * 18
    strata = ["x"] * 10 + ["y"] * 20
    low, high = paired_interval(gain, strata, [str(i) for i in range(30)])
    quantile = stats.t.ppf(0.975, 28)
    below = above = 0.0
    for better, worse, n in ((3, 1, 10), (2, 0, 20)):
        plus, minus = (better + 1) / (n + 2), (worse + 1) / (n + 2)
        width = quantile * np.sqrt((plus + minus - (plus - minus) ** 2) / (n + 2))
        value = (better - worse) / n
        below += (value - (plus - minus - width)) ** 2
        above += (plus - minus + width - value) ** 2
    middle = (0.2 + 0.1) / 2
    assert (low, high) == pytest.approx((middle - np.sqrt(below) / 2, middle + np.sqrt(above) / 2))


def test_repeated_items_of_a_cluster_tell_nothing_new():
    generator = np.random.default_rng(3)
    gain = generator.integers(-1, 2, size=40)
    strata = np.repeat([0, 1], 20)
    names = [str(i) for i in range(40)]
    once = paired_interval(gain, strata, names)
    repeated = [np.repeat(values, 5) for values in (gain, strata, np.array(names))]
    fivefold = paired_interval(repeated[0], repeated[1], repeated[2].tolist())
    assert np.diff(fivefold) >= np.diff(once)
    assert fivefold == pytest.approx(once, abs=0.04)


def test_no_interval_without_enough_clusters():
    gain, strata = [1, 0] * 15, [0, 0, 1] * 10
    assert paired_interval(gain, strata, [str(i % 5) for i in range(30)]) is None
    assert paired_interval(gain, strata, [str(i % 6) for i in range(30)]) is not None
    # all items of the second class are of one person
    assert paired_interval([1, 0] * 15, [0] * 20 + [1] * 10, [*map(str, range(20)), *["x"] * 10]) is None


def test_an_interval_has_a_width_where_nothing_differs():
    for clusters in ([str(i) for i in range(30)], [str(i // 3) for i in range(30)]):
        low, high = paired_interval(np.zeros(30), np.zeros(30), clusters)
        assert low == pytest.approx(-high)
        assert 0.08 < high < 0.5
    # of 10 persons with three sessions each less is known than of 30 persons
    assert paired_interval(np.zeros(30), np.zeros(30), [str(i // 3) for i in range(30)])[1] > 0.2


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_clusters_are_joined_across_namings():
    assert joined_clusters([["a", "b", "c", "c"], ["1", "1", "2", "3"]]) == ["0", "0", "1", "1"]
    assert joined_clusters([["a", "b"], ["b", "a"]]) == ["0", "1"]  # names of two namings are not compared


def test_the_design_effect_of_copies_is_their_number_by_the_jackknife():
    values, size = np.array([1.0, 0.0, 0.0, -1.0, 1.0, 0.5]), 4
    counts = np.full((1, len(values)), float(size))
    effect = _design_effect(counts, size * values[None], size * values[None] ** 2)
    assert effect == pytest.approx(size * len(values) / (len(values) - 1))
