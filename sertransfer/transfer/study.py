"""An Optuna study that can be interrupted, resumed, and shared by processes, and gives the same trials.

Every trial draws from a generator of its own, seeded by the study's seed and the trial's place among those
that count, so that a resumed study goes on as the uninterrupted one. A trial whose process died counts as
failed and is replaced.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from sertransfer.errors import Faults, bad_input, mask_secrets
from sertransfer.io.files import PRIVATE_FILE, hash_value, make_folder, storage_error
from sertransfer.transfer.journal import open_journal

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
STALE_AFTER = timedelta(hours=1)
"""A trial on another machine that runs longer counts as dead."""

UNSIGNED_SECONDS = 10.0
"""So long may a trial be without its process's name, which is written right after it was asked for."""

_IDENTITY, _OWNER = "sertransfer_identity", "sertransfer_owner"
_POLL_SECONDS = 0.5

Objective = Callable[[optuna.Trial], float]


def open_storage(where: str | Path) -> BaseStorage:
    """Open a study storage: a database URL (``sqlite:///FILE``, ``postgresql://...``), else a journal file.

    Raises:
        BadInput: If it can not be opened; a password in the URL is not printed.
    """
    text = str(where)
    if "://" not in text:
        path = Path(text).absolute()
        try:
            make_folder(path.parent)
            path.touch(mode=PRIVATE_FILE)
            return open_journal(path)
        except Exception as error:  # Optuna takes the lines of a journal at their word
            trouble = storage_error(error, path)
            if trouble is not None:
                raise trouble from error
            raise bad_input(
                path,
                found=f"no study journal that can be read ({type(error).__name__})",
                expected="a journal file of 'sertransfer tune', or a path where one can be made",
                remedy="give another --storage",
            ) from None
    try:
        return RDBStorage(text)
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own
        trouble = storage_error(error, f"storage {mask_secrets(text)}")
        if trouble is not None:
            raise trouble from error
        reason = " ".join(str(error).split()).replace(text, "the URL").split(" (Background")[0]
        raise bad_input(
            f"storage {text}",
            found=f"{type(error).__name__}: {reason}",
            expected="a database that can be reached",
            remedy="check the URL and the server; PostgreSQL needs a driver: pip install 'psycopg[binary]'",
        ) from None


def open_study(
    storage: BaseStorage, name: str, identity: dict[str, Any], *, seed: int, random_trials: int
) -> optuna.Study:
    """Open or begin the study *name*, whose trials are those of *identity*.

    Args:
        storage: Where it is kept.
        name: Its name there.
        identity: All that decides what a trial's value is, as flat plain values.
        seed: Of the sampler.
        random_trials: Trials before the sampler learns, and before any is pruned.

    Raises:
        BadInput: If *storage* holds a study of that name with another identity; each difference is named.
    """
    sampler = _SeededSampler(seed, random_trials)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=random_trials, n_warmup_steps=0)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        sampler=sampler,
        pruner=pruner,
        direction="maximize",
        load_if_exists=True,
    )
    found = study.user_attrs.get(_IDENTITY)
    if found is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(_IDENTITY, identity)
        return study
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
    return study


class _SeededSampler(BaseSampler):
    """A tree-structured Parzen estimator, seeded anew for each trial."""

    def __init__(self, seed: int, random_trials: int) -> None:
        self.seed = seed
        self.random_trials = random_trials
        self.inner: BaseSampler = TPESampler(seed=seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        earlier = [one for one in study.get_trials(deepcopy=False) if one.number < trial.number]
        place = sum(one.state != TrialState.FAIL for one in earlier)
        seed = int(hash_value([self.seed, study.study_name, place])[:8], 16)
        self.inner = TPESampler(seed=seed, n_startup_trials=self.random_trials)

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


def run_trials(
    study: optuna.Study, objective: Objective, count: int, advance: Callable[[int], None]
) -> list[FrozenTrial]:
    """Bring *study* to *count* finished trials, together with what other processes run, and return them.

    Args:
        study: From :func:`open_study`.
        objective: Value of a trial, to be maximised; may raise ``optuna.TrialPruned``.
        count: Finished trials asked for; of more, the first are taken.
        advance: Told how many trials are finished, each time.
    """
    unsigned: dict[int, float] = {}
    while True:
        trials = study.get_trials(deepcopy=False)
        if _fail_dead(study, trials, unsigned):  # the next trial's draws depend on whether it counts
            time.sleep(_POLL_SECONDS)
            continue
        counted = [one for one in study.get_trials(deepcopy=False) if one.state != TrialState.FAIL][:count]
        done = [one for one in counted if one.state in FINISHED]
        advance(len(done))
        if len(done) == count:
            return done
        if len(counted) < count:
            _run_one(study, objective)
        else:  # the others are at work elsewhere
            time.sleep(_POLL_SECONDS)


def best_trial(trials: list[FrozenTrial]) -> FrozenTrial:
    """Return the completed trial of greatest value, the earliest of equals.

    Raises:
        BadInput: If every trial was pruned, which the first never is unless something is wrong.
    """
    complete = [one for one in trials if one.state == TrialState.COMPLETE and one.value is not None]
    if not complete:
        raise bad_input("study", found="no complete trial", expected="one", remedy="ask for more --trials")
    return max(complete, key=lambda one: (one.value or 0.0, -one.number))


def _run_one(study: optuna.Study, objective: Objective) -> None:
    trial = study.ask()
    trial.set_user_attr(_OWNER, _process(os.getpid()))
    try:
        value = objective(trial)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except BaseException:  # an interrupt too: what is known dead need not be found out later
        study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        study.tell(trial, value)


def _fail_dead(study: optuna.Study, trials: list[FrozenTrial], unsigned: dict[int, float]) -> bool:
    """Mark as failed the running trials whose process is no more; this process runs none now.

    *unsigned* keeps when a trial was first seen without its process, by this process's own clock: that one
    was killed before it could sign, or is about to sign. Return whether there is such a trial still.
    """
    waiting = False
    for trial in trials:
        if trial.state != TrialState.RUNNING:
            continue
        if _OWNER in trial.user_attrs:
            alive = _alive(trial)
        else:
            now = time.monotonic()
            alive = now - unsigned.setdefault(trial.number, now) < UNSIGNED_SECONDS
            waiting |= alive
        if not alive:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    return waiting


def _alive(trial: FrozenTrial) -> bool:
    owner = trial.user_attrs.get(_OWNER)
    if isinstance(owner, dict) and owner.get("host") == socket.gethostname():
        process = int(owner["process"])
        return process != os.getpid() and owner == _process(process)
    return trial.datetime_start is None or datetime.now() - trial.datetime_start < STALE_AFTER


def _process(number: int) -> dict[str, Any]:
    """Return what tells the process *number* of this machine from another that got its number later."""
    try:
        os.kill(number, 0)
        begun = Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except ProcessLookupError:
        begun = "ended"
    except OSError:  # another user's process, or a system without /proc
        begun = ""
    return {"host": socket.gethostname(), "process": number, "begun": begun}
