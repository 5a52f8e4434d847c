from __future__ import annotations

import itertools
import logging

import pytest

from sertransfer.io.spelling import (
    LINES,
    LogLine,
    all_clean,
    clean,
    is_formula,
    may_hold_formula,
    name_control,
    printable,
    spelling_key,
)


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        (" p01\t", "p01"),
        ("p01\u200b", "p01"),
        ("\ufeffp01", "p01"),
        ("p\u00ad01", "p01"),
        ("p01\u200d", "p01"),
        ("Ame\u0301lie", "Am\u00e9lie"),
        ("p\u00a001\u3000", "p 01"),
        (
            "\u0645\u06cc\u200c\u062e\u0648",
            "\u0645\u06cc\u200c\u062e\u0648",
        ),  # a joiner inside a Persian word
        ("p\x1b01", "p\x1b01"),  # to be refused, not repaired
    ],
)
def test_one_spelling(text: str, spelling: str) -> None:
    assert clean(text) == spelling


@pytest.mark.parametrize(
    "other", ["P01", "p01\u200b", "\uff50\uff10\uff11", " p01 ", "p\u200c01", "\U000e0001p01", "p01\ufe0f"]
)
def test_spellings_of_one_person_have_one_key(other: str) -> None:
    assert spelling_key(other) == spelling_key("p01")
    assert spelling_key("p0 1") != spelling_key("p01")
    assert spelling_key("e\u0301") == spelling_key("\u00c9") != spelling_key("e")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a\x00", "a control character (U+0000)"),
        ("a\x1b[2J", "a control character (U+001B)"),
        ("a\x7f", "a control character (U+007F)"),
        ("a\x9b", "a control character (U+009B)"),
        ("a\nb", "a line end (U+000A)"),
        ("a\rb", "a line end (U+000D)"),
        ("a\x85b", "a line end (U+0085)"),
        ("a\u2028b", "a line end (U+2028)"),
        ("a\u202eb", "a mark of writing direction (U+202E)"),
        ("a\u200fb", "a mark of writing direction (U+200F)"),
        ("a\u2066b", "a mark of writing direction (U+2066)"),
        ("caf\udce9", "bytes that are not UTF-8"),
        ("Ünïcødé 生气 😀 $x_1$", ""),
    ],
)
def test_what_no_name_may_hold_is_named(text: str, what: str) -> None:
    assert name_control(text) == what
    assert printable(text).isprintable()
    assert (printable(text) == text) == (what == "")


def test_escapes_can_be_read() -> None:
    assert printable("a\x1b[31mb\u202ec\nd\udce9") == r"a\x1b[31mb\u202ec\nd\udce9"
    assert printable("a\nb\tc\r", keep=LINES) == "a\nb\tc\\r"
    assert printable("می\u200cخواهم ❤\ufe0f").count("\u200c") == 1


def test_a_name_cannot_forge_a_line_of_the_log() -> None:
    record = logging.LogRecord(
        "x", logging.INFO, "", 0, "read %s", ("a\n2026-01-01 INFO forged\x1b[2J",), None
    )
    lines = LogLine("%(levelname)s %(message)s").format(record).splitlines()
    assert lines == ["INFO read a", "  2026-01-01 INFO forged\\x1b[2J"]


def test_quick_looks_at_many_cells_miss_nothing() -> None:
    """They decide for a whole column whether the pattern, or the cleaning, is asked at all."""
    signs = 'a1 ;-+=@|(!\t\r\n"\u200b\u00e9\uff1d\uff20\uff0b\uff0d'
    for cell in map("".join, itertools.product(signs, repeat=3)):
        assert may_hold_formula(f"ab{cell}cd") or not is_formula(cell), ascii(cell)
        assert clean(cell) == cell or not all_clean(["ab", cell, "cd"]), ascii(cell)
    assert not may_hold_formula("IEMOCAP_Ses01-F_impro.01" * 2)
    assert all_clean(["p 01", "Ses01-F", ""])
