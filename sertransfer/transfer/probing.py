"""Mode ``probe``: from embedded sentences to scored sentences and decided subjects, without touching a file.

Everything that is chosen (C, the threshold) is chosen on the training subjects; the reported split is
scored once, with what was chosen (paper, section 3.3).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import pandas as pd

from sertransfer.aggregation import aggregate
from sertransfer.errors import bad_input
from sertransfer.transfer.embedding_set import EmbeddingSet
from sertransfer.transfer.probe import Probe
from sertransfer.transfer.selection import (
    Selection,
    choose_c,
    choose_threshold,
    count_warnings,
    fit_probe,
    training_set,
)
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.subjects import Part

UNDECIDED_RULE = (
    "its score is the share of positive training subjects, its prediction their majority class "
    "(the negative one if they are as many)"
)
"""What becomes of a reported subject none of whose sentences could be embedded: it is never dropped."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What probing found.

    Attributes:
        train: Training part, embedded sentences only, with their ``duration``; all its subjects.
        reported: Reported part, likewise.
        selection: The chosen C, and the solvers' warnings of all fits.
        threshold: Of subject scores.
        probe: Fitted on all training sentences.
        out_of_fold: Training sentences with out-of-fold ``score``.
        train_subjects: Training subjects with out-of-fold ``score`` and ``prediction``.
        sentences: Reported sentences with ``score``.
        subjects: Reported subjects with ``score, prediction, sentences, undecided``.
    """

    train: Part
    reported: Part
    selection: Selection
    threshold: float
    probe: Probe
    out_of_fold: pd.DataFrame
    train_subjects: pd.DataFrame
    sentences: pd.DataFrame
    subjects: pd.DataFrame


def probe_subjects(parts: tuple[Part, Part], stored: EmbeddingSet, config: TransferConfig) -> Outcome:
    """Choose, fit and score.

    Args:
        parts: Training and reported part.
        stored: Embeddings; sentences without one are left out.
        config: Settings.

    Raises:
        BadInput: If too little could be embedded, or the training subjects allow no inner folds.
    """
    train, reported = (embedded_part(part, stored) for part in parts)
    _check_enough(train, reported)
    training = training_set(train, stored, config)
    selection = choose_c(training, config)
    out_of_fold = train.sentences.assign(score=selection.out_of_fold)
    train_subjects = _with_clusters(aggregate(out_of_fold, config.aggregation, top_k=config.top_k), train)
    threshold = choose_threshold(train_subjects, config.threshold, config.positive)
    train_subjects["prediction"] = _decisions(train_subjects["score"] >= threshold, config)
    probe, messages = fit_probe(training, selection.c, config)
    count_warnings(selection.warnings, messages)
    for text, count in selection.warnings.items():
        _log.warning("%d of the probe's fits: %s", count, text)
    ids = reported.sentences["id"].tolist()
    sentences = reported.sentences.assign(score=probe.score(stored.select(ids)))
    return Outcome(
        train,
        reported,
        selection,
        threshold,
        probe,
        out_of_fold,
        train_subjects,
        sentences,
        _decide(sentences, train, reported, threshold, config),
    )


def embedded_part(part: Part, stored: EmbeddingSet) -> Part:
    """Return *part* with the sentences that have an embedding, and their ``duration``."""
    durations = pd.Series(stored.durations, index=stored.ids)
    kept = part.sentences[part.sentences["id"].isin(stored.ids)].reset_index(drop=True)
    return replace(part, sentences=kept.assign(duration=kept["id"].map(durations).astype(float)))


def _check_enough(train: Part, reported: Part) -> None:
    for part, needed in ((train, 2), (reported, 1)):
        if (found := part.sentences["label"].nunique()) < needed:
            raise bad_input(
                f"split '{part.subjects['split'].iloc[0]}'",
                found=f"sentences of {found} class(es), after leaving out what could not be embedded",
                expected=f"sentences of {needed}",
                remedy="repair the recordings that were left out",
            )


def _with_clusters(subjects: pd.DataFrame, part: Part) -> pd.DataFrame:
    clusters = part.subjects.set_index("subject")["cluster"]
    return subjects.assign(cluster=subjects["subject"].map(clusters))


def _decisions(positive: pd.Series[bool], config: TransferConfig) -> list[str]:
    return [config.positive if decided else config.negative for decided in positive]


def _decide(
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
    subjects["prediction"] = _decisions(positive, config)
    for name in subjects.loc[subjects["undecided"], "subject"]:
        _log.warning("no sentence of subject %s could be embedded: undecided", name)
    return subjects
