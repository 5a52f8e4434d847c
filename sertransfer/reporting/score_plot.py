"""The headline scores as a figure: each with its interval, beside the majority class and the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from sertransfer.reporting.page import Numbers
from sertransfer.reporting.plots import COLOURS, INK, shortened, style_axes, write_figure
from sertransfer.reporting.values import with_interval
from sertransfer.spelling import printable

Bounds = tuple[float, float] | None


@dataclass(frozen=True)
class Scored:
    """One row of the figure: WA and UA with their intervals, ``None`` where undefined or not known.

    Without a *colour*, the first row has one and the others are in ink.
    """

    name: str
    wa: float | None
    ua: float | None
    wa_bounds: Bounds = None
    ua_bounds: Bounds = None
    colour: str | None = None


def plot_scores(rows: Sequence[Scored], path: str | Path) -> None:
    """Draw WA and UA of each row as a dot, and its 95 % interval as a line.

    Args:
        rows: The first one, in colour, is the run's.
        path: PNG or SVG to write.

    Raises:
        BadInput: If *path* has another suffix.
    """
    figure = Figure(figsize=(8.4, 1.0 + 0.34 * len(rows)), layout="constrained")
    places = range(len(rows) - 1, -1, -1)
    names = [printable(shortened(row.name, 28)) for row in rows]
    for index, name in enumerate(("wa", "ua")):
        axes = figure.add_subplot(1, 2, index + 1)
        for place, row in zip(places, rows, strict=True):
            value, bounds = getattr(row, name), getattr(row, f"{name}_bounds")
            colour = row.colour or (COLOURS[0] if row is rows[0] else INK)
            if bounds is not None:
                axes.plot(bounds, [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
            if value is not None:
                axes.plot([value], [place], color=colour, marker="o" if bounds else "D", linestyle="none")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks(list(places), names if index == 0 else [""] * len(rows))
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
