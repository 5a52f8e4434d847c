"""No cell of a table is run by a spreadsheet."""

import pandas as pd
import pytest

from sertransfer.io.spelling import as_cell, is_formula
from sertransfer.reporting.tables import without_formulas


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|x", "'+cmd|x"),
        ("@SUM(1)", "'@SUM(1)"),
        ("-1+cmd|x", "'-1+cmd|x"),
        (" =1", "' =1"),
        ('"=1', "'\"=1"),
        ("\uff1dSUM(1)", "'\uff1dSUM(1)"),
        ("\uff0bcmd|x", "'\uff0bcmd|x"),
        ("\uff20SUM(1)", "'\uff20SUM(1)"),
        ("a;=cmd", "a;'=cmd"),
        ("a; b; @x", "a; b;' @x"),
        ("=a;=b", "'=a;'=b"),
        ("a\n=1", r"a\n=1"),
        ("\t=1", r"\t=1"),
        ("\r=1", r"\r=1"),
    ],
)
def test_formulas_get_an_apostrophe(text, cell):
    assert is_formula(text)
    assert as_cell(text) == cell
    assert not is_formula(as_cell(text))


@pytest.mark.parametrize(
    "text", ["x", "-", "- no", "+1.5", "-2", "a = b", "me@home", "a; b", "1;+2", "x-1 (b)"]
)
def test_other_texts_stay(text):
    assert not is_formula(text)
    assert as_cell(text) == text


def test_tables():
    frame = pd.DataFrame({"=a": ["=1+1", "x"], "b": pd.Series([-2.0, "a;=b"], dtype=object)})
    plain = without_formulas(frame)
    assert list(plain.columns) == ["'=a", "b"]
    assert plain["'=a"].tolist() == ["'=1+1", "x"]
    assert plain["b"].tolist() == [-2.0, "a;'=b"]
