"""The figures of a run: sentences and subjects, each with intervals and the row they must beat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sertransfer.evaluation import metrics
from sertransfer.evaluation.chance import against_constant
from sertransfer.evaluation.folds import auroc_within, auroc_within_interval
from sertransfer.evaluation.intervals import Clusters, Interval, auroc_interval, decision_intervals
from sertransfer.transfer.settings import TransferConfig

SENTENCE_THRESHOLD = 0.5
"""From this score on a sentence counts as positive."""

PAIRS_WITHIN = "within folds: scores of different fits are not compared"
"""What an AUROC over several fits counts."""


class _Scored:
    """Items with truth, decision, score and cluster, and their figures."""

    def __init__(
        self, table: pd.DataFrame, predicted: NDArray[np.bool_], config: TransferConfig, unit: str
    ) -> None:
        self.truth = (table["label"] == config.positive).to_numpy(bool)
        self.predicted = predicted
        self.scores = table["score"].to_numpy(float)
        named = unit if config.cluster == "speaker" else f"{config.cluster}s"
        self.clusters = Clusters(table["cluster"].astype(str).tolist(), named)
        self.config = config

    def confusion(self) -> metrics.Matrix:
        """Count (truth, prediction), negative class first."""
        cells = 2 * self.truth + self.predicted
        return np.bincount(cells.astype(np.int64), minlength=4).reshape(2, 2)

    def intervals(self) -> dict[str, Interval]:
        """Return the intervals of decisions and of the AUROC, by the names of ``metrics.json``."""
        truth, predicted = self.truth.astype(np.int64), self.predicted.astype(np.int64)
        found = decision_intervals(truth, predicted, ("negative", "positive"), self.clusters)
        whole = 0 < self.truth.sum() < len(self.truth)
        absent = Interval(reason="no interval: a class has no item")
        return {
            "wa": found["wa"],
            "ua": found["ua"] if whole else absent,
            "macro_f1": found["macro_f1"],
            "sensitivity": found["recall positive"],
            "specificity": found["recall negative"],
            "f1 negative": found["f1 negative"],
            "f1 positive": found["f1 positive"],
            "auroc": auroc_interval(self.truth, self.scores, self.clusters) if whole else absent,
        }

    def against_majority(self) -> dict[str, Any]:
        """Return the comparison with the most frequent class, for the headline."""
        truth, predicted = self.truth.astype(np.int64), self.predicted.astype(np.int64)
        return against_constant(truth, predicted, 2, self.clusters)


def _reasons(found: dict[str, Interval]) -> dict[str, str]:
    return {name: interval.reason for name, interval in found.items() if interval.reason}


def _recall(confusion: metrics.Matrix, row: int) -> float | None:
    value = float(metrics.recalls(confusion)[row])
    return None if np.isnan(value) else value


def _unweighted(confusion: metrics.Matrix) -> float | None:
    return metrics.unweighted_accuracy(confusion) if confusion.sum(axis=1).all() else None


def _f1(confusion: metrics.Matrix, row: int) -> float | None:
    return float(metrics.f1_scores(confusion)[row]) if confusion[row].any() else None


def _macro_f1(confusion: metrics.Matrix) -> float | None:
    return float(metrics.f1_scores(confusion).mean()) if confusion.sum(axis=1).all() else None


def sentence_figures(sentences: pd.DataFrame, config: TransferConfig) -> dict[str, Any]:
    """Return the ``sentence`` block; *sentences* has ``label``, ``score`` and ``cluster``."""
    predicted = (sentences["score"] >= SENTENCE_THRESHOLD).to_numpy(bool)
    items = _Scored(sentences, predicted, config, "subjects")
    confusion, found = items.confusion(), items.intervals()
    shown = {name: found[name] for name in ("wa", "ua", "auroc")}
    return {
        "n": len(sentences),
        "wa": metrics.weighted_accuracy(confusion),
        "ua": _unweighted(confusion),
        "auroc": metrics.auroc(items.truth, items.scores),
        **{f"{name}_ci95": interval.bounds for name, interval in shown.items()},
        "no_interval": _reasons(shown),
        "confusion": confusion.tolist(),
        "threshold": SENTENCE_THRESHOLD,
        "majority": metrics.majority_row(confusion),
    }


def subject_figures(subjects: pd.DataFrame, config: TransferConfig) -> dict[str, Any]:
    """Return the ``subject`` block; *subjects* has ``label``, ``score``, ``prediction`` and ``cluster``."""
    predicted = (subjects["prediction"] == config.positive).to_numpy(bool)
    items = _Scored(subjects, predicted, config, "subjects")
    confusion, found = items.confusion(), items.intervals()
    names, rows = config.classes, ("f1 negative", "f1 positive")
    independent = items.clusters.independent
    return {
        "n": len(subjects),
        "wa": metrics.weighted_accuracy(confusion),
        "ua": _unweighted(confusion),
        "wa_ci95": found["wa"].bounds,
        "ua_ci95": found["ua"].bounds,
        "f1": {name: _f1(confusion, row) for row, name in enumerate(names)},
        "f1_ci95": {name: found[key].bounds for name, key in zip(names, rows, strict=True)},
        "macro_f1": _macro_f1(confusion),
        "macro_f1_ci95": found["macro_f1"].bounds,
        "sensitivity": _recall(confusion, 1),
        "sensitivity_ci95": found["sensitivity"].bounds,
        "specificity": _recall(confusion, 0),
        "specificity_ci95": found["specificity"].bounds,
        "auroc": metrics.auroc(items.truth, items.scores),
        "auroc_ci95": found["auroc"].bounds,
        "no_interval": _reasons(found),
        "against_majority": items.against_majority(),
        "confusion": confusion.tolist(),
        "classes": list(names),
        "intervals": {
            "wa, sensitivity, specificity, f1": "Clopper-Pearson" if independent else "Korn-Graubard",
            "ua": "MOVER of Wilson intervals",
            "macro_f1": "MOVER",
            "auroc": "score interval with DeLong's variance",
            "sizes": "number of subjects" if independent else f"effective, by {config.cluster}",
            "cluster": config.cluster,
        },
    }


def bare_figures(subjects: pd.DataFrame, config: TransferConfig) -> dict[str, Any]:
    """Return WA, UA, AUROC and confusion of subjects, without intervals.

    With a column ``fold`` the scores are of several fits: the AUROC counts pairs within folds.
    """
    predicted = (subjects["prediction"] == config.positive).to_numpy(bool)
    items = _Scored(subjects, predicted, config, "subjects")
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
