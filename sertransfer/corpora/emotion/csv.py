"""A corpus of one's own: a CSV with one row an utterance, its columns named by options.

The root is the CSV itself (audio is then relative to its folder) or a folder with one CSV in it. Labels
stay as they are unless ``task`` asks for the emotions of LSSED; ``label_map`` renames them first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sertransfer.corpora.tables import (
    TableOptions,
    assemble,
    forward_slashes,
    pick_columns,
    roles,
    timed_ids,
)
from sertransfer.errors import Faults, bad_input
from sertransfer.io.csv_tables import read_text_table
from sertransfer.manifest import COLUMNS, Manifest, is_notes, notes_path


@dataclass(frozen=True)
class Options(TableOptions):
    """Options of a corpus of one's own, besides those of every table.

    Attributes:
        table: The CSV, relative to the root; empty = the only one there.
        audio: Column with the audio file, relative to the root.
        id: Column with the utterance's id; empty = the audio's path without its ending, and the times.
        extra: Further columns to keep, such as ``gain`` or ``session``.
        corpus: Name of the corpus in the manifest.
    """

    task: Literal["any", "four", "eleven"] = "any"
    split: Literal["paper", "speaker", "column", "none"] = "column"
    start: str = "start"
    end: str = "end"
    table: str = ""
    audio: str = "audio"
    id: str = ""
    extra: tuple[str, ...] = ()
    corpus: str = "csv"


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read the CSV at *root*.

    Raises:
        BadInput: If the table or one of its columns is not there.
    """
    path = _table_path(root, options.table)
    table = read_text_table(path, delimiter=options.delimiter, encoding=options.encoding, faults=faults)
    required, optional = roles(options, Options())
    required["audio"] = options.audio
    if options.id:
        required["id"] = options.id
    taken = sorted({*options.extra} & {*COLUMNS, "class", "first_row", "duration"})
    if taken:
        raise bad_input(
            "option extra",
            found=f"column(s) {', '.join(taken)}",
            expected="columns besides those of every manifest",
            remedy="name such a column by its own option, or rename it in the table",
        )
    required |= {name: name for name in options.extra}
    rows = pick_columns(table, str(path), required, optional, faults, dict.fromkeys(options.extra, "extra"))
    home = path.parent if root.is_file() else root
    rows["audio"] = forward_slashes(rows["audio"], home)
    if not options.id:
        rows["id"] = timed_ids(rows["audio"].str.replace(r"\.[^./]+$", "", regex=True), rows)
    return assemble(
        rows,
        home,
        options,
        corpus=options.corpus,
        where=str(path),
        faults=faults,
    )


def _table_path(root: Path, name: str) -> Path:
    if root.is_file():
        return root
    if not root.is_dir():
        raise bad_input(
            root, found="nothing", expected="a CSV, or a folder with one", remedy="check the path"
        )
    if name:
        return root / name
    # Left aside: what macOS writes beside every file on other disks, and manifests of an earlier 'prepare'.
    visible = [
        path for path in sorted(root.iterdir()) if path.suffix.lower() == ".csv" and path.name[0] != "."
    ]
    tables = [path for path in visible if path.is_file() and not is_notes(notes_path(path))]
    if len(tables) != 1:
        found = ", ".join(path.name for path in tables[:5]) or "no CSV"
        if len(visible) > len(tables) == 0:
            found = f"no CSV but {visible[0].name}, a manifest that 'prepare' wrote"
        raise bad_input(root, found=found, expected="one CSV in the folder", remedy="name it with --table")
    return tables[0]
