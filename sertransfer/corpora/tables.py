"""Corpora that come as a metadata table: columns picked by options, bad rows sieved, a manifest of the rest.

How a table is read is in :mod:`sertransfer.io.csv_tables`. The order of the steps decides the numbers: rows
that cannot be used are sieved out; what is left is split over *all* labels; then the task leaves labels out.
So the four-class sets are the four-class part of the eleven-class sets, with the very counts of the paper.
Audio is checked last: a damaged file that is skipped does not move any other utterance to another split.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd

from sertransfer.corpora import labels as names
from sertransfer.corpora.recordings import check_headers
from sertransfer.corpora.splits import paper_split, shared_speakers, speaker_split
from sertransfer.errors import BadInput, Faults, nearest
from sertransfer.io.csv_tables import (
    AGES,
    RESPELT,
    STRAY_QUOTES,
    bad_ages,
    check_text,
    merge_spellings,
    number_remedy,
    quantity_of,
    shown_spellings,
)
from sertransfer.io.spelling import clean, name_control, printable, spelling_key
from sertransfer.manifest import UNKNOWN_SPEAKER, AudioSource, Manifest, make_table, none_found


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
    settings: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Return the table with its columns named by role; absent optional ones are empty.

    A cell with a control character, or with a quotation mark that nothing closes, is a fault of its row.

    Args:
        table: What :func:`sertransfer.io.csv_tables.read_text_table` gave.
        where: Name of the file, for the messages.
        required: Role -> name of the column in the file.
        optional: Likewise for columns that may be absent; a role without a name is empty.
        faults: Receives a skippable fault for each bad row, which is left out; without it they are raised.
        settings: Role -> the setting that names its column, where it is not the role itself.

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
                remedy=_column_remedy(role, name, found, (settings or {}).get(role, role)),
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


def _column_remedy(role: str, name: str, found: list[str], option: str) -> str:
    if len(found) == 1 and (
        others := [shown for mark, shown in _OTHER_DELIMITERS.items() if mark in found[0]]
    ):
        return f"set --delimiter {others[0]}"
    option = "split_column" if role == "split" else option
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


def assemble(
    rows: pd.DataFrame, root: Path, options: TableOptions, *, corpus: str, where: str, faults: Faults
) -> Manifest:
    """Build the manifest of a corpus that comes as a table.

    Args:
        rows: Text columns ``id, audio, label, speaker, gender, age, start, end, split`` (``audio``
            relative to *root*) and others that are kept; the index is the row in the file.
        root: The corpus root.
        options: What to do with them.
        corpus: Name of the corpus.
        where: Path of the metadata file, for the messages.
        faults: Receives every fault.
    """
    notes: dict[str, Any] = {"task": options.task, "assumptions": [], "errata": [], "left_out": []}
    rows = _canonical(rows, options, notes)
    sieve = Sieve(rows, where, faults)
    _check_cells(sieve, rows, options)
    rows = sieve.kept().drop(columns="first_row")
    rows["start"] = pd.to_numeric(rows["start"], errors="coerce").astype(float)
    rows["end"] = pd.to_numeric(rows["end"], errors="coerce").astype(float)
    rows = leave_out(rows, rows["class"] == "", "label is mapped to nothing", notes)
    rows = rows.drop(columns="label").rename(columns={"class": "label"})
    rows = assign_split(rows, options, notes, faults)
    if options.task != "any":
        rows = leave_out_labels(rows, options.task, notes)
    rows = check_audio(rows, root, where, faults, notes, headers=options.check_audio)
    notes["split"]["speakers_in_two_splits"] = len(shared_speakers(rows))
    return Manifest(make_table(records(rows.assign(corpus=corpus))), root, notes)


def _canonical(rows: pd.DataFrame, options: TableOptions, notes: dict[str, Any]) -> pd.DataFrame:
    """Add ``class``, the canonical label (``?`` where unknown), and ``first_row`` of the id."""
    notes["assumptions"] += rows.attrs.get(REMARKS, [])
    rows = rows.copy()
    rows["speaker"] = one_spelling(rows["speaker"], notes)
    rows["first_row"] = rows.index.to_series().groupby(rows["id"]).transform("first")
    mapping = names.parse_mapping(options.label_map, "label_map")
    mapped = rows["label"].map(lambda label: mapping.get(label, label))
    dropped = mapped == ""
    if options.task == "any":
        known = set(mapping.values()) | set(mapped.unique() if not mapping else ())
        rows["class"] = mapped.where(mapped.isin(list(known)), "?")
    else:
        rows["class"] = names.canonical(mapped, names.LABEL_OF).where(lambda label: label != "", "?")
    rows["class"] = rows["class"].where(~dropped, "")
    rows["gender"] = names.canonical_genders(rows["gender"], names.parse_mapping(options.genders, "genders"))
    codes = sorted(value for value in rows["gender"].unique() if value.isdigit())
    if codes:
        notes["assumptions"].append(
            f"gender codes {', '.join(codes)} are kept as they are: name them with --genders CODE=female"
        )
    for role in ("gender", "age"):
        if (rows[role] == "").all():
            notes["assumptions"].append(f"{role} is not known (no column, or an empty one)")
    if options.speakers == "unknown":
        rows["speaker"] = UNKNOWN_SPEAKER
        notes["assumptions"].append(
            "speakers are not known: one speaker stands for all, so that intervals over speakers stay "
            "undefined and no split can be called speaker-disjoint"
        )
    return rows


def one_spelling(speakers: pd.Series[str], notes: dict[str, Any]) -> pd.Series[str]:
    """Return the speakers, each person under one spelling: the first one's; the notes say whose were merged.

    Spellings that differ in case, width, spaces or characters that cannot be seen are one person's. Otherwise
    the same person could stand on both sides of a split, unseen.
    """
    merged, groups = merge_spellings(speakers, spelling_key)
    if groups:
        notes["assumptions"].append(
            f"{len(groups)} speaker(s) are spelt in several ways, which are taken for one person each: "
            f"{shown_spellings(groups)}"
        )
    return merged


def _check_cells(sieve: Sieve, rows: pd.DataFrame, options: TableOptions) -> None:
    for column in ("id", "label", "speaker"):
        sieve.reject(rows[column] == "", f"no {column}", "a value", "fill it in")
    nowhere = (rows["audio"] == "") & (rows["id"] != "")
    sieve.reject(nowhere, "no audio", "the name of a file", "fill it in")
    unknown = (rows["class"] == "?") & (rows["label"] != "")
    if options.task == "any":
        remedy: str | dict[str, str] = "add it to --label_map (NAME= leaves it out)"
        expected = "a label that --label_map names"
    else:
        remedy = {label: names.nearest_label(label) for label in rows.loc[unknown, "label"].unique()}
        expected = "an emotion of LSSED, in one of its spellings"
    sieve.reject(unknown, "label '{label}'", expected, remedy)
    repeated = rows["id"].duplicated() & (rows["id"] != "")
    found = "id '{id}' again (first in row {first_row})"
    sieve.reject(repeated, found, "each id once", "rename or remove one of the rows")
    parts = rows["audio"].str.replace("\\", "/", regex=False)
    outside = parts.str.contains(r"^(?:/|[A-Za-z]:/)", regex=True) | parts.str.contains(
        r"(?:^|/)\.\.(?:/|$)", regex=True
    )
    sieve.reject(outside, "audio '{audio}'", "a path inside the corpus root", "write it relative to the root")
    _check_numbers(sieve, rows)
    if options.split == "column":
        strange = names.canonical(rows["split"], names.SPLIT_OF) == ""
        known = ", ".join(names.SPLIT_OF)
        sieve.reject(strange, "split '{split}'", f"one of {known}", "correct the split")


def _check_numbers(sieve: Sieve, rows: pd.DataFrame) -> None:
    times = {time: pd.to_numeric(rows[time], errors="coerce") for time in ("start", "end")}
    given = (rows["start"] != "") | (rows["end"] != "")
    right = (times["start"] >= 0) & (times["end"] > times["start"]) & (times["end"] < float("inf"))
    wrong = given & ~right
    comma = rows["start"].str.contains(",") | rows["end"].str.contains(",")
    for rejected, remedy in (
        (wrong & comma, "write the times with a decimal point"),
        (wrong & ~comma, "correct the times"),
    ):
        expected = "0 <= start < end in seconds, or both empty"
        sieve.reject(rejected, "start '{start}', end '{end}'", expected, remedy)
    sieve.reject_numbers("age", bad_ages(rows["age"]), f"{AGES.expected}, or nothing")
    for column in rows.columns.difference(["start", "end", "age", "label", "id", "speaker", "audio"]):
        quantity = quantity_of(column)
        if quantity is not None:
            sieve.reject_numbers(column, quantity.bad(rows[column]), f"{quantity.expected}, or nothing")


def assign_split(
    rows: pd.DataFrame, options: TableOptions, notes: dict[str, Any], faults: Faults
) -> pd.DataFrame:
    """Return the rows with their ``split`` set by the rule of *options*; the rule goes into the notes."""
    notes["split"] = {"rule": options.split}
    remarks: list[str] = []
    split = pd.Series("", index=rows.index, dtype=object)
    if options.split == "column":
        split = names.canonical(rows["split"], names.SPLIT_OF)
    elif options.split in ("paper", "speaker") and len(rows):
        shares = {"test_share": options.test_share, "dev_share": options.dev_share}
        notes["split"].update(shares | {"seed": options.seed})
        try:
            if options.split == "paper":
                split = paper_split(rows, **shares, seed=options.seed)
            else:
                split = speaker_split(rows, **shares, seed=options.seed, remarks=remarks)
        except BadInput as error:  # collected, so that it is reported together with all else
            faults.extend(error.faults)
    if options.split in ("column", "none") and options.seed:
        remarks.append(f"the seed {options.seed} has no effect: nothing is drawn")
    if remarks:
        notes["split"]["seed_without_effect"] = "; ".join(remarks)
    return rows.assign(split=split)


def leave_out(rows: pd.DataFrame, which: pd.Series[bool], reason: str, notes: dict[str, Any]) -> pd.DataFrame:
    """Return the rows without *which*, each of which is recorded in the notes with *reason*."""
    notes["left_out"] += [{"item": item, "reason": reason} for item in rows.loc[which, "id"]]
    return rows[~which]


def leave_out_labels(rows: pd.DataFrame, task: str, notes: dict[str, Any]) -> pd.DataFrame:
    """Return the rows whose label is one of the task's; the others are recorded label by label."""
    others = [label for label in names.label_order(rows["label"]) if label not in names.TASKS[task]]
    for label in others:
        rows = leave_out(
            rows, rows["label"] == label, f"label '{label}' is not one of the {task}-class task", notes
        )
    return rows


def check_audio(
    rows: pd.DataFrame, root: Path, where: str, faults: Faults, notes: dict[str, Any], *, headers: bool
) -> pd.DataFrame:
    """Return the rows whose audio file is there and, with *headers*, sound; the others become faults."""
    disk = Disk(root)
    there = {audio: disk.find(audio) for audio in rows["audio"].unique()}
    rows = rows.assign(audio=rows["audio"].map({audio: found or audio for audio, found in there.items()}))
    missing = ~rows["audio"].isin([found for found in there.values() if found])
    if len(rows) > 1 and missing.all():
        faults.extend(none_found(root, list(there), where).faults)
        return rows
    for row, audio, identity in rows.loc[missing, ["audio", "id"]].itertuples(name=None):
        found, remedy = disk.describe_missing(audio)
        faults.add(
            f"{root / audio} ({where}, row {row})",
            found=found,
            expected=f"the audio of '{identity}'",
            remedy=remedy,
            skippable=True,
        )
    rows = rows[~missing]
    if not headers:
        return rows
    sources = {audio: AudioSource(root / audio) for audio in rows["audio"].unique()}
    return check_headers(rows, sources, where, faults, notes=notes)


class Disk:
    """Finds the recordings that a table names below a root, also under another Unicode form of their names.

    A folder is listed once. Tables and disks disagree about forms because macOS writes names decomposed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, tuple[str, dict[str, str], frozenset[str]] | None] = {}

    def find(self, audio: str) -> str | None:
        """Return *audio*, relative to the root, as the disk spells it; ``None`` if it is not there."""
        folder, _, name = audio.rpartition("/")
        listed = self._list(folder)
        if listed is None:
            return None
        actual, others, names = listed
        found = name if name in names else others.get(clean(name))
        return None if found is None else f"{actual}/{found}" if actual else found

    def describe_missing(self, audio: str) -> tuple[str, str]:
        """Return what is found in place of *audio*, and what to do."""
        folder, _, name = audio.rpartition("/")
        listed = self._list(folder)
        for other in sorted(listed[2]) if listed is not None else ():
            if name_control(other):
                if name in {os.fsencode(other).decode(encoding, "replace") for encoding in _OLD_ENCODINGS}:
                    found = f"'{printable(other)}', a name that is not UTF-8"
                    return found, "rename the file; 'convmv -f latin1 -t utf8' renames many"
            elif other.casefold() == name.casefold():
                return f"'{other}', with other capitals", "write the name as the file has it"
        return "no file", "restore the file, or correct its name in the table"

    def _list(self, folder: str) -> tuple[str, dict[str, str], frozenset[str]] | None:
        if folder not in self._folders:
            actual: str | None = folder
            try:
                there = (self._root / folder).is_dir()
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                self._folders[folder] = None  # no disk takes such a name
                return None
            if not there:
                actual = self.find(folder) if folder else None
            names = self._names(actual)
            others = {clean(name): name for name in sorted(names or ()) if not name.isascii()}
            self._folders[folder] = None if actual is None or names is None else (actual, others, names)
        return self._folders[folder]

    def _names(self, folder: str | None) -> frozenset[str] | None:
        place = None if folder is None else self._root / folder
        if place is None or not place.is_dir():
            return None
        with os.scandir(place) as entries:
            return frozenset(entry.name for entry in entries)


_OLD_ENCODINGS = ("latin-1", "cp1252", "cp437")


def forward_slashes(paths: pd.Series[str], root: Path) -> pd.Series[str]:
    """Return the paths of a table from Windows with slashes; a file whose name holds a backslash keeps it."""
    windows = [path for path in paths.unique() if "\\" in path and not (root / path).is_file()]
    changed = {path: path.replace("\\", "/").removeprefix("./") for path in windows}
    return paths.map(lambda path: changed.get(path, path)).astype(object) if windows else paths
