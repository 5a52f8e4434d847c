"""The parts of both stages' first section: the figure of the scores, and how their intervals were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from sertransfer.reporting.page import Plot, draw
from sertransfer.reporting.score_plot import Scored, plot_scores, score_numbers


def intervals_note(intervals: Mapping[str, str]) -> str:
    """Return what WA, UA and the brackets are."""
    made = "; ".join(f"{name}: {value}" for name, value in intervals.items())
    return (
        f"WA is accuracy, UA the mean recall of the classes. In brackets: 95 % intervals ({made}). "
        "They take the trained model as given. Below six clusters there is none."
    )


def scores_plot(folder: Path, rows: Sequence[Scored]) -> Plot:
    """Draw the headline scores of *rows*, the run's first."""
    return draw(
        folder / "plots" / "scores.svg",
        "WA and UA: a dot with the line of its 95 % interval; a diamond where there is no interval.",
        partial(plot_scores, rows),
        numbers=score_numbers(rows),
        narrow=partial(plot_scores, rows, narrow=True),
    )
