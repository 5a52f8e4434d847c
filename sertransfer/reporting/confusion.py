"""A confusion matrix as a figure with its numbers, and what it says of each class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sertransfer.metrics import f1_scores, recalls
from sertransfer.reporting.page import Numbers, Plot, draw
from sertransfer.reporting.plots import plot_confusion
from sertransfer.reporting.values import number

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
