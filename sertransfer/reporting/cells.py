"""Cells of tables that people open in a spreadsheet."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from sertransfer.manifest import FORMULA

_FORMULA = re.compile(FORMULA)


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Return *frame* with an apostrophe before each text that a spreadsheet would run as a formula.

    A manifest holds none, but names of new recordings and of run folders can be anything.
    """
    return frame.map(_plain)


def _plain(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
