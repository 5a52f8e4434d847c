"""The parts of a report page: score tables, figures, and values as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sertransfer.reporting import plots
from sertransfer.reporting.inline_svg import inline_svg

_SHOWN = 20
"""How many items of a list are printed; the rest is counted."""

NO_VALUE = "–"


@dataclass(frozen=True)
class Row:
    """One line of a table of scores: a name, the cells, and what is to be known about it, *tag* first."""

    name: str
    cells: list[str]
    remark: str = ""
    tag: str = ""


@dataclass(frozen=True)
class Table:
    """A table of scores; the first row is the run's, unless *leads* says otherwise."""

    columns: list[str]
    rows: list[Row]
    leads: bool = True
    corner: str = "row"


@dataclass(frozen=True)
class Section:
    """A table under a heading of its own, and what is to be known about it."""

    title: str
    table: Table
    note: str = ""


@dataclass(frozen=True)
class Numbers:
    """The table behind a figure: cells as text, the first of a row being its name."""

    columns: list[str]
    rows: list[list[str]]
    caption: str
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A figure, inline, with the text for who can not see it, and its numbers."""

    svg: Markup
    caption: str
    numbers: Numbers | None = None
    wide: bool = False


@dataclass(frozen=True)
class Page:
    """What a run's report shows that depends on its stage.

    Attributes:
        title: Heading.
        unit: What the headline scores count.
        scores: The headline scores.
        intervals: How their intervals were made.
        classes: Names in the order of the confusion matrix.
        confusion: Counts, rows = truth; empty without scores.
        facts: What was run, on what.
        by_class: Name of a figure, and its value for each class.
        sentences: Scores by sentence.
        sections: Further tables.
        plots: Figures.
        subjects: One entry a subject: ``subject, label, score, prediction, sentences, remark``.
        note: Rule to print under the subjects.
    """

    title: str
    unit: str
    scores: Table
    intervals: dict[str, str]
    classes: list[str]
    confusion: list[list[int]]
    facts: dict[str, str]
    by_class: tuple[str, dict[str, str]] = ("", {})
    sentences: Table | None = None
    sections: list[Section] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    subjects: list[dict[str, str]] = field(default_factory=list)
    note: str = ""


def draw(
    path: Path,
    caption: str,
    plot: Callable[[Path], None],
    *,
    numbers: Numbers | None = None,
    wide: bool = False,
) -> Plot:
    """Plot to *path*, an SVG, and return it for the page, in the page's own text colour."""
    plot(path)
    return Plot(inline_svg(path, ink=plots.INK, prefix=path.stem), caption, numbers, wide)


def number(value: Any) -> str:
    """Return a figure with three decimals."""
    return "undefined" if value is None else f"{float(value):.3f}"


def scored(block: Mapping[str, Any], name: str) -> str:
    """Return a figure with its interval as text, ``0.714 [0.537, 0.854]``."""
    return with_interval(block.get(name), block.get(f"{name}_ci95"))


def with_interval(value: Any, bounds: Any) -> str:
    """Return *value*, and *bounds* in brackets if there are any."""
    return f"{number(value)} [{number(bounds[0])}, {number(bounds[1])}]" if bounds else number(value)


def majority_row(block: Mapping[str, Any], columns: int, remark: str = "") -> Row:
    """Return the line of the majority class, WA and UA first."""
    row = block["majority"]
    return Row("majority class", [number(row["wa"]), number(row["ua"]), *[NO_VALUE] * (columns - 2)], remark)


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
