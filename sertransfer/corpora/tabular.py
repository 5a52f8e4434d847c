"""Metadata tables: a CSV as text, its columns picked by the names in the options, its bad rows sieved.

Everything stays text until a value is needed, and rows keep their number in the file (the header is
row 1), so that every message can name the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd

from sertransfer.errors import Faults, bad_input, nearest


@dataclass(frozen=True)
class TableOptions:
    """Options of every corpus that comes as a metadata table beside audio files.

    Attributes:
        task: ``four`` or ``eleven`` emotions (other labels are left out), or ``any`` label as it is.
        split: ``paper`` (utterances shuffled), ``speaker`` (disjoint), ``column`` (of the table), ``none``.
        test_share: Share of the test set (paper: 0.2).
        dev_share: Share of the development set (paper: none).
        seed: Of the split.
        label: Name of the label column; likewise ``speaker, gender, age``, and ``start, end`` (seconds,
            empty = whole files) and ``split_column`` (read only when ``split`` is ``column``).
        speakers: ``unknown`` when the table does not tell who speaks: one speaker then stands for all.
        label_map: ``from=to,from=to``, applied before the task; ``from=`` leaves a label out.
        genders: Codes of the gender column, such as ``0=female,1=male``.
        delimiter: Between the columns.
        encoding: Of the table.
        check_audio: Whether the header of every audio file is read.
    """

    task: Literal["any", "four", "eleven"] = "four"
    split: Literal["paper", "speaker", "column", "none"] = "paper"
    test_share: float = 0.2
    dev_share: float = 0.0
    seed: int = 0
    label: str = "label"
    speaker: str = "speaker"
    gender: str = "gender"
    age: str = "age"
    start: str = ""
    end: str = ""
    split_column: str = "split"
    speakers: Literal["column", "unknown"] = "column"
    label_map: str = ""
    genders: str = ""
    delimiter: str = ","
    encoding: str = "utf-8-sig"
    check_audio: bool = True


def read_text_table(path: Path, *, delimiter: str, encoding: str) -> pd.DataFrame:
    """Read a CSV as stripped text, empty cells as ``""``; the index is the row number in the file.

    Blank lines are no rows.

    Raises:
        BadInput: If the file is missing, can not be decoded or parsed, or has no row.
    """
    try:
        table = pd.read_csv(
            path, dtype=str, sep=delimiter, encoding=encoding, keep_default_na=False, skip_blank_lines=False
        )
        if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first cells for names of rows
            raise ValueError("rows of more cells than the header has columns")
    except FileNotFoundError:
        raise bad_input(
            path, found="no file", expected="the metadata table", remedy="name it in the options"
        ) from None
    except (UnicodeError, LookupError) as error:
        raise bad_input(
            path,
            found=f"text that is not {encoding} ({error})",
            expected=f"a table in {encoding}",
            remedy="name its encoding with --encoding",
        ) from None
    except (ValueError, OSError) as error:
        raise bad_input(
            path, found=str(error).strip(), expected="a CSV table", remedy="repair it, or set --delimiter"
        ) from None
    table.columns = table.columns.str.strip()
    table.index = pd.RangeIndex(2, len(table) + 2)
    table = table.fillna("").apply(lambda column: column.str.strip())
    table = pd.DataFrame(table[(table != "").any(axis=1)])
    if table.empty:
        raise bad_input(path, found="no rows", expected="one row an utterance", remedy="check the table")
    return table


def pick_columns(
    table: pd.DataFrame, where: str, required: Mapping[str, str], optional: Mapping[str, str]
) -> pd.DataFrame:
    """Return the table with its columns named by role; absent optional ones are empty.

    Args:
        table: What :func:`read_text_table` gave.
        where: Name of the file, for the messages.
        required: Role -> name of the column in the file.
        optional: Likewise for columns that may be absent; a role without a name is empty.

    Raises:
        BadInput: For every required column that is missing, listing the columns that were found.
    """
    found = list(map(str, table.columns))
    faults = Faults()
    for role, name in required.items():
        if name not in found:
            faults.add(
                where,
                found=f"columns {', '.join(found)}",
                expected=f"a column '{name}' ({role})",
                remedy=_column_remedy(role, name, found),
            )
    faults.raise_if_any()
    picked = {role: table[name] for role, name in required.items()}
    for role, name in optional.items():
        picked[role] = table[name] if name in found else pd.Series("", index=table.index)
    return pd.DataFrame(picked)


def roles(options: TableOptions, defaults: TableOptions) -> tuple[dict[str, str], dict[str, str]]:
    """Return the required and the optional columns, role -> name.

    A column is optional only under its default name: what a user names must be there.
    """
    required: dict[str, str] = {"label": options.label}
    optional: dict[str, str] = {}
    for role in ("gender", "age", "start", "end"):
        name = getattr(options, role)
        (optional if name in ("", getattr(defaults, role)) else required)[role] = name
    (required if options.speakers == "column" else optional)["speaker"] = options.speaker
    (required if options.split == "column" else optional)["split"] = options.split_column
    return required, optional


def audio_stem(names: pd.Series[str], suffix: str) -> pd.Series[str]:
    """Return the names without the ending *suffix*, in any case of letters."""
    return names.where(~names.str.lower().str.endswith(suffix.lower()), names.str[: -len(suffix) or None])


def audio_path(names: pd.Series[str], folder: str, suffix: str) -> pd.Series[str]:
    """Return the paths of the named recordings relative to the root; an empty name stays empty."""
    ended = names.where(names.str.lower().str.endswith(suffix.lower()), names + suffix)
    prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
    return (prefix + ended).where(names != "", "")


def timed_ids(ids: pd.Series[str], rows: pd.DataFrame) -> pd.Series[str]:
    """Return the ids with the row's times appended, where it has any: ``name_1.5-3.25``."""
    timed = ids + "_" + rows["start"] + "-" + rows["end"]
    return timed.where(((rows["start"] != "") | (rows["end"] != "")) & (ids != ""), ids)


def _column_remedy(role: str, name: str, found: list[str]) -> str:
    option = {"split": "split_column", "id": "name"}.get(role, role)
    remedy = f"name the column with --{option}: {nearest(name, found)}"
    if role == "speaker":
        remedy += "; or say --speakers unknown if the table does not tell who speaks"
    elif role == "split":
        remedy += "; or choose --split paper, speaker or none"
    return remedy


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as dictionaries, column -> value."""
    return cast(list[dict[str, Any]], table.to_dict("records"))


class Sieve:
    """Collects which rows of a table can not be used, each with a skippable fault."""

    def __init__(self, table: pd.DataFrame, where: str, faults: Faults) -> None:
        self._table, self._where, self._faults = table, where, faults
        self._bad = pd.Series(False, index=table.index)

    def reject(
        self, rows: pd.Series[bool], found: str, expected: str, remedy: str | Mapping[str, str]
    ) -> None:
        """Mark *rows* as bad.

        Args:
            rows: Boolean, on the table's index.
            found: Text with the names of columns in braces, filled from the row.
            expected: What was expected.
            remedy: What to do; or a mapping from the row's label to it.
        """
        for record in records(self._table[rows].reset_index(names="row")):
            self._faults.add(
                f"{self._where}, row {record['row']}",
                found=found.format(**record),
                expected=expected,
                remedy=remedy if isinstance(remedy, str) else remedy[record["label"]],
                skippable=True,
            )
        self._bad |= rows

    def kept(self) -> pd.DataFrame:
        """Return the rows that no check rejected."""
        return self._table[~self._bad].copy()
