"""The parts of a report page: score tables, figures with their numbers, headline figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sertransfer.io.scratch import scratch_folder
from sertransfer.reporting import plots
from sertransfer.reporting.rendering import inline_svg
from sertransfer.reporting.tables import number
from sertransfer.reporting.verdict import Verdict


@dataclass(frozen=True)
class ScoreRow:
    """One line of a table of scores: a name, the cells, and what is to be known about it, *tag* first."""

    name: str
    cells: list[str]
    remark: str = ""
    tag: str = ""


@dataclass(frozen=True)
class Table:
    """A table of scores; the first row is the run's, unless *leads* says otherwise."""

    columns: list[str]
    rows: list[ScoreRow]
    leads: bool = True
    corner: str = "row"


@dataclass(frozen=True)
class Numbers:
    """A table, cells as text; the first of a row names it.

    Behind a figure it is open at once if *shown*; elsewhere the rows after the *first* ones are folded.
    """

    columns: list[str]
    rows: list[list[str]]
    caption: str
    note: str = ""
    shown: bool = False
    first: int = 0


@dataclass(frozen=True)
class Plot:
    """A figure, inline, with its text alternative and its numbers; *narrow* is its drawing for a phone."""

    svg: Markup
    caption: str
    numbers: Numbers | None = None
    wide: bool = False
    narrow: Markup | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading: tables first, then figures.

    Attributes:
        key: Name of the part in the page's address.
        title: Heading.
        table: Scores; ``None`` where there are none.
        note: What is to be known about them.
        numbers: Further tables.
        plots: Figures.
        copied: Whether the note is a text to be copied, in the page's ink.
    """

    key: str
    title: str
    table: Table | None = None
    note: str = ""
    numbers: list[Numbers] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    copied: bool = False


@dataclass(frozen=True)
class Tile:
    """A headline figure, its interval, and what stands beside it."""

    name: str
    value: str
    interval: str
    beside: str = ""


@dataclass(frozen=True)
class Page:
    """What a run's report shows that depends on its stage.

    Attributes:
        title: Heading.
        summary: What was run, on what, in a sentence.
        tiles: The headline figures.
        verdict: What the comparison with the majority class means.
        sections: Scores first, then whatever the run has.
        facts: What was run, on what; the first ten stand open.
    """

    title: str
    summary: str
    tiles: list[Tile]
    verdict: Verdict
    sections: list[Section]
    facts: dict[str, str]


def draw(
    path: Path,
    caption: str,
    plot: Callable[[Path], None],
    *,
    numbers: Numbers | None = None,
    narrow: Callable[[Path], None] | None = None,
) -> Plot:
    """Plot to *path*, an SVG, and return it for the page, in the page's own text colour.

    A figure with *narrow*, which draws it for a phone, takes the whole width of the page elsewhere.
    """
    plot(path)
    drawn = inline_svg(path, ink=plots.INK, prefix=path.stem)
    if narrow is None:
        return Plot(drawn, caption, numbers)
    with scratch_folder("figure") as folder:  # the run folder keeps one file of each figure
        small = folder / f"{path.stem}_narrow.svg"
        narrow(small)
        phone = inline_svg(small, ink=plots.INK, prefix=small.stem)
    return Plot(drawn, caption, numbers, True, phone)


def majority_row(block: Mapping[str, Any], others: Sequence[float | None] = (), remark: str = "") -> ScoreRow:
    """Return the line of the majority class: WA and UA, then *others*."""
    row = block["majority"]
    return ScoreRow("majority class", [number(value) for value in (row["wa"], row["ua"], *others)], remark)


def reason_of(block: Mapping[str, Any], key: str) -> str:
    """Return why the figure *key* of *block* has no interval; run folders of before give no reason."""
    return str((block.get("no_interval") or {}).get(key) or "no interval")


def tile(name: str, block: Mapping[str, Any], key: str, beside: Mapping[str, Any]) -> Tile:
    """Return the figure *key* of *block* as a headline, with those of *beside*, by name."""
    bounds = block.get(f"{key}_ci95")
    interval = (
        f"95 % interval {number(bounds[0])} to {number(bounds[1])}" if bounds else reason_of(block, key)
    )
    others = [f"{who} {number(value)}" for who, value in beside.items() if value is not None]
    return Tile(name, number(block.get(key)), interval, ", ".join(others))
