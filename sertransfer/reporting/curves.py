"""What scores can tell at every threshold: ROC and precision-recall curves, one or several in a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sertransfer.errors import bad_input
from sertransfer.evaluation.metrics import auroc
from sertransfer.reporting.page import Numbers
from sertransfer.reporting.plots import INK, colour_of, draw_legend, new_figure, save_figure, styled
from sertransfer.reporting.tables import number

MOST_POINTS = 100
"""How many points of a curve its table shows; of more, every k-th."""


@dataclass(frozen=True)
class Curve:
    """The scores of one class or run.

    Attributes:
        name: For the legend; may be empty where there is one curve.
        positive: Truth, shape ``(items,)``, boolean.
        scores: Higher = more likely positive, shape ``(items,)``.
        place: Of its run in the palette, so that it looks the same in all figures of a page; by default
            that among the curves.
    """

    name: str
    positive: NDArray[np.bool_]
    scores: NDArray[np.float64]
    place: int | None = None


def curve(name: str, positive: ArrayLike, scores: ArrayLike, place: int | None = None) -> Curve:
    """Return a :class:`Curve` of what can be made arrays."""
    return Curve(name, np.asarray(positive, dtype=bool), np.asarray(scores, dtype=np.float64), place)


@styled
def plot_roc(curves: Sequence[Curve], path: str | Path, *, title: str = "ROC") -> None:
    """Draw the receiver operating characteristic of each; tied scores make one sloped step.

    Args:
        curves: At least one.
        path: PNG or SVG to write.
        title: Heading.

    Raises:
        BadInput: If *path* has another suffix, or a class is absent.
    """
    figure, axes = new_figure(4.2, 3.8)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="chance")
    for index, one in enumerate(curves):
        area = auroc(one.positive, one.scores)
        if area is None:
            raise _one_class("ROC")
        label = f"{one.name}, {area:.3f}" if one.name else f"AUROC {area:.3f}"
        alarms, hits, _ = roc_points(one.positive, one.scores)
        axes.plot(alarms, hits, **_look(one, index), label=label)
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("sensitivity")
    draw_legend(axes)
    save_figure(figure, axes, path, title)


@styled
def plot_precision_recall(curves: Sequence[Curve], path: str | Path, *, title: str) -> None:
    """Draw precision against recall, with the precision of saying yes to all, which is the positives' share.

    Args:
        curves: At least one.
        path: PNG or SVG to write.
        title: Heading.

    Raises:
        BadInput: If *path* has another suffix, or a curve has no positive item.
    """
    figure, axes = new_figure(4.2, 3.8)
    for index, one in enumerate(curves):
        if not one.positive.any():
            raise _one_class("precision-recall")
        area = average_precision(one.positive, one.scores)
        label = f"{one.name}, {area:.3f}" if one.name else f"average precision {area:.3f}"
        recall, precision, _ = precision_recall_points(one.positive, one.scores)
        recall, precision = np.append(0.0, recall), np.append(precision[0], precision)
        axes.step(recall, precision, where="pre", **_look(one, index), label=label)
    if len(curves) == 1:
        share = float(curves[0].positive.mean())
        axes.axhline(share, color=INK, linewidth=0.8, linestyle=":", label=f"share of positives {share:.3f}")
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlabel("recall (sensitivity)")
    axes.set_ylabel("precision")
    draw_legend(axes)
    save_figure(figure, axes, path, title)


def roc_points(
    positive: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return false alarm rate, hit rate and threshold, from (0, 0), at infinity, to (1, 1)."""
    hits, alarms, thresholds = _counted(positive, scores)
    return (
        np.append(0.0, alarms / (~positive).sum()),
        np.append(0.0, hits / positive.sum()),
        np.append(np.inf, thresholds),
    )


def precision_recall_points(
    positive: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return recall, precision and threshold at every distinct score, the highest first."""
    hits, alarms, thresholds = _counted(positive, scores)
    return hits / positive.sum(), hits / (hits + alarms), thresholds


def average_precision(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return the mean of precision over the steps of recall."""
    recall, precision, _ = precision_recall_points(positive, scores)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def roc_numbers(curves: Sequence[Curve]) -> Numbers:
    """Return the table behind :func:`plot_roc`."""
    rows, note = [], ""
    for one in curves:
        alarms, hits, thresholds = roc_points(one.positive, one.scores)
        kept, note = _thinned(len(hits), note)
        for index in kept:
            values = (thresholds[index], hits[index], 1 - alarms[index])
            rows.append([one.name or "all", *map(_threshold, values[:1]), *map(number, values[1:])])
    columns = ["curve", "threshold", "sensitivity", "specificity"]
    return Numbers(columns, rows, "Sensitivity and specificity by threshold", note)


def precision_recall_numbers(curves: Sequence[Curve]) -> Numbers:
    """Return the table behind :func:`plot_precision_recall`."""
    rows, note = [], ""
    for one in curves:
        recall, precision, thresholds = precision_recall_points(one.positive, one.scores)
        kept, note = _thinned(len(recall), note)
        for index in kept:
            values = (recall[index], precision[index])
            rows.append([one.name or "all", _threshold(thresholds[index]), *map(number, values)])
    return Numbers(
        ["curve", "threshold", "recall", "precision"], rows, "Recall and precision by threshold", note
    )


def _counted(
    positive: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return hits, false alarms and threshold at each distinct score, the highest first."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    return np.cumsum(positive[order])[ends], np.cumsum(~positive[order])[ends], scores[order][ends]


def _thinned(count: int, note: str) -> tuple[list[int], str]:
    """Return which of *count* points are shown, the last one always, and what is said of that."""
    step = -(-count // MOST_POINTS)
    kept = sorted({*range(0, count, step), count - 1})
    return kept, note if step == 1 else "Every k-th point; the run's CSV has every score."


def _threshold(value: float) -> str:
    return "above all" if np.isinf(value) else number(value)


def _look(one: Curve, index: int) -> dict[str, Any]:
    """Return colour and line style: colours alone do not tell curves apart for everybody."""
    place = index if one.place is None else one.place
    return {"color": colour_of(place), "linestyle": ("-", "--", "-.", ":")[place % 4]}


def _one_class(what: str) -> Exception:
    return bad_input(what, found="items of one class", expected="both classes", remedy="give both classes")
