"""``sertransfer tune --mode finetune``: compare trainings by their inner loss, then run with the best one.

A trial is a whole training, with the early stopping of any other; its value is the least loss on the training
subjects that it held out, the same ones in every trial. There are no outer folds: they would multiply the
trainings. So the inner loss of the choice is that of the best of several, on subjects that it was chosen on,
and says nothing about new ones; the reported split, scored once, does. A killed study goes on, in the midst
of a training too.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import optuna
import pandas as pd
import yaml
from optuna.trial import FixedTrial, FrozenTrial

from sertransfer.config import config_dict
from sertransfer.io.files import hash_value, make_folder, write_text
from sertransfer.io.run_folder import RunFolder
from sertransfer.manifest import Manifest
from sertransfer.reporting.tables import flat
from sertransfer.training.module import NonFiniteLoss
from sertransfer.transfer.finetune.data import Task
from sertransfer.transfer.finetune.workflow import check_finetune, train
from sertransfer.transfer.finetune_space import FinetuneTuneConfig, suggest_finetuning
from sertransfer.transfer.settings import RunOptions, TransferConfig
from sertransfer.transfer.study import best_trial, open_study, run_trials
from sertransfer.transfer.tune import BEST, open_studies
from sertransfer.transfer.tuning import quiet_optuna
from sertransfer.transfer.workflow import (
    RunInputs,
    read_inputs,
    report_run,
    run_settings,
    train_and_score,
)

TRIALS = "trials"
"""Folder, in the run's, of trainings under way."""

OBJECTIVE = "least cross-entropy on the held-out training subjects, which early stopping looks at too"
OPTIMISTIC = (
    "the inner loss of the choice is optimistic: the trial, and its epoch, were chosen on the very subjects "
    "that it is of; only the reported split, which no trial has seen, says how good the choice is"
)
NO_RESULT = ("resamples", "split", "shortcuts", "embedding", "threshold", "aggregation", "top_k", "probe")
"""Settings of a run that change no training."""

_log = logging.getLogger(__name__)


def tune_finetuning(
    config: FinetuneTuneConfig,
    manifest: Manifest,
    *,
    storage: str | Path | None = None,
    **run_options: Unpack[RunOptions],
) -> dict[str, Any]:
    """Search on the split ``train``, train with the choice, and score the reported split with it once.

    Args:
        config: Settings.
        manifest: Sentences with labels; ``speaker`` is the subject.
        storage: SQLite file or database URL of the study, ``run_dir/study.db`` if not given. Several
            processes with the same one, each with a run folder of its own, share the trials.
        run_options: Encoder, checkpoint and folder of the run, and what else ``transfer`` takes: see
            :class:`RunOptions`. An interrupted run is resumed.

    Returns:
        The content of ``metrics.json``: that of ``transfer``, and ``tuning``.

    Raises:
        BadInput: As ``transfer`` does; also if the storage can not be opened or holds another study, or the
            space has what the encoder has not.
    """
    config.check()
    base = config.transfer
    for layers in config.space.layers:
        asked = suggest_finetuning(
            FixedTrial(_first(config, layers)), config.space, base
        )  # whether the encoder has it at all
        check_finetune(asked, run_options["encoder"])

    inputs = read_inputs(base, manifest, **run_options)
    settings = asdict(config)
    del settings["transfer"]
    with RunFolder(inputs.run_dir).claim({"transfer": run_settings(base), **settings}, inputs.hashes) as run:
        if not inputs.finished(run):
            inputs.embeddings.close()  # a second network would only take memory
            chosen, tuning = _choose(config, inputs, run, storage)
            train_and_score(chosen, inputs, run, tuning)
        return report_run(base, run)


def _choose(
    config: FinetuneTuneConfig, inputs: RunInputs, run: RunFolder, storage: str | Path | None
) -> tuple[TransferConfig, dict[str, Any]]:
    """Run the trials; return the settings of the best one, and what ``metrics.json`` says of them."""
    base, task = config.transfer, inputs.task()
    with quiet_optuna():
        study = open_study(
            open_studies(run.path, storage),
            config.study,
            _identity(config, inputs.hashes),
            seed=base.seed,
            random_trials=config.random_trials,
        )
        trials = run_trials(
            study,
            lambda trial: suggest_finetuning(trial, config.space, base),
            lambda trial, settings: _value(trial, settings, task, run.path / TRIALS),
            config.trials,
            lambda count: _log.info("%d of %d trials finished", count, config.trials),
        )
    best = best_trial(trials)
    chosen = suggest_finetuning(FixedTrial(best.params), config.space, base)
    note = f"# Chosen by 'sertransfer tune --mode finetune' among {len(trials)} trials.\n"
    write_text(run.path / BEST, note + yaml.safe_dump(config_dict(chosen), sort_keys=False))
    table = pd.DataFrame(_row(place, trial, best) for place, trial in enumerate(trials))
    write_text(run.path / "trials.csv", table.to_csv(index=False, lineterminator="\n"))
    return chosen, _record(trials, best)


def _first(config: FinetuneTuneConfig, layers: str) -> dict[str, Any]:
    """Return a trial's settings with *layers*."""
    space = config.space
    return {
        "lr": space.lr[0],
        "weight_decay": space.weight_decay[0],
        "layer_decay": space.layer_decay[0],
        "depth": space.depth[0],
        "stages": space.stages[0],
        "pooling": space.pooling[0],
        "layers": layers,
    }


def _value(trial: optuna.Trial, chosen: TransferConfig, task: Task, folder: Path) -> float:
    """Train with a trial's settings *chosen*; return its inner loss with the sign turned.

    The folder bears the settings' name, so that the trial which replaces a killed one, and has the same
    settings, takes up its training.
    """
    home = folder / hash_value(asdict(chosen.finetune))[:16]
    make_folder(home / "checkpoints")
    try:
        stopping = train(chosen, task, home).stopping
    except NonFiniteLoss as error:  # the rate is too high: a finding, and no reason to end the study
        _log.warning("trial %d broke down and counts as pruned: %s", trial.number, error)
        shutil.rmtree(home, ignore_errors=True)
        raise optuna.TrialPruned from error
    epochs = {"epoch": int(stopping.best["epoch"]), "epochs": int(stopping.latest["epoch"])}
    trial.set_user_attr("inner", epochs)
    shutil.rmtree(home, ignore_errors=True)
    return -float(stopping.best["loss"])


def _identity(config: FinetuneTuneConfig, inputs: dict[str, str]) -> dict[str, Any]:
    """Return all that decides a trial's value, so that a study is never continued with something else."""
    settings = asdict(config)
    for name in ("trials", "study"):
        del settings[name]
    for name in NO_RESULT:
        del settings["transfer"][name]
    return {**flat(settings), **{f"input {name}": value for name, value in inputs.items()}}


def _row(place: int, trial: FrozenTrial, best: FrozenTrial) -> dict[str, Any]:
    return {
        "study": "finetune",
        "trial": place,
        "state": trial.state.name.lower(),
        "inner_loss": None if trial.value is None else -trial.value,
        **{name: trial.user_attrs.get("inner", {}).get(name) for name in ("epoch", "epochs")},
        "best": trial.number == best.number,
        "settings": json.dumps(trial.params, sort_keys=True),
    }


def _record(trials: list[FrozenTrial], best: FrozenTrial) -> dict[str, Any]:
    losses = sorted(-trial.value for trial in trials if trial.value is not None)
    return {
        "trials": {"complete": len(losses), "pruned": len(trials) - len(losses)},
        "objective": OBJECTIVE,
        "note": OPTIMISTIC,
        "best": dict(sorted(best.params.items())),
        "inner_loss": {
            "best": losses[0],
            "median": float(np.median(losses)),
            "worst": losses[-1],
        },
        "config": BEST,
    }
