"""All tables in every format, and the figures, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sertransfer.corpora.statistics import Description
from sertransfer.files import hash_file, refuse_links, write_json, write_text
from sertransfer.plain_values import parse_json
from sertransfer.reporting.figures import draw_figures
from sertransfer.reporting.result_table import Format, ResultTable, format_tables
from sertransfer.reporting.runs import Run

SUFFIXES: dict[Format, str] = {"text": "txt", "csv": "csv", "latex": "tex", "html": "html"}

RECORD = ".figures.json"
"""File that lists the figures of the last bundle, each with the SHA-256 of its content."""


def write_bundle(
    folder: Path, tables: Sequence[ResultTable], *, descriptions: Sequence[Description], runs: Sequence[Run]
) -> list[Path]:
    """Write ``tables.txt, .csv, .tex, .html`` and ``figures/`` into *folder*; return the files.

    Figures of an earlier bundle that are not in this one are removed, since nothing would tell that they are
    old. A file that no record names, or that was changed since, is not ours to remove.

    Raises:
        BadInput: If links stand where files are written.
    """
    figures = folder / "figures"
    refuse_links(figures)
    written = []
    for form, suffix in SUFFIXES.items():
        written.append(folder / f"tables.{suffix}")
        write_text(written[-1], format_tables(tables, form))
    before = _recorded(folder / RECORD)
    drawn = draw_figures(figures, descriptions=descriptions, runs=runs)
    now = {path.name: hash_file(path) for path in drawn}
    for name in before.keys() - now.keys():
        old = figures / name
        if old.is_file() and hash_file(old) == before[name]:
            old.unlink()
    write_json(folder / RECORD, now)
    return [*written, *drawn]


def _recorded(path: Path) -> dict[str, str]:
    """Return the names and hashes that the record at *path* lists; none where there is no valid one."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        name: value for name, value in found.items() if isinstance(value, str) and name == Path(name).name
    }
