"""The parts of a report page: score tables, figures with their numbers, headline figures, verdicts.

A verdict says what a comparison with the majority class means: one statement about UA and one about WA.
Always answering the most frequent class has UA 1 / classes, whatever the shares, and the highest WA that
one answer for all can have. A run may be better by UA and not by WA: it then finds the rarer class, at the
price of as many errors in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from markupsafe import Markup

from sertransfer.evaluation.chance import against_constant
from sertransfer.evaluation.intervals import Clusters
from sertransfer.io.scratch import scratch_folder
from sertransfer.reporting import plots
from sertransfer.reporting.rendering import inline_svg
from sertransfer.reporting.tables import number, scored

State = Literal["beyond", "below", "open"]

LEVEL = 0.05
"""A two-sided p below it is taken for a difference, as an interval of 95 % would."""

_STATES: dict[str, State] = {"above": "beyond", "below": "below", "open": "open"}


@dataclass(frozen=True)
class Verdict:
    """*headline* says it in short, *text* with the figures; *state* is for the colour."""

    state: State
    headline: str
    text: str


def verdict(scores: Mapping[str, Any], majority: Mapping[str, Any], unit: str) -> Verdict:
    """Compare a block of scores with the majority class of the same items.

    Args:
        scores: ``ua`` and ``ua_ci95``, ``n``, ``confusion`` (rows = truth), and ``against_majority``. It is
            computed from the confusion where a run folder of before has none and its items are independent.
        majority: ``wa`` and ``ua``.
        unit: What is counted.
    """
    ua, chance = scores.get("ua"), majority.get("ua")
    if ua is None or chance is None:
        return Verdict(
            "open", "No comparison with the majority class", "UA is undefined: a class has no item."
        )
    text = f"UA is {scored(scores, 'ua')}, over {scores['n']} {unit}s; always answering the most frequent "
    text += f"class has {number(chance)}. "
    found = scores.get("against_majority") or _from_confusion(scores)
    if found is None:
        return Verdict(
            "open",
            "No statement on chance",
            f"{text}The run was scored by an earlier version, whose interval over clusters was too narrow.",
        )
    by_ua, by_wa = found["ua"], found["wa"]
    if by_ua.get("reason"):
        return Verdict("open", "No statement on chance", f"{text}{_sentence(by_ua['reason'])}")
    text += f"WA is {number(scores.get('wa'))}, against {number(majority.get('wa'))}{_gained(by_wa, unit)}."
    text += f" By UA: {_test(by_ua)}; by WA: {_test(by_wa)}."
    states = by_ua["state"], by_wa["state"]
    if by_ua["state"] == "above":  # interviews can be told apart by much that is no emotion
        text += " What the scores follow it does not say: see what the corpus gives away."
    return Verdict(_STATES[by_ua["state"]], _headline(*states, unit), text)


def _headline(ua: str, wa: str, unit: str) -> str:
    by_ua = {
        "above": f"UA: better than the majority class on these {unit}s",
        "below": f"UA: worse than the majority class on these {unit}s",
        "open": f"UA: not shown to differ from the majority class on these {unit}s",
    }[ua]
    by_wa = {"above": "WA: better", "below": "WA: worse", "open": "WA: no difference shown"}[wa]
    return f"{by_ua}. {by_wa}"


def _test(found: Mapping[str, Any]) -> str:
    p = "" if found.get("p") is None else f" p = {found['p']:.2g}"
    return f"{found['test']}{p}"


def _gained(found: Mapping[str, Any], unit: str) -> str:
    return f" ({found['gained']} {unit}s that the run alone has right, {found['lost']} the other alone)"


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."


def _from_confusion(scores: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the comparison for items that are independent, as a run folder of before says; else ``None``."""
    if "Clopper-Pearson" not in (scores.get("intervals") or {}).values():
        return None
    counts = np.asarray(scores["confusion"], dtype=np.int64)
    rows, columns = np.indices(counts.shape)
    truth, predicted = (np.repeat(places.ravel(), counts.ravel()) for places in (rows, columns))
    clusters = Clusters([str(item) for item in range(len(truth))], "subjects")
    return against_constant(truth, predicted, len(counts), clusters)


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
