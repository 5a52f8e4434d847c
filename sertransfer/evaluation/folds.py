"""AUROC of scores that several fits gave: pairs are counted within folds only.

Scores of different fits have different scales and offsets. Where folds are stratified, a fit whose training
part has more positives gives higher scores to a held-out part that has fewer, so that pairs across folds pull
the AUROC below the folds' own, and below 0.5 where there is nothing to find.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import expit, logit

from sertransfer.evaluation.significance import FEWEST_CLUSTERS

Floats = NDArray[np.float64]


def auroc_within(
    positive: ArrayLike, scores: ArrayLike, folds: ArrayLike, weights: ArrayLike | None = None
) -> float | None:
    """Return the share of pairs, a positive and a negative item of one fold, that are in order; ties half.

    Args:
        positive: Truth, shape ``(items,)``, boolean.
        scores: Higher = more likely positive, shape ``(items,)``.
        folds: The fold of each item, shape ``(items,)``.
        weights: Of the items, 1 if not given; a pair weighs the product.

    Returns:
        ``None`` where no fold holds both classes.
    """
    won, pairs = _pairs(positive, scores, folds, weights)
    return float(won.sum() / pairs.sum()) if pairs.sum() > 0 else None


def auroc_within_interval(
    positive: ArrayLike,
    scores: ArrayLike,
    folds: ArrayLike,
    clusters: Sequence[str],
    *,
    confidence: float = 0.95,
) -> tuple[float, float] | None:
    """Return the interval of :func:`auroc_within` by leaving out one cluster of a fold at a time.

    The variance is that of the stratified jackknife, at least that of Hanley and McNeil (1982) in each fold,
    so that the interval has a width where all pairs are in order. It is Student's t interval of the logit,
    with clusters less folds degrees of freedom, around the value and around the value with half a pair added
    to either side. It says how well the score of these fits is known, not how
    another training would end.

    Args:
        positive: Truth, shape ``(items,)``, boolean.
        scores: Shape ``(items,)``.
        folds: The fold of each item, shape ``(items,)``.
        clusters: The cluster of each item, shape ``(items,)``; whole within a fold.
        confidence: Coverage asked for.

    Returns:
        ``None`` with fewer than :data:`~sertransfer.evaluation.significance.FEWEST_CLUSTERS` clusters, or
        where no fold holds both classes.
    """
    truth, values, of_fold = np.asarray(positive, dtype=bool), np.asarray(scores), np.asarray(folds)
    names = np.asarray(clusters, dtype=str)
    count = len(np.unique(names))
    won, pairs = _pairs(truth, values, of_fold, None)
    total = float(pairs.sum())
    if count < FEWEST_CLUSTERS or total == 0:
        return None
    whole = float(won.sum())
    variance = 0.0
    smaller = min(truth.sum(), (~truth).sum())
    shrunk = (whole / total * smaller + 0.5) / (smaller + 1)
    for place, fold in enumerate(np.unique(of_fold)):
        inside = of_fold == fold
        own = np.unique(names[inside])
        without = []
        for name in own:
            kept = inside & (names != name)
            fewer_won, fewer = _pairs(truth[kept], values[kept], of_fold[kept], None)
            rest = total - pairs[place] + fewer.sum()
            if rest > 0:
                without.append((whole - won[place] + fewer_won.sum()) / rest)
        if len(own) > 1:
            spread = np.asarray(without)
            variance += (len(own) - 1) / len(own) * float(np.square(spread - spread.mean()).sum())
    quantile = float(stats.t.ppf((1 + confidence) / 2, max(1, count - len(np.unique(of_fold)))))
    value, shares = whole / total, pairs / total
    bounds = [value]
    for middle in {shrunk, value} - {0.0, 1.0}:  # the shrunk one has a width, the plain one is not pulled in
        least = sum(
            share**2 * _hanley_mcneil(middle, truth[of_fold == fold])
            for share, fold in zip(shares, np.unique(of_fold), strict=True)
            if share > 0
        )
        around = quantile * float(np.sqrt(max(variance, least))) / (middle * (1 - middle))
        bounds += [float(expit(logit(middle) + side * around)) for side in (-1, 1)]
    return min(bounds), max(bounds)


def _pairs(
    positive: ArrayLike, scores: ArrayLike, folds: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats]:
    """Return the weight of the pairs in order, and of all pairs, of each fold, in the order of its name."""
    truth = np.asarray(positive, dtype=bool)
    values, of_fold = np.asarray(scores, dtype=np.float64), np.asarray(folds)
    amounts = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
    names = np.unique(of_fold)
    won, pairs = np.zeros(len(names)), np.zeros(len(names))
    for place, name in enumerate(names):
        inside = of_fold == name
        _, level = np.unique(values[inside], return_inverse=True)
        up = np.bincount(level, amounts[inside] * truth[inside])
        down = np.bincount(level, amounts[inside] * ~truth[inside])
        below = np.cumsum(down) - down
        won[place] = float(up @ (below + down / 2))
        pairs[place] = up.sum() * down.sum()
    return won, pairs


def _hanley_mcneil(area: float, truth: NDArray[np.bool_]) -> float:
    """Return the variance of an AUROC of *area* among so many positives and negatives."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    both_up, both_down = area / (2 - area), 2 * area**2 / (1 + area)
    parts = area * (1 - area)
    parts += (positives - 1) * (both_up - area**2) + (negatives - 1) * (both_down - area**2)
    return parts / (positives * negatives)
