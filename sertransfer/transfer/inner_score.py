"""What a trial of head tuning is judged by, inside one set of training subjects.

Standardisation and principal axes are fitted once to all sentences of that set and shared by its trials;
the inner folds only divide what comes out. So the means, deviations and axes, which use no label, have
seen the subjects that an inner fold holds out, and inner scores are a little too good. Subjects outside the
set, the outer fold's, play no part in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from sertransfer.evaluation import metrics
from sertransfer.evaluation.aggregation import ATTENTION, aggregate
from sertransfer.evaluation.folds import auroc_within
from sertransfer.transfer.decide import TrainingSet, choose_threshold, count_warnings, inner_folds
from sertransfer.transfer.probe.attention import AXES, attention_weights, fit_attention
from sertransfer.transfer.probe.classifiers import SLOPES, Machine, fit_machines
from sertransfer.transfer.probe.preprocessing import Floats, fit_preparation
from sertransfer.transfer.settings import TransferConfig

OBJECTIVE = "mean of UA and AUROC (pairs within folds) of the training subjects, by their inner folds' scores"
"""The AUROC orders candidates finely, UA alone sees the threshold."""

Report = Callable[[int, float], None]


@dataclass(frozen=True)
class InnerScore:
    """A trial's figures over the subjects of the inner folds; ``None`` where undefined.

    Attributes:
        value: The objective.
        ua: UA of all subjects.
        auroc: AUROC of pairs within folds.
        warnings: The solvers' warnings, each with how many fits gave it.
    """

    value: float
    ua: float | None
    auroc: float | None
    warnings: dict[str, int] = field(default_factory=dict)


@dataclass
class InnerData:
    """Training sentences with the columns that trials share.

    Attributes:
        sentences: Columns ``subject, split, label, duration``.
        training: The same sentences' embeddings, classes and subjects.
        base: Settings that no trial changes: weights, folds, seed.
        held: Held-out sentence rows of each inner fold.
    """

    sentences: pd.DataFrame
    training: TrainingSet
    base: TransferConfig
    held: list[NDArray[np.int64]] = field(init=False)
    _columns: dict[bool, Floats] = field(init=False, default_factory=dict)
    _axes: dict[bool, Floats] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.held = inner_folds(self.training, self.base)

    def columns(self, standardise: bool, pca: int, most: int) -> Floats:
        """Return shared columns, shape ``(sentences, columns)``; *most* axes are found, once."""
        kept = self._axes if pca else self._columns
        if standardise not in kept:
            _, kept[standardise] = fit_preparation(
                self.training.vectors,
                self.training.weights(self.base),
                standardise=standardise,
                pca=most if pca else 0,
                seed=self.base.seed,
            )
        return kept[standardise][:, : pca or None]


def inner_score(data: InnerData, config: TransferConfig, most: int, report: Report) -> InnerScore:
    """Return how the settings *config* do on the inner folds.

    Args:
        data: Training sentences of one outer fold.
        config: Settings of the trial, of one C.
        most: Greatest number of principal axes that any trial asks for.
        report: Called after each fold with its number, from 0, and the value over the subjects so far;
            may raise to end the trial.
    """
    learnt = config.aggregation == ATTENTION
    axes = config.probe.pca or (AXES if learnt else 0)
    columns = data.columns(config.probe.standardise, axes, most)
    positive, names = data.training.positive, data.training.subjects
    scores = np.full(len(positive), np.nan)
    attention = np.full(len(positive), np.nan)
    fold_of = np.full(len(positive), -1)
    slope = SLOPES[config.probe.kind]
    found = InnerScore(0.0, None, None)
    counts: dict[str, int] = {}
    for number, held in enumerate(data.held):
        rest = np.setdiff1d(np.arange(len(positive)), held)
        weights = data.training.weights(config, rest)
        given = columns[rest], positive[rest]
        settings = config.probe.c_grid, config.probe
        machine: Machine
        if learnt:
            machine, head, messages = next(
                fit_attention(*given, names[rest], weights, *settings, seed=config.seed)
            )
            attention[held] = attention_weights(head.energies(columns[held]), names[held])
        else:
            machine, messages = next(fit_machines(*given, weights, *settings, seed=config.seed))
        count_warnings(counts, messages)
        scores[held] = expit(slope * machine.decision(columns[held]))
        fold_of[held] = number
        seen = np.flatnonzero(fold_of >= 0)
        table = data.sentences.iloc[seen].assign(score=scores[seen], fold=fold_of[seen])
        if learnt:
            table[ATTENTION] = attention[seen]
        found = replace(subject_score(table, config), warnings=counts)
        if found.auroc is not None:
            report(number, found.value)
    return found


def subject_score(sentences: pd.DataFrame, config: TransferConfig) -> InnerScore:
    """Return the objective over the subjects of scored sentences, each in one ``fold``.

    A threshold that the settings choose is chosen for each fold on the others, as for new subjects. The AUROC
    counts pairs within folds, see :mod:`sertransfer.evaluation.folds`.
    """
    subjects = aggregate(sentences, config.aggregation, top_k=config.top_k)
    folds = subjects["subject"].map(sentences.drop_duplicates("subject").set_index("subject")["fold"])
    truth = (subjects["label"] == config.positive).to_numpy(bool)
    decided = np.zeros(len(subjects), dtype=bool)
    for number in folds.unique():
        mine = (folds == number).to_numpy(bool)
        threshold = config.threshold.value
        if len(np.unique(truth[~mine])) == 2:  # else there is nothing to choose it on
            threshold = choose_threshold(subjects[~mine], config.threshold, config.positive)
        decided[mine] = subjects["score"].to_numpy(float)[mine] >= threshold
    auroc = auroc_within(truth, subjects["score"], folds)
    if auroc is None:
        return InnerScore(0.0, None, None)
    confusion = np.bincount((2 * truth + decided).astype(np.int64), minlength=4).reshape(2, 2)
    ua = metrics.unweighted_accuracy(confusion)
    return InnerScore((ua + auroc) / 2, ua, auroc)
