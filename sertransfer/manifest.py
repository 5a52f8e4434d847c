"""The manifest: one table, one row an utterance, that every later step works from.

``manifest.csv`` holds the columns :data:`COLUMNS`, then optional ones of the corpus. Beside it
``manifest.json`` holds the notes: the corpus root, which audio lies in which archive, errata applied,
assumptions, what was left out and why, and the hash of the CSV.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.errors import Faults, bad_input
from sertransfer.files import hash_file, write_json, write_text
from sertransfer.plain_values import parse_json

COLUMNS = ("id", "audio", "start", "end", "speaker", "label", "split", "gender", "age", "corpus")
"""Required columns. ``start`` and ``end`` are seconds, both empty for a whole file; ``audio`` is relative
to the corpus root; ``speaker`` is the subject; an unknown label, split, gender or age is empty."""

TIMES = ("start", "end")
FORMULA = r"[=@\t\r]|\+(?![\d.]+$)|-.*[|(!]"
"""How a text begins that a spreadsheet runs as a formula."""
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
            typed[column] = typed[column].astype(object).where(typed[column].notna(), "").map(str)
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
    text = {column: table[column].fillna("").astype(str) for column in COLUMNS}
    for column in ("id", "audio", "speaker", "corpus"):
        for row in table.index[text[column] == ""]:
            faults.add(
                f"{where}, row {row + 2}", found=f"no {column}", expected="a value", remedy="fill it in"
            )
    _validate_cells(table, where, faults)
    repeated = text["id"].duplicated() & (text["id"] != "")
    first = {value: row for row, value in reversed(list(enumerate(text["id"])))}
    for row in table.index[repeated]:
        identity = text["id"][row]
        faults.add(
            f"{where}, row {row + 2}",
            found=f"id '{identity}' again (first in row {first[identity] + 2})",
            expected="each id once",
            remedy="rename or remove one of the rows",
        )
    for row in table.index[~text["split"].isin(SPLITS)]:
        faults.add(
            f"{where}, row {row + 2}",
            found=f"split '{text['split'][row]}'",
            expected="train, dev, test or nothing",
            remedy="correct the split",
        )
    _validate_times(table, text, where, faults)


def _validate_cells(table: pd.DataFrame, where: str, faults: Faults) -> None:
    """Refuse texts that a spreadsheet would run as a formula; every table with ids is made of these."""
    for column in ("id", "audio", "speaker", "label", "corpus"):
        cells = table[column].fillna("").astype(str)
        for row in table.index[cells.str.match(FORMULA)]:
            faults.add(
                f"{where}, row {row + 2}",
                found=f"{column} {ascii(cells[row])[:60]}, which a spreadsheet runs as a formula",
                expected="no text that begins with = + @ or a tab, or is a call behind a -",
                remedy="rename it",
            )


def _validate_times(table: pd.DataFrame, text: dict[str, pd.Series[str]], where: str, faults: Faults) -> None:
    numbers = {column: pd.to_numeric(table[column], errors="coerce") for column in TIMES}
    given = {column: text[column].str.lower().isin(["", "nan"]) for column in TIMES}
    empty = given["start"] & given["end"]
    right = (numbers["start"] >= 0) & (numbers["end"] > numbers["start"]) & (numbers["end"] < float("inf"))
    for row in table.index[~empty & ~right]:
        faults.add(
            f"{where}, row {row + 2}",
            found=f"start '{text['start'][row]}', end '{text['end'][row]}'",
            expected="0 <= start < end in seconds, or both empty",
            remedy="correct the times",
        )


def notes_path(path: str | Path) -> Path:
    """Return the path of the notes that stand beside the manifest at *path*."""
    return Path(path).with_suffix(".json")


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write ``manifest.csv`` and the notes beside it, each atomically.

    Raises:
        BadInput: With every fault, if the table is not valid; nothing is written then.
    """
    faults = Faults()
    validate_table(manifest.table, str(path), faults)
    faults.raise_if_any()
    write_text(path, manifest.table.to_csv(index=False, lineterminator="\n"))
    notes = {"root": str(manifest.root.resolve()), "rows": len(manifest), **manifest.notes}
    write_json(notes_path(path), {**notes, "sha256": hash_file(path)})


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
    if "recording" in table and "id" not in table:
        raise bad_input(
            path,
            found="a shard of a corpus",
            expected="a manifest",
            remedy="merge all shards with 'sertransfer merge' first",
        )
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
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
        if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first cells for names of rows
            raise ValueError("rows of more cells than the header has columns")
        return table
    except FileNotFoundError:
        raise bad_input(
            path, found="no file", expected="a manifest", remedy="write one with 'sertransfer prepare'"
        ) from None
    except (ValueError, OSError) as error:
        found = (error.strerror if isinstance(error, OSError) else None) or str(error).strip()
        raise bad_input(path, found=found, expected="a CSV manifest", remedy="prepare it again") from None


def _read_notes(path: Path, root: str | Path | None) -> dict[str, Any]:
    beside = notes_path(path)
    try:
        notes = parse_json(beside.read_text(encoding="utf-8"))
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
