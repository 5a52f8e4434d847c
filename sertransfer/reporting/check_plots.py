"""Plots of what a run is worth: calibration, and the course of head tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from sertransfer.reporting.plots import COLOURS, INK, draw_legend, new_figure, save_figure, styled


@styled
def plot_reliability(bins: Sequence[Mapping[str, Any]], path: str | Path, *, title: str) -> None:
    """Draw what came true of the scores: share of positives against mean score, a dot's area its items.

    Args:
        bins: Of each ``n``, ``score`` and ``positive``.
        path: PNG or SVG to write.
        title: Heading.

    Raises:
        BadInput: If *path* has another suffix.
    """
    counts = np.array([row["n"] for row in bins], dtype=float)
    figure, axes = new_figure(4.2, 3.8)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="calibrated")
    scores, shares = ([row[name] for row in bins] for name in ("score", "positive"))
    axes.plot(scores, shares, color=COLOURS[0], linewidth=1)
    axes.scatter(scores, shares, s=20 + 180 * counts / counts.max(), color=COLOURS[0], alpha=0.8)
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlabel("mean score")
    axes.set_ylabel("share of positives")
    draw_legend(axes)
    save_figure(figure, axes, path, title)


@styled
def plot_trials(trials: pd.DataFrame, path: str | Path) -> None:
    """Draw the value of each complete trial, by study, with the best so far.

    Args:
        trials: Columns ``study, trial, state, value``.
        path: PNG or SVG to write.

    Raises:
        BadInput: If *path* has another suffix.
    """
    figure, axes = new_figure(6.4, 3.6)
    for index, (name, rows) in enumerate(trials.groupby("study", sort=False)):
        complete = rows[rows["state"] == "complete"]
        final = name == "final"
        colour = INK if final else COLOURS[index % len(COLOURS)]
        axes.scatter(complete["trial"], complete["value"], s=12, color=colour, alpha=0.5)
        axes.step(
            complete["trial"],
            complete["value"].cummax(),
            where="post",
            color=colour,
            linewidth=2 if final else 1,
            label=str(name),
        )
    axes.set_xlabel("trial")
    axes.set_ylabel("inner value, best so far as a line")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    draw_legend(axes)
    save_figure(figure, axes, path, "Trials")


@styled
def plot_importance(importance: Mapping[str, float], path: str | Path) -> None:
    """Draw which settings the values of the trials depended on.

    Args:
        importance: Share of the variance by setting.
        path: PNG or SVG to write.

    Raises:
        BadInput: If *path* has another suffix.
    """
    names = sorted(importance, key=lambda name: importance[name])
    figure, axes = new_figure(5.2, 1.2 + 0.3 * len(names))
    axes.barh(names, [importance[name] for name in names], color=COLOURS[0])
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the variance of trial values")
    save_figure(figure, axes, path, "What mattered")


@styled
def plot_inner_outer(folds: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw the inner against the outer figures of each fold; below the line the choice looked too good.

    Args:
        folds: Of each ``inner`` and ``outer``, with ``ua`` and ``auroc``, ``None`` where undefined.
        path: PNG or SVG to write.

    Raises:
        BadInput: If *path* has another suffix.
    """
    figure, axes = new_figure(4.2, 3.8)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="as good outside")
    for colour, marker, name in zip(COLOURS, "os", ("ua", "auroc"), strict=False):
        pairs = [
            (fold["inner"][name], fold["outer"][name])
            for fold in folds
            if None not in (fold["inner"][name], fold["outer"][name])
        ]
        axes.scatter(
            [inner for inner, _ in pairs],
            [outer for _, outer in pairs],
            color=colour,
            marker=marker,
            label=name.upper(),
        )
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlabel("inner folds, which choose")
    axes.set_ylabel("outer fold, which no trial saw")
    draw_legend(axes)
    save_figure(figure, axes, path, "Inner against outer")
