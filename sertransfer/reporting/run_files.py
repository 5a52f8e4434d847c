"""Files of a run folder, read for its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.errors import BadInput, bad_input
from sertransfer.plain_values import parse_json, parse_yaml
from sertransfer.run_folder import look_at
from sertransfer.verifying import check_record

_NAMES = ("id", "subject", "label", "prediction")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Return the JSON object at *path*, which should be *what*; ``BadInput`` if it is not, or was changed."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise _no_run(path, what) from None
    except ValueError as error:
        raise bad_input(path, found=f"broken JSON ({error})", expected=what, remedy="run again") from None
    if not isinstance(value, dict):
        return {}
    try:
        check_record(value)
    except ValueError:
        raise bad_input(
            path,
            found="values that were changed since they were written (the checksum differs)",
            expected=what,
            remedy="copy it again from where it is whole, or run again",
        ) from None
    return value


def _no_run(path: Path, what: str) -> BadInput:
    """Return the exception for a file that a run folder lacks, or for a folder that is none."""
    folder = path.parent
    place = look_at(folder)
    remedies = {
        "missing": "check the path",
        "unfinished": "finish the run first: the same command goes on with it",
        "runs": "name one of them",
        "run": "run the command that made this folder again",
    }
    if place.kind == "missing":
        return bad_input(folder, found="no such run folder", expected=what, remedy=remedies["missing"])
    remedy = remedies.get(place.kind, "give a --run-dir, and finish the run first")
    if place.kind == "run":
        return bad_input(path, found="no file", expected=what, remedy=remedy)
    return bad_input(folder, found=place.text, expected=what, remedy=remedy)


def read_yaml(path: Path) -> Any:
    """Return the values of the YAML file at *path*, none where there is no file."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except ValueError:
        return {path.name: "can not be read"}


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """Return the CSV at *path*; ``BadInput`` if it can not be read or lacks one of *columns*."""
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(_NAMES, str))
        if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first cells for names of rows
            raise ValueError("rows of more cells than the header has columns")
    except (OSError, ValueError) as error:
        raise bad_input(
            path, found=f"no table ({type(error).__name__})", expected="a run's table", remedy="run again"
        ) from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise bad_input(
            path, found=f"no column {', '.join(missing)}", expected="a run's table", remedy="run again"
        )
    return table
