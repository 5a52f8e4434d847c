"""Tables of results as text, CSV, LaTeX and HTML, and the text of a single value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from sertransfer import __version__
from sertransfer.corpora.statistics import MIDDLE_AGED_FROM, OLD_FROM, Description
from sertransfer.io.spelling import LINES, as_cell, printable
from sertransfer.reporting.rendering import render


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Return *frame* with an apostrophe before each text that a spreadsheet would run as a formula.

    Control characters are escaped. A manifest holds none of either, but names of new recordings and of run
    folders can be anything. Names of columns are made harmless too.
    """
    plain = frame.map(lambda value: as_cell(value) if isinstance(value, str) else value)
    return plain.rename(columns=lambda name: as_cell(str(name)))


_SHOWN = 20
"""How many items of a list are printed; the rest is counted."""

NO_VALUE = "–"


def number(value: Any) -> str:
    """Return a figure with three decimals."""
    return "undefined" if value is None else f"{float(value):.3f}"


def scored(block: Mapping[str, Any], name: str) -> str:
    """Return a figure with its interval as text, ``0.714 [0.537, 0.854]``."""
    return with_interval(block.get(name), block.get(f"{name}_ci95"))


def with_interval(value: Any, bounds: Any) -> str:
    """Return *value*, and *bounds* in brackets if there are any."""
    return f"{number(value)} [{number(bounds[0])}, {number(bounds[1])}]" if bounds else number(value)


def left_out_lines(left_out: Mapping[str, Any]) -> list[str]:
    """Return one line per kind of what was left out, with its number, and the first items."""
    lines = []
    for kind, value in left_out.items():
        lines.append(f"{kind.replace('_', ' ')}: {_count(value)}")
        if isinstance(value, list):
            lines += [as_text(entry) for entry in value[:_SHOWN]]
            if len(value) > _SHOWN:
                lines.append(f"and {len(value) - _SHOWN} more, in metrics.json")
    return lines


def _count(value: Any) -> str:
    if isinstance(value, Mapping):
        counted = {key: _count(entry) for key, entry in value.items()}
        return ", ".join(f"{key} {count}" for key, count in counted.items() if count != "none") or "none"
    count = len(value) if isinstance(value, list) else value
    return str(count) if count else "none"


def entries(value: Any) -> list[str]:
    """Return the texts of a list, or of a mapping's pairs."""
    if isinstance(value, Mapping):
        return [f"{key}: {as_text(entry)}" for key, entry in value.items()]
    return [as_text(entry) for entry in (value if isinstance(value, list) else [value])] if value else []


def as_text(value: Any) -> str:
    """Return nested values on one line, long lists cut."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {as_text(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        more = f", and {len(value) - _SHOWN} more" if len(value) > _SHOWN else ""
        return ", ".join(_nested(entry) for entry in value[:_SHOWN]) + more or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _nested(value: Any) -> str:
    return f"({as_text(value)})" if isinstance(value, list | tuple | Mapping) else as_text(value)


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Return nested mappings as one, keys joined by spaces; what is empty is left out."""
    if not isinstance(value, Mapping):
        return {} if value is None or value == "" else {prefix: as_text(value)}
    pairs: dict[str, str] = {}
    for key, below in value.items():
        pairs.update(flat(below, f"{prefix} {str(key).replace('_', ' ')}".strip()))
    return pairs


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


GAP = "  "


def align(rows: Sequence[Sequence[object]], *, left: int = 1) -> str:
    """Return *rows* as lines of aligned columns, the first row ruled off as the head.

    Args:
        rows: Cells, every row of the same length; the first row is the head.
        left: Number of leading columns that are flush left; the others are flush right.
    """
    cells = [[printable(str(cell)) for cell in row] for row in rows]  # a line end would make a row
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        GAP.join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * (sum(widths) + len(GAP) * (len(widths) - 1)), *lines[1:]])


def frame_rows(frame: pd.DataFrame, corner: str) -> list[list[object]]:
    """Return the frame's head and rows as cells, its index as the first column under *corner*."""
    head: list[object] = [corner, *frame.columns]
    return [head, *([index, *values] for index, *values in frame.itertuples(name=None))]


_SWAPPED = "The paper's own Table 3 prints its Training and Test columns swapped in every row but the total."


def format_description(description: Description) -> str:
    """Return the corpus in the form of the paper's Tables 1 to 3 and Figure 1, with captions."""
    overview = description.overview
    table1 = align([list(overview.columns), *overview.itertuples(index=False, name=None)])
    table2 = align(frame_rows(description.speakers, "gender"))
    table3 = align(frame_rows(description.labels, "label"))
    shares = [(label, f"{100 * share:.1f} %") for label, share in description.label_shares.items()]
    parts = [
        "Size of the corpus (the paper's Table 1)",
        table1,
        "",
        f"{description.unit.capitalize()} by gender and age (the paper's Table 2)",
        table2,
        f"Young is under {MIDDLE_AGED_FROM} years, old from {OLD_FROM}; the paper gives no limits.",
        "",
        "Utterances of each label in each split (the paper's Table 3)",
        table3,
        *([_SWAPPED] if "lssed" in set(overview["corpus"]) else []),
        "",
        "Share of each label (the paper's Figure 1)",
        align([("label", "share"), *shares]),
    ]
    if description.remarks:
        parts += ["", *(f"Note: {remark}" for remark in description.remarks)]
    return "\n".join(parts)
