"""Nested tuning of the head: outer folds of training subjects score what inner folds choose.

Each outer fold has a study of its own on the other folds' subjects; its best settings are fitted anew to
these, exactly as ``transfer`` does, and score the outer fold's subjects, whom no trial saw. One more study,
on all training subjects, makes the choice that the reported split is scored with.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.trial import FixedTrial

from sertransfer.io.files import hash_value
from sertransfer.io.progress import bar
from sertransfer.reporting.tables import flat
from sertransfer.transfer.data import SubjectSplit
from sertransfer.transfer.decide import embedded_part, inner_folds, probe_subjects, training_set
from sertransfer.transfer.embed import Candidate, candidate_of
from sertransfer.transfer.embedding_store import EmbeddingSet
from sertransfer.transfer.inner_score import OBJECTIVE, InnerData, InnerScore, inner_score
from sertransfer.transfer.scoring import bare_figures, subject_figures, within_folds
from sertransfer.transfer.search_space import TuneConfig, suggest
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.studied import Studied, importance, trial_warnings
from sertransfer.transfer.study import StudyStorage, best_trial, open_study, run_trials

SHARED = (
    "standardisation and principal axes were fitted once to each study's training subjects, for each layer "
    "and pooling, and shared by its trials: in them inner scores have seen the inner held-out subjects' "
    "embeddings, but no label; outer scores have seen nothing of the outer subjects"
)
NO_RESULT = ("resamples", "split", "shortcuts", "embedding", "finetune")
"""Settings of a run that change no trial of a probe."""

Sets = Mapping[Candidate, EmbeddingSet]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tuned:
    """What tuning found.

    Attributes:
        config: Chosen on all training subjects.
        record: The ``tuning`` block of ``metrics.json``.
        trials: Of all studies, see :meth:`Studied.rows`.
        outer_subjects: Training subjects with the ``score``, ``prediction`` and ``fold`` of outer folds.
    """

    config: TransferConfig
    record: dict[str, Any]
    trials: pd.DataFrame
    outer_subjects: pd.DataFrame


def tune_head(
    config: TuneConfig, train: SubjectSplit, stored: Sets, storage: StudyStorage, *, progress: bool = True
) -> Tuned:
    """Choose the head's settings on training subjects.

    Args:
        config: Settings.
        train: Training part.
        stored: Embeddings of each candidate; sentences that one of them lacks are left out.
        storage: Of the studies; finished trials in it are not run again.
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
    studied: list[Studied] = []
    folds: list[dict[str, Any]] = []
    scored: list[pd.DataFrame] = []
    with _bar(progress, (len(outer) + 1) * config.trials) as done, quiet_optuna():
        for number, held in enumerate(outer, start=1):
            inside = np.setdiff1d(everyone, held)
            found = _study(f"outer-{number}", config, _rows(train, inside), stored, storage, done)
            # scored as 'transfer' would score new subjects: nothing shared, everything fitted anew
            parts = _rows(train, inside), _rows(train, held)
            outcome = probe_subjects(parts, stored[candidate_of(found.config)], found.config)
            scored.append(outcome.subjects.assign(fold=number))
            figures = bare_figures(outcome.subjects, found.config)
            folds.append(
                {
                    "fold": number,
                    "inner": found.inner(),
                    "outer": {name: figures[name] for name in ("n", "wa", "ua", "auroc")},
                    "settings": dict(sorted(found.best.params.items())),
                    "warnings": outcome.selection.warnings,
                }
            )
            studied.append(found)
        final = _study("final", config, train, stored, storage, done)
        mattered = importance(final, config)
    studied.append(final)
    subjects = pd.concat(scored, ignore_index=True)
    failing = trial_warnings(studied)
    record = {
        "trials": {
            one.name: {
                state: sum(row["state"] == state for row in one.rows()) for state in ("complete", "pruned")
            }
            for one in studied
        },
        "objective": OBJECTIVE,
        "shared": SHARED,
        "inner": {
            "note": "of the settings chosen on all training subjects: the best of its trials, so too good",
            **final.inner(),
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
        "importance": mattered,
        "warnings": failing,
        "embeddings": [candidate.name for candidate in stored],
    }
    for text, count in failing.items():
        _log.warning("%d of the trials' fits: %s", count, text)
    trials = pd.DataFrame([row for one in studied for row in one.rows()])
    return Tuned(final.config, record, trials, subjects)


def _rows(part: SubjectSplit, rows: NDArray[np.int64]) -> SubjectSplit:
    sentences = part.sentences.iloc[rows].reset_index(drop=True)
    subjects = part.subjects[part.subjects["subject"].isin(sentences["subject"])].reset_index(drop=True)
    return SubjectSplit(sentences, subjects)


def _study(
    name: str,
    config: TuneConfig,
    part: SubjectSplit,
    stored: Sets,
    storage: StudyStorage,
    done: Callable[[str, int], None],
) -> Studied:
    base, space = config.transfer, config.space
    data: dict[Candidate, InnerData] = {}
    study = open_study(
        storage,
        f"{config.study}/{name}",
        _identity(config, part, stored),
        seed=base.seed,
        random_trials=config.random_trials,
    )

    def score(trial: optuna.Trial, settings: TransferConfig) -> float:
        def report(step: int, value: float) -> None:
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned

        wanted = candidate_of(settings)
        if wanted not in data:
            data[wanted] = InnerData(part.sentences, training_set(part, stored[wanted], base), base)
        found: InnerScore = inner_score(data[wanted], settings, space.axes, report)
        trial.set_user_attr("inner", {"ua": found.ua, "auroc": found.auroc, "warnings": found.warnings})
        return found.value

    trials = run_trials(
        study,
        lambda trial: suggest(trial, space, base),
        score,
        config.trials,
        lambda count: done(name, count),
    )
    best = best_trial(trials)
    _log.info("study %s: best of %d trials %.4f", name, len(trials), best.value)
    return Studied(name, trials, best, suggest(FixedTrial(best.params), space, base))


def _identity(config: TuneConfig, part: SubjectSplit, stored: Sets) -> dict[str, Any]:
    """Return all that decides a trial's value, so that a study is never continued with something else."""
    run = {name: value for name, value in asdict(config.transfer).items() if name not in NO_RESULT}
    settings = {**config.protocol(), "transfer": run}
    for name in ("trials", "study"):
        del settings[name]
    columns = part.sentences[["id", "subject", "label", "cluster"]]
    return {
        **flat(settings),
        "objective": OBJECTIVE,
        "embeddings": "; ".join(f"{one.name} {embedded.folder.name}" for one, embedded in stored.items()),
        "training sentences": hash_value(columns.to_csv(index=False))[:32],
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


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's line a trial, and its traceback of an error that is raised, out of the terminal."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
