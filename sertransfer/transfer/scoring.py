"""The figures of a run: sentences and subjects, each with intervals and the row it must beat.

WA, sensitivity and specificity of subjects have exact binomial (Clopper-Pearson) intervals, where each
subject is a cluster of its own; everything else, and all figures of sentences, resample whole clusters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sertransfer import metrics
from sertransfer.evaluation.folds import auroc_within, auroc_within_interval
from sertransfer.transfer.settings import TransferConfig

SENTENCE_THRESHOLD = 0.5
"""From this score on a sentence counts as positive."""

PAIRS_WITHIN = "within folds: scores of different fits are not compared"
"""What an AUROC over several fits counts."""

Indices = NDArray[np.int64]
Statistic = Callable[[metrics.Matrix], float | None]


def _recall(row: int) -> Statistic:
    def recall(confusion: metrics.Matrix) -> float | None:
        value = float(metrics.recalls(confusion)[row])
        return None if np.isnan(value) else value

    return recall


def _unweighted(confusion: metrics.Matrix) -> float | None:
    return metrics.unweighted_accuracy(confusion) if confusion.sum(axis=1).all() else None


def _f1(row: int) -> Statistic:
    def f1(confusion: metrics.Matrix) -> float | None:
        return float(metrics.f1_scores(confusion)[row]) if confusion[row].any() else None

    return f1


def _macro_f1(confusion: metrics.Matrix) -> float | None:
    return float(metrics.f1_scores(confusion).mean()) if confusion.sum(axis=1).all() else None


class _Scored:
    """Items with truth, decision, score and cluster; figures of all of them and of resamples."""

    def __init__(self, table: pd.DataFrame, predicted: NDArray[np.bool_], config: TransferConfig) -> None:
        self.truth = (table["label"] == config.positive).to_numpy(bool)
        self.predicted = predicted
        self.scores = table["score"].to_numpy(float)
        self.clusters = table["cluster"].astype(str).tolist()
        self.config = config

    def confusion(self, rows: Indices | slice = slice(None)) -> metrics.Matrix:
        """Count (truth, prediction), negative class first."""
        cells = 2 * self.truth[rows] + self.predicted[rows]
        return np.bincount(cells.astype(np.int64), minlength=4).reshape(2, 2)

    def interval(self, statistic: Statistic) -> list[float] | None:
        """Return the cluster-bootstrap interval of a statistic of the confusion matrix."""
        return self._bootstrap(lambda rows: statistic(self.confusion(rows)))

    def auroc_interval(self) -> list[float] | None:
        """Return the cluster-bootstrap interval of the AUROC."""
        return self._bootstrap(lambda rows: metrics.auroc(self.truth[rows], self.scores[rows]))

    def _bootstrap(self, statistic: Callable[[Indices], float | None]) -> list[float] | None:
        bounds = metrics.cluster_bootstrap(
            statistic, self.clusters, resamples=self.config.resamples, seed=self.config.seed
        )
        return None if bounds is None else list(bounds)


def sentence_figures(sentences: pd.DataFrame, config: TransferConfig) -> dict[str, Any]:
    """Return the ``sentence`` block; *sentences* has ``label``, ``score`` and ``cluster``."""
    predicted = (sentences["score"] >= SENTENCE_THRESHOLD).to_numpy(bool)
    items = _Scored(sentences, predicted, config)
    confusion = items.confusion()
    return {
        "n": len(sentences),
        "wa": metrics.weighted_accuracy(confusion),
        "ua": _unweighted(confusion),
        "auroc": metrics.auroc(items.truth, items.scores),
        "wa_ci95": items.interval(metrics.weighted_accuracy),
        "ua_ci95": items.interval(_unweighted),
        "auroc_ci95": items.auroc_interval(),
        "confusion": confusion.tolist(),
        "threshold": SENTENCE_THRESHOLD,
        "majority": metrics.majority_row(confusion),
    }


def subject_figures(subjects: pd.DataFrame, config: TransferConfig) -> dict[str, Any]:
    """Return the ``subject`` block; *subjects* has ``label``, ``score``, ``prediction`` and ``cluster``."""
    predicted = (subjects["prediction"] == config.positive).to_numpy(bool)
    items = _Scored(subjects, predicted, config)
    confusion = items.confusion()
    negatives, positives = (int(total) for total in confusion.sum(axis=1))
    independent = len(set(items.clusters)) == len(subjects)

    def binomial(hits: int, trials: int, statistic: Statistic) -> list[float] | None:
        if not independent:
            return items.interval(statistic)
        bounds = metrics.clopper_pearson(hits, trials)
        return None if bounds is None else list(bounds)

    names = config.classes
    return {
        "n": len(subjects),
        "wa": metrics.weighted_accuracy(confusion),
        "ua": _unweighted(confusion),
        "wa_ci95": binomial(int(np.trace(confusion)), len(subjects), metrics.weighted_accuracy),
        "ua_ci95": items.interval(_unweighted),
        "f1": {name: _f1(row)(confusion) for row, name in enumerate(names)},
        "f1_ci95": {name: items.interval(_f1(row)) for row, name in enumerate(names)},
        "macro_f1": _macro_f1(confusion),
        "macro_f1_ci95": items.interval(_macro_f1),
        "sensitivity": _recall(1)(confusion),
        "sensitivity_ci95": binomial(int(confusion[1, 1]), positives, _recall(1)),
        "specificity": _recall(0)(confusion),
        "specificity_ci95": binomial(int(confusion[0, 0]), negatives, _recall(0)),
        "auroc": metrics.auroc(items.truth, items.scores),
        "auroc_ci95": items.auroc_interval(),
        "confusion": confusion.tolist(),
        "classes": list(names),
        "intervals": {
            "wa, sensitivity, specificity": "Clopper-Pearson" if independent else "cluster bootstrap",
            "others": "cluster bootstrap",
            "cluster": config.cluster,
            "resamples": config.resamples,
        },
    }


def bare_figures(subjects: pd.DataFrame, config: TransferConfig) -> dict[str, Any]:
    """Return WA, UA, AUROC and confusion of subjects, without intervals.

    With a column ``fold`` the scores are of several fits: the AUROC counts pairs within folds.
    """
    items = _Scored(subjects, (subjects["prediction"] == config.positive).to_numpy(bool), config)
    confusion = items.confusion()
    within = "fold" in subjects
    return {
        "n": len(subjects),
        "wa": metrics.weighted_accuracy(confusion),
        "ua": _unweighted(confusion),
        "auroc": auroc_within(items.truth, items.scores, subjects["fold"])
        if within
        else metrics.auroc(items.truth, items.scores),
        **({"auroc_pairs": PAIRS_WITHIN} if within else {}),
        "confusion": confusion.tolist(),
    }


def within_folds(subjects: pd.DataFrame, config: TransferConfig) -> dict[str, Any]:
    """Return what replaces the AUROC of :func:`subject_figures` where each ``fold`` is scored by its own fit.

    Returns:
        ``auroc``, ``auroc_ci95``, and how they were found: ``auroc_pairs`` and ``auroc_interval``.
    """
    truth, folds = (subjects["label"] == config.positive).to_numpy(bool), subjects["fold"]
    clusters = subjects["cluster"].astype(str).tolist()
    bounds = auroc_within_interval(truth, subjects["score"], folds, clusters)
    return {
        "auroc": auroc_within(truth, subjects["score"], folds),
        "auroc_ci95": None if bounds is None else list(bounds),
        "auroc_pairs": PAIRS_WITHIN,
        "auroc_interval": f"clusters ({config.cluster}) left out one at a time within folds",
    }


def majority(items: pd.DataFrame) -> dict[str, float]:
    """Return WA and UA of always answering the most frequent ``label`` of *items*."""
    return metrics.majority_row(np.diag(items["label"].value_counts().to_numpy(np.int64)))
