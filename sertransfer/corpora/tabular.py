"""Metadata tables: columns picked by the names in the options, bad rows sieved.

How a table is read is said in :mod:`sertransfer.io.csv_tables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import pandas as pd

from sertransfer.errors import Faults, nearest
from sertransfer.io.csv_tables import RESPELT, STRAY_QUOTES, check_text, number_remedy
from sertransfer.io.spelling import clean


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
        delimiter: Between the columns: a character, or ``TAB``.
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


REMARKS = "remarks"
"""Attribute of picked columns: what was read otherwise than it stands in the table, as sentences."""


def pick_columns(
    table: pd.DataFrame,
    where: str,
    required: Mapping[str, str],
    optional: Mapping[str, str],
    faults: Faults | None = None,
) -> pd.DataFrame:
    """Return the table with its columns named by role; absent optional ones are empty.

    A cell with a control character, or with a quotation mark that nothing closes, is a fault of its row.

    Args:
        table: What :func:`sertransfer.io.csv_tables.read_text_table` gave.
        where: Name of the file, for the messages.
        required: Role -> name of the column in the file.
        optional: Likewise for columns that may be absent; a role without a name is empty.
        faults: Receives a skippable fault for each bad row, which is left out; without it they are raised.

    Raises:
        BadInput: For every required column that is missing, listing the columns that were found.
    """
    found = list(map(str, table.columns))
    missing = Faults()
    for role, name in required.items():
        if clean(name) not in found:
            missing.add(
                where,
                found=f"columns {', '.join(found)}"[:200],
                expected=f"a column '{name}' ({role})",
                remedy=_column_remedy(role, name, found),
            )
    missing.raise_if_any()
    picked = {role: table[clean(name)] for role, name in required.items()}
    for role, name in optional.items():
        picked[role] = table[clean(name)] if name and clean(name) in found else _empty(table)
    rows = pd.DataFrame(picked)
    own = Faults() if faults is None else faults
    rows = _without_bad_text(rows, table.attrs.get(STRAY_QUOTES, []), where, own)
    if faults is None:
        own.raise_if_any()
    names = {role: clean(name) for role, name in (dict(required) | dict(optional)).items()}
    rows.attrs[REMARKS] = _remarks(table, names)
    return rows


def _remarks(table: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    respelt = table.attrs.get(RESPELT, {})
    counts = [f"{respelt[name]} of '{name}'" for name in dict.fromkeys(names.values()) if name in respelt]
    remarks = []
    if counts:
        remarks.append(
            f"cells with invisible characters, unusual spaces or decomposed letters are read without them: "
            f"{', '.join(counts)}"
        )
    if stray := table.attrs.get(STRAY_QUOTES, []):
        shown = ", ".join(map(str, stray[:5])) + (", ..." if len(stray) > 5 else "")
        remarks.append(
            f"{len(stray)} row(s) hold a quotation mark that nothing closes, which is read as it is: {shown}"
        )
    return remarks


def _empty(table: pd.DataFrame) -> pd.Series[str]:
    return pd.Series("", index=table.index, dtype=object)


def _without_bad_text(rows: pd.DataFrame, stray: list[int], where: str, faults: Faults) -> pd.DataFrame:
    sieve = Sieve(rows, where, faults)

    def reject(bad: pd.Series[bool], role: str, found: dict[int, str]) -> None:
        sieve.reject_cells(role, bad, found, "printable characters", "correct the cell")

    check_text(rows, where, reject)
    for role in rows if stray else ():
        bad = (rows[role].str.count('"') % 2 == 1) & rows.index.isin(stray)
        what = dict.fromkeys(rows.index[bad], "a quotation mark that nothing closes")
        sieve.reject_cells(str(role), bad, what, "a cell without it, or one in quotation marks", "remove it")
    return sieve.kept()


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


_OTHER_DELIMITERS = {";": "';'", "\t": "TAB", "|": "'|'", ",": "','"}


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
    if len(found) == 1 and (
        others := [shown for mark, shown in _OTHER_DELIMITERS.items() if mark in found[0]]
    ):
        return f"set --delimiter {others[0]}"
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
    """Collects which rows of a table cannot be used, each with a skippable fault."""

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
        if not rows.any():
            return
        for record in records(self._table[rows].reset_index(names="row")):
            self._add(
                record["row"],
                found.format(**record),
                expected,
                remedy if isinstance(remedy, str) else remedy[record["label"]],
            )
        self._bad |= rows

    def reject_cells(
        self, column: str, rows: pd.Series[bool], found: Mapping[int, str], expected: str, remedy: str
    ) -> None:
        """Mark *rows* as bad for what each was *found* to hold in *column*."""
        for row, value in self._table.loc[rows, column].items():
            number = int(str(row))
            self._add(number, f"{found[number]} in {column} '{value[:60]}'", expected, remedy)
        self._bad |= rows

    def reject_numbers(self, column: str, rows: pd.Series[bool], expected: str) -> None:
        """Mark *rows* as bad whose *column* is not the number that was *expected*."""
        for row, value in self._table.loc[rows, column].items():
            remedy = number_remedy(value, "correct it, or leave it empty if it is not known")
            self._add(int(str(row)), f"{column} '{value}'", expected, remedy)
        self._bad |= rows

    def _add(self, row: int, found: str, expected: str, remedy: str) -> None:
        place = f"{self._where}, row {row}"
        self._faults.add(place, found=found, expected=expected, remedy=remedy, skippable=True)

    def kept(self) -> pd.DataFrame:
        """Return the rows that no check rejected."""
        return self._table[~self._bad].copy() if self._bad.any() else self._table.copy()
