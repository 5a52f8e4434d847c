"""Parsing of single transcripts, and a fuzz of their bytes."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.daic_tree import ANSWER, ELLIE, HEADER, transcript

from sertransfer.corpora.interviews.segments import Rules, cut_utterances
from sertransfer.corpora.interviews.transcript import has_words, mark_of, parse_transcript
from sertransfer.errors import Faults

ROWS = [(2, "ellie", 0.5, 1.0), (3, "participant", 1.25, 2.5)]


def parse(data: bytes, **settings):
    faults = Faults()
    parsed = parse_transcript(data, "t.csv", faults, **settings)
    return parsed, list(faults)


def summary(parsed):
    return [(row.line, row.speaker, row.start, row.stop) for row in parsed.rows]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\n", b"\r"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.rstrip(b"\n"),
        lambda data: data.replace(b"start_time", b"Start_Time").replace(b"value\n", b"value,\n"),
        lambda data: data.replace(b"Ellie", b" ELLIE ").replace(b"Participant", b"PARTICIPANT"),
        lambda data: data.replace(b"okay", b'\xff\x92 okay "quoted'),
        lambda data: data.replace(b"okay", b"okay\tand more"),
        lambda data: data + b"\n\t\t\t\n   \n",
        lambda data: data.replace(b"0.5\t", b"5e-1\t"),
    ],
    ids=[
        "as is",
        "CRLF",
        "CR",
        "BOM",
        "no end",
        "header",
        "case",
        "bytes",
        "TAB in text",
        "blank",
        "exponent",
    ],
)
def test_variants_that_are_read(change):
    parsed, faults = parse(change(transcript([ELLIE, ANSWER])))
    assert faults == []
    assert summary(parsed) == ROWS


def test_columns_may_change_places():
    data = b"speaker\tvalue\tstart_time\tstop_time\nEllie\thi\t0.5\t1.0\nParticipant\tme\t1.25\t2.5\n"
    parsed, faults = parse(data)
    assert faults == []
    assert summary(parsed) == ROWS
    assert [row.text for row in parsed.rows] == ["hi", "me"]


def test_blank_lines_count_as_lines_but_not_as_rows():
    parsed, _ = parse(f"\n{HEADER}\n\n0\t1\tEllie\thi\n\n\n2\t3\tParticipant\tyes\n".encode())
    assert [(row.line, row.order) for row in parsed.rows] == [(4, 0), (7, 1)]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b"\n \n", "an empty file"),
        (b"start_time,stop_time,speaker,value\n", "the comma as the delimiter"),
        (b"start_time;stop_time;speaker;value\n", "the semicolon as the delimiter"),
        (b"start_time stop_time speaker value\n", "the space as the delimiter"),
        (b"start_time\tstop_time\tvalue\n", "a header without speaker"),
        (b"0.1\t0.2\tEllie\thi\n", "none of the columns of a transcript in its first line"),
        (HEADER.encode("utf-16"), "binary data, or text that is not UTF-8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_are_no_transcript(data, found):
    parsed, faults = parse(data)
    assert parsed is None
    assert [fault.found for fault in faults] == [found]
    assert "TAB-separated" in faults[0].expected


@pytest.mark.parametrize("cell", ["", "x", "nan", "inf", "1_0", "1,5", "00:12", "1e999", "١", "--1", "0x10"])
def test_times_that_are_none(cell):
    parsed, faults = parse(transcript([(cell, 5.0, "Participant", "yes"), ANSWER]))
    assert len(parsed.rows) == 1
    assert [fault.where for fault in faults] == ["t.csv, row 2"]


def test_a_row_that_ends_before_the_speaker_is_a_fault():
    parsed, faults = parse(f"{HEADER}\n1.0\n1.0\t2.0\n".encode())
    assert parsed.rows == []
    assert [fault.found for fault in faults] == ["1 TAB-separated cells", "2 TAB-separated cells"]


def test_empty_text_is_dropped_only_under_a_known_speaker():
    lines = [
        HEADER,
        "1\t2\tParticipant\t",
        "1\t2\tParticipant",
        "1\t2\t\t",
        "1\t2\tEllie\t",
        "1\t2\tnobody",
        "",
    ]
    parsed, faults = parse("\n".join(lines).encode())
    assert parsed.rows == []
    assert parsed.dropped == [(2, "no text"), (3, "no text"), (4, "no text")]
    assert [(fault.where, fault.found) for fault in faults] == [
        ("t.csv, row 6", "speaker a text of 6 characters")
    ]


def test_zero_shift_leaves_negative_times_a_fault_and_a_shift_can_mend_them():
    data = transcript([(-1.0, 1.0, "Participant", "yes")])
    assert len(parse(data)[1]) == 1
    parsed, faults = parse(data, shift=1.5)
    assert faults == []
    assert summary(parsed) == [(2, "participant", 0.5, 2.5)]


@pytest.mark.parametrize(
    "text", ["sync", "async", "i sync my phone", "<synchronous>", "talking to experimenter"]
)
def test_words_that_only_look_like_marks(text):
    assert mark_of(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<laugh yes", True),
        ("<laughter", False),
        ("[", False),
        ("<<a>>", False),
        ("...", False),
        ("xx", True),
    ],
)
def test_words_beside_broken_brackets(text, words):
    assert has_words(text) is words


# --- fuzz --------------------------------------------------------------------------------------------------

CELLS = st.one_of(
    st.floats(-5, 40).map(lambda value: f"{value:.3f}"),
    st.sampled_from(
        ["Ellie", "participant", "", "nan", "<sync>", "scrubbed_entry", "xxx", "yes", "<a", "1e9"]
    ),
    st.text(max_size=6),
)
GOOD = st.tuples(
    st.floats(0, 30).map(lambda value: f"{value:.2f}"),
    st.floats(0, 33).map(lambda value: f"{value:.2f}"),
    st.sampled_from(["Ellie", "Participant"]),
    st.sampled_from(["yes", "<laughter>", "scrubbed_entry", "", "no <n>"]),
).map("\t".join)
LINES = st.lists(st.one_of(GOOD, GOOD, st.lists(CELLS, max_size=6).map("\t".join)), max_size=12)


def check(data: bytes, overlaps: str, merge: bool) -> None:
    """Whatever the bytes: faults that name a place, or utterances that keep every rule."""
    parsed, faults = parse(data, duration=30.0)
    assert all(fault.where.startswith("t.csv") and fault.found and fault.remedy for fault in faults)
    if parsed is None:
        assert len(faults) == 1
        return
    lines = [row.line for row in parsed.rows] + [line for line, _ in parsed.dropped]
    assert len(lines) == len(set(lines))
    rules = Rules(overlaps, merge, 1.0, 0.064)
    cutting = cut_utterances(parsed, rules, (10.0, 12.5))
    ids = [(item.line, item.part) for item in cutting.utterances]
    assert len(ids) == len(set(ids))
    known = bool(parsed.spoken_by("ellie"))
    for item in cutting.utterances:
        assert 0 <= item.start < item.end <= 30.0
        assert item.end - item.start > 0.0639
        assert item.end <= 10.0 or item.start >= 12.5
        assert (item.overlap is not None) == known
        assert item.overlap is None or 0 <= item.overlap <= 1
        assert overlaps == "keep" or not item.overlap
    heard = {row.line for row in parsed.spoken_by("participant")}
    told = {item.line for item in cutting.utterances} | {line for line, _ in cutting.left_out}
    assert told == heard if not merge else told <= heard


MODES = st.sampled_from(["keep", "trim", "drop"])


@settings(max_examples=200, deadline=None)
@given(LINES, MODES, st.booleans())
def test_fuzz_of_rows(lines, overlaps, merge):
    check("\n".join([HEADER, *lines]).encode("utf-8", errors="surrogatepass"), overlaps, merge)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)), MODES, st.booleans())
def test_fuzz_of_bytes(data, overlaps, merge):
    check(data, overlaps, merge)
    check(HEADER.encode() + b"\n" + data, overlaps, merge)


def test_the_longest_duration_is_no_limit():
    parsed, faults = parse(transcript([(0.0, 1e6, "Participant", "yes")]), duration=math.inf)
    assert faults == []
    assert len(parsed.rows) == 1
