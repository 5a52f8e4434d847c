"""Scores with an explicit set of classes, their intervals, and the row they must beat.

WA is accuracy over all items; UA is the mean of the per-class recalls over the classes of the task.
A class that the truth does not hold makes UA undefined: that is an error, unless the caller leaves
absent classes out by saying so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sertransfer.evaluation import intervals

Matrix = NDArray[np.int64]

CHANCE_AUROC = 0.5
"""AUROC of scores that are all the same."""


def confusion_matrix(truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> Matrix:
    """Count items by true class (rows) and predicted class (columns), in the order of *classes*.

    Raises:
        ValueError: If the lengths differ or a value is not among *classes*.
    """
    if len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} true labels, {len(predicted)} predictions")
    position = {name: index for index, name in enumerate(classes)}
    unknown = sorted({*map(str, truth), *map(str, predicted)} - {str(name) for name in classes})
    if unknown:
        raise ValueError(f"labels {unknown} are not among the classes {list(classes)}")
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, ([position[t] for t in truth], [position[p] for p in predicted]), 1)
    return counts


def recalls(confusion: Matrix) -> NDArray[np.float64]:
    """Return the recall of each class (NaN where the truth holds none of it)."""
    totals = confusion.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.diagonal(confusion, axis1=-2, axis2=-1) / totals, dtype=np.float64)


def weighted_accuracy(confusion: Matrix) -> float:
    """Return WA, the share of items on the diagonal."""
    return float(np.trace(confusion) / confusion.sum())


def unweighted_accuracy(confusion: Matrix, *, absent: str = "error") -> float:
    """Return UA, the mean recall over the classes.

    Args:
        confusion: Rows = truth.
        absent: ``error``, or ``skip`` to leave classes out that the truth does not hold.

    Raises:
        ValueError: If a class is absent from the truth and *absent* is ``error``.
    """
    values = recalls(confusion)
    if absent == "skip":
        return float(np.nanmean(values))
    if np.isnan(values).any():
        raise ValueError(f"class {int(np.flatnonzero(np.isnan(values))[0])} has no item: UA is undefined")
    return float(values.mean())


def f1_scores(confusion: Matrix) -> NDArray[np.float64]:
    """Return F1 of each class; 0 where neither the truth nor the predictions hold it."""
    hits = np.diagonal(confusion)
    sizes = confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.asarray(np.where(sizes > 0, 2 * hits / np.maximum(sizes, 1), 0.0), dtype=np.float64)


def majority_row(confusion: Matrix) -> dict[str, float]:
    """Return WA and UA of always answering the class that the same items hold most often.

    UA is taken over the classes that these items hold.
    """
    totals = confusion.sum(axis=1)
    return {"wa": float(totals.max() / totals.sum()), "ua": float(1 / np.count_nonzero(totals))}


def auroc(positive: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the area under the ROC curve, ties counted half; ``None`` if a class is absent.

    Args:
        positive: Truth, shape ``(items,)``, boolean.
        scores: Higher = more likely positive, shape ``(items,)``.
    """
    truth = np.asarray(positive, dtype=bool)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        return None
    ranks = stats.rankdata(np.asarray(scores, dtype=np.float64))
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def clopper_pearson(successes: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the exact binomial interval of a proportion; ``None`` without trials.

    Examples:
        >>> [round(bound, 3) for bound in clopper_pearson(25, 35)]
        [0.537, 0.854]
    """
    if trials == 0:
        return None
    low, high = intervals.clopper_pearson(successes / trials, trials, confidence=confidence)
    return float(low), float(high)


def cluster_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float | None],
    clusters: Sequence[str],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the percentile interval of *statistic* when whole clusters (speakers) are resampled.

    Args:
        statistic: Takes the positions of the resampled items (repeats included); ``None`` or NaN
            where it is undefined, as UA is without an item of a class.
        clusters: The cluster of each item, shape ``(items,)``.
        resamples: Number of bootstrap samples.
        confidence: Coverage asked for.
        seed: Of the generator: the same input gives the same interval.

    Returns:
        The interval over the resamples where the statistic is defined; ``None`` with fewer than two
        clusters, or where more than one resample in twenty is undefined.
    """
    names, members = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    if len(names) < 2:
        return None
    groups = [np.flatnonzero(members == index) for index in range(len(names))]
    generator = np.random.default_rng(seed)
    values = np.empty(resamples)
    for draw in range(resamples):
        chosen = generator.integers(len(groups), size=len(groups))
        value = statistic(np.concatenate([groups[index] for index in chosen]))
        values[draw] = np.nan if value is None else value
    if np.isnan(values).mean() > 0.05:
        return None
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def accuracy_intervals(
    truth: Sequence[str],
    predicted: Sequence[str],
    classes: Sequence[str],
    clusters: Sequence[str],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, tuple[float, float] | None]:
    """Return the cluster-bootstrap intervals of WA and UA as ``{"wa_ci95", "ua_ci95"}``.

    The confusion matrix of each cluster is counted once and the matrices are resampled, so that the
    cost does not grow with the number of items.
    """
    names, members = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    size = len(classes)
    position = {name: index for index, name in enumerate(classes)}
    counts = np.zeros((len(names), size, size), dtype=np.int64)
    rows, columns = (np.array([position[name] for name in names]) for names in (truth, predicted))
    np.add.at(counts, (members, rows, columns), 1)
    held = np.flatnonzero(counts.sum(axis=(0, 2)))

    def weighted(chosen: NDArray[np.int64]) -> float:
        return weighted_accuracy(counts[chosen].sum(axis=0))

    def unweighted(chosen: NDArray[np.int64]) -> float:
        return float(recalls(counts[chosen].sum(axis=0))[held].mean())

    own = [str(index) for index in range(len(names))]
    return {
        "wa_ci95": cluster_bootstrap(weighted, own, resamples=resamples, seed=seed),
        "ua_ci95": cluster_bootstrap(unweighted, own, resamples=resamples, seed=seed),
    }


def exact_mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> dict[str, float | int]:
    """Compare two sets of decisions on the same items by the exact (binomial) McNemar test.

    Args:
        right_a: Whether A decides each item rightly, shape ``(items,)``, boolean.
        right_b: The same of B.

    Returns:
        ``only_a`` and ``only_b``, the items that one alone has right, and the two-sided ``p``; 1 where they
        differ nowhere.

    Examples:
        >>> exact_mcnemar([True, False, False], [True, True, True])
        {'only_a': 0, 'only_b': 2, 'p': 0.5}
    """
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    different = only_a + only_b
    p = float(stats.binomtest(only_a, different, 0.5).pvalue) if different else 1.0
    return {"only_a": only_a, "only_b": only_b, "p": p}


def predictive_values(
    sensitivity: float, specificity: float, prevalence: float
) -> tuple[float | None, float | None]:
    """Return the positive and the negative predictive value, by Bayes' rule.

    Either is ``None`` where nobody is decided so.

    Examples:
        >>> predictive_values(0.8, 0.9, 0.1)
        (0.4705882352941177, 0.9759036144578314)
    """
    hits, misses = sensitivity * prevalence, (1 - sensitivity) * prevalence
    alarms, rejections = (1 - specificity) * (1 - prevalence), specificity * (1 - prevalence)
    positive = hits / (hits + alarms) if hits + alarms else None
    negative = rejections / (rejections + misses) if rejections + misses else None
    return positive, negative
