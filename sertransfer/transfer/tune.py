"""``sertransfer tune``: choose the head by nested cross-validation, then run ``transfer`` with the choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import yaml

from sertransfer.config import config_dict
from sertransfer.errors import bad_input
from sertransfer.io.files import write_text
from sertransfer.io.run_folder import RunFolder
from sertransfer.manifest import Manifest
from sertransfer.transfer.search_space import TuneConfig
from sertransfer.transfer.settings import RunOptions
from sertransfer.transfer.study import StudyStorage, open_storage
from sertransfer.transfer.tuning import tune_head
from sertransfer.transfer.workflow import read_inputs, report_run, run_settings, train_and_score

BEST = "best.yaml"
"""Name of the chosen settings in the run folder, as ``sertransfer transfer --config`` takes them."""

STUDIES = "study.db"
"""SQLite file of the studies in the run folder, which Optuna's dashboard opens."""

_OLD_JOURNAL = "study.journal"

OUTER = ["subject", "label", "score", "prediction", "sentences", "fold"]


def tune(
    config: TuneConfig,
    manifest: Manifest,
    *,
    storage: str | Path | None = None,
    **run_options: Unpack[RunOptions],
) -> dict[str, Any]:
    """Tune the head on the split ``train``, refit the choice, and score the reported split with it once.

    Several processes with the same *storage* and settings, each with a run folder of its own, share the
    trials and come to the same choice.

    Args:
        config: Settings.
        manifest: Sentences with labels; ``speaker`` is the subject.
        storage: SQLite file or database URL of the studies, ``run_dir/study.db`` if not given.
        run_options: Encoder, checkpoint and folder of the run, and what else ``transfer`` takes: see
            :class:`RunOptions`. An interrupted run is resumed.

    Returns:
        The content of ``metrics.json``: that of ``transfer``, and ``tuning``.

    Raises:
        BadInput: As ``transfer`` does; also if the storage can not be opened or holds another study.
    """
    config.check()
    inputs = read_inputs(config.transfer, manifest, **run_options)
    settings = {"transfer": run_settings(config.transfer), **config.protocol()}
    with RunFolder(inputs.run_dir).claim(settings, inputs.hashes) as run:
        if not inputs.finished(run):
            stored = inputs.embeddings.take_all(config.candidates)
            opened, shown = open_studies(run.path, storage), inputs.embeddings.progress
            tuned = tune_head(config, inputs.parts[0], stored, opened, progress=shown)
            note = f"# Chosen by 'sertransfer tune' on {len(tuned.outer_subjects)} training subjects.\n"
            write_text(run.path / BEST, note + yaml.safe_dump(config_dict(tuned.config), sort_keys=False))
            for name, table in (
                ("trials.csv", tuned.trials),
                ("outer_subjects.csv", tuned.outer_subjects[OUTER]),
            ):
                write_text(run.path / name, table.to_csv(index=False, lineterminator="\n"))
            train_and_score(tuned.config, inputs, run, {**tuned.record, "config": BEST})
        return report_run(config.transfer, run)


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
