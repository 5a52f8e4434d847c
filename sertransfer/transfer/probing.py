"""Mode ``probe``: from embedded sentences to scored sentences and decided subjects, without touching a file.

Everything that is chosen (C, the threshold) is chosen on the training subjects; the reported split is
scored once, with what was chosen (paper, section 3.3).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pandas as pd

from sertransfer.evaluation.aggregation import ATTENTION, aggregate
from sertransfer.transfer.deciding import (
    Scored,
    check_enough,
    decide_subjects,
    decisions,
    usable_part,
    with_clusters,
)
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

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome(Scored):
    """What probing found; ``out_of_fold`` holds all training sentences.

    Attributes:
        selection: The chosen C, and the solvers' warnings of all fits.
        probe: Fitted on all training sentences.
    """

    selection: Selection
    probe: Probe


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
    check_enough(train, reported)
    training = training_set(train, stored, config)
    selection = choose_c(training, config)
    out_of_fold = selection.scored(train.sentences)
    train_subjects = with_clusters(aggregate(out_of_fold, config.aggregation, top_k=config.top_k), train)
    fold_of = out_of_fold.drop_duplicates("subject").set_index("subject")["fold"]
    train_subjects["fold"] = train_subjects["subject"].map(fold_of)
    threshold = choose_threshold(train_subjects, config.threshold, config.positive)
    train_subjects["prediction"] = decisions(train_subjects["score"] >= threshold, config)
    probe, messages = fit_probe(training, selection.c, config)
    count_warnings(selection.warnings, messages)
    for text, count in selection.warnings.items():
        _log.warning("%d of the probe's fits: %s", count, text)
    vectors = stored.select(reported.sentences["id"].tolist())
    sentences = reported.sentences.assign(score=probe.score(vectors))
    if config.aggregation == ATTENTION:
        sentences[ATTENTION] = probe.attend(vectors, sentences["subject"].tolist())
    return Outcome(
        train=train,
        reported=reported,
        threshold=threshold,
        out_of_fold=out_of_fold,
        train_subjects=train_subjects,
        sentences=sentences,
        subjects=decide_subjects(sentences, train, reported, threshold, config),
        selection=selection,
        probe=probe,
    )


def embedded_part(part: Part, stored: EmbeddingSet) -> Part:
    """Return *part* with the sentences that have an embedding, and their ``duration``."""
    return usable_part(part, pd.Series(stored.durations, index=stored.ids))
