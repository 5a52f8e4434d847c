"""Paired tests and intervals of two sets of decisions about the same items, and Holm's correction.

Items of one cluster (the sessions of a person, say) are not independent. The test swaps the two systems in
whole clusters, and the interval takes its variance from whole clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FEWEST_CLUSTERS = 6
"""With fewer clusters there is no interval, and no sign-flip test can reach p = 0.05."""


@dataclass(frozen=True)
class PairedTest:
    """Whether B is right more often than A on the same items.

    Attributes:
        only_a: Items that A alone has right.
        only_b: Items that B alone has right.
        p: Two-sided.
    """

    only_a: int
    only_b: int
    p: float


def sign_flip_test(right_a: ArrayLike, right_b: ArrayLike, clusters: Sequence[str]) -> PairedTest:
    """Compare the number of items that A and B have right by an exact sign-flip test over clusters.

    If A and B are exchangeable, swapping them in any set of clusters is as likely as what was seen. The
    statistic is B's number right minus A's; its distribution over all swaps is computed, not sampled. Where
    every item is a cluster of its own this is the exact McNemar test.

    Args:
        right_a: Whether A decides each item rightly, shape ``(items,)``, boolean.
        right_b: The same of B.
        clusters: The cluster of each item, shape ``(items,)``.

    Examples:
        >>> sign_flip_test([True, False, False], [True, True, True], ["a", "b", "c"])
        PairedTest(only_a=0, only_b=2, p=0.5)
        >>> sign_flip_test([True, False, False], [True, True, True], ["a", "b", "b"])
        PairedTest(only_a=0, only_b=2, p=1.0)
    """
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    gain = b.astype(np.int64) - a.astype(np.int64)
    _, members = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    nets = np.zeros(members.max(initial=-1) + 1, dtype=np.int64)
    np.add.at(nets, members, gain)
    steps = np.abs(nets[nets != 0])
    total = int(steps.sum())
    chances = np.ones(1)  # of the sums -total, -total + 2, ..., total
    for step in steps:
        wider = np.zeros(len(chances) + step)
        wider[: len(chances)] += chances / 2
        wider[step:] += chances / 2
        chances = wider
    sums = np.arange(-total, total + 1, 2)
    p = float(chances[np.abs(sums) >= abs(int(nets.sum()))].sum())
    return PairedTest(int((a & ~b).sum()), int((b & ~a).sum()), min(1.0, p))


def paired_interval(
    gain: ArrayLike, strata: ArrayLike, clusters: Sequence[str], *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Return the interval of the difference of two systems in the mean over strata of their shares right.

    In each stratum (a true class for UA, everything for WA) Bonett and Price's interval of a paired
    difference (2012), which adds one item to each side's count, and so has a width where the systems never
    differ. MOVER (Zou and Donner, 2008) combines the strata. Where clusters hold several items, the counts
    are divided by the design effect: the variance by leaving out one cluster at a time over that of
    independent items, at least 1; the mean size of a cluster where the systems never differ. Quantiles are
    those of Student's t with clusters less strata degrees of freedom.

    Args:
        gain: B right less A right, -1, 0 or 1, shape ``(items,)``.
        strata: The stratum of each item, shape ``(items,)``.
        clusters: The cluster of each item, shape ``(items,)``.
        confidence: Coverage asked for.

    Returns:
        ``None`` with fewer than :data:`FEWEST_CLUSTERS` clusters, or where one cluster holds a whole stratum.
    """
    values = np.asarray(gain, dtype=np.float64)
    strata_names, of_stratum = np.unique(np.asarray(strata), return_inverse=True)
    cluster_names, of_cluster = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    shape = (len(strata_names), len(cluster_names))
    if shape[1] < FEWEST_CLUSTERS:
        return None
    counts, gains, squares = (np.zeros(shape) for _ in range(3))
    for table, amounts in ((counts, np.ones_like(values)), (gains, values), (squares, values**2)):
        np.add.at(table, (of_stratum, of_cluster), amounts)
    sizes = counts.sum(axis=1)
    if (counts == sizes[:, None]).any():
        return None
    means = gains.sum(axis=1) / sizes
    effect = _design_effect(counts, gains, squares)
    quantile = float(stats.t.ppf((1 + confidence) / 2, max(1, shape[1] - shape[0])))
    better, worse = (
        (squares.sum(axis=1) + gains.sum(axis=1)) / 2,
        (squares.sum(axis=1) - gains.sum(axis=1)) / 2,
    )
    low, high = _bonett_price(better / effect, worse / effect, sizes / effect, quantile)
    middle, share = float(means.mean()), 1 / shape[0]
    below = share * float(np.sqrt(np.square(means - low).sum()))
    above = share * float(np.sqrt(np.square(high - means).sum()))
    return max(-1.0, middle - below), min(1.0, middle + above)


def _bonett_price(better: Floats, worse: Floats, sizes: Floats, quantile: float) -> tuple[Floats, Floats]:
    """Return the bounds of each stratum's paired difference of proportions."""
    plus, minus = (better + 1) / (sizes + 2), (worse + 1) / (sizes + 2)
    width = quantile * np.sqrt((plus + minus - (plus - minus) ** 2) / (sizes + 2))
    return plus - minus - width, plus - minus + width


def _design_effect(counts: Floats, gains: Floats, squares: Floats) -> float:
    """Return the variance by clusters over that of independent items; tables are (strata, clusters)."""
    sizes, clusters = counts.sum(axis=1), counts.shape[1]
    if counts.sum() == clusters:  # every item is a cluster of its own
        return 1.0
    means = gains.sum(axis=1) / sizes
    independent = float(np.sum((squares.sum(axis=1) / sizes - means**2) / sizes))
    if independent <= 0:
        return float(counts.sum() / clusters)
    without = ((gains.sum(axis=1)[:, None] - gains) / (sizes[:, None] - counts)).sum(axis=0)
    jackknife = (clusters - 1) / clusters * float(np.square(without - without.mean()).sum())
    return float(max(1.0, jackknife / independent))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method, in the order given.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(values)
    least = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        least = max(least, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = least
    return corrected


def joined_clusters(namings: Sequence[Sequence[str]]) -> list[str]:
    """Return clusters within which everything lies that any of *namings* puts into one cluster.

    Args:
        namings: Each names the cluster of every item, in the same order of items.

    Examples:
        >>> joined_clusters([["a", "a", "b", "c"], ["1", "2", "2", "3"]])
        ['0', '0', '0', '1']
    """
    size = len(namings[0])
    ends: list[Integers] = []
    for number, naming in enumerate(namings):  # items, then the clusters of each naming, are the nodes
        _, members = np.unique(np.asarray(naming, dtype=str), return_inverse=True)
        ends.append(members + size * (number + 1))
    nodes = size * (len(namings) + 1)
    starts = np.tile(np.arange(size), len(namings))
    edges = coo_array((np.ones(len(starts)), (starts, np.concatenate(ends))), shape=(nodes, nodes))
    _, found = connected_components(edges, directed=False)
    return [str(name) for name in found[:size]]
