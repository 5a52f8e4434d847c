"""Optuna studies that can be interrupted, resumed and shared by processes, and give the same trials.

Every trial draws from a
generator of its own, seeded by the study's seed and the trial's place among those that count, so that a
resumed study goes on as the uninterrupted one. A worker shows by a heartbeat that it is at work; where the
heartbeat stops, the trial counts as failed and its settings are tried again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import StudyDirection
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from sertransfer.errors import Faults, bad_input
from sertransfer.io.files import hash_value
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.tuning.space import FinetuneTuneConfig, TuneConfig
from sertransfer.transfer.tuning.storage import StudyStorage, no_experimental_warnings, reading, study_error

FEWEST = 10
"""Minimum number of complete trials to say which settings mattered."""

_IDENTITY = "sertransfer_identity"
_POLL_SECONDS = 0.5
_RETRY = {"failed_trial", "retry_history"}
"""Attributes that Optuna gives to a trial which repeats another."""
_DRAWN = re.compile(r"tpe:relative_params:\d+")
"""The attribute by which its sampler tells others what a trial at work has drawn."""

Settings = TypeVar("Settings")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """An open study.

    Attributes:
        optuna: Optuna's study.
        storage: Where it is kept.
    """

    optuna: optuna.Study
    storage: StudyStorage

    def trials(self) -> list[FrozenTrial]:
        """Return its trials as they are now, those of dead workers failed and queued again."""
        with reading(self.storage.place):
            found = self.optuna.get_trials(deepcopy=False)
            if any(one.state == TrialState.RUNNING for one in found):
                with no_experimental_warnings():
                    fail_stale_trials(self.optuna)
                found = self.optuna.get_trials(deepcopy=False)
            return found


@dataclass(frozen=True)
class TunedSettings:
    """What a search found.

    Attributes:
        config: The chosen settings.
        note: How they were chosen, in one line.
        record: The ``tuning`` block of ``metrics.json``.
        tables: Tables for the run folder, by file name.
    """

    config: TransferConfig
    note: str
    record: dict[str, Any]
    tables: dict[str, pd.DataFrame]


@dataclass(frozen=True)
class FinishedStudy:
    """What a study found.

    Attributes:
        name: For people.
        trials: Its finished trials, in the order of their draws.
        best: The best of them.
    """

    name: str
    trials: list[FrozenTrial]
    best: FrozenTrial

    def counts(self) -> dict[str, int]:
        """Return how many trials are complete, and how many were pruned."""
        states = [trial.state for trial in self.trials]
        return {state.name.lower(): states.count(state) for state in (TrialState.COMPLETE, TrialState.PRUNED)}

    def rows(self, figures: Callable[[FrozenTrial], dict[str, Any]]) -> list[dict[str, Any]]:
        """Return one row a trial, for ``trials.csv``; *figures* gives the search's own columns."""
        return [
            {
                "study": self.name,
                "trial": place,
                "state": trial.state.name.lower(),
                **figures(trial),
                "best": trial.number == self.best.number,
                "settings": json.dumps(trial.params, sort_keys=True),
            }
            for place, trial in enumerate(self.trials)
        ]


def open_study(
    storage: StudyStorage, name: str, identity: dict[str, Any], *, seed: int, random_trials: int
) -> Study:
    """Open or begin the study *name*, whose trials are those of *identity*.

    Args:
        storage: Where it is kept.
        name: Its name there.
        identity: All that decides what a trial's value is, as flat plain values.
        seed: Of the sampler.
        random_trials: Trials before the sampler learns, and before any is pruned.

    Raises:
        BadInput: If *storage* holds a study of that name with another identity (each difference is named), or
            is damaged.
    """
    with reading(storage.place):
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=_SeededSampler(seed, random_trials),
            pruner=_SnapshotPruner(n_startup_trials=random_trials, n_warmup_steps=0),
            direction="maximize",
            load_if_exists=True,
        )
        found = study.user_attrs.get(_IDENTITY)
        if found is None and not study.get_trials(deepcopy=False):
            study.set_user_attr(_IDENTITY, identity)
            found = identity
        directions = study.directions
    if found != identity:
        faults = Faults()
        old = found if isinstance(found, dict) else {}
        for key in sorted({*old, *identity}):
            if old.get(key) != identity.get(key):
                faults.add(
                    f"study '{name}'",
                    found=f"{key} = {old.get(key)!r} in its storage",
                    expected=f"{identity.get(key)!r}, as this run has it",
                    remedy="give another --storage, or another name with --study",
                )
        faults.raise_if_any()
    if directions != [StudyDirection.MAXIMIZE]:
        raise bad_input(
            f"{storage.place}, study '{name}'",
            found=f"the direction {', '.join(one.name.lower() for one in directions)}",
            expected="maximize, as 'sertransfer tune' writes",
            remedy="give another --storage, or another name with --study",
        )
    return Study(study, storage)


class _SeededSampler(BaseSampler):
    """A tree-structured Parzen estimator, seeded anew for each trial."""

    def __init__(self, seed: int, random_trials: int) -> None:
        self.seed = seed
        self.random_trials = random_trials
        self.inner: BaseSampler = TPESampler(seed=seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        trials = _as_it_began(study)
        seed = int(hash_value([self.seed, study.study_name, _place(trials, trial)])[:8], 16)
        # running trials, which others have, are read anew for each draw: slow where there are none
        others = any(one.state == TrialState.RUNNING and one.number != trial.number for one in trials)
        self.inner = TPESampler(seed=seed, n_startup_trials=self.random_trials, constant_liar=others)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.inner.sample_independent(study, trial, param_name, param_distribution)


class _SnapshotPruner(MedianPruner):
    """A median pruner that compares with the trials that were complete when this one began."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        began: Any = SimpleNamespace(
            direction=study.direction,
            get_trials=lambda deepcopy, states: [one for one in _as_it_began(study) if one.state in states],
        )
        return super().prune(began, trial)


def _as_it_began(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials as they were when this process's trial began; a database takes long to read."""
    return study._get_trials(deepcopy=False, use_cache=True)


def _origin(trial: FrozenTrial) -> int:
    """Return the number of the trial that *trial* repeats, its own if it repeats none."""
    return int(trial.system_attrs.get("failed_trial", trial.number))


def _place(trials: list[FrozenTrial], trial: FrozenTrial) -> int:
    """Return how many trials that count come before *trial*; one that is repeated counts once."""
    counting = {_origin(one) for one in trials if one.state != TrialState.FAIL}
    return sum(number < _origin(trial) for number in counting)


def run_trials(
    study: Study,
    suggest: Callable[[BaseTrial], Settings],
    score: Callable[[optuna.Trial, Settings], float],
    count: int,
    advance: Callable[[int], None],
    odd: Callable[[FrozenTrial], str | None] = lambda trial: None,
) -> list[FrozenTrial]:
    """Bring *study* to *count* finished trials, together with what other processes run, and return them.

    Args:
        study: From :func:`open_study`.
        suggest: Draws a trial's settings.
        score: Value of a trial, to be maximised; may raise ``optuna.TrialPruned``.
        count: Finished trials asked for; of more, the first are taken.
        advance: Told how many trials are finished, each time.
        odd: Says what a finished trial holds that *score* does not give, ``None`` if nothing.

    Raises:
        BadInput: If the study holds trials that no search writes, or cannot be read or written.
    """
    checked: set[int] = set()
    study.storage.heartbeat_stale_trial_callback = partial(_try_again, suggest)
    others = _Others(study)
    while True:
        trials = study.trials()
        _check_trials(study, trials, checked, suggest, odd)
        checked = {one.number for one in trials if one.state.is_finished()}
        counted = sorted((one for one in trials if one.state != TrialState.FAIL), key=_origin)[:count]
        done = [one for one in counted if one.state.is_finished()]
        advance(len(done))
        if len(done) == count:
            return done
        queued = any(one.state == TrialState.WAITING for one in counted)
        # the next trial's draws depend on whether those that were left running still count
        if others.uncertain(trials) or (len(counted) == count and not queued):
            time.sleep(_POLL_SECONDS)
        else:
            _run_one(study, suggest, score)


def _check_trials(
    study: Study,
    trials: list[FrozenTrial],
    checked: set[int],
    suggest: Callable[[BaseTrial], object],
    odd: Callable[[FrozenTrial], str | None],
) -> None:
    """Refuse trials, but those *checked*, that no search writes: a study may come from someone else."""
    faults = Faults()
    with reading(study.storage.place):
        for place, trial in enumerate(trials):
            if trial.number in checked:
                continue
            found = None if trial.number == place else f"the number {trial.number} in place {place}"
            if found is None and trial.state != TrialState.FAIL:
                found = _oddity(trial, suggest)
            if found is None and trial.state.is_finished() and trial.state != TrialState.FAIL:
                found = odd(trial)
            if found is not None:
                faults.add(
                    f"{study.storage.place}, study '{study.optuna.study_name}', trial {trial.number}",
                    found=found[:200],
                    expected="a trial as 'sertransfer tune' writes it",
                    remedy="give another --storage; this one was changed by something else",
                )
    faults.raise_if_any()


def _oddity(trial: FrozenTrial, suggest: Callable[[BaseTrial], object]) -> str | None:
    """Return what *trial* holds that Optuna does not write for such a search, ``None`` if nothing."""
    for name, value in (("value", trial._values), ("value under way", trial.intermediate_values)):
        for one in value.values() if isinstance(value, dict) else value or ():
            if not is_number(one):
                return f"the {name} {one!r}"
    count, complete = len(trial._values or ()), trial.state == TrialState.COMPLETE
    if count > 1 or (complete and count == 0):
        return f"{count} values"
    for name, value in sorted(trial.system_attrs.items()):
        if name not in _RETRY and not (_DRAWN.fullmatch(name) and isinstance(value, str)):
            return f"the attribute '{name}'"
    origin, history = (trial.system_attrs.get(name) for name in sorted(_RETRY))
    repeated = [] if origin is None else [origin, *(history if isinstance(history, list) else ["no list"])]
    for one in repeated:
        if type(one) is not int or not 0 <= one < trial.number:
            return f"a repetition of trial {one!r}"
    asked = FixedTrial(trial.params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values outside their range, which are told below
        try:
            suggest(asked)
        except ValueError as error:
            if trial.state.is_finished():  # what is not may not have drawn all
                return f"settings that the search does not draw ({error})"
    for name, value in trial.params.items():
        kind = asked.distributions.get(name)
        if kind is None or kind != trial.distributions[name]:
            return f"the setting {name} = {value!r}, which the search does not ask for"
        if isinstance(kind, FloatDistribution) and not is_number(value):
            return f"the setting {name} = {value!r}"
        if not kind._contains(kind.to_internal_repr(value)):
            return f"the setting {name} = {value!r}, outside the search's space"
    return None


def is_number(value: object) -> bool:
    """Return whether a value out of a database, which keeps any type in any column, is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def best_trial(trials: list[FrozenTrial]) -> FrozenTrial:
    """Return the completed trial of greatest value, the earliest of equals.

    Raises:
        BadInput: If every trial was pruned, which the first never is unless something is wrong.
    """
    complete = [one for one in trials if one.state == TrialState.COMPLETE and one.value is not None]
    if not complete:
        raise bad_input("study", found="no complete trial", expected="one", remedy="ask for more --trials")
    return max(complete, key=lambda one: (one.value or 0.0, -_origin(one)))


def run_study(
    storage: StudyStorage,
    name: str,
    config: TuneConfig | FinetuneTuneConfig,
    decisive: dict[str, Any],
    score: Callable[[optuna.Trial, TransferConfig], float],
    advance: Callable[[int], None],
    odd: Callable[[FrozenTrial], str | None],
) -> FinishedStudy:
    """Run, or finish, one study of a search.

    Args:
        storage: Finished trials in it are not run again.
        name: Of the study in it, the search's own name before a ``/``.
        config: Settings of the search.
        decisive: What a trial's value depends on besides the settings, as plain values: a study is never
            continued with something else.
        score: Value of a trial with its settings.
        advance: Told how many trials are finished.
        odd: Says what a finished trial holds that *score* does not give, ``None`` if nothing.
    """
    with quiet_optuna():
        study = open_study(
            storage,
            name,
            {**config.identity(), **decisive},
            seed=config.transfer.seed,
            random_trials=config.random_trials,
        )
        trials = run_trials(study, config.suggest, score, config.trials, advance, odd)
    best = best_trial(trials)
    _log.info("study %s: best of %d trials %.4f", name, len(trials), best.value)
    return FinishedStudy(name.rpartition("/")[2], trials, best)


class _Others:
    """The trials that other processes run, or ran when they were killed; this process runs none then."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._grace = int(study.storage.grace_period or 0)
        self._seen: dict[int, float] = {}
        self._signed: set[int] = set()
        self._found: set[int] | None = None

    def uncertain(self, trials: list[FrozenTrial]) -> bool:
        """Return whether a trial that was running at the first call may still turn out to be dead."""
        now = time.monotonic()
        running = [one for one in trials if one.state == TrialState.RUNNING]
        for trial in running:
            since = self._seen.setdefault(trial.number, now)
            if now - since > self._grace and trial.number not in self._signed:
                # a trial whose process was killed before its first heartbeat has none that could grow old
                with reading(self._study.storage.place):
                    self._study.storage.record_heartbeat(trial._trial_id)
                self._signed.add(trial.number)
        numbers = {trial.number for trial in running}
        if self._found is None and numbers:
            _log.info("waiting up to %d s for trials left running: %s", 2 * self._grace, sorted(numbers))
        self._found = numbers if self._found is None else self._found & numbers
        return any(now - self._seen[number] <= 2 * (self._grace + 1) for number in self._found)


def _run_one(
    study: Study,
    suggest: Callable[[BaseTrial], Settings],
    score: Callable[[optuna.Trial, Settings], float],
) -> None:
    """Run the next trial; one that ends with an error is queued again before the error goes on."""
    begun: list[optuna.Trial] = []
    failures: list[BaseException] = []

    def objective(trial: optuna.Trial) -> float:
        begun.append(trial)
        try:
            return score(trial, suggest(trial))
        except optuna.TrialPruned:
            raise
        except BaseException as error:
            failures.append(error)
            raise

    try:
        study.optuna.optimize(objective, n_trials=1)
    except BaseException as error:
        of_study = not failures or _is_of_study(failures[0])
        if begun and _give_back(study.optuna, begun[0], suggest) and of_study:
            # no heartbeat for GRACE seconds: the machine slept, or was too busy
            _log.warning(
                "trial %d was taken for dead by another process, which runs it again", begun[0].number
            )
            return
        if of_study and isinstance(error, Exception):
            raise study_error(error, study.storage.place) from error
        raise


def _give_back(study: optuna.Study, trial: optuna.Trial, suggest: Callable[[BaseTrial], object]) -> bool:
    """Mark a trial of this process as failed and queue it again; return whether another process did so."""
    with contextlib.suppress(Exception):  # if the storage fails, the heartbeat's end says the same later
        everyone = study.get_trials()
        found = everyone[trial.number]
        if found.state == TrialState.FAIL and any(
            one.number != found.number and _origin(one) == _origin(found) and one.state != TrialState.FAIL
            for one in everyone
        ):
            return True
        if found.state == TrialState.RUNNING:
            found = study.tell(trial, state=TrialState.FAIL)
        if found.state == TrialState.FAIL:
            _try_again(suggest, study, found)
    return False


def _try_again(suggest: Callable[[BaseTrial], object], study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the settings of a failed trial again; one that failed while they were drawn draws all anew."""
    try:
        suggest(FixedTrial(trial.params))
    except ValueError:  # what was not drawn yet
        trial.params, trial.distributions = {}, {}
    with no_experimental_warnings():
        RetryHeartbeatStaleTrialCallback()(study, trial)


def importance(trials: Sequence[tuple[dict[str, Any], float]], seed: int) -> dict[str, float]:
    """Return each setting's share of the variance of the trials' values, the greatest first.

    It is functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown, 2014), as Optuna has it.

    Args:
        trials: Settings and value of each complete trial; all have the same settings, since Optuna leaves out
            those that some trials were not asked. A setting ``C`` is a number on a logarithmic scale.
        seed: Of the forest.

    Returns:
        Nothing where there are fewer than :data:`FEWEST`, or all came to the same.
    """
    if len(trials) < FEWEST or len({value for _, value in trials}) == 1:
        return {}
    kinds: dict[str, BaseDistribution] = {}
    for name in trials[0][0]:
        values = sorted({settings[name] for settings, _ in trials}, key=str)
        if name == "C" and len(values) > 1:
            kinds[name] = FloatDistribution(min(values), max(values), log=True)
        elif len(values) > 1:
            kinds[name] = CategoricalDistribution(values)
    if not kinds:
        return {}
    study = optuna.create_study()
    study.add_trials(
        [
            create_trial(params={name: settings[name] for name in kinds}, distributions=kinds, value=value)
            for settings, value in trials
        ]
    )
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {name: float(share) for name, share in shares.items()}


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's line a trial, and its traceback of an error that is raised, out of the terminal."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def _is_of_study(error: BaseException) -> bool:
    return isinstance(error, (SQLAlchemyError, StorageInternalError, UpdateFinishedTrialError))
