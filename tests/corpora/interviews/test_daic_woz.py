"""The DAIC-WOZ reader on trees in the corpus's own layout: marks, errata, overlaps, merging, bad input."""

import math
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.daic_tree import (
    ANSWER,
    DEV,
    ELLIE,
    FULL,
    LABELLED,
    TEST,
    TRAIN,
    Tree,
    one,
    reasons,
    spans,
    transcript,
)
from support.speech_trees import load

from sertransfer.audio.reading import read_segment
from sertransfer.corpora.interviews.daic_woz import Options, read
from sertransfer.corpora.prepare import prepare, summary
from sertransfer.errors import BadInput, Faults
from sertransfer.manifest import read_manifest, write_manifest

FILE = "300_P/300_TRANSCRIPT.csv"


def corpus(root: Path) -> Tree:
    """Four sessions: 300 depressed and 301 not (train), 302 (dev), 303 (test, no label)."""
    tree = Tree(root)
    for number in (300, 301, 302, 303):
        tree.session(number)
    tree.splits(train=[300, 301], dev=[302], test=[303], scores={300: 15, 302: 10})
    return tree


def test_rows_of_a_plain_corpus(tmp_path):
    table = corpus(tmp_path).read().table
    assert table["id"].tolist() == ["daic300-0003", "daic301-0003", "daic302-0003", "daic303-0003"]
    assert table["audio"].tolist()[0] == "300_P/300_AUDIO.wav"
    assert table["speaker"].tolist() == ["daic300", "daic301", "daic302", "daic303"]
    assert table["session"].tolist() == ["300", "301", "302", "303"]
    assert table["label"].tolist() == ["depressed", "not depressed", "depressed", ""]
    assert table["phq8_score"].tolist() == ["15", "3", "10", ""]
    assert table["split"].tolist() == ["train", "train", "dev", "test"]
    assert table["gender"].tolist() == ["male", "male", "male", "female"]
    assert set(table["corpus"]) == {"daic-woz"}
    assert table["start"].tolist() == [1.25] * 4
    assert table["end"].tolist() == [2.5] * 4
    assert table["overlap"].tolist() == [0.0] * 4
    assert not {"text", "gain"} & set(table.columns)


def test_manifest_survives_writing_and_the_root_is_only_read(tmp_path):
    root, output = tmp_path / "corpus", tmp_path / "manifest.csv"
    root.mkdir()
    tree = corpus(root)
    tree.zip(301)
    before = {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    manifest = tree.read(level_normalise=False, keep_text=True)
    write_manifest(manifest, output)
    for path in before:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before
    again = read_manifest(output)
    assert again.table.equals(manifest.table)
    assert again.notes["archives"] == manifest.notes["archives"]


def test_the_notes_say_where_the_interviewer_alone_speaks_and_not_what(tmp_path):
    rows = [
        (0.5, 1.0, "Ellie", "how are you"),
        (0.9, 2.0, "Participant", "fine"),  # talks over her end
        (2.5, 3.5, "ellie", "where are you from"),
        (2.75, 3.0, "Participant", "mhm"),  # talks in between
        (4.0, 4.03, "Ellie", "uh"),  # less than a frame
        (5.0, 5.5, "Ellie", "<sync>"),  # no speech of the interview
        (6.0, 7.0, "Participant", "from here"),
    ]
    manifest = one(tmp_path, rows).read()
    assert manifest.notes["interviewer_turns"] == {"300_P/300_AUDIO.wav": ["0.5 0.9", "2.5 2.75", "3.0 3.5"]}
    assert len(manifest) == 3
    write_manifest(manifest, tmp_path / "manifest.csv")
    notes = read_manifest(tmp_path / "manifest.csv").notes
    assert notes["interviewer_turns"] == manifest.notes["interviewer_turns"]
    assert "where are you" not in (tmp_path / "manifest.json").read_text()


def test_the_interviewer_s_turns_follow_errata_and_are_none_where_she_is_not_transcribed(tmp_path):
    (tmp_path / "a").mkdir()
    shifted = one(tmp_path / "a", (ELLIE, ANSWER), 321).read()
    assert shifted.notes["interviewer_turns"] == {"321_P/321_AUDIO.wav": ["4.337917 4.837917"]}
    (tmp_path / "b").mkdir()
    interrupted = one(tmp_path / "b", (ELLIE, ANSWER, (280.0, 290.0, "Ellie", "so")), 444, seconds=400).read()
    assert interrupted.notes["interviewer_turns"] == {"444_P/444_AUDIO.wav": ["0.5 1.0", "280.0 286.0"]}
    (tmp_path / "c").mkdir()
    alone = one(tmp_path / "c", (ANSWER,), 451).read()
    assert alone.notes["interviewer_turns"] == {}


def test_gender_1_is_male_and_a_copy_that_has_it_reversed_can_be_read_and_is_noted(tmp_path):
    tree = corpus(tmp_path)
    plain = tree.read()
    assert plain.table["gender"].tolist() == ["male", "male", "male", "female"]
    assert not any("Gender" in line for line in plain.notes["assumptions"])
    turned = tree.read(female_code=1)
    assert turned.table["gender"].tolist() == ["female", "female", "female", "male"]
    assert "Gender 1 is read as female" in turned.notes["assumptions"][0]


def test_text_is_kept_only_when_asked_for(tmp_path):
    tree = corpus(tmp_path)
    manifest = tree.read()
    assert "okay" not in manifest.table.to_csv() + str(manifest.notes)
    assert tree.read(keep_text=True).table["text"].tolist() == ["i am okay"] * 4


def test_full_test_split_labels_the_test_subjects(tmp_path):
    tree = corpus(tmp_path)
    tree.split(FULL, "Participant_ID,PHQ_Binary,PHQ_Score,Gender", "303,1,12,0")
    table = tree.read().table
    assert table["label"].tolist()[-1] == "depressed"
    assert table["phq8_score"].tolist()[-1] == "12"
    (tmp_path / TEST).unlink()
    assert tree.read().table.equals(table)


# --- marks: (value, what is left of a row that says this) --------------------------------------------------

DROPPED = {
    "<sync>": "synchronisation mark",
    "<synch>": "synchronisation mark",
    "[sync]": "synchronisation mark",
    "[synch]": "synchronisation mark",
    "[syncing]": "synchronisation mark",
    "[synching]": "synchronisation mark",
    "<sync.": "synchronisation mark",
    "<SYNC>": "synchronisation mark",
    "<ellie starts>": "mark of the experimenter",
    "<talking to experimenter>": "mark of the experimenter",
    "scrubbed_entry": "scrubbed entry: the waveform is zeroed there",
    "xxx": "no words: only non-verbal or not-understood marks",
    "<laughter>": "no words: only non-verbal or not-understood marks",
    "[laughter]": "no words: only non-verbal or not-understood marks",
    "<sigh> <laughter>": "no words: only non-verbal or not-understood marks",
    "<laughter> xxx": "no words: only non-verbal or not-understood marks",
    "": "no text",
    "  ": "no text",
}
KEPT = ("people <peop>", "<laughter> yes", "um xxx maybe", "yes [laughter]", "synchronised swimming", "xxxl")


@pytest.mark.parametrize(("value", "reason"), DROPPED.items(), ids=[repr(value) for value in DROPPED])
def test_mark_rows_are_left_out_with_a_reason(tmp_path, value, reason):
    rows = [ELLIE, ANSWER, (3.0, 4.0, "Participant", value), (5.0, 6.0, "Participant", "yes")]
    manifest = one(tmp_path, rows).read()
    assert spans(manifest) == [(1.25, 2.5), (5.0, 6.0)]
    assert reasons(manifest) == {f"{FILE}, row 4": reason}


@pytest.mark.parametrize("value", KEPT)
def test_brackets_alone_are_no_reason_to_drop_a_row(tmp_path, value):
    rows = [ELLIE, (3.0, 4.0, "Participant", value)]
    assert spans(one(tmp_path, rows).read()) == [(3.0, 4.0)]


def test_nonverbal_rows_can_be_kept_but_marks_can_not(tmp_path):
    rows = [ELLIE, *((i + 2.0, i + 2.5, "Participant", value) for i, value in enumerate(DROPPED))]
    kept = one(tmp_path, rows, seconds=60).read(keep_nonverbal=True)
    values = list(DROPPED)
    assert [values[int(start) - 2] for start, _ in spans(kept)] == [
        "xxx",
        "<laughter>",
        "[laughter]",
        "<sigh> <laughter>",
        "<laughter> xxx",
    ]


def test_marks_go_before_times_are_checked(tmp_path):
    rows = [
        ("9", "4", "Participant", "<sync>"),
        ("n/a", "", "Ellie", "[synching]"),
        ("900", "901", "Participant", "scrubbed_entry"),
        ("7", "3", "Participant", "<laughter>"),
        ("1", "2", "Experimenter", "<synch>"),
        ELLIE,
        ANSWER,
    ]
    manifest = one(tmp_path, rows).read()
    assert spans(manifest) == [(1.25, 2.5)]
    assert sorted(reasons(manifest)) == [f"{FILE}, row {row}" for row in (2, 4, 5, 6)]


def test_interviewer_marks_neither_open_the_interview_nor_overlap(tmp_path):
    rows = [
        (0.0, 0.4, "Ellie", "<sync>"),
        (0.2, 0.9, "Participant", "testing one two"),
        (1.0, 2.0, "ELLIE", "yeah3 (yeah)"),
        (1.5, 3.5, "participant", "yes"),
        (2.0, 2.5, "Ellie", "[synch]"),
    ]
    manifest = one(tmp_path, rows).read()
    assert spans(manifest) == [(1.5, 3.5)]
    assert manifest.table["overlap"].tolist() == [0.25]  # 0.5 of 2 s
    assert reasons(manifest) == {f"{FILE}, row 3": "before the interviewer's first row"}


# --- errata ------------------------------------------------------------------------------------------------

LONG = [
    (10.0, 11.0, "Ellie", "hi"),
    (280.0, 290.0, "Participant", "one"),
    (300.0, 305.0, "Participant", "two"),
    (340.0, 360.0, "Participant", "three"),
    (380.0, 390.0, "Participant", "four"),
    (396.0, 429.0, "Participant", "five"),
    (429.0, 432.0, "Participant", "six"),
    (440.0, 441.0, "Participant", "seven"),
]
AS_IS = [row[:2] for row in LONG[1:]]
ERRATA = {
    "interruption-373": (  # 352 to 430.3 s go
        373,
        LONG,
        [(280, 290), (300, 305), (340, 352), (430.3, 432), (440, 441)],
        4,
        AS_IS,
    ),
    "interruption-444": (  # 286 to 387 s go
        444,
        LONG,
        [(280, 286), (387, 390), (396, 429), (429, 432), (440, 441)],
        4,
        AS_IS,
    ),
}
for _session, _seconds, _moved in (
    (318, 34.319917, [(35.569917, 36.819917)]),
    (321, 3.8379167, [(5.087917, 6.337917)]),
    (341, 6.1892, [(7.4392, 8.6892)]),
    (362, 16.8582, [(18.1082, 19.3582)]),
):
    ERRATA[f"shift-{_session}"] = (_session, [ELLIE, ANSWER], _moved, 2, [ANSWER[:2]])


@pytest.mark.parametrize(("name", "case"), ERRATA.items(), ids=ERRATA)
def test_errata_that_move_or_cut(tmp_path, name, case):
    session, rows, expected, changed, as_released = case
    tree = one(tmp_path, rows, session, seconds=450)
    on = tree.read()
    assert spans(on) == expected
    assert [(item["name"], item["session"], item["rows"]) for item in on.notes["errata"]] == [
        (name, str(session), changed)
    ]
    for off in (name, name.split("-")[0], "all"):
        manifest = tree.read(without_errata=(off,))
        assert spans(manifest) == as_released
        assert manifest.notes["errata"] == []
        assert name in manifest.notes["errata_off"]


def test_interruption_names_the_rows_inside_it(tmp_path):
    manifest = one(tmp_path, LONG, 373, seconds=450).read()
    assert reasons(manifest) == {
        f"373_P/373_TRANSCRIPT.csv, row {row}": "inside the interruption of the interview" for row in (6, 7)
    }


def test_a_row_around_an_interruption_becomes_two(tmp_path):
    rows = [LONG[0], (280.0, 400.0, "Participant", "all of it")]
    table = one(tmp_path, rows, 444, seconds=450).read().table
    assert table["id"].tolist() == ["daic444-0003", "daic444-0003-2"]
    assert list(zip(table["start"], table["end"], strict=True)) == [(280, 286), (387, 400)]


@pytest.mark.parametrize("session", [451, 458, 480])
def test_sessions_without_interviewer_rows_keep_every_row(tmp_path, session):
    rows = [(0.5, 1.0, "Participant", "hello"), ANSWER]
    tree = one(tmp_path, rows, session)
    manifest = tree.read()
    assert spans(manifest) == [(0.5, 1.0), (1.25, 2.5)]
    assert manifest.table["overlap"].isna().all()  # nobody knows when the interviewer spoke
    assert [(item["name"], item["rows"]) for item in manifest.notes["errata"]] == [
        (f"no-interviewer-{session}", 2)
    ]
    (fault,) = tree.faults(without_errata=("no-interviewer",))
    assert "no row of the interviewer" in fault.found


def test_other_sessions_without_interviewer_rows_are_refused(tmp_path):
    (fault,) = one(tmp_path, [ANSWER]).faults()
    assert "no row of the interviewer" in fault.found


def test_409_is_depressed_unless_the_erratum_is_off(tmp_path):
    tree = one(tmp_path, [ELLIE, ANSWER], 409)
    tree.split(TRAIN, LABELLED, "409,0,10,1,0")
    manifest = tree.read()
    assert manifest.table["label"].tolist() == ["depressed"]
    assert [(item["name"], item["rows"]) for item in manifest.notes["errata"]] == [("label-409", 1)]
    released = tree.read(without_errata=("label-409",))
    assert released.table["label"].tolist() == ["not depressed"]
    assert released.table["phq8_score"].tolist() == ["10"]
    assert released.notes["errata_off"] == ["label-409"]


def test_409_that_is_right_already_needs_no_erratum(tmp_path):
    tree = one(tmp_path, [ELLIE, ANSWER], 409)
    tree.split(TRAIN, LABELLED, "409,1,10,1,0")
    manifest = tree.read()
    assert manifest.table["label"].tolist() == ["depressed"]
    assert manifest.notes["errata"] == []


def test_unknown_erratum_is_refused_with_the_nearest(tmp_path):
    (fault,) = corpus(tmp_path).faults(without_errata=("shfit-318",))
    assert "did you mean 'shift-318'" in fault.remedy


# --- overlaps, merging, minimum, ends ----------------------------------------------------------------------

TALK = [
    (1.0, 2.0, "Ellie", "so"),
    (1.5, 3.5, "Participant", "well i"),  # 0.5 s of 2 s
    (3.6, 5.6, "Participant", "think that"),  # the interviewer in the middle: 0.5 s of 2 s
    (4.0, 4.5, "Ellie", "mhm"),
    (5.0, 6.0, "Participant", "it was"),
    (6.25, 6.75, "Participant", "yes"),
    (7.0, 9.0, "Ellie", "okay great"),
    (7.5, 8.5, "Participant", "hm yes"),  # all of it
]
TREATED = {
    "keep": [(1.5, 3.5), (3.6, 5.6), (5.0, 6.0), (6.25, 6.75), (7.5, 8.5)],
    "trim": [(2.0, 3.5), (3.6, 4.0), (4.5, 5.6), (5.0, 6.0), (6.25, 6.75)],
    "drop": [(5.0, 6.0), (6.25, 6.75)],
}


@pytest.mark.parametrize(("overlaps", "expected"), TREATED.items(), ids=TREATED)
def test_overlaps(tmp_path, overlaps, expected):
    manifest = one(tmp_path, TALK).read(overlaps=overlaps)
    assert spans(manifest) == expected
    shares = [0.25, 0.25, 0.0, 0.0, 1.0] if overlaps == "keep" else [0.0] * len(expected)
    assert manifest.table["overlap"].tolist() == shares
    lost = {"keep": 0, "trim": 1, "drop": 3}[overlaps]
    assert len(manifest.notes["left_out"]) == lost


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(1.5, 5.6), (5.0, 6.75), (7.5, 8.5)]),
        ({"merge_gap": 0.25}, [(1.5, 5.6), (5.0, 6.75), (7.5, 8.5)]),  # a gap of the limit is bridged
        ({"merge_gap": 0.1}, [(1.5, 5.6), (5.0, 6.0), (6.25, 6.75), (7.5, 8.5)]),
        ({"overlaps": "drop"}, [(5.0, 6.75)]),
        ({"overlaps": "trim"}, [(2.0, 4.0), (4.5, 5.6), (5.0, 6.75)]),
    ],
    ids=str,
)
def test_merging(tmp_path, options, expected):
    assert spans(one(tmp_path, TALK).read(merge=True, **options)) == expected


def test_merging_recomputes_the_overlap_and_joins_the_text(tmp_path):
    table = one(tmp_path, TALK).read(merge=True, keep_text=True).table
    assert table["overlap"].tolist() == [round(1.0 / 4.1, 6), 0.0, 1.0]
    assert table["text"].tolist() == ["well i think that", "it was yes", "hm yes"]


def test_merging_never_bridges_what_was_left_out(tmp_path):
    rows = [
        ELLIE,
        (2.0, 3.0, "Participant", "one"),
        (3.0, 3.5, "Participant", "scrubbed_entry"),
        (3.5, 4.0, "Participant", "two"),
    ]
    assert spans(one(tmp_path, rows).read(merge=True)) == [(2.0, 3.0), (3.5, 4.0)]


def test_merging_skips_blank_lines_but_not_an_interruption(tmp_path):
    rows = [
        LONG[0],
        (284.0, 285.0, "Participant", "one"),
        (285.5, 286.0, "Participant", "two"),
        (387.0, 388.0, "Participant", "three"),
    ]
    data = transcript(rows).replace(b"285.5", b"\n \t \n285.5")
    manifest = one(tmp_path, data, 444, seconds=450).read(merge=True, merge_gap=200.0)
    assert spans(manifest) == [(284.0, 286.0), (387.0, 388.0)]


def test_minimum_duration(tmp_path):
    rows = [
        ELLIE,
        (2.0, 2.063, "Participant", "a"),
        (3.0, 3.064, "Participant", "b"),
        (4, 4, "Participant", "c"),
    ]
    tree = one(tmp_path, [*rows, (5.0, 6.0, "Participant", "d")])
    manifest = tree.read()
    assert spans(manifest) == [(3.0, 3.064), (5.0, 6.0)]  # one frame of 64 ms is enough
    assert reasons(manifest) == {
        f"{FILE}, row 3": "shorter than 0.064 s",
        f"{FILE}, row 5": "shorter than 0.064 s",
    }
    assert spans(tree.read(minimum=1.0)) == [(5.0, 6.0)]
    assert spans(tree.read(minimum=0.0)) == [(2.0, 2.063), (3.0, 3.064), (5.0, 6.0)]


def test_a_stop_just_past_the_end_is_cut_and_noted(tmp_path):
    rows = [ELLIE, (8.0, 10.032, "Participant", "bye"), (9.0, 9.5, "Participant", "bye")]
    manifest = one(tmp_path, rows, seconds=10).read()
    assert spans(manifest) == [(8.0, 10.0), (9.0, 9.5)]
    assert manifest.notes["cut_at_end"] == [f"{FILE}, row 3"]
    rows[1] = (8.0, 10.033, "Participant", "bye")
    (fault,) = one(tmp_path, rows, seconds=10).faults()
    assert fault.where.endswith("300_TRANSCRIPT.csv, row 3")
    assert "10.033" in fault.found
    assert "10.000 s long" in fault.expected


def test_shift_is_part_of_the_check_against_the_end(tmp_path):
    rows = [(1, 2, "Ellie", "hi"), (3.5, 4, "Participant", "yes"), (4.5, 5, "Participant", "no")]
    (fault,) = one(tmp_path, rows, 341, seconds=11).faults()
    assert "6.1892 s added" in fault.found


def test_rows_come_in_order_of_time_with_unique_ids(tmp_path):
    rows = [
        (5.0, 6.0, "Participant", "b"),
        ELLIE,
        (2.0, 3.0, "Participant", "a"),
        (2.0, 2.5, "Participant", "c"),
    ]
    table = one(tmp_path, rows).read().table
    assert table["id"].tolist() == ["daic300-0004", "daic300-0005", "daic300-0002"]


# --- level -------------------------------------------------------------------------------------------------


def test_level_normalisation(tmp_path):
    tree = Tree(tmp_path)
    for number, rms in ((300, 0.01), (301, 0.1)):
        tree.session(number, rms=rms, seconds=4)
    tree.zip(301)
    tree.splits(train=[300, 301])
    gains = tree.read(level_normalise=True, level_dbfs=-20.0).table["gain"].tolist()
    assert gains == pytest.approx([10.0, 1.0], rel=0.02)  # -20 dB is an RMS of 0.1


def test_level_of_silence_is_a_fault(tmp_path):
    (fault,) = one(tmp_path, [ELLIE, ANSWER]).faults(level_normalise=True)
    assert "silence" in fault.found


# --- archives ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "300_P/"])
def test_an_archive_gives_the_same_table_as_the_folder(tmp_path, inside):
    tree = corpus(tmp_path)
    folder = tree.read()
    tree.zip(
        300,
        inside=inside,
        junk=["__MACOSX/300_P/._300_AUDIO.wav", "._300_TRANSCRIPT.csv", "other/300_AUDIO.wav"],
    )
    manifest = tree.read()
    assert manifest.table.equals(folder.table)
    audio = "300_P/300_AUDIO.wav"
    assert manifest.notes["archives"] == {audio: {"archive": "300_P.zip", "member": f"{inside}300_AUDIO.wav"}}
    assert manifest.source(audio).member == f"{inside}300_AUDIO.wav"
    assert folder.notes["archives"] == {}


def test_a_damaged_recording_in_an_archive_is_a_fault(tmp_path):
    tree = Tree(tmp_path)
    tree.session(300, rms=0.1, seconds=3)
    tree.splits(train=[300])
    archive = tree.zip(300)
    data = archive.read_bytes()
    for place in (43, 2000):  # the first bytes of the compressed stream, and later ones
        archive.write_bytes(data[:place] + b"\xff" * 400 + data[place + 400 :])
        (fault,) = tree.faults()
        assert fault.where.endswith("300_P.zip!300_AUDIO.wav")


def test_folder_comes_before_archive_unless_it_is_incomplete(tmp_path):
    tree = corpus(tmp_path)
    tree.zip(300, keep=True)
    manifest = tree.read()
    assert manifest.notes["archives"] == {}
    assert reasons(manifest) == {"300_P.zip": "the session is there twice; read from 300_P"}
    (tmp_path / "300_P" / "300_AUDIO.wav").unlink()
    manifest = tree.read()
    assert list(manifest.notes["archives"]) == ["300_P/300_AUDIO.wav"]
    assert reasons(manifest) == {"300_P": "the session is there twice; read from 300_P.zip"}


def test_a_session_in_a_second_folder_and_junk_beside_it(tmp_path):
    tree = Tree(tmp_path)
    folder = tree.session(300, inside="300_P")
    tree.splits(train=[300])
    (folder / "._300_AUDIO.wav").write_bytes(b"\0")
    (folder / ".~lock.300_TRANSCRIPT.csv#").write_bytes(b"me")
    (tmp_path / "._301_P").mkdir()
    (tmp_path / f".~lock.{TRAIN}#").write_bytes(b"me")
    manifest = tree.read()
    assert set(manifest.table["audio"]) == {"300_P/300_P/300_AUDIO.wav"}
    assert manifest.source("300_P/300_P/300_AUDIO.wav").path.is_file()
    assert manifest.notes["left_out"] == []


# --- what else is noted ------------------------------------------------------------------------------------


def test_sessions_that_no_split_names_are_left_out_with_a_reason(tmp_path):
    tree = corpus(tmp_path)
    tree.session(492)
    manifest = tree.read()
    assert "492" not in set(manifest.table["session"])
    assert reasons(manifest) == {"492_P": "no split file names this session"}


def test_sessions_at_another_rate_are_resampled_and_recorded(tmp_path):
    tree = Tree(tmp_path)
    for number, rate in ((300, 16_000), (301, 48_000), (302, 44_100)):
        tree.session(number, rate=rate)
    tree.splits(train=[300, 301], dev=[302])
    manifest = tree.read()
    assert spans(manifest) == [(1.25, 2.5)] * 3
    assert manifest.notes["sample_rates"] == {"16000": 1, "44100": 1, "48000": 1}
    assert manifest.notes["resampled"] == {"301_P": 48_000, "302_P": 44_100}
    row = manifest.table.iloc[1]
    assert len(read_segment(manifest.source(row["audio"]), row["start"], row["end"])) == 20_000
    assert "2 of 3 recordings (1 at 44100 Hz, 1 at 48000 Hz) are resampled to 16000 Hz" in summary(manifest)


SPAN = (0.9, 95.0, "Participant", "and so")
"""A row over a minute that starts 1.6 s before the participant's row above it has ended."""


def test_a_row_that_spans_the_interview_is_left_out_as_an_erratum(tmp_path):
    rows = [ELLIE, ANSWER, (3.0, 4.0, "Ellie", "and"), (5.0, 6.0, "Participant", "yes"), SPAN]
    tree = one(tmp_path, rows, seconds=100)
    manifest = tree.read()
    assert spans(manifest) == [(1.25, 2.5), (5.0, 6.0)]
    assert manifest.notes["errata"] == [
        {
            "name": "spanning-row-300",
            "session": "300",
            "what": "transcript rows that span the interview are left out",
            "rows": 1,
        }
    ]
    assert "spans other rows" in reasons(manifest)["300_P/300_TRANSCRIPT.csv, row 6"]
    # Her turns are cut out of by what the participant says: a spanning row would leave none of them.
    assert manifest.notes["interviewer_turns"] == {"300_P/300_AUDIO.wav": ["0.5 1.0", "3.0 4.0"]}
    for off in ("spanning-row", "spanning-row-300", "all"):
        kept = tree.read(without_errata=(off,))
        assert kept.notes["errata"] == []
        # It starts before the interviewer's first row has ended but after it began: kept, as it is written.
        assert (0.9, 95.0) in spans(kept)


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ((1.5, 61.6, "Participant", "x"), True),  # starts 1 s before the row above has ended
        ((1.499, 61.6, "Participant", "x"), False),
        ((1.0, 61.0, "Participant", "x"), True),  # a minute and no more
        ((1.0, 61.001, "Participant", "x"), False),
        ((0.6, 70.0, "Ellie", "x"), True),  # over the participant's row, which is another speaker's
    ],
)
def test_what_spans_is_over_a_minute_and_starts_over_a_second_early(tmp_path, row, kept):
    rows = [ELLIE, ANSWER, row]
    manifest = one(tmp_path, rows, seconds=100).read()
    assert (manifest.notes["errata"] == []) is kept


def test_the_interviewer_s_row_can_span_too(tmp_path):
    rows = [(0.5, 3.0, "Ellie", "how are you"), (3.5, 5.0, "Participant", "fine"), (0.5, 90.0, "Ellie", "ok")]
    manifest = one(tmp_path, rows, seconds=100).read()
    assert [entry["name"] for entry in manifest.notes["errata"]] == ["spanning-row-300"]
    assert manifest.table["overlap"].tolist() == [0.0]
    assert manifest.notes["interviewer_turns"] == {"300_P/300_AUDIO.wav": ["0.5 3.0"]}


def test_what_the_participant_says_is_no_part_of_the_interviewer_s_turns(tmp_path):
    # The middle of a turn, its begin and its end; a row that contains a turn leaves nothing of it.
    rows = [
        (1.0, 5.0, "Ellie", "a"), (2.0, 3.0, "Participant", "b"),
        (6.0, 8.0, "Ellie", "c"), (5.5, 6.5, "Participant", "d"),
        (9.0, 11.0, "Ellie", "e"), (10.5, 12.0, "Participant", "f"),
        (13.5, 14.0, "Ellie", "g"), (13.0, 15.0, "Participant", "h"),
    ]  # fmt: skip
    manifest = one(tmp_path, rows, seconds=20).read()
    turns = [tuple(map(float, turn.split())) for turn in manifest.notes["interviewer_turns"][AUDIO]]
    assert turns == [(1.0, 2.0), (3.0, 5.0), (6.5, 8.0), (9.0, 10.5)]
    said = spans(manifest)
    assert all(end <= begin or stop <= start for start, end in turns for begin, stop in said)


AUDIO = "300_P/300_AUDIO.wav"


def test_an_unknown_session_of_an_erratum_is_refused(tmp_path):
    (fault,) = corpus(tmp_path).faults(without_errata=("label-49", "spanning-row-300"))
    assert fault.found == "'label-49'"


def test_zips_made_on_windows_are_read(tmp_path):
    whole = one(tmp_path / "a", (ELLIE, ANSWER), rms=0.1)
    expected = whole.read()
    for inside in ("300_P\\", "300_P\\300_P\\"):
        packed = one(tmp_path / f"b{len(inside)}", (ELLIE, ANSWER), rms=0.1)
        archive = packed.zip(300, inside=inside)
        assert any("\\" in name for name in zipfile.ZipFile(archive).namelist())
        manifest = packed.read()
        assert manifest.table.equals(expected.table)
        assert "300_P/300_TRANSCRIPT.csv" not in reasons(manifest)
        sound = read_segment(manifest.source(AUDIO), 1.25, 2.5)
        assert sound.tolist() == read_segment(expected.source(AUDIO), 1.25, 2.5).tolist()


@pytest.mark.parametrize("inside", ["..\\", "C:\\", "\\", "300_P\\..\\", "301_P\\"])
def test_names_that_lead_elsewhere_are_no_files_of_the_session(tmp_path, inside):
    tree = one(tmp_path, (ELLIE, ANSWER), rms=0.1)
    tree.zip(300, inside=inside)
    found = [fault.found for fault in tree.faults()]
    assert found == ["no 300_AUDIO.wav", "no 300_TRANSCRIPT.csv"]


@pytest.mark.parametrize(
    ("ending", "form"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.gz", "w"), ("tgz", "w:gz")]
)
def test_sessions_packed_as_tar_are_read_with_their_audio_in_a_folder(tmp_path, ending, form):
    expected = one(tmp_path / "a", (ELLIE, ANSWER), rms=0.1).read()
    tree = one(tmp_path / "b", (ELLIE, ANSWER), rms=0.1)
    with tarfile.open(tree.root / f"300_P.{ending}", form) as tar:
        tar.add(tree.root / "300_P", "300_P")
    shutil.rmtree(tree.root / "300_P")
    (fault,) = tree.faults()
    assert "--audio_folder DIR" in fault.remedy
    manifest = load("daic-woz", tree.root, audio_folder=str(tmp_path / "audio"))
    assert manifest.table["audio"].unique().tolist() == ["../audio/300_P/300_AUDIO.wav"]
    assert manifest.table.drop(columns="audio").equals(expected.table.drop(columns="audio"))
    (audio,) = manifest.table["audio"]
    assert (
        read_segment(manifest.source(audio), 1.25, 2.5).tolist()
        == read_segment(expected.source(AUDIO), 1.25, 2.5).tolist()
    )
    assert not list((tmp_path / "audio").rglob("*.csv"))


def test_a_copy_without_its_test_part_is_read_and_a_whole_part_that_is_absent_is_one_fault(tmp_path):
    tree = Tree(tmp_path)
    for number in (300, 301):
        tree.session(number)
    tree.splits(train=[300], dev=[301], test=[302, 303])
    manifest = tree.read()
    assert manifest.table["session"].tolist() == ["300", "301"]
    assert reasons(manifest)[TEST] == "none of its 2 sessions is there: the copy is without its test part"
    assert manifest.notes["subjects_without_sentences"] == []
    tree.splits(train=[300, 301], dev=[304, 305], test=[])
    assert [fault.found for fault in tree.faults()] == ["none of the 2 sessions of the dev part"]


def test_channels_are_noted(tmp_path):
    assert one(tmp_path, [ELLIE, ANSWER], channels=2).read().notes["channels"] == {"300_P": 2}
    assert one(tmp_path, [ELLIE, ANSWER]).read().notes["channels"] == {}


# --- bad input ---------------------------------------------------------------------------------------------


def damage(tree: Tree) -> dict[str, str]:
    """Break many things at once; return, for each, a part of the place and of what is found."""
    (tree.root / "300_P" / "300_TRANSCRIPT.csv").unlink()
    (tree.root / "301_P" / "301_AUDIO.wav").write_bytes(b"")
    (tree.root / "302_P" / "302_AUDIO.wav").unlink()
    tree.session(304, b"start_time,stop_time,speaker,value\n0,1,Ellie,hi\n")
    tree.session(305, b"")
    tree.session(306, b"0.5\t1.0\tEllie\thi\n1.0\t2.0\tParticipant\tsecretword\n")
    bad_rows = [
        ELLIE,
        ANSWER,
        (3.0, 2.0, "Participant", "secretword"),
        (50.0, 51.0, "Participant", "secretword"),
        ("abc", 4.0, "Participant", "secretword"),
        (4.0, 5.0, "Experimenter", "secretword"),
        ("nan", "inf", "Ellie", "secretword"),
        (-1.0, 1.0, "Ellie", "secretword"),
    ]
    data = (
        transcript(bad_rows) + b"6.0\t7.0\n8.0\tParticipant\tsecretword\n9.0\t9.5\tsecretword secretword\tx\n"
    )
    tree.session(307, data)
    tree.session(308, [ELLIE, (2, 3, "Participant", "<laughter>")])
    (tree.root / "309_P.zip").write_bytes(b"PK no archive")
    tree.splits(train=[300, 301, 302, 304, 305], dev=range(306, 312))
    tree.session(311, b"PK\0\0")
    return {
        "300_P": "no 300_TRANSCRIPT.csv",
        "301_AUDIO.wav": "an empty file",
        "302_P": "no 302_AUDIO.wav",
        "304_TRANSCRIPT.csv, row 1": "the comma as the delimiter",
        "305_TRANSCRIPT.csv": "an empty file",
        "306_TRANSCRIPT.csv, row 1": "none of the columns of a transcript in its first line",
        "307_TRANSCRIPT.csv, row 4": "start '3.0', stop '2.0'",
        "307_TRANSCRIPT.csv, row 5": "start '50.0'",
        "307_TRANSCRIPT.csv, row 6": "start 'abc'",
        "307_TRANSCRIPT.csv, row 7": "speaker 'Experimenter'",
        "307_TRANSCRIPT.csv, row 8": "start 'nan', stop 'inf'",
        "307_TRANSCRIPT.csv, row 9": "start '-1.0'",
        "307_TRANSCRIPT.csv, row 10": "2 TAB-separated cells",
        "307_TRANSCRIPT.csv, row 11": "speaker a text of 10 characters",
        "307_TRANSCRIPT.csv, row 12": "speaker a text of 21 characters",
        "308_TRANSCRIPT.csv": "no usable sentence",
        "309_P.zip": "cannot be read",
        f"{DEV}, row 6": "session 310, of which there is no folder",
        "311_TRANSCRIPT.csv, row 1": "binary data",
    }


def test_every_fault_is_named_at_once(tmp_path):
    tree = Tree(tmp_path)
    for number in range(300, 304):
        tree.session(number)
    expected = damage(tree)
    faults = tree.faults()
    for place, found in expected.items():
        hits = [fault for fault in faults if fault.where.endswith(place)]
        assert [found in fault.found for fault in hits] == [True], (place, hits)
        assert all(fault.expected and fault.remedy for fault in hits)
    assert len(faults) == len(expected)
    assert "secretword" not in "".join(map(str, faults))


def test_skip_bad_keeps_what_is_good(tmp_path):
    tree = Tree(tmp_path)
    for number in range(300, 304):
        tree.session(number)
    damage(tree)
    with pytest.raises(BadInput, match="faults in the input"):
        tree.read()
    manifest = tree.read(skip_bad=True)
    assert manifest.table["id"].tolist() == ["daic307-0003"]


def test_a_subject_in_two_splits_is_refused_even_with_skip_bad(tmp_path):
    tree = corpus(tmp_path)
    tree.splits(train=[300, 301], dev=[302, 301], test=[303])
    with pytest.raises(BadInput, match=f"session 301 again .first in .*{TRAIN}, row 3"):
        tree.read(skip_bad=True)


def test_options_are_checked(tmp_path):
    bad = {
        "overlaps": "tirm",
        "labels": "scroe",
        "merge_gap": -1.0,
        "minimum": math.nan,
        "female_code": 2,
        "level_dbfs": 3.0,
    }
    with pytest.raises(BadInput) as caught:
        prepare("daic-woz", corpus(tmp_path).root, Options(**bad), tmp_path / "m.csv")
    assert {fault.found.partition(" = ")[0] for fault in caught.value.faults} == set(bad)
    assert any("did you mean 'trim'" in fault.remedy for fault in caught.value.faults)


def test_an_unknown_erratum_is_refused(tmp_path):
    (fault,) = corpus(tmp_path).faults(without_errata=("shfit",))
    assert fault.where == "option without_errata"


def test_a_missing_root_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        read(tmp_path / "nowhere", Options(), Faults())


def test_unreadable_transcript(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    tree = one(tmp_path, [ELLIE, ANSWER])
    split = (tmp_path / TRAIN).read_bytes()
    monkeypatch.setattr(Path, "read_bytes", lambda path: split if path.name == TRAIN else refuse(path))
    (tmp_path / DEV).unlink()
    (tmp_path / TEST).unlink()
    found = {Path(fault.where).name: fault.found for fault in tree.faults()}
    assert found == {"300_TRANSCRIPT.csv": "Permission denied", DEV: "no such file"}
