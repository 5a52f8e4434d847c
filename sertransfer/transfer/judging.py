"""What a run's scores are worth: calibration, audit by group, and the shortcuts that they must beat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer import metrics
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
    blocks: dict[str, Any] = {
        "calibration": {
            "subject": calibration(subjects, config.positive, BINS["subject"]),
            "sentence": calibration(sentences, config.positive, BINS["sentence"]),
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


def calibration(items: pd.DataFrame, positive: str, bins: int) -> dict[str, Any]:
    """Return how far the ``score`` of *items* can be read as the probability of *positive*.

    Returns:
        ``brier``; ``brier_of_share``, that of answering the items' own share of positives to all; ``ece``,
        the expected calibration error; and ``bins``, see :func:`sertransfer.metrics.reliability`.
    """
    truth = (items["label"] == positive).to_numpy(bool)
    scores = items["score"].to_numpy(float)
    share = float(truth.mean())
    return {
        "brier": metrics.brier(truth, scores),
        "brier_of_share": share * (1 - share),
        "ece": metrics.expected_calibration_error(truth, scores, bins=bins),
        "bins": metrics.reliability(truth, scores, bins=bins),
    }
