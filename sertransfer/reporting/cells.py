"""Cells of tables that people open in a spreadsheet."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from sertransfer.manifest import FORMULA
from sertransfer.spelling import printable

_FORMULA = re.compile(FORMULA)


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Return *frame* with an apostrophe before each text that a spreadsheet would run as a formula.

    Control characters are escaped. A manifest holds none of either, but names of new recordings and of run
    folders can be anything.
    """
    return frame.map(_plain)


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return printable(f"'{value}" if _FORMULA.match(value) else value, keep="\t")
