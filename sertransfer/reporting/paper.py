"""The paper's own figures, from ``paper.yaml`` beside this file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def paper_table(number: int) -> dict[str, Any]:
    """Return the paper's table 4, 5 or 6: ``place``, ``title``, ``rows``, ``notes``; not to be changed."""
    values = yaml.safe_load(Path(__file__).with_name("paper.yaml").read_text(encoding="utf-8"))
    table: dict[str, Any] = values[f"table_{number}"]
    return table
