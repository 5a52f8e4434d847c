"""From embedded sentences to decided subjects; C and the threshold are chosen in training subjects."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from sertransfer.errors import bad_input
from sertransfer.evaluation.aggregation import ATTENTION, aggregate
from sertransfer.evaluation.folds import auroc_within
from sertransfer.evaluation.metrics import CHANCE_AUROC, confusion_matrix, unweighted_accuracy
from sertransfer.transfer.data import SubjectSplit
from sertransfer.transfer.embedding_store import EmbeddingSet
from sertransfer.transfer.probe.probe import Booleans, Floats, Probe, Vectors, fit_path, sentence_weights
from sertransfer.transfer.settings import ThresholdConfig, TransferConfig

UNDECIDED_RULE = (
    "its score is the share of positive training subjects, its prediction their majority class "
    "(the negative one if they are as many)"
)
"""What becomes of a reported subject none of whose sentences could be embedded: it is never dropped."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecidedRun:
    """DecidedRun sentences and decided subjects.

    Attributes:
        train: Training part, usable sentences only, with their ``duration``; all its subjects.
        reported: Reported part, likewise.
        threshold: Of subject scores.
        out_of_fold: Training sentences with the ``score`` of something that was not trained on them.
        train_subjects: Their subjects with ``score`` and ``prediction``.
        sentences: Reported sentences with ``score``.
        subjects: Reported subjects with ``score, prediction, sentences, undecided``.
    """

    train: SubjectSplit
    reported: SubjectSplit
    threshold: float
    out_of_fold: pd.DataFrame
    train_subjects: pd.DataFrame
    sentences: pd.DataFrame
    subjects: pd.DataFrame


def usable_part(part: SubjectSplit, durations: pd.Series[float]) -> SubjectSplit:
    """Return *part* with the sentences that *durations*, in seconds by id, holds, and their ``duration``."""
    kept = part.sentences[part.sentences["id"].isin(durations.index)].reset_index(drop=True)
    return replace(part, sentences=kept.assign(duration=kept["id"].map(durations).astype(float)))


def check_enough(train: SubjectSplit, reported: SubjectSplit) -> None:
    """Raise `BadInput` unless both classes are left to train on, and one to report."""
    for part, needed in ((train, 2), (reported, 1)):
        if (found := part.sentences["label"].nunique()) < needed:
            raise bad_input(
                f"split '{part.subjects['split'].iloc[0]}'",
                found=f"sentences of {found} class(es), after leaving out what could not be embedded",
                expected=f"sentences of {needed}",
                remedy="repair the recordings that were left out",
            )


def with_clusters(subjects: pd.DataFrame, part: SubjectSplit) -> pd.DataFrame:
    """Return *subjects* with the ``cluster`` that each has in *part*."""
    clusters = part.subjects.set_index("subject")["cluster"]
    return subjects.assign(cluster=subjects["subject"].map(clusters))


def decisions(positive: pd.Series[bool], config: TransferConfig) -> list[str]:
    """Return the label of each decision."""
    return [config.positive if decided else config.negative for decided in positive]


def decide_subjects(
    sentences: pd.DataFrame,
    train: SubjectSplit,
    reported: SubjectSplit,
    threshold: float,
    config: TransferConfig,
) -> pd.DataFrame:
    """Aggregate to the reported subjects and decide; see :data:`UNDECIDED_RULE`."""
    prior = float((train.subjects["label"] == config.positive).mean())
    found = aggregate(sentences, config.method, top_k=config.top_k).set_index("subject")
    subjects = reported.subjects.copy()
    subjects["undecided"] = ~subjects["subject"].isin(found.index)
    subjects["score"] = subjects["subject"].map(found["score"]).astype(float).fillna(prior)
    subjects["sentences"] = subjects["subject"].map(found["sentences"]).fillna(0).astype(int)
    positive = (subjects["score"] >= threshold).where(~subjects["undecided"], prior > 0.5)
    subjects["prediction"] = decisions(positive, config)
    for name in subjects.loc[subjects["undecided"], "subject"]:
        _log.warning("no sentence of subject %s could be embedded: undecided", name)
    return subjects


@dataclass(frozen=True)
class ChosenC:
    """The chosen C and what it was chosen by.

    Attributes:
        c: Chosen inverse regularisation strength.
        table: One row per C: ``c`` and ``auroc``, the out-of-fold statistic.
        out_of_fold: Scores of the training sentences at the chosen C, shape ``(sentences,)``.
        folds: Number of inner folds used.
        warnings: The solvers' warnings, each with how often it came.
        fold_of: Number of the inner fold that held each sentence out, from 0, shape ``(sentences,)``.
        attention: Weights of the sentences within their subjects, likewise, where they are learnt.
    """

    c: float
    table: list[dict[str, float]]
    out_of_fold: Floats
    folds: int
    warnings: dict[str, int]
    fold_of: NDArray[np.int64]
    attention: Floats | None = None

    def scored(self, sentences: pd.DataFrame) -> pd.DataFrame:
        """Return the training *sentences* with ``score``, ``fold`` and, where it is learnt, ``attention``."""
        table = sentences.assign(score=self.out_of_fold, fold=self.fold_of)
        return table if self.attention is None else table.assign(**{ATTENTION: self.attention})


@dataclass(frozen=True)
class TrainingSet:
    """Training sentences: embeddings ``(sentences, dim)``, classes, subjects and clusters."""

    vectors: Vectors
    positive: Booleans
    subjects: NDArray[np.str_]
    clusters: NDArray[np.str_]

    def weights(self, config: TransferConfig, rows: NDArray[np.int64] | slice = slice(None)) -> Floats:
        """Return the sentence weights among *rows*."""
        return sentence_weights(
            self.positive[rows],
            self.subjects[rows].tolist(),
            balance_subjects=config.probe.balance_subjects,
            balance_classes=config.probe.balance_classes,
        )


def training_set(part: SubjectSplit, stored: EmbeddingSet, config: TransferConfig) -> TrainingSet:
    """Return the training sentences of *part*, all of which must have an embedding."""
    return TrainingSet(
        stored.select(part.sentences["id"].tolist()),
        (part.sentences["label"] == config.positive).to_numpy(bool),
        part.sentences["subject"].to_numpy(np.str_),
        part.sentences["cluster"].to_numpy(np.str_),
    )


def inner_folds(
    training: TrainingSet, config: TransferConfig, folds: int | None = None
) -> list[NDArray[np.int64]]:
    """Return the held-out sentence rows of each fold.

    There are *folds* of them (``config.folds`` if not given), fewer where a class has fewer clusters.

    Raises:
        BadInput: If no two folds keep both classes in training.
    """
    table = pd.DataFrame(
        {"subject": training.subjects, "cluster": training.clusters, "positive": training.positive}
    )
    # one row a subject: a talkative subject must not count more when the classes are spread
    subjects = table.drop_duplicates("subject").reset_index(drop=True)
    clusters = int(subjects.groupby("positive")["cluster"].nunique().min())
    wanted = config.folds if folds is None else folds
    count = min(wanted, clusters)
    held: list[NDArray[np.int64]] = []
    if count >= 2:
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=config.seed)
        for _, rows in splitter.split(subjects, subjects["positive"], subjects["cluster"]):
            inside = np.isin(training.subjects, subjects["subject"].to_numpy(dtype=str)[rows])
            if len(np.unique(training.positive[~inside])) == 2:
                held.append(np.flatnonzero(inside))
    if count < 2 or len(held) < count:
        raise bad_input(
            "training subjects",
            found=f"{clusters} cluster(s) ({config.cluster}) in the smaller class, "
            f"{len(held)} usable fold(s) of {count}",
            expected="folds that leave both classes in training",
            remedy="train on more subjects, or with fewer folds",
        )
    if count < wanted:
        _log.warning(
            "%d folds instead of %d: the smaller class has only %d clusters", count, wanted, clusters
        )
    return held


def choose_c(training: TrainingSet, config: TransferConfig) -> ChosenC:
    """Choose C by the sentence AUROC of out-of-fold scores within folds, each subject weighing the same.

    Pairs of sentences of two folds are not counted: their scores are of two fits, whose offsets differ.
    The AUROC orders candidates on small sets more finely than subject-level UA, which moves in steps of
    one subject, and needs no threshold. Among equals the strongest regularisation is taken. Of an attention
    head it is the subjects' AUROC: what one sentence says by itself is not what the head is trained for.

    Raises:
        BadInput: See :func:`inner_folds`.
    """
    grid = sorted(set(config.probe.grid))
    folds = inner_folds(training, config)
    scores = np.full((len(grid), len(training.positive)), np.nan)
    attention = scores.copy() if config.method == ATTENTION else None
    counts: dict[str, int] = {}
    fold_of = np.full(len(training.positive), -1, dtype=np.int64)
    for number, held in enumerate(folds, start=1):
        fold_of[held] = number - 1
        _log.info("choosing C: inner fold %d of %d", number, len(folds))
        rest = np.setdiff1d(np.arange(len(training.positive)), held)
        path = fit_path(
            training.vectors[rest],
            training.positive[rest],
            training.weights(config, rest),
            grid,
            config.probe,
            seed=config.seed,
            subjects=None if attention is None else training.subjects[rest],
        )
        vectors = training.vectors[held]
        for row, (probe, messages) in enumerate(path):
            scores[row, held] = probe.score(vectors)
            if attention is not None:
                attention[row, held] = probe.attend(vectors, training.subjects[held])
            count_warnings(counts, messages)
    weights = training.weights(config)
    if attention is None:
        aurocs = [auroc_within(training.positive, row, fold_of, weights) for row in scores]
    else:
        aurocs = [_subject_auroc(training, fold_of, *rows) for rows in zip(scores, attention, strict=True)]
    if None in aurocs:
        _log.warning("no inner fold holds out both classes: the smallest C is taken")
    table = [
        {"c": c, "auroc": CHANCE_AUROC if value is None else value}
        for c, value in zip(grid, aurocs, strict=True)
    ]
    best = int(np.argmax([row["auroc"] for row in table]))  # the first of equals: the smallest C
    if len(grid) > 1 and best in (0, len(grid) - 1):
        edge = "smaller" if best == 0 else "larger"
        _log.warning(
            "the chosen C %g is at the edge of its grid (%g to %g): give %s values too with --probe.c_grid",
            *(grid[best], grid[0], grid[-1], edge),
        )
    chosen = None if attention is None else attention[best]
    return ChosenC(grid[best], table, scores[best], len(folds), counts, fold_of, chosen)


def _subject_auroc(
    training: TrainingSet, fold_of: NDArray[np.int64], scores: Floats, attention: Floats
) -> float | None:
    sentences = pd.DataFrame(
        {
            "subject": training.subjects,
            "split": "train",
            "label": training.positive,
            "score": scores,
            ATTENTION: attention,
        }
    )
    subjects = aggregate(sentences, ATTENTION)
    folds = subjects["subject"].map(dict(zip(training.subjects.tolist(), fold_of.tolist(), strict=True)))
    return auroc_within(subjects["label"].astype(bool), subjects["score"], folds)


def count_warnings(counts: dict[str, int], messages: list[str]) -> None:
    """Add *messages* to how often each was seen."""
    for message in messages:
        counts[message] = counts.get(message, 0) + 1


def fit_probe(training: TrainingSet, c: float, config: TransferConfig) -> tuple[Probe, list[str]]:
    """Fit the probe at *c* on all training sentences; also return the solver's warnings."""
    path = fit_path(
        training.vectors,
        training.positive,
        training.weights(config),
        [c],
        config.probe,
        seed=config.seed,
        subjects=training.subjects if config.method == ATTENTION else None,
    )
    return next(path)


def choose_threshold(subjects: pd.DataFrame, rule: ThresholdConfig, positive: str) -> float:
    """Return the threshold of subject scores.

    Args:
        subjects: Out-of-fold scores of the training subjects, columns ``label`` and ``score``.
        rule: ``fixed`` takes its value. ``out_of_fold`` takes, of the middles between neighbouring scores
            and the fixed value, the one of greatest UA, the nearest to the fixed value among equals.
        positive: The positive label.
    """
    if rule.rule == "fixed":
        return rule.value
    scores = np.unique(subjects["score"].to_numpy(float))
    truth = np.where(subjects["label"] == positive, "1", "0").tolist()
    candidates = [rule.value, *((scores[1:] + scores[:-1]) / 2)]

    def rank(threshold: float) -> tuple[float, float]:
        predicted = np.where(subjects["score"] >= threshold, "1", "0").tolist()
        ua = unweighted_accuracy(confusion_matrix(truth, predicted, ["0", "1"]))
        return round(ua, 12), -abs(threshold - rule.value)

    return float(max(candidates, key=rank))


@dataclass(frozen=True)
class Outcome(DecidedRun):
    """What probing found; ``out_of_fold`` holds all training sentences.

    Attributes:
        selection: The chosen C, and the solvers' warnings of all fits.
        probe: Fitted on all training sentences.
    """

    selection: ChosenC
    probe: Probe


def probe_subjects(
    parts: tuple[SubjectSplit, SubjectSplit], stored: EmbeddingSet, config: TransferConfig
) -> Outcome:
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
    train_subjects = with_clusters(aggregate(out_of_fold, config.method, top_k=config.top_k), train)
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
    if config.method == ATTENTION:
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


def embedded_part(part: SubjectSplit, stored: EmbeddingSet) -> SubjectSplit:
    """Return *part* with the sentences that have an embedding, and their ``duration``."""
    return usable_part(part, pd.Series(stored.durations, index=stored.ids))
