"""Progress says how much, how fast and how long, on standard error alone, and only where it is wanted."""

import pytest

from sertransfer.io import progress
from sertransfer.io.progress import EVERY, Lines, bar, showing, tracked


def test_without_a_terminal_lines_come_now_and_then(capsys):
    now = [0.0]
    lines = Lines("embedding", 100, unit="sentences", done=10, clock=lambda: now[0])
    for _ in range(4):
        now[0] += EVERY / 2
        lines.advance(15)
    now[0] += 5.0
    lines.finish()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "embedding: 40 of 100 sentences, 1/s, 0:01:00 left",
        "embedding: 70 of 100 sentences, 1/s, 0:00:30 left",
        "embedding: 60 sentences in 0:01:05, 0.923/s",
    ]


def test_what_takes_a_moment_is_worth_no_line(capsys):
    list(tracked([1, 2], "looking", unit="files", shown=True))
    assert capsys.readouterr() == ("", "")


def test_nothing_is_said_unless_it_is_wanted(monkeypatch, capsys):
    assert list(tracked([1, 2], "x", unit="files")) == [1, 2]
    assert list(tracked([1, 2], "x", unit="files", shown=False)) == [1, 2]
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "LEAST", 0.0)
    with showing(True):
        list(tracked([1, 2], "looking", unit="files"))
    assert "looking: 2 files" in capsys.readouterr().err
    assert list(tracked([1], "x", unit="files")) == [1]
    assert capsys.readouterr().err == ""


def test_on_a_terminal_it_is_a_bar_with_rate(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    with bar("tuning", 3, unit="trials", shown=True) as shown:
        shown.advance()
        shown.reach(3, "tuning, last")
    out, err = capsys.readouterr()
    assert out == ""
    assert "tuning, last" in err
    assert "3/3" in err


def test_what_has_no_length_needs_a_total():
    assert list(tracked(iter([1]), "x", unit="files", total=1)) == [1]
    with pytest.raises(TypeError, match="total"):
        list(tracked(iter([1]), "x", unit="files"))
