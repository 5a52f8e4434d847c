"""The manifest: one table, one row an utterance, that every later step works from.

``manifest.csv`` holds the columns :data:`COLUMNS`, then optional ones of the corpus. Beside it
``manifest.json`` holds the notes: the corpus root, which audio lies in which archive, errata applied,
assumptions, what was left out and why, and the hash of the CSV.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import infer_dtype

from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.io.csv_tables import (
    AGES,
    bad_ages,
    check_text,
    number_remedy,
    quantity_of,
    read_text_table,
    shown_spellings,
)
from sertransfer.io.files import hash_file, regular_file, write_json, write_text
from sertransfer.io.plain_values import parse_json
from sertransfer.io.spelling import (
    all_clean,
    as_cell,
    clean,
    is_formula,
    may_hold_formula,
    name_control,
    printable,
    spelling_key,
)

COLUMNS = ("id", "audio", "start", "end", "speaker", "label", "split", "gender", "age", "corpus")
"""Required columns. ``start`` and ``end`` are seconds, both empty for a whole file; ``audio`` is relative
to the corpus root; ``speaker`` is the subject; an unknown label, split, gender or age is empty."""

TIMES = ("start", "end")
SAID = "text"
"""Optional column with what was said."""

_NO_FORMULA = "no text that begins, or has a part after a ';' that begins, with = + @ or a call behind a -"

NUMBERS = (*TIMES, "gain", "overlap")
"""Columns that hold numbers; every other one is text. ``gain`` (optional) multiplies the waveform,
``overlap`` (optional) is the share of the utterance that another speaker talks over."""

UNKNOWN_SPEAKER = "unknown"
"""The one speaker that stands for all where a corpus does not tell who speaks. Intervals over speakers
are then undefined, as they must be: an utterance is no speaker."""

SPLITS = ("train", "dev", "test", "")

GENERATED_MARKER = "DEMO.txt"
"""File that stands in the root of a corpus that is generated, not recorded."""

WITHOUT_SENTENCES = "subjects_without_sentences"
"""Note that lists the subjects who have no row, because nothing of theirs can be used, with their ``speaker,
label, split, gender``. Stage 2 reports them as undecided."""

INTERVIEWER_TURNS = "interviewer_turns"
"""Note that says where an interviewer speaks: ``audio`` to ``"START END"`` in seconds. No utterance of the
table; one check of stage 2 asks for it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioSource:
    """Where an utterance's audio is: a file, or *member* of the zip archive at *path*."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}!{self.member}"


@dataclass(frozen=True)
class Manifest:
    """A validated utterance table with the notes that go with it.

    Attributes:
        table: :data:`COLUMNS` and optional ones; times ``float64`` (NaN where empty), all else ``str``.
        root: Folder that ``audio`` is relative to.
        notes: ``corpus``, ``archives`` (audio -> ``{"archive", "member"}``), ``errata``,
            ``assumptions``, ``left_out`` (list of ``{"item", "reason"}``) and what else a reader says.
    """

    table: pd.DataFrame
    root: Path
    notes: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def generated(self) -> bool:
        """Whether the corpus is generated, by the notes or by the marker in its root."""
        return bool(self.notes.get("generated")) or (self.root / GENERATED_MARKER).is_file()

    def source(self, audio: str) -> AudioSource:
        """Return where the value *audio* of the ``audio`` column is to be read."""
        entry = self.notes.get("archives", {}).get(audio)
        if entry is None:
            return AudioSource(self.root / audio)
        return AudioSource(self.root / entry["archive"], entry["member"])

    def select(self, *, split: str | None = None, labels: Iterable[str] | None = None) -> Manifest:
        """Return the rows of *split* and of one of *labels* (``None`` = all), index renumbered."""
        keep = pd.Series(True, index=self.table.index)
        if split is not None:
            keep &= self.table["split"] == split
        if labels is not None:
            keep &= self.table["label"].isin(list(labels))
        return self.with_table(self.table[keep].reset_index(drop=True))

    def with_table(self, table: pd.DataFrame) -> Manifest:
        """Return a manifest with the same root and notes over other rows."""
        return replace(self, table=table)


def make_table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Build a manifest table from row dictionaries: columns ordered, missing ones empty."""
    table = pd.DataFrame(list(rows))
    for column in COLUMNS:
        if column not in table:
            table[column] = None
    extra = [column for column in table.columns if column not in COLUMNS]
    return _typed(table[[*COLUMNS, *extra]])


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    typed = table.copy()
    for column in typed.columns:
        if column in NUMBERS:
            typed[column] = pd.to_numeric(typed[column], errors="coerce").astype("float64")
        else:
            typed[column] = _as_text(typed[column]).infer_objects()
    return typed.reset_index(drop=True)


def validate_table(table: pd.DataFrame, where: str, faults: Faults) -> None:
    """Add every fault of *table* to *faults*; rows are numbered as in the CSV (the header is 1).

    Args:
        table: A table of raw values, such as ``pandas.read_csv(..., dtype=str)`` gives.
        where: Name of the file, for the messages.
        faults: Receives the faults.
    """
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        faults.add(
            where,
            found=f"columns {', '.join(map(str, table.columns))}",
            expected=f"also {', '.join(missing)}",
            remedy="write the manifest with 'sertransfer prepare'",
        )
        return
    text = {str(column): _as_text(table[column]) for column in table.columns}
    for column in ("id", "audio", "speaker", "corpus"):
        for row in table.index[text[column] == ""]:
            faults.add(
                f"{where}, row {_row(row)}", found=f"no {column}", expected="a value", remedy="fill it in"
            )
    _validate_text(pd.DataFrame(text), where, faults)
    _validate_cells(text, where, faults)
    _validate_ids(text["id"], where, faults)
    _validate_speakers(text["speaker"], where, faults)
    for row in table.index[~text["split"].isin(SPLITS)]:
        faults.add(
            f"{where}, row {_row(row)}",
            found=f"split '{text['split'][row]}'",
            expected="train, dev, test or nothing",
            remedy="correct the split",
        )
    _validate_times(text, where, faults)
    _validate_numbers(text, where, faults)


def _as_text(column: pd.Series[Any]) -> pd.Series[str]:
    """Return the cells as text (dtype ``object``), ``""`` for none."""
    cells = column.astype(object)
    if infer_dtype(cells, skipna=False) == "string":
        return cells
    return cells.where(column.notna(), "").map(str).astype(object)


def _row(index: Any) -> int:
    """Return the row in the CSV of the table's row *index*: the header is row 1."""
    return int(index) + 2


def _validate_text(text: pd.DataFrame, where: str, faults: Faults) -> None:
    """Refuse what cannot be seen: control characters and line ends anywhere, any of it in ids."""

    def reject(bad: pd.Series[bool], column: str, found: dict[int, str]) -> None:
        for row, what in found.items():
            faults.add(
                f"{where}, row {_row(row)}",
                found=f"{what} in {column} '{printable(text[column][row])[:60]}'",
                expected="printable characters",
                remedy="correct the cell; 'prepare' names the row of the corpus's own table",
            )

    try:
        check_text(text, where, reject)
    except BadInput as error:
        faults.extend(error.faults)
    for column in ("id", "speaker"):
        values = text[column]
        if all_clean(values.tolist()):
            continue
        odd = {one for one in values.unique().tolist() if one != clean(one) and not name_control(one)}
        for row in values.index[values.isin(odd)] if odd else ():
            faults.add(
                f"{where}, row {_row(row)}",
                found=f"{column} {ascii(values[row])[:60]}, with spaces or characters that cannot be seen",
                expected=f"{ascii(clean(values[row]))[:60]}",
                remedy="prepare it again, or correct the cell",
            )


def _validate_cells(text: dict[str, pd.Series[str]], where: str, faults: Faults) -> None:
    """Refuse texts that a spreadsheet would run as a formula; every table with ids is made of these."""
    for column, cells in text.items():
        if is_formula(column):
            faults.add(
                f"{where}, row 1",
                found=f"column {ascii(column)[:60]}, which a spreadsheet runs as a formula",
                expected=_NO_FORMULA,
                remedy="rename it",
            )
        if column == SAID:  # what was said may begin with anything; it is made harmless when it is written
            continue
        if not may_hold_formula("".join(cells.tolist())):
            continue
        formulas = [cell for cell in cells.unique().tolist() if is_formula(cell)]
        for row in cells.index[cells.isin(formulas)] if formulas else ():
            faults.add(
                f"{where}, row {_row(row)}",
                found=f"{column} {ascii(cells[row])[:60]}, which a spreadsheet runs as a formula",
                expected=_NO_FORMULA,
                remedy="rename it",
            )


def _validate_ids(ids: pd.Series[str], where: str, faults: Faults) -> None:
    repeated = ids.duplicated() & (ids != "")
    if not repeated.any():
        return
    first = {value: row for row, value in ids[ids.isin(ids[repeated])][::-1].items()}
    for row in ids.index[repeated]:
        faults.add(
            f"{where}, row {_row(row)}",
            found=f"id '{ids[row]}' again (first in row {_row(first[ids[row]])})",
            expected="each id once",
            remedy="rename or remove one of the rows",
        )


def _validate_speakers(speakers: pd.Series[str], where: str, faults: Faults) -> None:
    """Refuse one person under two spellings, who would stand on both sides of a split unseen."""
    spellings: dict[str, list[str]] = {}
    for speaker in speakers.unique().tolist():
        spellings.setdefault(spelling_key(speaker), []).append(speaker)
    for group in spellings.values():
        if len(group) > 1 and not any(map(name_control, group)):
            rows = [f"row {_row(speakers.index[speakers == name][0])}" for name in group[:3]]
            faults.add(
                f"{where}, {', '.join(rows)}",
                found=f"speakers {shown_spellings([group])}, the same but for case, width, spaces or "
                f"characters that cannot be seen ({', '.join(map(ascii, group[:3]))})",
                expected="one spelling for one person",
                remedy="prepare it again, or write the name one way; rename one if they are two people",
            )


def _validate_times(text: dict[str, pd.Series[str]], where: str, faults: Faults) -> None:
    given = {column: _without_nan(text[column]) for column in TIMES}
    numbers = {column: pd.to_numeric(given[column], errors="coerce") for column in TIMES}
    empty = (given["start"] == "") & (given["end"] == "")
    right = (numbers["start"] >= 0) & (numbers["end"] > numbers["start"]) & (numbers["end"] < float("inf"))
    for row in empty.index[~empty & ~right]:
        start, end = text["start"][row], text["end"][row]
        faults.add(
            f"{where}, row {_row(row)}",
            found=f"start '{start}', end '{end}'",
            expected="0 <= start < end in seconds, or both empty",
            remedy=number_remedy(end, number_remedy(start, "correct the times")),
        )


def _validate_numbers(text: dict[str, pd.Series[str]], where: str, faults: Faults) -> None:
    """Check every column of numbers as the times are."""
    for column, cells in text.items():
        quantity = AGES if column == "age" else quantity_of(column)
        if column in TIMES or quantity is None:
            continue
        cells = _without_nan(cells)
        bad = bad_ages(cells) if column == "age" else quantity.bad(cells)
        for row in cells.index[bad]:
            faults.add(
                f"{where}, row {_row(row)}",
                found=f"{column} '{cells[row]}'",
                expected=f"{quantity.expected}, or nothing",
                remedy=number_remedy(cells[row], "correct it, or leave it empty if it is not known"),
            )


def _without_nan(cells: pd.Series[str]) -> pd.Series[str]:
    """Return the cells with ``""`` for ``nan``, in whatever case."""
    if "nan" not in "".join(cells.tolist()).lower():
        return cells
    return cells.where(cells.str.lower() != "nan", "")


def check_recordings(manifest: Manifest) -> None:
    """Refuse a manifest of whose recordings none is there, saying where they seem to be.

    A few that are missing are named one by one where they are read.

    Raises:
        BadInput: With one fault.
    """
    audio = manifest.table["audio"].unique()
    places = (manifest.source(one).path for one in audio)
    if len(audio) > 1 and not any(map(_is_there, places)):
        raise none_found(manifest.root, list(audio), manifest.root)


def none_found(root: Path, audio: Sequence[str], where: object) -> BadInput:
    """Return the one fault that none of the recordings is where the root says, with where they are.

    Args:
        root: The corpus root.
        audio: Paths of the recordings, relative to it.
        where: What names them, for the message.
    """
    found = f"none of {len(audio)} recordings under {root}, such as {audio[0]}"
    remedy = "check the corpus root, and that the recordings are unpacked"
    right = find_root(root, audio[0])
    if right is not None and _is_there(right / audio[0]):
        found, remedy = f"{found}; they are under {right}", f"name {right} as the root"
    elif right is not None:
        found, remedy = f"{found}; they are in {right}", "correct the names, or the root"
    return bad_input(where, found=found, expected="the recordings that the table names", remedy=remedy)


def _is_there(path: Path) -> bool:
    """Return whether *path* is there and no folder; one whose name no disk takes is not."""
    try:
        return path.exists() and not path.is_dir()
    except OSError:  # a name of a thousand characters, or a folder that is closed to us
        return False


_FOLDERS_SEARCHED = 2000


def find_root(root: Path, audio: str) -> Path | None:
    """Return the folder near *root* that *audio* is relative to, or else one that holds a file of its name.

    Near are the folders up to three levels below, and those around *root* and beside it.
    """
    name = audio.rpartition("/")[2]
    holds_name = None
    for folder in itertools.islice(_folders_near(root), _FOLDERS_SEARCHED):
        if _is_there(folder / audio):
            return folder
        if holds_name is None and _is_there(folder / name):
            holds_name = folder
    return holds_name


def _folders_near(root: Path) -> Iterator[Path]:
    level = [root]
    for _ in range(4):
        yield from level
        level = [child for folder in level for child in _subfolders(folder)]
    yield root.parent
    yield root.parent.parent
    yield from _subfolders(root.parent)


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(one.path) for one in entries if one.is_dir() and not one.name.startswith("."))
    except OSError:
        return []


def notes_path(path: str | Path) -> Path:
    """Return the path of the notes that stand beside the manifest at *path*."""
    return Path(path).with_suffix(".json")


def is_notes(path: Path) -> bool:
    """Return whether the file *path* holds the notes of a manifest."""
    try:
        return "sha256" in parse_json(regular_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write ``manifest.csv`` and the notes beside it, each atomically.

    The notes come first: a CSV without notes would be taken for somebody's own, and not written over.

    Raises:
        BadInput: With every fault, if the table is not valid; nothing is written then.
    """
    faults = Faults()
    validate_table(manifest.table, str(path), faults)
    faults.raise_if_any()
    table = manifest.table
    if SAID in table:
        table = table.assign(**{SAID: table[SAID].map(as_cell, na_action="ignore")})
    text = table.to_csv(index=False, lineterminator="\n")
    notes = {"root": str(manifest.root.resolve()), "rows": len(manifest), **manifest.notes}
    write_json(notes_path(path), {**notes, "sha256": hashlib.sha256(text.encode()).hexdigest()})
    write_text(path, text)


def read_manifest(path: str | Path, *, root: str | Path | None = None) -> Manifest:
    """Read and validate a manifest.

    Args:
        path: The CSV; its notes are read from the JSON beside it.
        root: Corpus root to use instead of the one in the notes.

    Returns:
        The rows (``start`` and ``end`` in seconds, NaN for whole files), the corpus root, and the notes.

    Raises:
        BadInput: If a file is missing or the table has faults; all of them are listed.
    """
    path = Path(path)
    table = _read_csv(path)
    faults = Faults()
    validate_table(table, str(path), faults)
    faults.raise_if_any()
    notes = _read_notes(path, root)
    folder = Path(root if root is not None else notes["root"])
    if not _is_folder(folder):
        raise bad_input(
            str(folder)[:200],
            found="no such folder",
            expected="the corpus root",
            remedy="say where it is with --root",
        )
    if notes.pop("sha256", None) not in (None, hash_file(path)):
        _log.warning("%s was edited since it was prepared", path)
        notes["edited"] = True
    return Manifest(_typed(table), folder, notes)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name too long for any disk, or with a zero in it
        return False


def _read_csv(path: Path) -> pd.DataFrame:
    faults = Faults()
    try:
        table = read_text_table(
            path,
            what="a manifest",
            remedy="write one with 'sertransfer prepare'",
            faults=faults,
            spelling=False,
        )
    except BadInput as error:
        faults.extend(error.faults)
        faults.raise_if_any()
        raise
    faults.raise_if_any()
    return table.set_axis(table.index - 2)  # as validate_table counts them


def _read_notes(path: Path, root: str | Path | None) -> dict[str, Any]:
    beside = notes_path(path)
    try:
        notes = parse_json(regular_file(beside).read_text(encoding="utf-8"))
        if not isinstance(notes, dict):
            raise ValueError("not an object")
    except FileNotFoundError:
        notes = {}
    except ValueError as error:
        raise bad_input(
            beside, found=f"broken JSON ({error})", expected="the manifest's notes", remedy="prepare it again"
        ) from None
    if root is None and not isinstance(notes.get("root"), str):
        raise bad_input(
            beside,
            found="no corpus root",
            expected="the notes that 'prepare' wrote",
            remedy="give --root DIR",
        )
    return notes
