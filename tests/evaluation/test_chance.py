"""The two statements about a constant answer."""

import numpy as np
import pytest
from scipy import stats

from sertransfer.evaluation import chance, intervals
from sertransfer.evaluation.intervals import Clusters


def compared(hits, kept, positives=12, negatives=23, clusters=None):
    truth = np.repeat([1, 0], [positives, negatives])
    right = np.concatenate([np.arange(positives) < hits, np.arange(negatives) < kept])
    names = clusters if clusters is not None else range(len(truth))
    return chance.against_constant(truth, np.where(right, truth, 1 - truth), 2, Clusters(names, "speakers"))


@pytest.mark.parametrize(("hits", "alarms"), [(8, 5), (2, 0), (10, 10), (12, 1)])
def test_boschloo_is_that_of_scipy(hits, alarms):
    theirs = stats.boschloo_exact([[hits, alarms], [12 - hits, 23 - alarms]], alternative="greater").pvalue
    assert chance.boschloo_table(12, 23)[hits, alarms] == pytest.approx(theirs, rel=1e-3)


def test_ua_may_be_better_where_wa_is_not():
    """10 of 12 and 18 of 23: 28 right against 23, ten gained and five lost."""
    found = compared(10, 18)
    assert found["ua"]["state"] == "above"
    assert found["wa"]["state"] == "open"
    assert (found["wa"]["gained"], found["wa"]["lost"]) == (10, 5)
    assert found["wa"]["p"] == pytest.approx(stats.binomtest(10, 15, 0.5).pvalue)


def test_both_may_be_better_or_worse():
    assert {part["state"] for part in compared(12, 23).values()} == {"above"}
    assert {part["state"] for part in compared(1, 2).values()} == {"below"}


def test_a_constant_answer_is_open():
    assert {part["state"] for part in compared(0, 23).values()} == {"open"}
    found = compared(12, 0)
    assert (found["ua"]["state"], found["wa"]["state"]) == ("open", "open")  # 12 gained, 23 lost: p = 0.09


def test_two_speakers_allow_no_statement():
    found = compared(12, 23, clusters=["a", "b"] * 17 + ["a"])
    assert {part["state"] for part in found.values()} == {"open"}
    assert {part["reason"] for part in found.values()} == {"no interval: 2 speakers"}


def test_sessions_of_a_person_do_not_multiply_evidence():
    """Ten persons of five sessions each, all decided alike: ten decisions."""
    truth = np.repeat([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], 5)
    predicted = np.repeat([1, 1, 0, 0, 0, 0, 0, 1, 1, 0], 5)
    alone = chance.against_constant(truth, predicted, 2, Clusters(range(50)))
    whole = chance.against_constant(truth, predicted, 2, Clusters(np.repeat(np.arange(10), 5), "persons"))
    assert alone["ua"]["state"] == "above"
    assert whole["ua"]["state"] == "open"


def test_clusters_decide_by_intervals_that_make_few_false_alarms():
    """Twenty speakers with four items of each class, of which ever more are decided rightly."""
    truth, names = np.tile([0, 0, 0, 0, 1, 1, 1, 1], 20), np.repeat(np.arange(20), 8)
    ranks = np.random.default_rng(0).permutation(160)
    clusters = Clusters(names, "speakers")
    differs = {"ua": set(), "wa": set()}
    for count in range(60, 150):
        right = ranks < count
        said = chance.against_constant(truth, np.where(right, truth, 1 - truth), 2, clusters)
        sizes, hits = clusters.counts(truth, right, 2)
        gained, lost = hits[:, 1], sizes[:, 0] - hits[:, 0]
        for name, level, bounds, given in (
            ("ua", 0.975, intervals.recall_mean_bounds, (hits, sizes)),
            ("wa", 0.995, intervals.share_bounds, (gained, gained + lost)),
        ):
            low, high = bounds(*given, confidence=level)
            state = "above" if low > 0.5 else "below" if high < 0.5 else "open"
            assert said[name]["state"] == state, (name, count)
            differs[name].add(state == ("above" if bounds(*given)[0] > 0.5 else state))
    # somewhere an interval of 95 % would have said more
    assert differs == {"ua": {True, False}, "wa": {True, False}}


@pytest.fixture(scope="module")
def of_35():
    """What is said about UA of 5 positive and 30 negative subjects, by hits and false alarms."""
    return {
        (hits, alarms): compared(hits, 30 - alarms, 5, 30)["ua"]["state"]
        for hits in range(6)
        for alarms in range(31)
    }


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.05, 0.1, 0.3, 0.5, 0.9, 0.95])
def test_chance_is_called_better_or_worse_in_at_most_2_5_percent(rate, of_35):
    """Exactly, of 5 positive and 30 negative subjects."""
    said = {"above": 0.0, "below": 0.0, "open": 0.0}
    for (hits, alarms), state in of_35.items():
        said[state] += stats.binom.pmf(hits, 5, rate) * stats.binom.pmf(alarms, 30, rate)
    assert said["above"] <= 0.025
    assert said["below"] <= 0.025


def test_several_classes_are_tested_by_permuted_labels():
    truth = np.repeat([0, 1, 2], 8)
    found = chance.against_constant(truth, truth, 3, Clusters(range(24)))
    assert found["ua"]["state"] == "above"
    assert found["ua"]["chance"] == pytest.approx(1 / 3)
    shifted = chance.against_constant(truth, (truth + 1) % 3, 3, Clusters(range(24)))
    assert shifted["ua"]["state"] == "below"


def test_where_only_one_table_can_be_drawn_its_p_is_one():
    assert chance._permuted(np.array([[4, 0, 0], [3, 0, 0], [2, 0, 0]])) == (1.0, 1.0)
