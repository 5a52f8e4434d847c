"""ROC and precision-recall of a page, with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sertransfer.reporting.curves import (
    Curve,
    plot_precision_recall,
    plot_roc,
    precision_recall_numbers,
    roc_numbers,
)
from sertransfer.reporting.page import Plot, draw


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
