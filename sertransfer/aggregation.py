"""From a subject's sentence scores to one decision about the subject.

Each method takes scores in [0, 1] (higher = depressed) and durations in seconds, both of shape
``(sentences,)``, and returns one score in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sertransfer.errors import choose

Floats = NDArray[np.float64]


def majority_vote(scores: Floats, durations: Floats) -> float:
    """Return the share of sentences scored 0.5 or more; a tie gives 0.5, which ``>= 0.5`` calls positive."""
    return float(np.mean(scores >= 0.5))


def mean_score(scores: Floats, durations: Floats) -> float:
    """Return the plain mean of the sentence scores."""
    return float(np.mean(scores))


def duration_weighted_mean(scores: Floats, durations: Floats) -> float:
    """Return the mean of the sentence scores, each weighted by its duration."""
    return float(np.average(scores, weights=durations))


METHODS: dict[str, Callable[[Floats, Floats], float]] = {
    "majority": majority_vote,
    "mean": mean_score,
    "duration": duration_weighted_mean,
}


def aggregate(sentences: pd.DataFrame, method: str) -> pd.DataFrame:
    """Aggregate sentence scores by subject, in the order in which the subjects first occur.

    Args:
        sentences: Columns ``subject, split, label, score, duration``; split and label are the subject's.
        method: Name in :data:`METHODS`.

    Returns:
        Columns ``subject, split, label, score, sentences`` (their number).

    Raises:
        BadInput: If *method* is unknown.
    """
    combine = METHODS[choose("aggregation", method, METHODS)]
    rows = [
        {
            "subject": subject,
            "split": group["split"].iloc[0],
            "label": group["label"].iloc[0],
            "score": combine(group["score"].to_numpy(float), group["duration"].to_numpy(float)),
            "sentences": len(group),
        }
        for subject, group in sentences.groupby("subject", sort=False)
    ]
    return pd.DataFrame(rows, columns=["subject", "split", "label", "score", "sentences"])
