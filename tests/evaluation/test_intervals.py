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


@pytest.mark.parametrize("misplaced", [0, 1, 3])
def test_the_auroc_of_few_misplaced_items_is_drawn_to_the_model(misplaced):
    """Of fewer than ten items that lose a pair, DeLong's variance is known as badly as a share of them."""
    truth = np.arange(35) < 12
    scores = np.where(truth, 2.0, np.linspace(0, 1, 35))
    scores[:misplaced] = 0.51 + 0.1 * np.arange(misplaced)
    pos, neg = scores[truth], scores[~truth]
    wins = (pos[:, None] > neg).astype(float)
    area = wins.mean()
    mixed = (wins.mean(axis=1) < 1).sum() + (wins.mean(axis=0) < 1).sum()
    delong = wins.mean(1).var(ddof=1) / 12 + wins.mean(0).var(ddof=1) / 23

    def hanley(theta):
        more = (35 / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return theta * (1 - theta) * (1 + more) / (12 * 23)

    scale = max(1.0, delong / hanley(area)) if misplaced else 1.0
    weight = max(0.0, 1 - mixed / 10)
    t2 = (1 - weight) * scale * stats.t.ppf(0.975, 22) ** 2 + weight * stats.norm.ppf(0.975) ** 2
    low = brentq(lambda theta: area - theta - np.sqrt(t2 * hanley(theta)), 0.01, area - 1e-9)
    assert auroc_interval(truth, scores, Clusters(range(35))).bounds[0] == pytest.approx(low, abs=1e-6)


def obuchowski(truth, scores, names):
    """AUROC, its variance over clusters, and Hanley and McNeil's model of the clusters, item by item."""
    own, groups = np.unique(names, return_inverse=True)[1], len(set(names))
    pos, neg = np.flatnonzero(truth), np.flatnonzero(~truth)
    wins = (scores[pos][:, None] > scores[neg]) + (scores[pos][:, None] == scores[neg]) / 2
    area = wins.mean()
    sums = np.zeros((2, groups))
    np.add.at(sums[1], own[pos], (wins.mean(axis=1) - area) / len(pos))
    np.add.at(sums[0], own[neg], (wins.mean(axis=0) - area) / len(neg))
    held = [len(set(own[items])) for items in (neg, pos)]
    variance = sum((part**2).sum() * count / (count - 1) for part, count in zip(sums, held, strict=True))
    variance += 2 * (sums[0] * sums[1]).sum() * groups / (groups - 1)
    agreeing = [len(items) ** 2 / (np.bincount(own[items]) ** 2).sum() for items in (pos, neg)]
    mixed = min(
        len(set(own[pos][wins.mean(axis=1) < 1]) | set(own[neg][wins.mean(axis=0) < 1])),
        len(set(own[pos][wins.mean(axis=1) > 0]) | set(own[neg][wins.mean(axis=0) > 0])),
    )
    return area, variance, agreeing, mixed, min(held)


@pytest.mark.parametrize(
    ("number", "distance", "persons"), [(8, 1.5, False), (30, 1.0, False), (80, 0.3, False), (120, 1.0, True)]
)
def test_the_auroc_of_clusters_has_obuchowskis_variance(number, distance, persons):
    """Speakers have items of both classes, persons of one; the class that fewer have tells the weight."""
    generator = np.random.default_rng(5)
    names = np.repeat([f"s{index:02d}" for index in range(number)], 6)
    truth = np.resize([True, False, False], 6 * number)
    if persons:
        truth = np.repeat(truth[:number], 6)
    scores = generator.normal(size=6 * number) + np.repeat(1.2 * generator.normal(size=number), 6)
    scores = scores + distance * truth
    area, variance, agreeing, mixed, held = obuchowski(truth, scores, names)

    def hanley(theta, m, n):
        more = ((m + n) / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return theta * (1 - theta) * (1 + more) / (m * n)

    m, n = truth.sum(), (~truth).sum()
    scale = max(1.0, variance / hanley(area, m, n))
    weight = max(1 - mixed / 10, min(0.13, 8 / held))
    t = stats.t.ppf(0.975, min(number - 1, 2 * held - 2))

    def beyond(theta):
        found = (1 - weight) * scale * hanley(theta, m, n) * t**2
        return abs(theta - area) - np.sqrt(found + weight * hanley(theta, *agreeing) * 1.959964**2)

    ends = [brentq(beyond, *inside) for inside in ((1e-9, area), (area, 1 - 1e-9))]
    clusters = Clusters(names, "speakers")
    assert auroc_interval(truth, scores, clusters).bounds == pytest.approx(ends, abs=1e-5)
    # what a speaker's items have in common counts, of both classes too
    assert variance != pytest.approx(obuchowski(truth, scores, np.arange(len(truth)))[1], rel=0.1)


def test_the_auroc_needs_four_clusters_of_each_class():
    names = np.repeat([f"p{index:02d}" for index in range(12)], 4)
    scores = np.random.default_rng(0).normal(size=48)
    for positive, reason in ((3, "no interval: 3 persons of one class"), (4, "")):
        truth = np.arange(48) < 4 * positive
        for given in (truth, ~truth):
            assert auroc_interval(given, scores, Clusters(names, "persons")).reason == reason


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
    size, _ = intervals.effective_size(hits, np.full(12, 10.0))
    assert float(size) == pytest.approx(12)
    size, unseen = intervals.effective_size(hits / 10, np.ones(12))
    assert (float(size), float(unseen)) == (pytest.approx(12), 0)


def test_perfect_clusters_count_once():
    size, unseen = intervals.effective_size(np.full(8, 50.0), np.full(8, 50.0))
    assert (float(size), float(unseen)) == (pytest.approx(8), 1)


def worth(hits, sizes, caution=1.0):
    """Return how many independent items clustered ones are worth, and the unseen part, cluster by cluster."""
    kept = [(hit, size) for hit, size in zip(hits, sizes, strict=True) if size]
    n, number = sum(size for _, size in kept), len(kept)
    share = sum(hit for hit, _ in kept) / n
    between = sum((hit - share * size) ** 2 for hit, size in kept) / n**2 * number / (number - 1)
    found = min(share * (1 - share) / between, n) * (1.959964 / stats.t.ppf(0.975, number - 1)) ** 2
    agreeing = n**2 / sum(size**2 for _, size in kept) / caution
    mixed = min(sum(hit > 0 for hit, _ in kept), sum(hit < size for hit, size in kept))
    weight = max(1 - mixed / 10, min(0.13, 8 / number))
    size = min(n, max(agreeing, 1 / ((1 - weight) / found + weight / agreeing)))
    return size, min(1.0, weight * size / agreeing)


def exact(share, size):
    """Clopper and Pearson's interval of so many items, which need not be whole."""
    return [
        stats.beta.ppf(0.025, share * size, (1 - share) * size + 1),
        stats.beta.ppf(0.975, share * size + 1, (1 - share) * size),
    ]


def of_speakers(number, opposed=False, seed=0):
    """Speakers with 4 to 14 items of two classes; one in four is recognised badly, or one for each class."""
    generator = np.random.default_rng(seed)
    truth, right, names = [], [], []
    for speaker in range(number):
        for label in (0, 1):
            for _ in range(int(generator.integers(2, 8))):
                truth.append(label)
                bad = speaker % 4 == (2 if opposed and label else 0)
                right.append(generator.random() < (0.3 if bad else 0.9))
                names.append(f"s{speaker:02d}")
    truth, right = np.array(truth), np.array(right)
    return truth, np.where(right, truth, 1 - truth), names


@pytest.mark.parametrize("number", [7, 14, 80])
def test_the_interval_of_a_share_is_of_its_effective_size(number):
    truth, predicted, names = of_speakers(number)
    result = found(truth, predicted, names, "speakers")
    own = np.unique(names, return_inverse=True)[1]
    right = truth == predicted
    for key, of, caution in (
        ("wa", np.ones(len(truth)), 1.0),
        ("recall yes", truth == 1, 1.0),
        ("f1 yes", (truth == 1) | (predicted == 1), 1.8),
    ):
        hit = right & (truth == 1) if key == "f1 yes" else right
        sizes, hits = np.bincount(own, of), np.bincount(own, of * hit)
        expected = exact(hits.sum() / sizes.sum(), worth(hits, sizes, caution)[0])
        if key == "f1 yes":
            expected = [2 * bound / (1 + bound) for bound in expected]
        assert result[key].bounds == pytest.approx(expected, rel=1e-5), key
    assert worth(np.bincount(own, right), np.bincount(own))[0] < 0.8 * len(truth)


@pytest.mark.parametrize(
    ("number", "opposed"), [(7, False), (14, False), (60, False), (14, True), (60, True)]
)
def test_recalls_of_a_speaker_are_correlated(number, opposed):
    """Where they are opposed, what is not seen is still taken to be alike."""
    truth, predicted, names = of_speakers(number, opposed)
    own = np.unique(names, return_inverse=True)[1]
    right = truth == predicted
    parts = []
    for label in (0, 1):
        of = truth == label
        sizes, hits = np.bincount(own, of), np.bincount(own, of & right)
        share = hits.sum() / sizes.sum()
        size, unseen = worth(hits, sizes)
        low, high = intervals.recall_bounds(share, size)
        parts.append((share, low, high, unseen, (hits - share * sizes) / sizes.sum()))
    (p0, low0, high0, unseen0, first), (p1, low1, high1, unseen1, second) = parts
    r = (first @ second) / np.sqrt((first @ first) * (second @ second))
    assert (r < -0.1) == opposed
    r = max(0.0, r)
    r = r * np.sqrt((1 - unseen0) * (1 - unseen1)) + np.sqrt(unseen0 * unseen1)
    assert 0.1 < r < 1
    below, above = ((p0 - low0, p1 - low1), (high0 - p0, high1 - p1))
    low, high = ((a**2 + b**2 + 2 * r * a * b) ** 0.5 / 2 for a, b in (below, above))
    ua = (p0 + p1) / 2
    result = found(truth, predicted, names, "speakers")
    assert result["ua"].bounds == pytest.approx([ua - low, min(1.0, ua + high)], rel=1e-5)


def test_recalls_that_no_speaker_shares_are_independent():
    """Each person is of one class: UA has no covariance, however alike the persons' sessions are."""
    sizes = np.zeros((12, 2))
    sizes[:6, 0] = sizes[6:, 1] = 5
    hits = np.where(sizes > 0, np.resize([5, 1, 4, 5, 3, 4], 12)[:, None], 0)
    low, high = intervals.recall_mean_bounds(hits, sizes)
    share, size = 22 / 30, worth([5, 1, 4, 5, 3, 4], [5] * 6)[0]
    one, other = intervals.recall_bounds(share, size)
    assert (low, high) == pytest.approx(
        (share - (share - one) / np.sqrt(2), share + (other - share) / np.sqrt(2))
    )


def test_perfect_recalls_of_the_same_speakers_are_taken_as_correlated():
    shared = intervals.recall_mean_bounds(np.full((8, 2), 9.0), np.full((8, 2), 9.0))
    assert shared[0] == pytest.approx(8 / (8 + 1.959964**2))  # Wilson's, of eight speakers


def test_macro_f1_of_speakers_has_the_unseen_part_in_common():
    truth, predicted, names = of_speakers(30)
    own = np.unique(names, return_inverse=True)[1]
    parts = []
    for label in (0, 1):
        of = (truth == label) | (predicted == label)
        sizes, hits = np.bincount(own, of), np.bincount(own, of & (truth == predicted))
        share = hits.sum() / sizes.sum()
        size, unseen = worth(hits, sizes, 1.8)
        bounds = [2 * value / (1 + value) for value in (share, *exact(share, size))]
        parts.append((*bounds, unseen, (hits - share * sizes) / sizes.sum()))
    (f0, low0, high0, unseen0, first), (f1, low1, high1, unseen1, second) = parts
    r = (first @ second) / np.sqrt((first @ first) * (second @ second))
    r = r * np.sqrt((1 - unseen0) * (1 - unseen1)) + np.sqrt(unseen0 * unseen1)
    below, above = ((f0 - low0, f1 - low1), (high0 - f0, high1 - f1))
    low, high = ((a**2 + b**2 + 2 * r * a * b) ** 0.5 / 2 for a, b in (below, above))
    middle = (f0 + f1) / 2
    result = found(truth, predicted, names, "speakers")
    assert result["macro_f1"].bounds == pytest.approx([middle - low, middle + high], rel=1e-5)


def test_macro_f1_of_independent_items_is_mover_with_the_correlation_of_errors():
    """An error is a miss of one class and a false alarm of the other."""
    truth, predicted = decisions(12, 8, 23, 18)
    parts = []
    for label in (0, 1):
        hit = (truth == label) & (predicted == label)
        of = (truth == label) | (predicted == label)
        share = hit.sum() / of.sum()
        low, high = stats.binomtest(int(hit.sum()), int(of.sum())).proportion_ci()
        influence = (hit - share * of) / of.sum()
        parts.append((*(2 * value / (1 + value) for value in (share, low, high)), influence))
    (f0, low0, high0, first), (f1, low1, high1, second) = parts
    r = (first @ second) / np.sqrt((first @ first) * (second @ second))
    assert r > 0.1
    below, above = ((f0 - low0, f1 - low1), (high0 - f0, high1 - f1))
    low, high = ((a**2 + b**2 + 2 * r * a * b) ** 0.5 / 2 for a, b in (below, above))
    middle = (f0 + f1) / 2
    assert found(truth, predicted)["macro_f1"].bounds == pytest.approx([middle - low, middle + high])


def test_classes_without_an_item_are_left_out_of_ua():
    truth, predicted = decisions(12, 7, 23, 15)
    clusters = Clusters([str(item) for item in range(35)])
    result = decision_intervals(truth, predicted, ("no", "yes", "absent"), clusters)
    assert result["ua"].bounds == pytest.approx(found(truth, predicted)["ua"].bounds)
    assert result["recall absent"].reason == "no interval: no item of absent"
    assert result["macro_f1"].reason == "no interval: a class has no item"


def test_another_confidence_is_that_of_the_whole_interval():
    truth, predicted, names = of_speakers(60)
    clusters = Clusters(names)
    sizes, hits = clusters.counts(truth, truth == predicted, 2)
    for bounds, given in (
        (intervals.recall_mean_bounds, (hits, sizes)),
        (intervals.share_bounds, (hits.sum(axis=1), sizes.sum(axis=1))),
        (intervals.f1_mean_bounds, (hits, sizes)),
    ):
        low, high = bounds(*given)
        lower, higher = bounds(*given, confidence=0.99)
        # 2.58 / 1.96 of the normal distribution, and a little more of Student's with 59 degrees of freedom
        assert 1.3 < (higher - lower) / (high - low) < 1.45


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
