"""From a subject's sentence scores to one decision about the subject.

Each method takes scores in [0, 1] (higher = depressed) and durations in seconds, both of shape
``(sentences,)`` with one sentence at least, and returns one score in [0, 1]. A subject's decision is
positive from the run's threshold on (``>=``): a score that ties with it is positive. ``attention`` takes
learned weights where the others take durations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from sertransfer.errors import bad_input, choose

Floats = NDArray[np.float64]

Method = Literal["majority", "mean", "median", "duration", "top_k", "log_odds", "attention"]

TOP_K = 5
"""How many sentences ``top_k`` takes where nothing else is said."""

_CLIP = 1e-6


def majority_vote(scores: Floats, durations: Floats) -> float:
    """Return the share of sentences scored 0.5 or more; a tie gives 0.5, which ``>= 0.5`` calls positive."""
    return float(np.mean(scores >= 0.5))


def mean_score(scores: Floats, durations: Floats) -> float:
    """Return the plain mean of the sentence scores, rounded once: 0.1 and 0.9, however often, give 0.5."""
    return math.fsum(scores) / len(scores)


def median_score(scores: Floats, durations: Floats) -> float:
    """Return the median of the sentence scores; of an even number, the mean of the middle two."""
    return float(np.median(scores))


def duration_weighted_mean(scores: Floats, durations: Floats) -> float:
    """Return the mean of the sentence scores, each weighted by its duration."""
    return math.fsum(scores * durations) / math.fsum(durations)


def top_k_mean(scores: Floats, durations: Floats, top_k: int = TOP_K) -> float:
    """Return the mean of the *top_k* highest scores, of all where there are fewer.

    It asks for some marked sentences, not for most. Who says more has a higher expected maximum: see what
    the number of sentences alone predicts before believing it.
    """
    return mean_score(np.sort(scores)[-top_k:], durations)


def log_odds_sum(scores: Floats, durations: Floats) -> float:
    """Return ``(1 + s / (1 + |s|)) / 2`` of the sum ``s`` of the sentences' log-odds.

    The sum is what independent sentences of equal prior say together; it is above 0.5 exactly where the
    odds' product is above 1. The logistic function of ``s`` would round to 0 or 1 at some ten sentences and
    tie subjects, so a sigmoid with heavier tails keeps their order; its value is no probability. Scores are
    clipped to 1e-6 from 0 and 1, so that one sentence cannot decide alone. Odds that cancel give 0.5 exactly.
    """
    total = _sum_of_log_odds(scores, np.ones(len(scores)))
    return 0.5 * (1 + total / (1 + abs(total)))


def attention_pool(scores: Floats, attention: Floats) -> float:
    """Return the probability whose log-odds are the sentences' log-odds, averaged by their *attention*.

    This is attention pooling over instances (Ilse et al., 2018) under a linear classifier: the class of the
    weighted mean of the sentences' features is the weighted mean of their log-odds. A subject whose pooled
    log-odds are 0 scores 0.5. Scores are clipped as for :func:`log_odds_sum`.
    """
    return float(expit(_sum_of_log_odds(scores, attention) / math.fsum(attention)))


def _sum_of_log_odds(scores: Floats, weights: Floats) -> float:
    """Return the weighted sum of clipped log-odds; 0 where no more than the rounding of the scores is left.

    0.3 and 0.7 cancel, but neither is stored exactly: a score that is off by one unit in the last place moves
    its log-odds by that unit over ``score * (1 - score)``.
    """
    clipped = np.clip(scores, _CLIP, 1 - _CLIP)
    terms = weights * logit(clipped)
    rounding = np.finfo(np.float64).eps * (np.abs(terms) + weights / (clipped * (1 - clipped)))
    total = math.fsum(terms)
    return 0.0 if abs(total) <= math.fsum(rounding) else total


METHODS: dict[str, Callable[[Floats, Floats], float]] = {
    "majority": majority_vote,
    "mean": mean_score,
    "median": median_score,
    "duration": duration_weighted_mean,
    "top_k": top_k_mean,
    "log_odds": log_odds_sum,
    "attention": attention_pool,
}

ATTENTION = "attention"
"""The learned method; also the name of the column that holds each sentence's weight."""


def aggregate(sentences: pd.DataFrame, method: str, *, top_k: int = TOP_K) -> pd.DataFrame:
    """Aggregate sentence scores by subject, in the order in which the subjects first occur.

    Args:
        sentences: Columns ``subject, split, label, score, duration``, for ``attention`` also ``attention``;
            split and label are the subject's.
        method: Name in :data:`METHODS`.
        top_k: Sentences that ``top_k`` takes; the other methods have no use for it.

    Returns:
        Columns ``subject, split, label, score, sentences`` (their number).

    Raises:
        BadInput: If *method* is unknown, *top_k* is no number of sentences, or nothing learnt the
            attention that the method asks for.
    """
    combine = METHODS[choose("aggregation", method, METHODS)]
    weights = "duration"
    if method == ATTENTION:
        weights = ATTENTION
        if ATTENTION not in sentences:
            raise bad_input(
                "aggregation 'attention'",
                found="sentences without attention weights",
                expected="scores of an attention head",
                remedy="use it in mode probe, or choose another aggregation",
            )
    if method == "top_k":
        if top_k < 1:
            raise bad_input(
                "aggregation", found=f"top_k = {top_k}", expected="1 or more", remedy="correct it"
            )
        combine = partial(top_k_mean, top_k=top_k)
    rows = [
        {
            "subject": subject,
            "split": group["split"].iloc[0],
            "label": group["label"].iloc[0],
            "score": combine(group["score"].to_numpy(float), group[weights].to_numpy(float)),
            "sentences": len(group),
        }
        for subject, group in sentences.groupby("subject", sort=False)
    ]
    return pd.DataFrame(rows, columns=["subject", "split", "label", "score", "sentences"])
