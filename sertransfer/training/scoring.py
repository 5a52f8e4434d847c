"""Scores of utterances, and everything that a run folder says about them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from sertransfer.evaluation.chance import against_constant
from sertransfer.evaluation.intervals import (
    FEWEST_CLUSTERS,
    Clusters,
    Interval,
    decision_intervals,
    no_interval,
)
from sertransfer.evaluation.metrics import (
    confusion_matrix,
    majority_row,
    recalls,
    unweighted_accuracy,
    weighted_accuracy,
)
from sertransfer.fitting.inference import Perturb, Probabilities
from sertransfer.io.files import write_text
from sertransfer.training.adversarial import fgsm
from sertransfer.training.parts import UNKNOWN_SPEAKERS

_log = logging.getLogger(__name__)


def attack(epsilon: float | None) -> Perturb | None:
    """Return the adversarial step of size *epsilon* on what is scored; ``None``, no attack, for ``None``."""
    return None if epsilon is None else partial(_step, epsilon)


def _step(epsilon: float, network: nn.Module, features: Tensor, targets: Tensor) -> Tensor:
    return fgsm(network, features, targets, epsilon)


def score_table(table: pd.DataFrame, probabilities: Probabilities, classes: Sequence[str]) -> pd.DataFrame:
    """Return ``id, speaker, split, label, prediction`` and ``score_<class>`` for each class."""
    scores = table[["id", "speaker", "split", "label"]].reset_index(drop=True)
    scores["prediction"] = [classes[number] for number in probabilities.argmax(axis=1)]
    for number, name in enumerate(classes):
        scores[f"score_{name}"] = probabilities[:, number]
    return scores


def score_metrics(scores: pd.DataFrame, classes: Sequence[str], *, absent: str = "error") -> dict[str, Any]:
    """Return the ``utterance`` and ``majority`` blocks of ``metrics.json``.

    Speakers are the clusters of the intervals; with fewer than six known ones there is none.

    Args:
        scores: What :func:`score_table` gives; may be empty, all scores being ``None`` then.
        classes: Order of the confusion matrix.
        absent: ``error`` or ``skip``, as in :func:`sertransfer.evaluation.metrics.unweighted_accuracy`.
    """
    if scores.empty:
        nothing = dict.fromkeys(["wa", "ua", "wa_ci95", "ua_ci95", "confusion"])
        return {
            "utterance": {"n": 0, **nothing, "classes": list(classes)},
            "majority": {"wa": None, "ua": None},
        }
    truth, predicted = scores["label"].tolist(), scores["prediction"].tolist()
    confusion = confusion_matrix(truth, predicted, classes)
    known = ~scores["speaker"].isin(UNKNOWN_SPEAKERS)
    speakers = scores.loc[known, "speaker"].nunique()
    # utterances of unknown speakers may all be of one person
    clusters = Clusters(scores["speaker"].where(known, "unknown").tolist(), "speakers")
    number = {name: index for index, name in enumerate(classes)}
    rows, columns = (np.array([number[name] for name in names]) for names in (truth, predicted))
    reason = "" if speakers >= FEWEST_CLUSTERS else no_interval(int(speakers), "speakers")
    if reason:
        _log.warning("%s: there are intervals from %d known speakers on", reason, FEWEST_CLUSTERS)
    intervals = {name: Interval(reason=reason) for name in ("wa", "ua")}
    compared = {name: {"state": "open", "reason": reason} for name in ("wa", "ua")}
    if not reason:
        intervals = decision_intervals(rows, columns, classes, clusters)
        compared = against_constant(rows, columns, len(classes), clusters)
    found = recalls(confusion)
    return {
        "utterance": {
            "n": len(scores),
            "wa": weighted_accuracy(confusion),
            "ua": unweighted_accuracy(confusion, absent=absent),
            **{f"{name}_ci95": intervals[name].bounds for name in ("wa", "ua")},
            "no_interval": {name: reason for name in ("wa", "ua") if reason},
            "intervals_over": "speakers",
            "against_majority": compared,
            "speakers": int(speakers),
            "confusion": confusion.tolist(),
            "classes": list(classes),
            "recall": [None if np.isnan(value) else float(value) for value in found],
            "absent": [name for name, value in zip(classes, found, strict=True) if np.isnan(value)],
        },
        "majority": majority_row(confusion),
    }


def score_attack(
    folder: Path, scores: pd.DataFrame, classes: Sequence[str], epsilon: float, *, absent: str
) -> dict[str, Any]:
    """Return the ``adversarial`` block of ``metrics.json``, and write the scores it comes from.

    Args:
        folder: The run's; gets ``utterances_adversarial.csv``.
        scores: What :func:`score_table` gives for the generated inputs.
        classes: Order of the confusion matrix.
        epsilon: Step of the attack.
        absent: ``error`` or ``skip``, as in :func:`score_metrics`.
    """
    write_scores(folder, scores, "utterances_adversarial.csv")
    metrics = score_metrics(scores, classes, absent=absent)
    return {"adversarial": {"epsilon": epsilon, "utterance": metrics["utterance"]}}


def write_scores(folder: Path, scores: pd.DataFrame, name: str = "utterances.csv") -> None:
    """Write what :func:`score_table` gives, for every scored utterance, as file *name* of *folder*."""
    write_text(folder / name, scores.to_csv(index=False, lineterminator="\n", float_format="%.6g"))


def write_report(folder: Path) -> None:
    """Write ``report.html`` and its plots (confusion as in the paper's Figure 2) from the run's files."""
    from sertransfer.reporting import report  # matplotlib is slow to import

    report.write_report(folder)
