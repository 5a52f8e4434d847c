"""Cells of tables that people open in a spreadsheet."""

from __future__ import annotations

import pandas as pd

from sertransfer.spelling import as_cell


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Return *frame* with an apostrophe before each text that a spreadsheet would run as a formula.

    Control characters are escaped. A manifest holds none of either, but names of new recordings and of run
    folders can be anything. Names of columns are made harmless too.
    """
    plain = frame.map(lambda value: as_cell(value) if isinstance(value, str) else value)
    return plain.rename(columns=lambda name: as_cell(str(name)))
