"""Plots of corpora and runs, as PNG or SVG by the file's suffix."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import font_manager, rc_context, rcParamsDefault
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from sertransfer.errors import bad_input
from sertransfer.io.files import atomic_path, regular_file
from sertransfer.io.spelling import printable

INK = "#22262b"
"""Colour of text and lines; the report exchanges it for the page's own."""

# Okabe and Ito's palette, which colour-blind readers can tell apart
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#8c6d31")

NARROW = 3.7
"""Width in inches of a figure for a phone."""

DARKEST = 0.7
"""Opacity of a full cell: on it the page's text can be read on light and on dark ground."""

EAST_ASIAN_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "SimHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
)
"""Fonts that hold what matplotlib's own lacks, the first installed first."""

_SUFFIXES = (".png", ".svg")
_NOT_OF_A_STYLE = {"backend", "backend_fallback", "toolbar", "interactive", "savefig.directory"}


def _style() -> Any:  # matplotlib types the names of its settings one by one
    installed = set(font_manager.get_font_names())
    defaults: dict[str, Any] = dict(rcParamsDefault.items())
    return {
        **{name: value for name, value in defaults.items() if name not in _NOT_OF_A_STYLE},
        "text.parse_math": False,
        # text of an SVG stays text: the reader's browser has the fonts that this machine may lack
        "svg.fonttype": "none",
        "font.family": ["DejaVu Sans", *(name for name in EAST_ASIAN_FONTS if name in installed)],
    }


styled = rc_context(rc=_style())
"""Decorator of every function that draws: by matplotlib's own defaults, whatever the caller's settings or a
``matplotlibrc`` in the current folder say. (With ``text.usetex`` each figure would start ``latex``.)"""


@styled
def plot_confusion(confusion: ArrayLike, classes: Sequence[str], path: str | Path, *, title: str) -> None:
    """Draw a confusion matrix, rows (truth) normalised as in the paper's Figure 2, with counts.

    Args:
        confusion: Counts, shape ``(classes, classes)``, rows = truth. A row without items stays empty.
        classes: Names in the order of the rows.
        path: PNG or SVG to write.
        title: Heading.

    Raises:
        BadInput: If *path* has another suffix.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    size = len(classes)
    figure, axes = new_figure(1.8 + 1.05 * size, 1.5 + 0.85 * size)
    for row in range(size):
        for column in range(size):
            share = float(shares[row, column])
            cell = Rectangle((column - 0.5, row - 0.5), 1, 1, color=COLOURS[0], alpha=DARKEST * share, lw=0)
            axes.add_patch(cell)
            axes.text(
                column,
                row,
                f"{share:.1%}\n{counts[row, column]}" if totals[row, 0] else "no item",
                ha="center",
                va="center",
                fontsize=9,
                color=INK,
            )
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    axes.set_xticks(
        range(size), [printable(name) for name in classes], rotation=30 if size > 3 else 0, ha="center"
    )
    axes.set_yticks(range(size), [printable(name) for name in classes])
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    save_figure(figure, axes, path, title)


@styled
def plot_label_shares(
    shares: Mapping[str, float], path: str | Path, *, title: str = "Share of labels"
) -> None:
    """Draw the share of each label as a pie (paper, Figure 1).

    Args:
        shares: Label to share or count; shares are taken of their sum.
        path: PNG or SVG to write.
        title: Heading.

    Raises:
        BadInput: If *path* has another suffix, or nothing has a share.
    """
    values = pd.Series(dict(shares), dtype=float)
    values = values[values > 0].sort_values(ascending=False, kind="stable")
    if values.empty:
        raise bad_input("label shares", found="none above 0", expected="labels", remedy="give labelled rows")
    values = values / values.sum()
    figure, axes = new_figure(6.4, 4.2)
    colours = [COLOURS[index % len(COLOURS)] for index in range(len(values))]
    wedges = axes.pie(values.to_numpy(), colors=colours, startangle=90, counterclock=False)[0]
    for index, wedge in enumerate(wedges):
        wedge.set(edgecolor="#ffffff", linewidth=0.8, alpha=1.0 if index < len(COLOURS) else 0.65)
    entries = [f"{printable(str(name))}  {share:.1%}" for name, share in values.items()]
    legend = axes.legend(
        wedges, entries, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9
    )
    for text in legend.get_texts():
        text.set_color(INK)
    save_figure(figure, axes, path, title)


@styled
def plot_learning_curves(
    epochs: pd.DataFrame | str | Path, path: str | Path, *, narrow: bool = False
) -> None:
    """Draw the columns of a training log over its epochs: losses on the left, accuracies on the right.

    Args:
        epochs: Table, or CSV, with ``epoch`` and numeric columns; those named ``*loss*`` are losses, those
            named ``*wa``, ``*ua`` or ``*acc*`` accuracies. Gaps are left out.
        path: PNG or SVG to write.
        narrow: Draw accuracies below the losses, for a phone, instead of beside them.

    Raises:
        BadInput: If *path* has another suffix, or there is no such column.
    """
    table = pd.read_csv(regular_file(epochs)) if isinstance(epochs, str | Path) else epochs
    numeric = [str(name) for name in table.select_dtypes("number").columns if name != "epoch"]
    losses = [name for name in numeric if "loss" in name]
    accuracies = [name for name in numeric if name.endswith(("wa", "ua")) or "acc" in name]
    if "epoch" not in table or not losses + accuracies:
        raise bad_input(
            "training log",
            found=f"columns {', '.join(map(str, table.columns))}",
            expected="epoch, and losses or accuracies",
            remedy="give the epochs.csv of a run",
        )
    panels = [(names, what) for names, what in ((losses, "loss"), (accuracies, "accuracy")) if names]
    many = len(panels)
    size = (NARROW, 2.6 * many) if narrow else (4.2 * many, 3.2)
    figure = Figure(figsize=size, layout="constrained")
    for index, (names, what) in enumerate(panels):
        axes = figure.add_subplot(*((many, 1) if narrow else (1, many)), index + 1)
        for line, name in enumerate(names):
            points = table[["epoch", name]].dropna()
            marker = "o" if len(points) < 3 else None
            colour = COLOURS[line % len(COLOURS)]
            axes.plot(points["epoch"], points[name], label=printable(name), color=colour, marker=marker)
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        draw_legend(axes)
        style_axes(axes)
    write_figure(figure, path)


@styled
def plot_subject_scores(
    subjects: pd.DataFrame,
    threshold: float,
    path: str | Path,
    *,
    classes: Sequence[str] = (),
    narrow: bool = False,
) -> None:
    """Draw each subject's score, sorted, coloured by its label, with the threshold of the decision.

    Args:
        subjects: Columns ``subject, label, score``, and ``undecided`` if there are such.
        threshold: From this score on the decision is positive.
        path: PNG or SVG to write.
        classes: Order of the labels in colour and legend; otherwise that of their appearance.
        narrow: Draw for a phone.

    Raises:
        BadInput: If *path* has another suffix.
    """
    table = subjects.sort_values("score", kind="stable").reset_index(drop=True)
    figure, axes = new_figure(NARROW if narrow else max(7.5, min(2.5 + 0.2 * len(table), 12)), 3.4)
    axes.axhline(threshold, color=INK, linewidth=1, linestyle="--", label=f"threshold {threshold:.3g}")
    labels = list(dict.fromkeys([*classes, *subjects["label"].astype(str)]))
    undecided = _flags(table)
    for index, label in enumerate(labels):
        chosen = (table["label"].astype(str) == label).to_numpy()
        colour = COLOURS[index % len(COLOURS)]
        marker = "os^D"[index % 4]
        for rows, fill in ((chosen & ~undecided, True), (chosen & undecided, False)):
            if rows.any():
                axes.scatter(
                    np.flatnonzero(rows),
                    table["score"][rows],
                    marker=marker,
                    label=printable(label) + ("" if fill else " (undecided)"),
                    facecolors=colour if fill else "none",
                    edgecolors=colour,
                    s=34,
                )
    axes.set_ylim(-0.04, 1.04)
    axes.set_ylabel("score")
    axes.set_xlabel("subject")
    few = len(table) <= (30 if narrow else 60)
    axes.set_xticks(
        range(len(table)) if few else [],
        [printable(shortened(str(name), 16)) for name in table["subject"]] if few else [],
        rotation=90,
        fontsize=7,
    )
    draw_legend(axes)
    save_figure(figure, axes, path, "Subjects by score")


def _flags(table: pd.DataFrame) -> NDArray[np.bool_]:
    if "undecided" not in table:
        return np.zeros(len(table), dtype=bool)
    return (table["undecided"].astype(str).str.lower() == "true").to_numpy(bool)


def colour_of(place: int) -> str:
    """Return the colour of what stands at *place*, from 0; after eight they begin again."""
    return COLOURS[place % len(COLOURS)]


def shortened(text: str, longest: int) -> str:
    """Return *text*, cut where it would leave the figure no room."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def new_figure(width: float, height: float) -> tuple[Figure, Any]:
    """Return a figure of *width* by *height* inches, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def draw_legend(axes: Any) -> None:
    """Draw the legend of *axes* in the colour of its text."""
    legend = axes.legend(frameon=False, fontsize=8, loc="best")
    for text in legend.get_texts():
        text.set_color(INK)


def style_axes(axes: Any) -> None:
    """Give *axes* no ground, and the ink for all its lines and texts."""
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_edgecolor(INK)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set_color(INK)


def save_figure(figure: Figure, axes: Any, path: str | Path, title: str) -> None:
    """Write *figure*, its only *axes* styled, to *path*; ``BadInput`` if that is no PNG or SVG."""
    axes.set_title(printable(title), fontsize=11)
    style_axes(axes)
    write_figure(figure, path)


def write_figure(figure: Figure, path: str | Path) -> None:
    """Write *figure* to *path*; ``BadInput`` if that is no PNG or SVG."""
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in _SUFFIXES:
        raise bad_input(
            target,
            found=f"suffix '{suffix}'",
            expected=" or ".join(_SUFFIXES),
            remedy="name the figure with one of these",
        )
    for text in figure.findobj(Text):  # what cannot be seen is no XML either
        text.set_text(printable(text.get_text(), keep="\n"))
    drawn: dict[str, Any] = {"format": suffix[1:], "dpi": 150}
    if suffix == ".svg":
        # transparent, so that a page can show it on its own ground; no date: same run, same file
        drawn |= {"transparent": True, "metadata": {"Date": None}}
    with atomic_path(target) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure.savefig(temporary, **drawn)


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
