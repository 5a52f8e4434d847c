"""Scores of utterances, and everything that a run folder says about them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import nn

from sertransfer.files import write_text
from sertransfer.metrics import (
    accuracy_intervals,
    confusion_matrix,
    majority_row,
    recalls,
    unweighted_accuracy,
    weighted_accuracy,
)
from sertransfer.training.adversarial import fgsm
from sertransfer.training.data import Utterances, load_batches, plan_evaluation
from sertransfer.training.parts import UNKNOWN_SPEAKERS

_log = logging.getLogger(__name__)

Probabilities = NDArray[np.float64]


def choose_device() -> torch.device:
    """Return the first CUDA device, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def predict(
    network: nn.Module,
    utterances: Utterances,
    *,
    longest: int,
    pad: bool,
    batch_size: int,
    workers: int = 0,
    progress: bool = False,
    epsilon: float | None = None,
) -> Probabilities:
    """Return the class probabilities of each utterance, shape ``(items, classes)``, in single precision.

    The network runs where its weights lie, in evaluation mode, and is left in the mode it was in.
    Batches hold equal frame counts only, so that no score depends on the neighbours.

    Args:
        network: ``(batch, 1, mels, frames) -> (batch, classes)``.
        utterances: What to score.
        longest: Frames of the crop.
        pad: Whether every utterance is cut or filled up to *longest*; otherwise it is taken whole.
        batch_size: Most utterances at once.
        workers: Processes that read ahead.
        progress: Whether a bar is shown, on standard error.
        epsilon: Step of an adversarial attack on every utterance before it is scored; ``None`` = no attack.
    """
    device = next(network.parameters()).device
    plans = plan_evaluation(utterances.frames, batch_size=batch_size, longest=longest, pad=pad)
    batches = load_batches(utterances, plans, workers=workers, pin=device.type == "cuda")
    training = network.training
    network.eval()
    rows: list[NDArray[np.float64]] = []
    try:
        with torch.inference_mode():
            for batch in track(
                batches, "scoring", total=len(plans), console=Console(stderr=True), disable=not progress
            ):
                features = batch.features.to(device, non_blocking=True)
                features = features.contiguous(memory_format=torch.channels_last)
                if epsilon is not None:
                    features = fgsm(network, features, batch.targets.to(device), epsilon)
                scores = network(features)
                rows.append(scores.double().softmax(1).cpu().numpy())
    finally:
        network.train(training)
    order = np.concatenate([plan.items for plan in plans])
    probabilities = np.concatenate(rows)
    probabilities[order] = probabilities.copy()
    return probabilities


def score_table(table: pd.DataFrame, probabilities: Probabilities, classes: Sequence[str]) -> pd.DataFrame:
    """Return ``id, speaker, split, label, prediction`` and ``score_<class>`` for each class."""
    scores = table[["id", "speaker", "split", "label"]].reset_index(drop=True)
    scores["prediction"] = [classes[number] for number in probabilities.argmax(axis=1)]
    for number, name in enumerate(classes):
        scores[f"score_{name}"] = probabilities[:, number]
    return scores


def score_metrics(
    scores: pd.DataFrame, classes: Sequence[str], *, absent: str = "error", seed: int = 0
) -> dict[str, Any]:
    """Return the ``utterance`` and ``majority`` blocks of ``metrics.json``.

    Intervals resample speakers; with fewer than two known speakers they resample utterances and say so.

    Args:
        scores: What :func:`score_table` gives; may be empty, all scores being ``None`` then.
        classes: Order of the confusion matrix.
        absent: ``error`` or ``skip``, as in :func:`sertransfer.metrics.unweighted_accuracy`.
        seed: Of the bootstrap.
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
    unit = "speakers" if speakers >= 2 else "utterances"
    clusters = scores["id"] if unit == "utterances" else scores["speaker"].where(known, "? " + scores["id"])
    if unit == "utterances":
        _log.warning("fewer than two speakers are known: intervals resample utterances and are too narrow")
    intervals = accuracy_intervals(truth, predicted, classes, clusters.tolist(), seed=seed)
    found = recalls(confusion)
    return {
        "utterance": {
            "n": len(scores),
            "wa": weighted_accuracy(confusion),
            "ua": unweighted_accuracy(confusion, absent=absent),
            **{name: None if bounds is None else list(bounds) for name, bounds in intervals.items()},
            "intervals_over": unit,
            "speakers": int(speakers),
            "confusion": confusion.tolist(),
            "classes": list(classes),
            "recall": [None if np.isnan(value) else float(value) for value in found],
            "absent": [name for name, value in zip(classes, found, strict=True) if np.isnan(value)],
        },
        "majority": majority_row(confusion),
    }


def score_attack(
    folder: Path, scores: pd.DataFrame, classes: Sequence[str], epsilon: float, *, absent: str, seed: int
) -> dict[str, Any]:
    """Return the ``adversarial`` block of ``metrics.json``, and write the scores it comes from.

    Args:
        folder: The run's; gets ``utterances_adversarial.csv``.
        scores: What :func:`score_table` gives for the generated inputs.
        classes: Order of the confusion matrix.
        epsilon: Step of the attack.
        absent: ``error`` or ``skip``, as in :func:`score_metrics`.
        seed: Of the bootstrap.
    """
    write_scores(folder, scores, "utterances_adversarial.csv")
    metrics = score_metrics(scores, classes, absent=absent, seed=seed)
    return {"adversarial": {"epsilon": epsilon, "utterance": metrics["utterance"]}}


def write_scores(folder: Path, scores: pd.DataFrame, name: str = "utterances.csv") -> None:
    """Write what :func:`score_table` gives, for every scored utterance, as file *name* of *folder*."""
    write_text(folder / name, scores.to_csv(index=False, lineterminator="\n", float_format="%.6g"))


def write_report(folder: Path) -> None:
    """Write ``report.html`` and its plots (confusion as in the paper's Figure 2) from the run's files."""
    from sertransfer.reporting import html  # matplotlib is slow to import

    html.write_report(folder)
