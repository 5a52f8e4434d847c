"""E-DAIC in the layout of 2019: split files, sessions unpacked and as tar.gz, transcripts."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pandas as pd
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.daic_tree import Tree
from support.speech_trees import (
    WORDS,
    e_daic_session,
    e_daic_split,
    faults_of,
    load,
    reasons,
    write_e_daic,
)

from sertransfer.audio.reading import read_segment
from sertransfer.corpora.interviews.transcript import as_daic_woz
from sertransfer.corpora.splits import shared_speakers
from sertransfer.errors import BadInput, Faults
from sertransfer.manifest import Manifest

HEADER = "Start_Time,End_Time,Text,Confidence\n"


def one(root: Path, words: str | bytes, number: int = 302) -> Path:
    """Return a corpus whose training session *number* has this transcript."""
    root = write_e_daic(root)
    data = words.encode() if isinstance(words, str) else words
    if number != 302:
        shutil.rmtree(root / "data/302_P")
        e_daic_session(root, number)
        e_daic_split(root, "train", [f"{number},male,0,4,28,0"])
    (root / f"data/{number}_P/{number}_Transcript.csv").write_bytes(data)
    return root


def rows_of(manifest: Manifest, number: int = 302) -> list[tuple[str, float, float]]:
    table = manifest.table[manifest.table["session"] == str(number)]
    return list(table[["id", "start", "end"]].itertuples(index=False, name=None))


def test_rows_are_those_of_daic_woz(tmp_path: Path) -> None:
    manifest = load("e-daic", write_e_daic(tmp_path / "e"))
    row = manifest.table.set_index("id").loc["edaic600-0002"]
    assert (row["audio"], row["start"], row["end"]) == ("data/600_P/600_AUDIO.wav", 0.5, 1.25)
    assert (row["speaker"], row["session"], row["split"]) == ("daic600", "600", "test")
    assert (row["label"], row["phq8_score"], row["gender"]) == ("depressed", "12", "female")
    tree = Tree(tmp_path / "d")
    tree.root.mkdir()
    tree.session(302)
    tree.splits(train=[302])
    assert [name for name in manifest.table if name != "confidence"] == list(tree.read().table.columns)
    assert "hello" not in manifest.table.to_csv() + str(manifest.notes)


def test_one_person_collides_with_daic_woz_on_purpose(tmp_path: Path) -> None:
    theirs = load("e-daic", write_e_daic(tmp_path / "e")).table
    tree = Tree(tmp_path / "d")
    tree.root.mkdir()
    for number in (300, 302):
        tree.session(number)
    tree.splits(train=[300], dev=[302])
    both = pd.concat([tree.read().table, theirs])
    assert shared_speakers(both) == {"daic300": ("dev", "train"), "daic302": ("dev", "train")}
    assert both["id"].is_unique


def test_text_is_kept_only_when_asked_for(tmp_path: Path) -> None:
    manifest = load("e-daic", write_e_daic(tmp_path), keep_text=True)
    assert manifest.table["text"].tolist()[:2] == ["hello there", "well, fine"]


# transcripts


def test_lines_are_counted_as_in_the_file(tmp_path: Path) -> None:
    words = HEADER + '\n0.5,1.0,"two\nlines",0.9\n1.5,2.0,three,0.9\n'
    manifest = load("e-daic", one(tmp_path, words))
    assert rows_of(manifest) == [("edaic302-0003", 0.5, 1.0), ("edaic302-0005", 1.5, 2.0)]


def test_marks_are_left_out_as_in_daic_woz(tmp_path: Path) -> None:
    words = HEADER + "0.5,1.0,fine,1\n1.0,1.5,scrubbed_entry,1\n1.5,2.0,<laughter>,1\n2.0,2.5,,1\n"
    out = reasons(load("e-daic", one(tmp_path, words)))
    assert set(out) == {f"302_P/302_Transcript.csv, row {line}" for line in (3, 4, 5)}
    assert len(rows_of(load("e-daic", tmp_path, keep_nonverbal=True))) == 2


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    words = "\ufeffTEXT, confidence ,end_time,Start_Time\r\nhi there,0.5,2.0,1.0\r\n"
    assert rows_of(load("e-daic", one(tmp_path, words))) == [("edaic302-0002", 1.0, 2.0)]


def test_rows_can_be_merged_and_short_ones_go(tmp_path: Path) -> None:
    words = HEADER + "0.5,1.0,a,1\n1.2,1.5,b,1\n3.0,3.01,c,1\n"
    root = one(tmp_path, words)
    assert rows_of(load("e-daic", root, merge=True, merge_gap=0.5)) == [("edaic302-0002", 0.5, 1.5)]
    out = reasons(load("e-daic", root))
    assert out == {"302_P/302_Transcript.csv, row 4": "shorter than 0.064 s"}


def test_faulty_rows_are_named_without_their_text(tmp_path: Path) -> None:
    words = HEADER + "0.5,1.0\nx,1.0,secret,1\n2.0,1.0,secret,1\n3.0,9.0,secret,1\n0.5,1.0,secret,1\n"
    root = one(tmp_path, words)
    faults = faults_of("e-daic", root)
    where = root / "data/302_P/302_Transcript.csv"
    assert [fault.split(": found")[0] for fault in faults] == [f"{where}, row {row}" for row in (2, 3, 4, 5)]
    assert "2 comma-separated cells; expected Start_Time, End_Time, Text, Confidence" in faults[0]
    assert "inside the audio, which is 4.000 s long" in faults[3]
    assert "secret" not in str(faults)
    assert rows_of(load("e-daic", root, skip_bad=True)) == [("edaic302-0006", 0.5, 1.0)]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", "an empty file"),
        ("0.5,1.0,secret,1\n", "none of the columns of a transcript in its first line"),
        ("start_time\tstop_time\tspeaker\tvalue\n", "none of the columns of a transcript in its first line"),
        (HEADER, "no usable sentence of the participant"),
        (HEADER + '0.5,1.0,"' + "x" * 200_000 + '",1\n', "no usable sentence"),
        (b"\0\1" + HEADER.encode(), "binary data"),
        (HEADER.encode() + b"0.5,1.0,\0,1\n", "binary data"),
    ],
)
def test_a_file_that_is_no_transcript(tmp_path: Path, words: str | bytes, found: str) -> None:
    (fault,) = faults_of("e-daic", one(tmp_path, words))
    assert found in fault
    assert "secret" not in fault


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=80) | st.text("0.,\n\"' aé\t", max_size=60).map(lambda text: (HEADER + text).encode())
)
def test_any_bytes_give_a_table_or_a_fault(data: bytes) -> None:
    faults = Faults()
    table = as_daic_woz(data, "t.csv", faults)
    assert table is not None or len(faults) == 1
    if table is not None:
        lines = table.decode().split("\n")
        assert all(line.count("\t") in (0, 4) for line in lines)
        assert sum(bool(line) for line in lines) <= 1 + data.count(b"\n") + data.count(b"\r")


# errata


def test_errata_of_the_audio_hold_and_those_of_transcripts_do_not(tmp_path: Path) -> None:
    manifest = load("e-daic", one(tmp_path / "shift", WORDS, 318))
    assert rows_of(manifest, 318) == [("edaic318-0002", 0.5, 1.25), ("edaic318-0003", 2.0, 3.5)]
    assert manifest.notes["errata"] == []
    root = one(tmp_path / "cut", HEADER + "0.5,1.0,a,1\n360.0,361.0,b,1\n", 373)
    with (root / "data/373_P/373_AUDIO.wav").open("wb") as stream:
        stream.write(_silent_header(400))
        stream.truncate(44 + 400 * 32_000)
    manifest = load("e-daic", root)
    assert rows_of(manifest, 373) == [("edaic373-0002", 0.5, 1.0)]
    assert [entry["name"] for entry in manifest.notes["errata"]] == ["interruption-373"]
    kept = load("e-daic", root, without_errata=("interruption",))
    assert len(rows_of(kept, 373)) == 2


def _silent_header(seconds: int) -> bytes:
    size = seconds * 32_000
    parts = [b"RIFF", (36 + size).to_bytes(4, "little"), b"WAVEfmt ", (16).to_bytes(4, "little")]
    form = [(1, 2), (1, 2), (16_000, 4), (32_000, 4), (2, 2), (16, 2)]
    parts += [value.to_bytes(width, "little") for value, width in form]
    return b"".join([*parts, b"data", size.to_bytes(4, "little")])


@pytest.mark.parametrize(("off", "label"), [((), "depressed"), (("label-409",), "not depressed")])
def test_the_label_of_409(tmp_path: Path, off: tuple[str, ...], label: str) -> None:
    root = one(tmp_path, WORDS, 409)
    e_daic_split(root, "train", ["409,male,0,10,28,0"])
    manifest = load("e-daic", root, without_errata=off)
    assert set(manifest.table.loc[manifest.table["session"] == "409", "label"]) == {label}
    assert len(manifest.notes["errata"]) == (not off)


# split files


def test_codes_and_spellings_of_split_files(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    e_daic_split(root, "train", ["302.0,1,0.0,4.0"], "participant_ID,gender,PHQ8_Binary,PHQ8_Score")
    e_daic_split(root, "test", ["600,"], "Participant_ID,Gender")
    table = load("e-daic", root, female_code=1).table.drop_duplicates("session").set_index("session")
    assert table.loc["302", ["gender", "phq8_score", "label"]].tolist() == ["female", "4", "not depressed"]
    assert table.loc["600", ["gender", "phq8_score", "label"]].tolist() == ["", "", ""]
    assert load("e-daic", root).table["gender"].iloc[0] == "male"


def test_faults_of_split_files_are_reported_at_once(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    rows = [
        "x,male,0,4,28,0",
        "301,male,2,4,28,0",
        "303,male,0,40,28,0",
        "304,male,1,25,28,0",
        "305,man in a hat,0,1,28,0",
        "306,male,0,1,28,0",
        "302,male,0,4,28,0",
        "302,male,0,4,28,0",
    ]
    e_daic_split(root, "train", rows)
    e_daic_split(root, "dev", ["300,male,0", "302,male,0"], "Participant_ID,Gender,PHQ_Binary")
    (root / "labels/test_split.csv").unlink()
    faults = faults_of("e-daic", root)
    text = "\n".join(faults)
    for part in (
        "row 2: found Participant_ID 'x'",
        "row 3: found PHQ-8 binary '2' and score '4'",
        "row 4: found PHQ-8 binary '0' and score '40'",
        "row 5: found PHQ-8 binary '1' and score '25'",
        "row 6: found Gender 'man in a hat'",
        "row 7: found session 306, of which there is no folder or archive",
        "row 9: found session 302 again",
        "dev_split.csv, row 1: found columns Participant_ID, Gender, PHQ_Binary; expected a comma-separated "
        "header with PHQ8_Score or PHQ_Score",
        "test_split.csv: found no such file",
    ):
        assert part in text
    assert len(faults) == 9


def test_a_subject_in_two_splits_is_no_matter_of_skipping(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    e_daic_split(root, "dev", ["302,male,0,4,28,0"])
    (fault,) = faults_of("e-daic", root)
    assert "session 302 again" in fault
    with pytest.raises(BadInput):
        load("e-daic", root, skip_bad=True)


# sessions


def test_archives_are_read_with_their_audio_in_a_folder(tmp_path: Path) -> None:
    plain = load("e-daic", write_e_daic(tmp_path / "plain"))
    root, audio = write_e_daic(tmp_path / "packed", packed=True), tmp_path / "audio"
    manifest = load("e-daic", root, audio_folder=str(audio))
    assert manifest.root == audio
    assert set(manifest.table["audio"]) == {f"{n}_P/{n}_AUDIO.wav" for n in (300, 302, 600)}
    assert manifest.table.drop(columns="audio").equals(plain.table.drop(columns="audio"))
    sound = [
        read_segment(item.source(item.table["audio"][0]), 0.5, 1.25).tolist() for item in (manifest, plain)
    ]
    assert sound[0] == sound[1]
    assert not list(audio.rglob("*.csv"))  # no transcript is written out
    before = (audio / "302_P/302_AUDIO.wav").stat().st_mtime_ns
    assert load("e-daic", root, audio_folder=str(audio)).table.equals(manifest.table)
    assert (audio / "302_P/302_AUDIO.wav").stat().st_mtime_ns == before


def test_archives_without_a_folder_for_the_audio(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path, packed=True)
    faults = faults_of("e-daic", root)
    assert len(faults) == 3
    assert all("--audio_folder DIR" in fault for fault in faults)
    e_daic_session(root, 302)
    kept = load("e-daic", root, skip_bad=True)
    assert set(kept.table["session"]) == {"302"}
    assert reasons(kept)["302_P.tar.gz"] == "the session is there twice; read from 302_P"


def test_unpacked_sessions_are_read_beside_archives(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path / "e", packed=True)
    (root / "data/302_P.tar.gz").unlink()
    e_daic_session(root, 302)
    manifest = load("e-daic", root, audio_folder=str(tmp_path / "audio"))
    assert set(manifest.table["audio"]) == {
        "../e/data/302_P/302_AUDIO.wav", "300_P/300_AUDIO.wav", "600_P/600_AUDIO.wav",
    }  # fmt: skip
    assert all(manifest.source(audio).path.is_file() for audio in manifest.table["audio"])


def test_an_incomplete_folder_gives_way_to_the_archive(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path / "e", packed=True)
    (root / "data/302_P").mkdir()
    manifest = load("e-daic", root, audio_folder=str(tmp_path / "audio"))
    assert (manifest.table["session"] == "302").sum() == 2
    assert "302_P" in reasons(manifest)


def test_missing_files_of_a_folder_are_named(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    (root / "data/302_P/302_AUDIO.wav").unlink()
    (root / "data/300_P/300_Transcript.csv").unlink()
    e_daic_session(root, 310)
    faults = faults_of("e-daic", root)
    assert len(faults) == 2
    assert "302_P: found no 302_AUDIO.wav" in faults[0]
    assert "300_P: found no 300_TRANSCRIPT.csv" in faults[1]
    kept = load("e-daic", root, skip_bad=True)
    assert reasons(kept)["310_P"] == "no split file names this session"


def damage_audio(root: Path) -> str:
    folder = e_daic_session(root, 302)
    (folder / "302_AUDIO.wav").write_bytes((folder / "302_AUDIO.wav").read_bytes()[:500])
    return "in it 302_AUDIO.wav: "


def no_audio(root: Path) -> str:
    (e_daic_session(root, 302) / "302_AUDIO.wav").unlink()
    return "no 302_AUDIO.wav"


def no_transcript(root: Path) -> str:
    (e_daic_session(root, 302) / "302_Transcript.csv").unlink()
    return "no 302_Transcript.csv"


@pytest.mark.parametrize("spoil", [damage_audio, no_audio, no_transcript])
def test_parts_of_an_archive_that_are_bad(tmp_path: Path, spoil: object) -> None:
    root, audio = write_e_daic(tmp_path / "e", packed=True), tmp_path / "audio"
    archive = root / "data/302_P.tar.gz"
    archive.unlink()
    found = spoil(root)  # type: ignore[operator]
    shutil.make_archive(str(root / "data/302_P"), "gztar", root / "data", "302_P")
    shutil.rmtree(root / "data/302_P")
    (fault,) = faults_of("e-daic", root, audio_folder=str(audio))
    assert fault.startswith(f"{archive}: found {found}")
    if spoil is not no_transcript:
        assert not list(audio.rglob("302*.wav"))


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"no tar" * 1000), None], ids=["empty", "text", "gzip", "half"]
)
def test_archives_that_are_none(tmp_path: Path, content: bytes | None) -> None:
    root, audio = write_e_daic(tmp_path / "e", packed=True), tmp_path / "audio"
    archive = root / "data/302_P.tar.gz"
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 2] if content is None else content)
    (fault,) = faults_of("e-daic", root, audio_folder=str(audio))
    assert fault.startswith(f"{archive}: found an archive that cannot be extracted")
    assert [path.name for path in audio.rglob("302*")] in ([], ["302_P"])


def test_the_audio_folder_lies_outside_the_corpus(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path, packed=True)
    faults = faults_of("e-daic", root, audio_folder=str(root / "audio"))
    assert "a folder outside the corpus" in faults[0]


def test_no_session_at_all(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    shutil.rmtree(root / "data")
    (fault,) = faults_of("e-daic", root)
    assert "no session; expected 300_P/ or 300_P.tar.gz" in fault


def test_levels_are_brought_to_one(tmp_path: Path) -> None:
    manifest = load("e-daic", write_e_daic(tmp_path), level_normalise=True, level_dbfs=-20.0)
    assert manifest.table["gain"].tolist() == pytest.approx([1.0] * 6, rel=0.05)


def test_stereo_and_stray_files_are_noted(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    path = root / "data/302_P/302_AUDIO.wav"
    sound, rate = soundfile.read(path)
    soundfile.write(path, sound.repeat(2).reshape(-1, 2), rate)
    (root / "data/._303_P").touch()
    (root / "data/notes.txt").touch()
    manifest = load("e-daic", root)
    assert manifest.notes["channels"] == {"302_P": 2}


def test_a_stray_quote_in_a_transcript_swallows_no_row() -> None:
    words = HEADER + '0.5,1.0,"so I said,0.9\n1.5,2.0,well,0.8\n2.5,3.0,"and, then,0.7\n3.5,4.0,yes,0.6\n'
    faults = Faults()
    table = as_daic_woz(words.encode(), "x.csv", faults)
    assert table is not None
    assert len(faults) == 0
    rows = [line.split("\t") for line in table.decode().splitlines()[1:]]
    assert [row[:4] for row in rows] == [
        ["0.5", "1.0", "Participant", "0.9"],
        ["1.5", "2.0", "Participant", "0.8"],
        ["2.5", "3.0", "Participant", ""],  # the comma in the text moved it
        ["3.5", "4.0", "Participant", "0.6"],
    ]


def test_rows_that_a_transcripts_cell_would_swallow_are_named() -> None:
    words = HEADER + '0.5,1.0,"secret\n1.2,1.4,b,0.7\nsecret",0.9\n1.5,2.0,well,0.8\n'
    faults = Faults()
    table = as_daic_woz(words.encode(), "x.csv", faults)
    assert table is not None
    assert table.decode().splitlines()[4].startswith("1.5\t2.0\t")
    (fault,) = faults
    assert fault.where == "x.csv, row 2"
    assert "a cell that holds a line end (it ends in row 4)" in fault.found
    assert "secret" not in str(fault)
