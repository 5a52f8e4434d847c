"""The learning curves of a run, where it has trained a network."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sertransfer.reporting.page import Numbers, Section, draw
from sertransfer.reporting.plots import plot_learning_curves
from sertransfer.reporting.run_files import read_table


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
