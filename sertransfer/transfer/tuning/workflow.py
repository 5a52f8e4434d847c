"""``sertransfer tune``: choose settings on training subjects, then run the line of ``transfer`` with them.

Fine-tuning is tuned by whole trainings, each with the early stopping of any other. The value of a trial is
the least loss on the training subjects that it held out, the same ones in every trial. There are no outer
folds: they would multiply the trainings. So the inner loss of the choice is that of the best of several, on
subjects that it was chosen on, and says nothing about new ones; the reported split, scored once, does.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import optuna
import pandas as pd
import yaml
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from sertransfer.config import config_dict
from sertransfer.errors import bad_input
from sertransfer.io.files import hash_value, make_folder, write_text
from sertransfer.io.run_folder import RunFolder
from sertransfer.manifest import Manifest
from sertransfer.transfer.settings import RunOptions, TransferConfig
from sertransfer.transfer.tuning.nested import tune_probe
from sertransfer.transfer.tuning.space import FinetuneTuneConfig, TuneConfig
from sertransfer.transfer.tuning.storage import StudyStorage, open_storage
from sertransfer.transfer.tuning.study import TunedSettings, run_study
from sertransfer.transfer.workflow import RunInputs, read_inputs, report_run, run_settings, train_and_score

BEST = "best.yaml"
"""Name of the chosen settings in the run folder, as ``sertransfer transfer --config`` takes them."""

STUDIES = "study.db"
"""SQLite file of the studies in the run folder, which Optuna's dashboard opens."""

TRIALS = "trials"
"""Folder, in the run's, of trainings under way."""

FINETUNE_OBJECTIVE = (
    "least cross-entropy on the held-out training subjects, which early stopping looks at too"
)
OPTIMISTIC = (
    "the inner loss of the choice is optimistic: the trial, and its epoch, were chosen on the very subjects "
    "that it is of; only the reported split, which no trial has seen, says how good the choice is"
)
_OLD_JOURNAL = "study.journal"

_log = logging.getLogger(__name__)


def tune(
    config: TuneConfig | FinetuneTuneConfig,
    manifest: Manifest,
    *,
    storage: str | Path | None = None,
    **run_options: Unpack[RunOptions],
) -> dict[str, Any]:
    """Choose settings on the split ``train``, train with them, and score the reported split once.

    Several processes with the same *storage* and settings, each with a run folder of its own, share the
    trials and come to the same choice.

    Args:
        config: Settings of the search: of a probe, or of fine-tuning.
        manifest: Sentences with labels; ``speaker`` is the subject.
        storage: SQLite file or database URL of the studies, ``run_dir/study.db`` if not given.
        run_options: Encoder, checkpoint and folder of the run, and what else ``transfer`` takes: see
            :class:`RunOptions`. An interrupted run is resumed.

    Returns:
        The content of ``metrics.json``: that of ``transfer``, and ``tuning``.

    Raises:
        BadInput: As ``transfer`` does; also if the storage cannot be opened or holds another study, or the
            space has what the encoder has not.
    """
    config.check()
    inputs = read_inputs(config.transfer, manifest, **run_options)
    if isinstance(config, FinetuneTuneConfig):
        # imported here and below, since Lightning takes seconds that a probe need not wait
        from sertransfer.transfer.finetune.workflow import check_finetune

        for asked in config.by_layers():
            check_finetune(asked, inputs.embeddings.encoder(config.transfer.layer))
    settings = {"transfer": run_settings(config.transfer), **config.protocol()}
    with RunFolder(inputs.run_dir).claim(settings, inputs.hashes) as run:
        if not inputs.finished(run):
            found = _search(config, inputs, open_studies(run.path, storage), run.path)
            text = yaml.safe_dump(config_dict(found.config), sort_keys=False)
            write_text(run.path / BEST, f"# {found.note}\n{text}")
            for name, table in found.tables.items():
                write_text(run.path / name, table.to_csv(index=False, lineterminator="\n"))
            train_and_score(found.config, inputs, run, {**found.record, "config": BEST})
        return report_run(config.transfer, run)


def _search(
    config: TuneConfig | FinetuneTuneConfig, inputs: RunInputs, storage: StudyStorage, folder: Path
) -> TunedSettings:
    if isinstance(config, FinetuneTuneConfig):
        inputs.embeddings.close()  # a second network would only take memory
        return tune_finetuning(config, inputs, storage, folder / TRIALS)
    stored = inputs.embeddings.take_all(config.candidates)
    return tune_probe(config, inputs.parts[0], stored, storage, progress=inputs.embeddings.progress)


def open_studies(run_dir: Path, storage: str | Path | None) -> StudyStorage:
    """Open the *storage* of a run's studies, a file in its folder if none is given.

    Raises:
        BadInput: If it cannot be opened, or an earlier version began the run with a journal.
    """
    if storage is not None:
        return open_storage(storage)
    if (run_dir / _OLD_JOURNAL).exists() and not (run_dir / STUDIES).exists():
        raise bad_input(
            run_dir / _OLD_JOURNAL,
            found="the trials of an unfinished search by an earlier version",
            expected=f"{STUDIES}, which this version keeps trials in",
            remedy="finish it with that version, or remove the folder to start over",
        )
    return open_storage(run_dir / STUDIES)


def tune_finetuning(
    config: FinetuneTuneConfig, inputs: RunInputs, storage: StudyStorage, folder: Path
) -> TunedSettings:
    """Choose the settings of fine-tuning on training subjects.

    Args:
        config: Settings.
        inputs: What the run reads.
        storage: Of the study.
        folder: Of trainings under way. A killed one goes on where it stood.

    Raises:
        BadInput: If *storage* holds another study of the same name, or audio or depth is at fault.
    """
    from sertransfer.training.module import NonFiniteLoss
    from sertransfer.transfer.finetune.workflow import train

    task = inputs.task()

    def score(trial: optuna.Trial, settings: TransferConfig) -> float:
        # named by the settings, so that the trial which repeats a killed one takes up its training
        home = folder / hash_value(asdict(settings.finetune))[:16]
        make_folder(home / "checkpoints")
        try:
            stopping = train(settings, task, home).stopping
        except NonFiniteLoss as error:  # the rate is too high: a finding, and no reason to end the study
            _log.warning("trial %d broke down and counts as pruned: %s", trial.number, error)
            shutil.rmtree(home, ignore_errors=True)
            raise optuna.TrialPruned from error
        epochs = {"epoch": int(stopping.best["epoch"]), "epochs": int(stopping.latest["epoch"])}
        trial.set_user_attr("inner", epochs)
        shutil.rmtree(home, ignore_errors=True)
        return -float(stopping.best["loss"])

    def figures(trial: FrozenTrial) -> dict[str, Any]:
        inner = trial.user_attrs.get("inner", {})
        return {
            "inner_loss": None if trial.value is None else -trial.value,
            **{name: inner.get(name) for name in ("epoch", "epochs")},
        }

    study = run_study(
        storage,
        config.study,
        config,
        {f"input {name}": value for name, value in inputs.hashes.items()},
        score,
        lambda count: _log.info("%d of %d trials finished", count, config.trials),
        _odd,
    )
    losses = sorted(-trial.value for trial in study.trials if trial.value is not None)
    record = {
        "trials": study.counts(),
        "objective": FINETUNE_OBJECTIVE,
        "note": OPTIMISTIC,
        "best": dict(sorted(study.best.params.items())),
        "inner_loss": {"best": losses[0], "median": float(np.median(losses)), "worst": losses[-1]},
    }
    return TunedSettings(
        config.suggest(FixedTrial(study.best.params)),
        f"Chosen by 'sertransfer tune --mode finetune' among {len(study.trials)} trials.",
        record,
        {"trials.csv": pd.DataFrame(study.rows(figures)).assign(study="finetune")},
    )


def _odd(trial: FrozenTrial) -> str | None:
    """Return what a finished trial holds that no training gives, ``None`` if nothing."""
    if trial.value is not None and trial.value > 0:
        return f"the loss {-trial.value}, below 0"
    inner = trial.user_attrs.get("inner") if trial.state == TrialState.COMPLETE else {"epoch": 1, "epochs": 1}
    epochs = [inner.get(name) for name in ("epoch", "epochs")] if isinstance(inner, dict) else [None]
    if not all(type(one) is int and one >= 0 for one in epochs):
        return f"the epochs {inner!r}"
    return None
