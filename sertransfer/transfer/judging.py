"""What a run's scores are worth: calibration, audit by group, and the shortcuts that they must beat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sertransfer.evaluation.calibration import (
    brier,
    correct_prevalence,
    expected_calibration_error,
    reliability,
)
from sertransfer.manifest import Manifest
from sertransfer.transfer.audit import audit_groups
from sertransfer.transfer.interviewer import Listen
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.shortcuts import shortcut_rows
from sertransfer.transfer.subjects import Part

BINS = {"subject": 5, "sentence": 10}
"""Parts of [0, 1] that scores are sorted into; fewer where there are fewer items."""


def judge(
    config: TransferConfig,
    manifest: Manifest,
    train: Part,
    reported: Part,
    *,
    sentences: pd.DataFrame,
    subjects: pd.DataFrame,
    cache: Path,
    progress: bool = True,
    listen: Listen | None = None,
) -> dict[str, Any]:
    """Return the blocks ``calibration``, ``audit`` and, unless switched off, ``shortcuts``.

    Args:
        config: Settings.
        manifest: Sentences, with gender and age where known.
        train: Training part, with the ``duration`` of its usable sentences.
        reported: Reported part, likewise.
        sentences: Reported sentences with ``label, score, duration``.
        subjects: Reported subjects with ``label, score, prediction, cluster``.
        cache: Folder that keeps the sentences' loudness.
        progress: Whether a bar is shown.
        listen: See :func:`sertransfer.transfer.shortcuts.shortcut_rows`.

    Raises:
        BadInput: If a sentence can not be read for its loudness.
    """
    assumed = assumed_share(config, train)
    blocks: dict[str, Any] = {
        "calibration": {
            "subject": calibration(
                subjects, config.positive, BINS["subject"], assumed, _share(train.subjects, config)
            ),
            "sentence": calibration(
                sentences, config.positive, BINS["sentence"], assumed, _share(train.sentences, config)
            ),
            "corrected_to": "share of positives in the training part: of its subjects, and of its sentences",
            "note": "a subject's score is what its aggregation gives; under a majority vote it is a share of "
            "sentences, and no probability was meant",
        },
        "audit": audit_groups(manifest, subjects, sentences, config),
    }
    if config.shortcuts:
        blocks |= shortcut_rows(
            config, manifest, train, reported, cache=cache, progress=progress, listen=listen
        )
    return blocks


def assumed_share(config: TransferConfig, train: Part) -> float:
    """Return the share of positives, by weight, that scores were trained with.

    Args:
        config: Settings of the run.
        train: Training part, usable sentences only.
    """
    if config.mode == "finetune" or config.probe.balance_classes:
        return 0.5  # fine-tuning samples both classes alike
    if config.probe.balance_subjects:
        return _share(train.sentences.drop_duplicates("subject"), config)
    return _share(train.sentences, config)


def _share(items: pd.DataFrame, config: TransferConfig) -> float:
    return float((items["label"] == config.positive).mean())


def calibration(
    items: pd.DataFrame, positive: str, bins: int, assumed: float, prevalence: float
) -> dict[str, Any]:
    """Return how far the ``score`` of *items* can be read as the probability of *positive*.

    Args:
        items: Columns ``label`` and ``score``; where ``undecided`` is true, the score is a prevalence.
        positive: The positive label.
        bins: Number of bins.
        assumed: Share of positives that the scores were trained with.
        prevalence: Share that they are corrected to first, see
            :func:`sertransfer.evaluation.calibration.correct_prevalence`.

    Returns:
        ``assumed`` and ``prevalence``; of the corrected scores ``brier``, ``ece``, the expected calibration
        error, and ``bins``, see :func:`sertransfer.evaluation.calibration.reliability`; ``brier_of_share``,
        that of answering the items' own share of positives to all; and ``uncorrected``, ``brier`` and
        ``ece`` of the scores as they are.
    """
    truth = (items["label"] == positive).to_numpy(bool)
    scores = items["score"].to_numpy(float)
    corrected = correct_prevalence(scores, assumed, prevalence)
    if "undecided" in items:
        corrected = np.where(items["undecided"].to_numpy(bool), scores, corrected)
    share = float(truth.mean())
    return {
        "assumed": assumed,
        "prevalence": prevalence,
        "brier": brier(truth, corrected),
        "brier_of_share": share * (1 - share),
        "ece": expected_calibration_error(truth, corrected, bins=bins),
        "bins": reliability(truth, corrected, bins=bins),
        "uncorrected": {
            "brier": brier(truth, scores),
            "ece": expected_calibration_error(truth, scores, bins=bins),
        },
    }
