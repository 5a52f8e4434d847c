"""Nested cross-validation of probe settings: outer folds score what inner folds choose.

Each outer fold has a study of its own on the other folds' subjects; its best settings are fitted anew to
these, exactly as ``transfer`` does, and score the outer fold's subjects, whom no trial saw. One more study,
on all training subjects, makes the choice that the reported split is scored with.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.trial import FixedTrial, FrozenTrial, TrialState
from scipy.special import expit

from sertransfer.evaluation import metrics
from sertransfer.evaluation.aggregation import ATTENTION, aggregate
from sertransfer.evaluation.folds import auroc_within
from sertransfer.io.files import hash_value
from sertransfer.io.progress import bar
from sertransfer.transfer.data import SubjectSplit
from sertransfer.transfer.decide import (
    TrainingSet,
    choose_threshold,
    count_warnings,
    embedded_part,
    inner_folds,
    probe_subjects,
    training_set,
)
from sertransfer.transfer.embed import Candidate, candidate_of
from sertransfer.transfer.embedding_store import EmbeddingSet
from sertransfer.transfer.probe.attention import AXES, attention_weights, fit_attention
from sertransfer.transfer.probe.classifiers import SLOPES, Floats, Machine, fit_machines, fit_preparation
from sertransfer.transfer.scoring import bare_figures, subject_figures, within_folds
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.tuning.space import TuneConfig
from sertransfer.transfer.tuning.storage import StudyStorage
from sertransfer.transfer.tuning.study import (
    FinishedStudy,
    TunedSettings,
    importance,
    is_number,
    quiet_optuna,
    run_study,
)

OBJECTIVE = "mean of UA and AUROC (pairs within folds) of the training subjects, by their inner folds' scores"
"""The AUROC orders candidates finely, UA alone sees the threshold."""

SHARED = (
    "standardisation and principal axes were fitted once to each study's training subjects, for each layer "
    "and pooling, and shared by its trials: in them inner scores have seen the inner held-out subjects' "
    "embeddings, but no label; outer scores have seen nothing of the outer subjects"
)
OUTER = ["subject", "label", "score", "prediction", "sentences", "fold"]

Sets = Mapping[Candidate, EmbeddingSet]

_log = logging.getLogger(__name__)


def tune_probe(
    config: TuneConfig, train: SubjectSplit, stored: Sets, storage: StudyStorage, *, progress: bool = True
) -> TunedSettings:
    """Choose the settings of a probe on training subjects.

    Args:
        config: Settings.
        train: Training part.
        stored: Embeddings of each candidate; sentences that one of them lacks are left out.
        storage: Of the studies.
        progress: Show a progress bar on standard error.

    Raises:
        BadInput: If there are too few training subjects for the folds, or *storage* holds other studies of
            the same name.
    """
    base = config.transfer
    for embedded in stored.values():
        train = embedded_part(train, embedded)
    everyone = np.arange(len(train.sentences), dtype=np.int64)
    whole = training_set(train, next(iter(stored.values())), base)
    outer = inner_folds(whole, base, config.outer_folds)
    studies: list[FinishedStudy] = []
    folds: list[dict[str, Any]] = []
    scored: list[pd.DataFrame] = []
    with _bar(progress, (len(outer) + 1) * config.trials) as done:
        for number, held in enumerate(outer, start=1):
            inside = _rows(train, np.setdiff1d(everyone, held))
            study = _probe_study(f"outer-{number}", config, inside, stored, storage, done)
            chosen = config.suggest(FixedTrial(study.best.params))
            # scored as 'transfer' would score new subjects: nothing shared, everything fitted anew
            outcome = probe_subjects((inside, _rows(train, held)), stored[candidate_of(chosen)], chosen)
            scored.append(outcome.subjects.assign(fold=number))
            figures = bare_figures(outcome.subjects, chosen)
            folds.append(
                {
                    "fold": number,
                    "inner": _inner(study),
                    "outer": {name: figures[name] for name in ("n", "wa", "ua", "auroc")},
                    "settings": dict(sorted(study.best.params.items())),
                    "warnings": outcome.selection.warnings,
                }
            )
            studies.append(study)
        final = _probe_study("final", config, train, stored, storage, done)
    studies.append(final)
    subjects = pd.concat(scored, ignore_index=True)
    failing: dict[str, int] = {}
    for text, count in (item for study in studies for trial in study.trials for item in _warnings(trial)):
        failing[text] = failing.get(text, 0) + count
    for text, count in failing.items():
        _log.warning("%d of the trials' fits: %s", count, text)
    record = {
        "trials": {study.name: study.counts() for study in studies},
        "objective": OBJECTIVE,
        "shared": SHARED,
        "inner": {
            "note": "of the settings chosen on all training subjects: the best of its trials, so too good",
            **_inner(final),
        },
        "outer": {
            "note": "each training subject by settings chosen, and a probe fitted, without it; settings may "
            "differ from fold to fold, so the AUROC counts pairs of subjects within folds only, and its "
            "interval leaves clusters out within folds",
            **subject_figures(subjects, base),
            **within_folds(subjects, base),
        },
        "folds": folds,
        "best": dict(sorted(final.best.params.items())),
        "importance": setting_importance(config, final),
        "warnings": failing,
        "embeddings": [candidate.name for candidate in stored],
    }
    return TunedSettings(
        config.suggest(FixedTrial(final.best.params)),
        f"Chosen by 'sertransfer tune' on {len(subjects)} training subjects.",
        record,
        {
            "trials.csv": pd.DataFrame([row for study in studies for row in study.rows(_figures)]),
            "outer_subjects.csv": subjects[OUTER],
        },
    )


def _rows(part: SubjectSplit, rows: NDArray[np.int64]) -> SubjectSplit:
    sentences = part.sentences.iloc[rows].reset_index(drop=True)
    subjects = part.subjects[part.subjects["subject"].isin(sentences["subject"])].reset_index(drop=True)
    return SubjectSplit(sentences, subjects)


def _probe_study(
    name: str,
    config: TuneConfig,
    part: SubjectSplit,
    stored: Sets,
    storage: StudyStorage,
    done: Callable[[str, int], None],
) -> FinishedStudy:
    base = config.transfer
    data: dict[Candidate, InnerData] = {}
    columns = part.sentences[["id", "subject", "label", "cluster"]]
    decisive = {
        "objective": OBJECTIVE,
        "embeddings": "; ".join(f"{one.name} {embedded.folder.name}" for one, embedded in stored.items()),
        "training sentences": hash_value(columns.to_csv(index=False))[:32],
    }

    def score(trial: optuna.Trial, settings: TransferConfig) -> float:
        def report(step: int, value: float) -> None:
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned

        wanted = candidate_of(settings)
        if wanted not in data:
            data[wanted] = InnerData(part.sentences, training_set(part, stored[wanted], base), base)
        found = inner_score(data[wanted], settings, config.space.axes, report)
        trial.set_user_attr("inner", {"ua": found.ua, "auroc": found.auroc, "warnings": found.warnings})
        return found.value

    full_name = f"{config.study}/{name}"
    return run_study(storage, full_name, config, decisive, score, lambda count: done(name, count), _odd)


def _odd(trial: FrozenTrial) -> str | None:
    """Return what a finished trial holds that no inner score is, ``None`` if nothing."""
    value = trial.value
    if value is not None and not 0 <= value <= 1:
        return f"the value {value}, outside 0 to 1"
    if trial.state != TrialState.COMPLETE:
        return None
    inner = trial.user_attrs.get("inner")
    if not isinstance(inner, dict):
        return f"the inner figures {inner!r}"
    known = [inner[name] for name in ("ua", "auroc") if inner.get(name) is not None]
    if not all(is_number(one) and 0 <= one <= 1 for one in known):
        return f"the inner figures {inner!r}"
    if not math.isclose(value or 0.0, sum(known) / 2 if len(known) == 2 else 0.0, abs_tol=1e-9):
        return f"the value {value} beside the inner figures {inner!r}"
    warned = inner.get("warnings", {})
    if not isinstance(warned, dict) or not all(type(count) is int for count in warned.values()):
        return f"the warnings {warned!r}"
    return None


def _inner(study: FinishedStudy) -> dict[str, float]:
    """Return the best trial's inner figures."""
    inner = study.best.user_attrs["inner"]
    return {"value": float(study.best.value or 0.0), **{name: inner[name] for name in ("ua", "auroc")}}


def _warnings(trial: FrozenTrial) -> list[tuple[str, int]]:
    """Return the solvers' warnings of a trial's fits, each with how many gave it."""
    return list(trial.user_attrs.get("inner", {}).get("warnings", {}).items())


def _figures(trial: FrozenTrial) -> dict[str, Any]:
    """Return the figures of a probe's trial for ``trials.csv``."""
    warned = dict(_warnings(trial))
    return {
        "value": trial.value if trial.state == TrialState.COMPLETE else None,
        **{name: trial.user_attrs.get("inner", {}).get(name) for name in ("ua", "auroc")},
        "warnings": json.dumps(warned, sort_keys=True) if warned else "",
    }


def setting_importance(config: TuneConfig, study: FinishedStudy) -> dict[str, float]:
    """Return how much each setting mattered; see :func:`sertransfer.transfer.tuning.study.importance`.

    Every trial is spelt out by settings that all of them have, C whatever it belongs to.
    """
    rows = [
        (_spelt_out(config.suggest(FixedTrial(trial.params))), float(trial.value))
        for trial in study.trials
        if trial.state == TrialState.COMPLETE and trial.value is not None
    ]
    with quiet_optuna():
        return importance(rows, config.transfer.seed)


def _spelt_out(config: TransferConfig) -> dict[str, Any]:
    probe = config.probe
    return {
        "probe": probe.head,
        "C": probe.c_grid[0],
        "standardise": probe.standardise,
        "pca": probe.pca,
        "pooling": config.pooling,
        "layer": config.layer or 0,
        "aggregation": config.method,
        "threshold": config.threshold.rule,
    }


@contextmanager
def _bar(progress: bool, total: int) -> Iterator[Callable[[str, int], None]]:
    """Yield what is told a study's name and its number of finished trials."""
    counts: dict[str, int] = {}
    with bar("tuning", total, unit="trials", shown=progress) as shown:

        def done(name: str, count: int) -> None:
            counts[name] = count
            shown.reach(sum(counts.values()), f"tuning, {name}")

        yield done


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
    """Training sentences of one study, with the columns that its trials share.

    Standardisation and principal axes are fitted once to all its sentences; the inner folds only divide what
    comes out. So the means, deviations and axes, which use no label, have seen the subjects that an inner
    fold holds out, and inner scores are a little too good. The outer fold's subjects play no part in them.

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


def inner_score(
    data: InnerData, config: TransferConfig, most: int, report: Callable[[int, float], None]
) -> InnerScore:
    """Return how the settings *config* do on the inner folds.

    Args:
        data: Training sentences of one outer fold.
        config: Settings of the trial, of one C.
        most: Greatest number of principal axes that any trial asks for.
        report: Called after each fold with its number, from 0, and the value over the subjects so far;
            may raise to end the trial.
    """
    learnt = config.method == ATTENTION
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
        settings = config.probe.grid, config.probe
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
    subjects = aggregate(sentences, config.method, top_k=config.top_k)
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
