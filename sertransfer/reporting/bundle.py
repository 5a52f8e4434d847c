"""All tables in every format, and the figures, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sertransfer.corpora.statistics import Description
from sertransfer.files import write_text
from sertransfer.reporting.figures import draw_figures
from sertransfer.reporting.result_table import Format, ResultTable, format_tables
from sertransfer.reporting.runs import Run

SUFFIXES: dict[Format, str] = {"text": "txt", "csv": "csv", "latex": "tex", "html": "html"}

FIGURES = "figure_[12]_*.svg"
"""Names that :func:`~sertransfer.reporting.figures.draw_figures` gives."""


def write_bundle(
    folder: Path, tables: Sequence[ResultTable], *, descriptions: Sequence[Description], runs: Sequence[Run]
) -> list[Path]:
    """Write ``tables.txt, .csv, .tex, .html`` and ``figures/`` into *folder*; return the files.

    Figures of an earlier bundle that are none of this one are removed: nothing would tell that they are old.
    """
    written = []
    for form, suffix in SUFFIXES.items():
        written.append(folder / f"tables.{suffix}")
        write_text(written[-1], format_tables(tables, form))
    drawn = draw_figures(folder / "figures", descriptions=descriptions, runs=runs)
    for old in set((folder / "figures").glob(FIGURES)) - set(drawn):
        old.unlink()
    return [*written, *drawn]
