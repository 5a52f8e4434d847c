"""Whether scores in [0, 1] can be read as probabilities: Brier score, calibration error, reliability."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def correct_prevalence(scores: ArrayLike, assumed: float, prevalence: float) -> Floats:
    """Return scores whose prior odds are those of *prevalence* in place of *assumed*.

    A classifier that was trained with balanced classes gives probabilities for a population in which half are
    positive. The posterior odds are multiplied by the ratio of the prior odds (Saerens, Latinne and
    Decaestecker, 2002); scores of 0 and 1 stay, and so does the order.

    Args:
        scores: In [0, 1], shape ``(items,)``.
        assumed: Share of positives, by weight, that the scores were trained with, in (0, 1).
        prevalence: Share that they are wanted for, in (0, 1).

    Examples:
        >>> correct_prevalence([0.0, 0.5, 0.75, 1.0], 0.5, 0.25).tolist()
        [0.0, 0.25, 0.5, 1.0]
    """
    values = np.asarray(scores, dtype=np.float64)
    both = np.stack([1 - values, values], axis=-1)
    return correct_shares(both, [1 - assumed, assumed], [1 - prevalence, prevalence])[..., 1]


def correct_shares(scores: ArrayLike, assumed: ArrayLike, shares: ArrayLike) -> Floats:
    """Return scores of several classes, as :func:`correct_prevalence` those of two.

    Args:
        scores: Of each class, of sum 1, shape ``(items, classes)``.
        assumed: Share of each class, by weight, that the scores were trained with, above 0.
        shares: Shares that they are wanted for.

    Examples:
        >>> correct_shares([[0.25, 0.25, 0.5]], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.25, 0.25]).tolist()
        [[0.4, 0.2, 0.4]]
    """
    ratio = np.asarray(shares, dtype=np.float64) / np.asarray(assumed, dtype=np.float64)
    weighted = np.asarray(scores, dtype=np.float64) * ratio
    return np.asarray(weighted / weighted.sum(axis=-1, keepdims=True), dtype=np.float64)


def bin_edges(bins: int) -> Floats:
    """Return the edges of *bins* equal parts of [0, 1]; each is the number nearest to its decimal value.

    ``np.linspace`` gives 0.30000000000000004 for 0.3, so that a score of 0.3 would fall below that edge.
    """
    return np.arange(bins + 1) / bins


def bins_of(scores: ArrayLike, bins: int) -> NDArray[np.int64]:
    """Return the number of the bin of each score, from 0; one on an inner edge belongs to the higher bin."""
    values = np.asarray(scores, dtype=np.float64)
    return np.clip(np.searchsorted(bin_edges(bins), values, side="right") - 1, 0, bins - 1).astype(np.int64)


def brier(positive: ArrayLike, scores: ArrayLike) -> float:
    """Return the mean squared difference between scores in [0, 1] and the truth; 0 is best."""
    return float(np.mean((np.asarray(scores, dtype=np.float64) - np.asarray(positive, dtype=bool)) ** 2))


def reliability(positive: ArrayLike, scores: ArrayLike, *, bins: int = 10) -> list[dict[str, float | int]]:
    """Return the observed share of positives by score, in *bins* equal parts of [0, 1]; empty ones left out.

    Args:
        positive: Truth, shape ``(items,)``, boolean.
        scores: In [0, 1], shape ``(items,)``.
        bins: Their number; a score on an inner edge belongs to the higher one.

    Returns:
        Of each bin ``low, high, n``, the mean ``score`` and the share ``positive``.
    """
    truth, values = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=np.float64)
    edges, place = bin_edges(bins), bins_of(values, bins)
    return [
        {
            "low": float(edges[index]),
            "high": float(edges[index + 1]),
            "n": int((place == index).sum()),
            "score": float(values[place == index].mean()),
            "positive": float(truth[place == index].mean()),
        }
        for index in np.unique(place)
    ]


def expected_calibration_error(positive: ArrayLike, scores: ArrayLike, *, bins: int = 10) -> float:
    """Return the mean distance of a bin's mean score from its share of positives, weighted by its items."""
    table = reliability(positive, scores, bins=bins)
    gaps = [row["n"] * abs(row["score"] - row["positive"]) for row in table]
    return float(sum(gaps) / sum(row["n"] for row in table))
