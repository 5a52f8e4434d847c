"""A finished run, opened from Python: its numbers, settings and tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.errors import bad_input
from sertransfer.reporting.run_files import read_json, read_yaml
from sertransfer.run_folder import check_evidence

TABLES = ("utterances", "sentences", "subjects", "out_of_fold", "epochs", "trials")
"""CSV files of a run; which of them are there depends on the stage and mode."""


@dataclass(frozen=True)
class OpenedRun:
    """A finished run.

    Attributes:
        path: Its folder.
        metrics: The content of ``metrics.json``. Accuracies, intervals and areas are shares of 1; what is
            undefined is ``None``.
        config: The resolved settings, nested.
        tables: The run's tables by name: ``utterances`` (stage 1), ``sentences``, ``subjects`` and
            ``out_of_fold`` (stage 2), ``epochs`` and ``trials`` where something was trained or searched.
            Ids, speakers and subjects are text; scores are from 0 to 1; durations are seconds.
    """

    path: Path
    metrics: dict[str, Any]
    config: dict[str, Any]
    tables: dict[str, pd.DataFrame]


def open_run(run_dir: str | Path) -> OpenedRun:
    """Read a finished run of any command that leaves a run folder.

    Args:
        run_dir: The folder.

    Returns:
        The run; a table that its command does not write is not among the tables.

    Raises:
        BadInput: If the folder has no ``metrics.json``, or it or a table is damaged.
    """
    path = Path(run_dir)
    metrics, config = (
        read_json(path / "metrics.json", "the scores of a finished run"),
        read_yaml(path / "config.yaml"),
    )
    check_evidence(path, metrics)
    text = dict.fromkeys(("id", "speaker", "subject"), "string")
    tables = {}
    for name in TABLES:
        file = path / f"{name}.csv"
        if not file.exists():
            continue
        try:
            tables[name] = pd.read_csv(file, dtype=text)
        except (ValueError, OSError) as error:
            raise bad_input(
                file,
                found=f"a table that can not be read ({type(error).__name__})",
                expected="the CSV that the run wrote",
                remedy="run the command again with another run folder",
            ) from None
    return OpenedRun(path, metrics, config, tables)
