"""Confidence intervals of decisions and scores, with and without clusters.

Intervals of 95 % cover at least 0.92 in every setting of ``benchmarks/interval_coverage.py``, recalls of 0
and 1 included, so none is without width; ``docs/method.md`` has the table.

- A share (WA, a recall) has the Clopper-Pearson interval of its *effective size*: the number of items where
  each item is its own cluster, less where items of a cluster agree (Korn and Graubard, "Confidence intervals
  for proportions with small expected number of positive counts", Survey Methodology 24, 1998). Part of the
  variance is always that of clusters whose items all agree (:data:`UNSEEN`).
- UA is the mean of independent shares: MOVER (Zou and Donner, "Construction of confidence limits about effect
  measures", Statistics in Medicine 27, 2008) over Wilson intervals of the recalls.
- F1 = 2J / (1 + J) of J = TP / (TP + FP + FN): the interval of the share J, transformed; MOVER for macro-F1.
- AUROC: the score interval of Newcombe ("Confidence intervals for an effect size measure based on the
  Mann-Whitney statistic, part 2", Statistics in Medicine 25, 2006, method 5), its variance scaled to that of
  DeLong, or of Obuchowski where there are clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Bounds = tuple[Floats, Floats]

FEWEST_CLUSTERS = 6
"""With fewer clusters no interval is given: their number says too little about how much they differ."""

FEWEST_OF_A_CLASS = 4
"""With fewer clusters of a class the AUROC has no interval: with three of each it would cover 0.89."""

KNOWN = 10
"""Clusters that must hold the rarer outcome before the variance between clusters is taken as it was found."""

UNSEEN, UNSEEN_CLUSTERS = 0.13, 8
"""Least weight, in a variance, of that of clusters whose items all agree; at most that of so many clusters.

If one speaker in twenty is recognised badly, sixteen speakers often include none, and then show neither how
low the mean is nor how much speakers differ. In the simulation UA is covered by 0.42 at worst without this
part, by 0.90 with a tenth, and by 0.92 and more with these numbers.
"""

F1_CAUTION = 1.8
"""By how much fewer agreeing clusters count for F1: a cluster that is decided wrongly holds items that are
called the class besides its own. In the simulation F1 is covered by 0.83 at worst with 1, 0.91 with 1.5."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval, or the reason why there is none.

    Attributes:
        low: Lower bound; ``None`` without an interval.
        high: Upper bound; ``None`` without an interval.
        reason: Why there is no interval, as ``"no interval: 2 speakers"``; empty where there is one.
    """

    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def bounds(self) -> list[float] | None:
        """The interval as ``metrics.json`` holds it."""
        return None if self.low is None or self.high is None else [self.low, self.high]


def wilson(share: ArrayLike, size: ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Return Wilson's score interval of *share*, observed in *size* items (need not be whole numbers)."""
    p, n = np.asarray(share, dtype=np.float64), np.asarray(size, dtype=np.float64)
    z = stats.norm.ppf((1 + confidence) / 2)
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


def clopper_pearson(share: ArrayLike, size: ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Return the exact binomial interval of *share*, observed in *size* items (need not be whole numbers).

    Examples:
        >>> [round(float(bound), 3) for bound in clopper_pearson(25 / 35, 35)]
        [0.537, 0.854]
    """
    p, n = np.asarray(share, dtype=np.float64), np.asarray(size, dtype=np.float64)
    tail, hits = (1 - confidence) / 2, p * n
    misses = n - hits
    with np.errstate(invalid="ignore"):
        low = special.betaincinv(np.maximum(hits, 1e-12), misses + 1, tail)
        high = special.betaincinv(hits + 1, np.maximum(misses, 1e-12), 1 - tail)
    return np.where(hits <= 1e-9, 0.0, low), np.where(misses <= 1e-9, 1.0, high)


def recall_bounds(share: ArrayLike, size: ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Return the interval of a recall that goes into UA: Wilson's, with the exact bound near 0 and 1.

    With one or two hits (misses), Wilson's lower (upper) bound is too near to the share: MOVER over plain
    Wilson intervals covers 0.83 at recalls of 0.98 and six items a class. The wider of Wilson's and
    Clopper-Pearson's bound is taken there, as Brown, Cai and DasGupta ("Interval estimation for a binomial
    proportion", Statistical Science 16, 2001) modify it with a Poisson bound; it covers 0.92 then.
    """
    p, n = np.asarray(share, dtype=np.float64), np.asarray(size, dtype=np.float64)
    low, high = wilson(p, n, confidence=confidence)
    exact_low, exact_high = clopper_pearson(p, n, confidence=confidence)
    few = 2.5
    low = np.where(p * n < few, np.minimum(low, exact_low), low)
    high = np.where((1 - p) * n < few, np.maximum(high, exact_high), high)
    return low, high


def effective_size(
    hits: ArrayLike, sizes: ArrayLike, *, confidence: float = 0.95, caution: float = 1.0
) -> tuple[Floats, Floats]:
    """Return how many independent items are worth as much as these clustered ones.

    The variance between clusters gives the effective size, with Student's t of the clusters in place of the
    normal quantile. Fewer than :data:`KNOWN` clusters that hold the rarer outcome tell little about that
    variance, and no number tells all (:data:`UNSEEN`): the variance of clusters whose items all agree is
    mixed in. The size is at most the number of items, which it equals where each cluster holds one.

    Args:
        hits: Items of each cluster that have the property, shape ``(..., clusters)``.
        sizes: Items of each cluster, the same shape; 0 where a cluster holds none.
        confidence: Of the interval that is to be made.
        caution: By how much fewer independent items clusters are worth whose items all agree.

    Returns:
        The size, 0 where there is no item, and the share of the variance that was mixed in, 0 where each
        cluster holds one item; both of shape ``(...)``.
    """
    k, m = np.asarray(hits, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    n = m.sum(axis=-1)
    held = (m > 0).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = k.sum(axis=-1) / n
        agreeing = n**2 / (m**2).sum(axis=-1)
        several = agreeing < n - 1e-9
        agreeing = np.where(several, agreeing / caution, n)
        spread = ((k - p[..., None] * m) ** 2).sum(axis=-1) / n**2 * held / (held - 1)
        z = stats.norm.ppf((1 + confidence) / 2)
        t = stats.t.ppf((1 + confidence) / 2, np.maximum(held - 1, 1))
        estimated = np.minimum(p * (1 - p) / spread, n) * (z / t) ** 2
        mixed = np.minimum((k > 0).sum(axis=-1), (k < m).sum(axis=-1))
        unknown = _unknown(mixed, held)
        drawn = 1 / ((1 - unknown) / estimated + unknown / agreeing)
        size = np.where(unknown >= 1, agreeing, drawn)
        size = np.clip(size, agreeing, n)
        unseen = np.where(several, np.minimum(unknown * size / agreeing, 1.0), 0.0)
    return np.where(n > 0, size, 0.0), np.where(n > 0, unseen, 0.0)


def _unknown(mixed: ArrayLike, clusters: ArrayLike) -> Floats:
    """Return the weight of agreeing items in a variance; *mixed* of *clusters* hold the rarer outcome."""
    number = np.maximum(np.asarray(clusters, dtype=np.float64), 1.0)
    least = np.minimum(UNSEEN, UNSEEN_CLUSTERS / number)
    return np.clip(1 - np.asarray(mixed, dtype=np.float64) / KNOWN, least, 1.0)


def mover(
    values: ArrayLike, lows: ArrayLike, highs: ArrayLike, correlation: ArrayLike | None = None
) -> Bounds:
    """Return the interval of the mean of *values* from their own intervals (MOVER).

    Args:
        values: Shape ``(..., parts)``.
        lows: Lower bounds, the same shape.
        highs: Upper bounds, the same shape.
        correlation: Of the estimates, shape ``(..., parts, parts)``; independent if not given.
    """
    x, low, high = (np.asarray(given, dtype=np.float64) for given in (values, lows, highs))
    parts = x.shape[-1]
    r = np.eye(parts) if correlation is None else np.asarray(correlation, dtype=np.float64)
    below, above = x - low, high - x
    down = np.sqrt(np.maximum(np.einsum("...i,...ij,...j->...", below, r, below), 0.0)) / parts
    up = np.sqrt(np.maximum(np.einsum("...i,...ij,...j->...", above, r, above), 0.0)) / parts
    mean = x.mean(axis=-1)
    return np.maximum(mean - down, 0.0), np.minimum(mean + up, 1.0)


def _correlation(influence: Floats, shared: NDArray[np.bool_], unseen: Floats) -> Floats:
    """Return correlations of estimates from their influences, shape ``(..., clusters, parts)``.

    Where clusters are *shared*, shape ``(..., parts, parts)``, the *unseen* shares of the variances, shape
    ``(..., parts)``, count as fully correlated (a speaker who is recognised badly is so in every class), and
    so do parts without variance, such as perfect recalls. Negative correlations count as none: six clusters
    can show one by chance.
    """
    product = np.einsum("...gi,...gj->...ij", influence, influence)
    scale = np.sqrt(np.einsum("...ii->...i", product))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = product / (scale[..., :, None] * scale[..., None, :])
    r = np.where(np.isfinite(r), np.clip(r, 0.0, 1.0), 1.0)
    seen, hidden = np.sqrt(1 - unseen), np.sqrt(unseen)
    r = r * seen[..., :, None] * seen[..., None, :] + hidden[..., :, None] * hidden[..., None, :]
    r = np.where(shared, r, 0.0)
    return np.where(np.eye(influence.shape[-1], dtype=bool), 1.0, r)


def share_bounds(
    hits: ArrayLike, sizes: ArrayLike, *, confidence: float = 0.95, caution: float = 1.0
) -> Bounds:
    """Return the interval of a share of clustered items, arguments as in :func:`effective_size`."""
    k, m = np.asarray(hits, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    size, _ = effective_size(k, m, confidence=confidence, caution=caution)
    return clopper_pearson(k.sum(axis=-1) / m.sum(axis=-1), size, confidence=confidence)


def recall_mean_bounds(hits: ArrayLike, sizes: ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Return the interval of UA.

    Args:
        hits: Items of each cluster and class decided rightly, shape ``(..., clusters, classes)``.
        sizes: Items of each cluster and class, the same shape; each class has an item.
        confidence: Nominal coverage.
    """
    k, m = np.asarray(hits, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    totals = m.sum(axis=-2)
    p = k.sum(axis=-2) / totals
    size, unseen = effective_size(np.swapaxes(k, -1, -2), np.swapaxes(m, -1, -2), confidence=confidence)
    low, high = recall_bounds(p, size, confidence=confidence)
    influence = (k - p[..., None, :] * m) / totals[..., None, :]
    there = (m > 0).astype(np.float64)
    shared = np.einsum("...gi,...gj->...ij", there, there) > 0
    return mover(p, low, high, _correlation(influence, shared, unseen))


def f1_bounds(hits: ArrayLike, sizes: ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Return the interval of F1 of one class.

    Args:
        hits: True positives of each cluster, shape ``(..., clusters)``.
        sizes: Items of each cluster that are of the class or decided for it, the same shape.
        confidence: Nominal coverage.
    """
    low, high = share_bounds(hits, sizes, confidence=confidence, caution=F1_CAUTION)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def f1_mean_bounds(hits: ArrayLike, sizes: ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Return the interval of macro-F1; as :func:`f1_bounds`, shapes ``(..., clusters, classes)``."""
    k, m = np.asarray(hits, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    totals = m.sum(axis=-2)
    j = k.sum(axis=-2) / totals
    rows, columns = np.swapaxes(k, -1, -2), np.swapaxes(m, -1, -2)
    low, high = f1_bounds(rows, columns, confidence=confidence)
    _, unseen = effective_size(rows, columns, confidence=confidence, caution=F1_CAUTION)
    influence = (k - j[..., None, :] * m) / totals[..., None, :]
    shared = np.ones((k.shape[-1], k.shape[-1]), dtype=bool)
    return mover(2 * j / (1 + j), low, high, _correlation(influence, shared, unseen))


def _hanley_mcneil(theta: Floats, positives: float, negatives: float) -> Floats:
    """Return the variance of an AUROC of *theta*, symmetric in the two classes."""
    more = (positives + negatives) / 2 - 1
    spread = 1 + more * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    return theta * (1 - theta) * spread / (positives * negatives)


def auroc_bounds(
    truth: ArrayLike, scores: ArrayLike, clusters: ArrayLike, *, confidence: float = 0.95
) -> Bounds:
    """Return the interval of the AUROC; both classes have an item.

    Args:
        truth: Whether an item is positive, shape ``(items,)``.
        scores: Shape ``(..., items)``.
        clusters: Cluster of each item as a number from 0, shape ``(items,)``.
        confidence: Nominal coverage.
    """
    positive = np.asarray(truth, dtype=bool)
    values, number = np.asarray(scores, dtype=np.float64), np.asarray(clusters, dtype=np.int64)
    m, n, groups = int(positive.sum()), int((~positive).sum()), int(number.max()) + 1
    # placements by ranks: an item's share of the other class that it is ranked rightly against
    ranks = stats.rankdata(values, axis=-1)
    wins = np.empty(values.shape)
    for own, other in ((positive, n), (~positive, m)):
        below = ranks[..., own] - stats.rankdata(values[..., own], axis=-1)
        wins[..., own] = (below if own is positive else other - below) / other
    area = wins[..., positive].mean(axis=-1)
    influence = (wins - area[..., None]) / np.where(positive, m, n)
    member = np.eye(groups)[number]
    by_class = [np.where(mask, influence, 0.0) @ member for mask in (positive, ~positive)]
    held = [member[mask].sum(axis=0) for mask in (positive, ~positive)]
    counts = [int((part > 0).sum()) for part in held]
    variance = 2 * (by_class[0] * by_class[1]).sum(axis=-1) * groups / max(groups - 1, 1)
    for sums, count in zip(by_class, counts, strict=True):
        variance = variance + (sums**2).sum(axis=-1) * count / max(count - 1, 1)
    agreeing = [float(part.sum() ** 2 / (part**2).sum()) for part in held]
    lost = np.minimum((wins < 1) @ member, 1).sum(axis=-1)
    won = np.minimum((wins > 0) @ member, 1).sum(axis=-1)
    mixed = np.minimum(lost, won)
    unknown = np.clip(1 - mixed / KNOWN, 0.0, 1.0) if groups == m + n else _unknown(mixed, min(counts))
    z = float(stats.norm.ppf((1 + confidence) / 2))
    # of few items a class, the variance is known badly too
    freedom = max(1, min(groups - 1, 2 * min(counts) - 2))
    t = float(stats.t.ppf((1 + confidence) / 2, freedom))
    model = _hanley_mcneil(np.clip(area, 1e-9, 1 - 1e-9), m, n)
    scale = np.maximum(variance / model, 1.0)
    scale = np.where((area > 0) & (area < 1), scale, 1.0)

    def width(theta: Floats) -> Floats:
        items = scale * _hanley_mcneil(theta, m, n) * t**2
        whole = _hanley_mcneil(theta, agreeing[0], agreeing[1]) * z**2
        return np.asarray(np.sqrt((1 - unknown) * items + unknown * whole))

    return _solve(area, width, -1), _solve(area, width, 1)


def _solve(value: Floats, width: Callable[[Floats], Floats], side: int) -> Floats:
    """Return the furthest theta on *side* with ``|theta - value| <= width(theta)``, by bisection."""
    near, far = value.copy(), np.full(value.shape, 0.0 if side < 0 else 1.0)
    for _ in range(60):
        middle = (near + far) / 2
        inside = np.abs(middle - value) <= width(middle)
        near, far = np.where(inside, middle, near), np.where(inside, far, middle)
    return np.asarray((near + far) / 2)


class Clusters:
    """Which items belong together.

    Args:
        names: The cluster of each item, shape ``(items,)``.
        unit: What a cluster is, in the plural, for messages.
    """

    def __init__(self, names: Sequence[str], unit: str = "clusters") -> None:
        found, members = np.unique(np.asarray(names, dtype=str), return_inverse=True)
        self.number, self.members, self.unit = len(found), np.asarray(members, dtype=np.int64), unit

    @property
    def independent(self) -> bool:
        """Whether each item is its own cluster."""
        return self.number == len(self.members)

    @property
    def reason(self) -> str:
        """Why there is no interval over these clusters; empty where there is one."""
        if not len(self.members):
            return "no interval: no item"
        if self.independent or self.number >= FEWEST_CLUSTERS:
            return ""
        return no_interval(self.number, self.unit)

    def sums(self, values: ArrayLike) -> Floats:
        """Return the sum of *values*, shape ``(items,)``, within each cluster."""
        weights = np.asarray(values, dtype=np.float64)
        return np.bincount(self.members, weights=weights, minlength=self.number).astype(np.float64)

    def counts(
        self, truth: NDArray[np.int64], right: NDArray[np.bool_], classes: int
    ) -> tuple[Floats, Floats]:
        """Return the items of each cluster and class, and those decided rightly, ``(clusters, classes)``."""
        sizes, hits = np.zeros((2, self.number, classes))
        np.add.at(sizes, (self.members, truth), 1)
        np.add.at(hits, (self.members, truth), right)
        return sizes, hits


def no_interval(number: int, unit: str, of: str = "") -> str:
    """Return the reason for having no interval over so many clusters."""
    named = unit[:-1] if number == 1 and unit.endswith("s") else unit
    return f"no interval: {number} {named}{of}"


def decision_intervals(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], names: Sequence[str], clusters: Clusters
) -> dict[str, Interval]:
    """Return the intervals of decisions.

    Args:
        truth: Number of the true class, shape ``(items,)``.
        predicted: Number of the class decided on, the same shape.
        names: Classes; those that the truth does not hold are left out of UA.
        clusters: Of the items.

    Returns:
        ``wa``, ``ua``, ``macro_f1``, and ``recall <name>`` and ``f1 <name>`` of each class.
    """
    classes = len(names)
    keys = ["wa", "ua", "macro_f1", *(f"{what} {name}" for what in ("recall", "f1") for name in names)]
    if clusters.reason:
        return dict.fromkeys(keys, Interval(reason=clusters.reason))
    right = truth == predicted
    sizes, hits = clusters.counts(truth, right, classes)
    called, _ = clusters.counts(predicted, right, classes)
    touched = sizes + called - hits
    held = np.flatnonzero(sizes.sum(axis=0))
    found = {
        "wa": _interval(share_bounds(hits.sum(axis=1), sizes.sum(axis=1))),
        "ua": _interval(recall_mean_bounds(hits[:, held], sizes[:, held])),
        "macro_f1": Interval(reason="no interval: a class has no item"),
    }
    if len(held) == classes:
        found["macro_f1"] = _interval(f1_mean_bounds(hits, touched))
    for number, name in enumerate(names):
        among = int((sizes[:, number] > 0).sum())
        reason = ""
        if not among:
            reason = f"no interval: no item of {name}"
        elif not clusters.independent and among < FEWEST_CLUSTERS:
            reason = no_interval(among, clusters.unit, f" of {name}")
        for what, own, of in (("recall", hits, sizes), ("f1", hits, touched)):
            bounds = f1_bounds if what == "f1" else share_bounds
            found[f"{what} {name}"] = (
                Interval(reason=reason) if reason else _interval(bounds(own[:, number], of[:, number]))
            )
    return found


def auroc_interval(truth: ArrayLike, scores: ArrayLike, clusters: Clusters) -> Interval:
    """Return the interval of the AUROC of scores, shape ``(items,)``; *truth* is boolean."""
    positive = np.asarray(truth, dtype=bool)
    if clusters.reason:
        return Interval(reason=clusters.reason)
    for mask in (positive, ~positive):
        number = len(np.unique(clusters.members[mask]))
        if number < FEWEST_OF_A_CLASS:
            return Interval(reason=no_interval(number, clusters.unit, " of one class"))
    return _interval(auroc_bounds(positive, np.asarray(scores, dtype=np.float64), clusters.members))


def _interval(bounds: Bounds) -> Interval:
    return Interval(float(bounds[0]), float(bounds[1]))
