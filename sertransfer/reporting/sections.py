"""Sections that several report pages share: scores, confusion, curves, learning, and fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sertransfer.evaluation.metrics import f1_scores, recalls
from sertransfer.io.spelling import printable
from sertransfer.reporting.curves import (
    Curve,
    plot_precision_recall,
    plot_roc,
    precision_recall_numbers,
    roc_numbers,
)
from sertransfer.reporting.page import Numbers, Plot, ScoreRow, Section, Table, draw
from sertransfer.reporting.plots import (
    INK,
    NARROW,
    colour_of,
    plot_confusion,
    plot_learning_curves,
    shortened,
    style_axes,
    styled,
    write_figure,
)
from sertransfer.reporting.runs import read_table
from sertransfer.reporting.tables import as_text, number, with_interval

Bounds = tuple[float, float] | None


@dataclass(frozen=True)
class ScoreBar:
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
def plot_scores(rows: Sequence[ScoreBar], path: str | Path, *, narrow: bool = False) -> None:
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


def score_numbers(rows: Sequence[ScoreBar]) -> Numbers:
    """Return the table behind :func:`plot_scores`."""
    cells = [
        [row.name, with_interval(row.wa, row.wa_bounds), with_interval(row.ua, row.ua_bounds)] for row in rows
    ]
    return Numbers(["", "WA", "UA"], cells, "Scores with 95 % intervals")


def intervals_note(intervals: Mapping[str, str]) -> str:
    """Return what WA, UA and the brackets are."""
    made = "; ".join(f"{name}: {value}" for name, value in intervals.items())
    return (
        f"WA is accuracy, UA the mean recall of the classes. In brackets: 95 % intervals ({made}). "
        "They take the trained model as given. Below six clusters there is none."
    )


def scores_plot(folder: Path, rows: Sequence[ScoreBar]) -> Plot:
    """Draw the headline scores of *rows*, the run's first."""
    return draw(
        folder / "plots" / "scores.svg",
        "WA and UA: a dot with the line of its 95 % interval; a diamond where there is no interval.",
        partial(plot_scores, rows),
        numbers=score_numbers(rows),
        narrow=partial(plot_scores, rows, narrow=True),
    )


Counts = Sequence[Sequence[int]]


def confusion_plot(path: Path, counts: Counts, classes: Sequence[str], what: str) -> Plot:
    """Draw the confusion of *what* to *path*; the table behind it has counts and shares of each row."""
    rows = []
    for name, row in zip(classes, counts, strict=True):
        total = sum(row)
        shares = [f"{count / total:.1%}" if total else "no item" for count in row]
        rows.append([name, *map(str, row), str(total), *shares])
    columns = ["truth \\ predicted", *classes, "all", *(f"{name}, share" for name in classes)]
    return draw(
        path,
        f"Confusion of {what}: rows are the truth, normalised, with counts.",
        partial(plot_confusion, counts, classes, title=what.capitalize()),
        numbers=Numbers(columns, rows, f"Confusion of {what}: counts, and shares of each row"),
    )


def class_numbers(counts: Counts, classes: Sequence[str], *, f1: Sequence[str] | None = None) -> Numbers:
    """Return recall, precision and F1 of each class; a class without items or answers has no such figure.

    Args:
        counts: Rows = truth.
        classes: In the order of *counts*.
        f1: F1 of each class as text, where it is known with its interval.
    """
    matrix = np.asarray(counts)
    found, means, answers = recalls(matrix), f1_scores(matrix), matrix.sum(axis=0)
    rows = []
    for index, name in enumerate(classes):
        precision = matrix[index, index] / answers[index] if answers[index] else None
        recall = None if np.isnan(found[index]) else found[index]
        both = f1[index] if f1 else number(None if recall is None else means[index])
        rows.append([name, str(int(matrix[index].sum())), number(recall), number(precision), both])
    return Numbers(["class", "items", "recall", "precision", "F1"], rows, "By class")


def curve_plots(folder: Path, curves: Sequence[Curve], what: str) -> list[Plot]:
    """Draw both curves of *what*, of all *curves* whose truth holds positives and negatives."""
    told = [one for one in curves if one.positive.any() and not one.positive.all()]
    if not told:
        return []
    return [
        draw(
            folder / "plots" / f"roc_{what}.svg",
            f"Sensitivity against false alarms, by {what}, over all thresholds.",
            partial(plot_roc, told, title=f"ROC, {what}"),
            numbers=roc_numbers(told),
        ),
        draw(
            folder / "plots" / f"precision_recall_{what}.svg",
            f"Precision against recall, by {what}, over all thresholds.",
            partial(plot_precision_recall, told, title=f"Precision and recall, {what}"),
            numbers=precision_recall_numbers(told),
        ),
    ]


def learning_section(folder: Path) -> list[Section]:
    """Return the section of ``epochs.csv``; none for a folder without it."""
    if not (folder / "epochs.csv").is_file():
        return []
    epochs = read_table(folder / "epochs.csv", ["epoch"])
    columns = [str(name) for name in epochs.columns]
    rows = [[_cell(value) for value in row] for row in epochs.itertuples(index=False, name=None)]
    plot = draw(
        folder / "plots" / "learning_curves.svg",
        "Training over the epochs.",
        lambda path: plot_learning_curves(epochs, path),
        numbers=Numbers(columns, rows, "Epochs"),
        narrow=lambda path: plot_learning_curves(epochs, path, narrow=True),
    )
    return [Section("learning", "Learning curves", plots=[plot])]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return str(value)


WEIGHTS = (
    "Weights of the blocks' outputs in the mix that was learned with the classifier; they add up to 1 and "
    "began alike. Blocks differ in scale, so that a weight alone does not say how much a block tells."
)


def finetune_sections(metrics: dict[str, Any]) -> list[Section]:
    """Return the sections that a fine-tuned run has of its own, those that *metrics* has something for."""
    sections = []
    tuning = metrics.get("tuning", {})
    if "inner_loss" in tuning:
        names = {"best": "best trial", "median": "median trial", "worst": "worst trial"}
        rows = [ScoreRow(names[key], [number(tuning["inner_loss"][key])]) for key in names]
        note = (
            f"Chosen among trials ({as_text(tuning['trials'])}): {as_text(tuning['best'])}. Trials by the "
            f"{tuning['objective']}. Note: {tuning['note']}."
        )
        table = Table(["inner loss"], rows, corner="trial")
        sections.append(Section("tuning", "Tuning of the fine-tuning", table, note))
    weights = metrics.get("finetune", {}).get("layer_weights", [])
    if weights:
        rows = [ScoreRow(f"block {place}", [number(value)]) for place, value in enumerate(weights, start=1)]
        table = Table(["weight"], rows, leads=False, corner="layer")
        sections.append(Section("layers", "Learned layer weights", table, WEIGHTS))
    return sections
