"""Files of a run folder, read for its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.errors import bad_input
from sertransfer.plain_values import parse_json, parse_yaml
from sertransfer.verifying import check_record

_NAMES = ("id", "subject", "label", "prediction")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Return the JSON object at *path*, which should be *what*; ``BadInput`` if it is not, or was changed."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise bad_input(path, found="no file", expected=what, remedy="finish the run first") from None
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
