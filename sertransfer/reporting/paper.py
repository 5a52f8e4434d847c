"""The paper's own figures, from ``paper.yaml`` beside this file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml


def paper_table(number: int) -> dict[str, Any]:
    """Return the paper's table 1 to 6: ``place``, ``title``, ``rows``, ``notes``; not to be changed."""
    table: dict[str, Any] = _paper()[f"table_{number}"]
    return table


def paper_figure() -> dict[str, Any]:
    """Return the paper's Figure 2: ``place``, ``title``, ``classes``, ``matrices`` by model, ``notes``."""
    figure: dict[str, Any] = _paper()["figure_2"]
    return figure


@cache
def _paper() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(
        Path(__file__).with_name("paper.yaml").read_text(encoding="utf-8")
    )
    return values
