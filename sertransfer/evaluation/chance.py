"""Decisions against chance: whether UA differs from that of a constant answer, and WA from its best one.

Two statements, each wrong by chance in at most 2.5 % of runs a side (``benchmarks/interval_coverage.py``):

- UA, against one over the classes. The interval must lie on one side of it, and, where every item is its own
  cluster, an exact test must agree: Boschloo's of two classes, a permutation of the labels of several.
- WA, against always answering the most frequent class: the exact McNemar test, which asks whether half of the
  items that one of the two alone has right are the run's. With clusters, the interval of this share.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sertransfer.evaluation.intervals import Clusters, recall_mean_bounds, share_bounds

TAIL = 0.025
"""False alarms of a statement, on each side."""

UA_CONFIDENCE = 0.975
"""Of the interval that decides about UA with clusters: 95 % has up to 6 % false alarms a side."""

WA_CONFIDENCE = 0.995
"""Of the one that decides about WA: clusters differ unevenly there, and 99 % has up to 3.6 %."""

State = Literal["above", "below", "open"]

_TABLES = 20_000
"""Random tables behind the permutation test of several classes."""

_LARGEST = 40_000
"""Pairs of hits up to which Boschloo's test is computed; Fisher's, nearly as powerful there, beyond."""


def independence_test(confusion: NDArray[np.int64]) -> tuple[float, float]:
    """Return the one-sided p that UA is above, and below, that of decisions independent of the truth.

    Args:
        confusion: Rows = truth, two classes or more, each with an item.
    """
    if len(confusion) == 2:
        return _two_classes(confusion)
    return _permuted(confusion)


def _two_classes(confusion: NDArray[np.int64]) -> tuple[float, float]:
    negatives, positives = (int(total) for total in confusion.sum(axis=1))
    hits, alarms = int(confusion[1, 1]), int(confusion[0, 1])
    above = fisher_above(np.array([hits]), np.array([alarms]), positives, negatives)[0]
    misses, kept = positives - hits, negatives - alarms
    below = fisher_above(np.array([misses]), np.array([kept]), positives, negatives)[0]
    if (positives + 1) * (negatives + 1) > _LARGEST:
        return float(above), float(below)
    table = boschloo_table(positives, negatives)
    return float(table[hits, alarms]), float(table[misses, kept])


def fisher_above(
    hits: NDArray[np.int64], alarms: NDArray[np.int64], positives: int, negatives: int
) -> NDArray[np.float64]:
    """Return Fisher's one-sided p that positives are called positive more often than negatives are."""
    return np.asarray(stats.hypergeom.sf(hits - 1, positives + negatives, positives, hits + alarms))


def boschloo_table(positives: int, negatives: int) -> NDArray[np.float64]:
    """Return Boschloo's one-sided p of all hits (rows) and false alarms (columns), from 0 on.

    It is the largest probability, over the common rate of calling an item positive, that Fisher's p is as
    small as here (Boschloo, "Raised conditional level of significance for the 2x2-table", Statistica
    Neerlandica 24, 1970). ``scipy.stats.boschloo_exact`` gives the same one pair at a time.
    """
    hits, alarms = np.meshgrid(np.arange(positives + 1), np.arange(negatives + 1), indexing="ij")
    fisher = fisher_above(hits.ravel(), alarms.ravel(), positives, negatives)
    order = np.argsort(fisher, kind="stable")
    ranked = fisher[order]
    last = np.searchsorted(ranked, ranked * (1 + 1e-7), side="right") - 1
    found = np.zeros(len(order))
    for rate in np.linspace(0, 1, 401)[1:-1]:
        chance = stats.binom.pmf(np.arange(positives + 1), positives, rate)[:, None]
        chance = chance * stats.binom.pmf(np.arange(negatives + 1), negatives, rate)
        found = np.maximum(found, np.cumsum(chance.ravel()[order])[last])
    table = np.empty(len(order))
    table[order] = np.minimum(found, 1.0)
    return table.reshape(hits.shape)


def against_constant(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, clusters: Clusters
) -> dict[str, Any]:
    """Compare decisions with always giving one answer.

    Args:
        truth: Number of the true class, shape ``(items,)``.
        predicted: Number of the class decided on, the same shape.
        classes: Their number; those without an item are left out of UA.
        clusters: Of the items.

    Returns:
        ``ua``: ``state`` (``above``, ``below``, ``open``), ``chance``, ``test``, ``p`` (two-sided: twice the
        smaller one-sided one; ``None`` of clusters) and ``reason`` where nothing can be said; ``wa``: the
        same, and ``gained`` and ``lost``, items that only the run (only the constant) has right.
    """
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    totals = confusion.sum(axis=1)
    held = np.flatnonzero(totals)
    common = int(totals.argmax())
    right = truth == predicted
    gained, lost = right & (truth != common), ~right & (truth == common)
    ua: dict[str, Any] = {
        "state": "open",
        "chance": float(1 / len(held)),
        "test": "",
        "p": None,
        "reason": "",
    }
    wa: dict[str, Any] = {
        "state": "open",
        "gained": int(gained.sum()),
        "lost": int(lost.sum()),
        "test": "",
        "p": None,
        "reason": "",
    }
    if len(held) < 2:
        ua["reason"] = wa["reason"] = "all items are of one class"
        return {"ua": ua, "wa": wa}
    if clusters.reason:
        ua["reason"] = wa["reason"] = clusters.reason
        return {"ua": ua, "wa": wa}
    sizes, hits = clusters.counts(truth, right, classes)
    level = 0.95 if clusters.independent else UA_CONFIDENCE
    low, high = recall_mean_bounds(hits[:, held], sizes[:, held], confidence=level)
    state = _state(float(low), float(high), ua["chance"])
    if clusters.independent:
        extra = np.setdiff1d(np.arange(classes), held)
        kept = confusion[np.ix_(held, [*held, *extra])]
        above, below = _exact(kept, len(held))
        agreed = (state == "above" and above <= TAIL) or (state == "below" and below <= TAIL)
        name = "Boschloo's exact test" if len(held) == 2 else "permutation test"
        ua |= {"state": state if agreed else "open", "p": min(1.0, 2 * min(above, below)), "test": name}
    else:
        ua |= {"state": state, "test": f"{UA_CONFIDENCE:.1%} interval over {clusters.unit}"}
    return {"ua": ua, "wa": wa | _wa(gained, lost, clusters)}


def _exact(confusion: NDArray[np.int64], held: int) -> tuple[float, float]:
    """Return the tests' p; decisions for classes without an item count as one more, always wrong answer."""
    if confusion[:, held:].any():
        rows = np.zeros((held, held + 1), dtype=np.int64)
        rows[:, :held], rows[:, held] = confusion[:, :held], confusion[:, held:].sum(axis=1)
        return _permuted(rows)
    square = confusion[:, :held]
    return independence_test(square)


def _permuted(confusion: NDArray[np.int64]) -> tuple[float, float]:
    totals, taken = confusion.sum(axis=1), confusion.sum(axis=0)
    tables = stats.random_table(totals, taken).rvs(size=_TABLES, random_state=np.random.default_rng(0))
    drawn = (np.diagonal(tables, axis1=-2, axis2=-1) / totals).sum(axis=-1)
    seen = float((np.diagonal(confusion) / totals).sum())
    above = (1 + int((drawn >= seen - 1e-9).sum())) / (_TABLES + 1)
    below = (1 + int((drawn <= seen + 1e-9).sum())) / (_TABLES + 1)
    return above, below


def _wa(gained: NDArray[np.bool_], lost: NDArray[np.bool_], clusters: Clusters) -> dict[str, Any]:
    differing = int(gained.sum() + lost.sum())
    if not differing:
        return {"p": 1.0, "test": "exact McNemar test"}
    if clusters.independent:
        p = float(stats.binomtest(int(gained.sum()), differing, 0.5).pvalue)
        more = gained.sum() > lost.sum()
        state: State = "open" if p > 2 * TAIL else "above" if more else "below"
        return {"state": state, "p": p, "test": "exact McNemar test"}
    totals = clusters.sums(gained | lost)
    low, high = share_bounds(clusters.sums(gained), totals, confidence=WA_CONFIDENCE)
    return {
        "state": _state(float(low), float(high), 0.5),
        "test": f"{WA_CONFIDENCE:.1%} interval over {clusters.unit}",
    }


def _state(low: float, high: float, value: float) -> State:
    return "above" if low > value else "below" if high < value else "open"
