"""The headline scores as a figure: each with its interval, beside the majority class and the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from sertransfer.reporting.page import Numbers
from sertransfer.reporting.plots import INK, NARROW, colour_of, shortened, style_axes, styled, write_figure
from sertransfer.reporting.values import with_interval
from sertransfer.spelling import printable

Bounds = tuple[float, float] | None


@dataclass(frozen=True)
class Scored:
    """One row of the figure: WA and UA with their intervals, ``None`` where undefined or not known.

    *place* is that of a run in the palette, on a page that shows several. Without one, the first row has
    colour and the others are in ink.
    """

    name: str
    wa: float | None
    ua: float | None
    wa_bounds: Bounds = None
    ua_bounds: Bounds = None
    place: int | None = None


@styled
def plot_scores(rows: Sequence[Scored], path: str | Path, *, narrow: bool = False) -> None:
    """Draw WA and UA of each row as a dot, and its 95 % interval as a line.

    Args:
        rows: The first one, in colour, is the run's.
        path: PNG or SVG to write.
        narrow: Draw UA below WA, for a phone, instead of beside it.

    Raises:
        BadInput: If *path* has another suffix.
    """
    height = 1.0 + 0.34 * len(rows)
    figure = Figure(figsize=(NARROW, 2 * height) if narrow else (8.4, height), layout="constrained")
    places = range(len(rows) - 1, -1, -1)
    names = [printable(shortened(row.name, 18 if narrow else 28)) for row in rows]
    for index, name in enumerate(("wa", "ua")):
        axes = figure.add_subplot(*((2, 1) if narrow else (1, 2)), index + 1)
        for place, row in zip(places, rows, strict=True):
            value, bounds = getattr(row, name), getattr(row, f"{name}_bounds")
            place_of_run = 0 if row.place is None and row is rows[0] else row.place
            colour = INK if place_of_run is None else colour_of(place_of_run)
            if bounds is not None:
                axes.plot(bounds, [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
            if value is not None:
                axes.plot([value], [place], color=colour, marker="o" if bounds else "D", linestyle="none")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks(list(places), names if narrow or index == 0 else [""] * len(rows))
        axes.set_xlabel(name.upper())
        axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
        style_axes(axes)
    write_figure(figure, path)


def score_numbers(rows: Sequence[Scored]) -> Numbers:
    """Return the table behind :func:`plot_scores`."""
    cells = [
        [row.name, with_interval(row.wa, row.wa_bounds), with_interval(row.ua, row.ua_bounds)] for row in rows
    ]
    return Numbers(["", "WA", "UA"], cells, "Scores with 95 % intervals")
