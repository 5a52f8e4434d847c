"""Tables of results as text, CSV, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from sertransfer import __version__
from sertransfer.reporting.cells import without_formulas
from sertransfer.reporting.rendering import render
from sertransfer.reporting.tables import align
from sertransfer.reporting.values import NO_VALUE, with_interval
from sertransfer.spelling import LINES, printable

Format = Literal["text", "csv", "latex", "html"]

FORMATS: tuple[Format, ...] = ("text", "csv", "latex", "html")


@dataclass(frozen=True)
class Column:
    """A column: the key in the rows, and the heading."""

    key: str
    heading: str


@dataclass(frozen=True)
class ResultTable:
    """A table of results; a figure's interval stands in its row as ``<key>_low`` and ``<key>_high``.

    Attributes:
        number: Of the paper's table.
        title: Caption.
        columns: What is shown, in order.
        rows: Values by key; a missing one or ``None`` is shown as a dash.
        notes: To be printed below.
    """

    number: str
    title: str
    columns: tuple[Column, ...]
    rows: list[dict[str, Any]]
    notes: list[str]

    def shown(self) -> pd.DataFrame:
        """Return the cells as they are read: three decimals, intervals in brackets."""
        cells = [[_cell(row, column.key) for column in self.columns] for row in self.rows]
        return pd.DataFrame(cells, columns=[column.heading for column in self.columns])

    def plain_rows(self) -> list[dict[str, Any]]:
        """Return the rows as plain values, for JSON; a NaN, which differs from itself, is ``None``."""
        return [{key: None if value != value else value for key, value in row.items()} for row in self.rows]

    def values(self) -> pd.DataFrame:
        """Return the values by key, bounds of intervals in columns of their own."""
        keys: list[str] = []
        for column in self.columns:
            keys += [column.key, f"{column.key}_low", f"{column.key}_high"]
        frame = pd.DataFrame(self.rows).reindex(columns=keys)
        bounds = [key for key in keys if key.endswith(("_low", "_high")) and frame[key].isna().all()]
        frame = frame.drop(columns=bounds)
        frame.insert(0, "table", self.number)
        return frame


def format_tables(tables: Sequence[ResultTable], form: Format) -> str:
    """Return *tables* in one of :data:`FORMATS`, ready to be written or printed.

    CSV holds the bare values of all tables, whose number is the first column, and no notes.
    """
    if form == "csv":
        frame = pd.concat([table.values() for table in tables], ignore_index=True)
        return without_formulas(frame).to_csv(index=False, lineterminator="\n", float_format="%.6g")
    if form == "html":
        return _html(tables)
    return printable("\n\n".join(map({"text": _text, "latex": _latex}[form], tables)) + "\n", keep=LINES)


def _cell(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None or value == "":
        return "" if key == "remark" else NO_VALUE
    if isinstance(value, float):
        low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
        return with_interval(value, None if low is None else (low, high))
    return printable(str(value))


def _text(table: ResultTable) -> str:
    frame = table.shown()
    body = align([list(frame.columns), *frame.itertuples(index=False, name=None)], left=len(frame.columns))
    return "\n".join([table.title, body, *(f"Note: {note}" for note in table.notes)])


def _latex(table: ResultTable) -> str:
    frame = table.shown().map(_escape)
    frame.columns = pd.Index([_escape(str(name)) for name in frame.columns])
    caption = _escape(" ".join([f"{table.title}.", *table.notes]))
    return str(frame.to_latex(index=False, escape=False, caption=caption, label=f"tab:{table.number}"))


def _escape(text: str) -> str:
    special = {**{char: f"\\{char}" for char in "&%$#_{}"}, "\\": r"\textbackslash{}", NO_VALUE: "--"}
    special |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(char, char) for char in printable(text))


def _html(tables: Sequence[ResultTable]) -> str:
    """Return one page of all tables, in the look of a run's report."""
    parts = []
    for index, table in enumerate(tables):
        frame = table.shown()
        parts.append(
            {
                "key": f"table_{index}",
                "title": table.title,
                "columns": list(frame.columns),
                "rows": [list(row) for row in frame.itertuples(index=False, name=None)],
                "texts": [place for place, column in enumerate(table.columns) if column.key == "remark"],
                "notes": table.notes,
            }
        )
    generated = any("generated data" in str(row.get("remark", "")) for table in tables for row in table.rows)
    title = tables[0].title if len(tables) == 1 else "Tables of results"
    return render("tables.html.jinja", title=title, generated=generated, version=__version__, tables=parts)
