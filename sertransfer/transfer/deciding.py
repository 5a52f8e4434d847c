"""From scored sentences to decided subjects, whatever scored the sentences."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import pandas as pd

from sertransfer.errors import bad_input
from sertransfer.evaluation.aggregation import aggregate
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.subjects import Part

UNDECIDED_RULE = (
    "its score is the share of positive training subjects, its prediction their majority class "
    "(the negative one if they are as many)"
)
"""What becomes of a reported subject none of whose sentences could be embedded: it is never dropped."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """Scored sentences and decided subjects.

    Attributes:
        train: Training part, usable sentences only, with their ``duration``; all its subjects.
        reported: Reported part, likewise.
        threshold: Of subject scores.
        out_of_fold: Training sentences with the ``score`` of something that was not trained on them.
        train_subjects: Their subjects with ``score`` and ``prediction``.
        sentences: Reported sentences with ``score``.
        subjects: Reported subjects with ``score, prediction, sentences, undecided``.
    """

    train: Part
    reported: Part
    threshold: float
    out_of_fold: pd.DataFrame
    train_subjects: pd.DataFrame
    sentences: pd.DataFrame
    subjects: pd.DataFrame


def usable_part(part: Part, durations: pd.Series[float]) -> Part:
    """Return *part* with the sentences that *durations*, in seconds by id, holds, and their ``duration``."""
    kept = part.sentences[part.sentences["id"].isin(durations.index)].reset_index(drop=True)
    return replace(part, sentences=kept.assign(duration=kept["id"].map(durations).astype(float)))


def check_enough(train: Part, reported: Part) -> None:
    """Raise `BadInput` unless both classes are left to train on, and one to report."""
    for part, needed in ((train, 2), (reported, 1)):
        if (found := part.sentences["label"].nunique()) < needed:
            raise bad_input(
                f"split '{part.subjects['split'].iloc[0]}'",
                found=f"sentences of {found} class(es), after leaving out what could not be embedded",
                expected=f"sentences of {needed}",
                remedy="repair the recordings that were left out",
            )


def with_clusters(subjects: pd.DataFrame, part: Part) -> pd.DataFrame:
    """Return *subjects* with the ``cluster`` that each has in *part*."""
    clusters = part.subjects.set_index("subject")["cluster"]
    return subjects.assign(cluster=subjects["subject"].map(clusters))


def decisions(positive: pd.Series[bool], config: TransferConfig) -> list[str]:
    """Return the label of each decision."""
    return [config.positive if decided else config.negative for decided in positive]


def decide_subjects(
    sentences: pd.DataFrame, train: Part, reported: Part, threshold: float, config: TransferConfig
) -> pd.DataFrame:
    """Aggregate to the reported subjects and decide; see :data:`UNDECIDED_RULE`."""
    prior = float((train.subjects["label"] == config.positive).mean())
    found = aggregate(sentences, config.aggregation, top_k=config.top_k).set_index("subject")
    subjects = reported.subjects.copy()
    subjects["undecided"] = ~subjects["subject"].isin(found.index)
    subjects["score"] = subjects["subject"].map(found["score"]).astype(float).fillna(prior)
    subjects["sentences"] = subjects["subject"].map(found["sentences"]).fillna(0).astype(int)
    positive = (subjects["score"] >= threshold).where(~subjects["undecided"], prior > 0.5)
    subjects["prediction"] = decisions(positive, config)
    for name in subjects.loc[subjects["undecided"], "subject"]:
        _log.warning("no sentence of subject %s could be embedded: undecided", name)
    return subjects
