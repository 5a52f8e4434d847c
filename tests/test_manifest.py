import json
from pathlib import Path

import pandas as pd
import pytest

from sertransfer.corpora.prepare import _check_output
from sertransfer.errors import BadInput
from sertransfer.io import files
from sertransfer.manifest import (
    COLUMNS,
    Manifest,
    check_recordings,
    make_table,
    read_manifest,
    write_manifest,
)


def row(**values):
    return {"id": "u1", "audio": "a.wav", "speaker": "s1", "corpus": "demo", **values}


@pytest.fixture
def manifest(tmp_path):
    table = make_table(
        [
            row(id="u1", start=0.5, end=1.25, label="sad", split="train", age="007", overlap=0.25),
            row(id="u2", label="happy", split="dev"),
        ]
    )
    return Manifest(table, tmp_path, {"corpus": "demo", "left_out": [{"item": "x", "reason": "y"}]})


def test_written_and_read_back(manifest, tmp_path):
    path = tmp_path / "m" / "manifest.csv"
    write_manifest(manifest, path)
    again = read_manifest(path)
    pd.testing.assert_frame_equal(again.table, manifest.table)
    assert again.root == tmp_path
    assert again.notes["left_out"] == [{"item": "x", "reason": "y"}]
    assert "edited" not in again.notes
    assert tuple(again.table.columns[: len(COLUMNS)]) == COLUMNS
    assert again.table["age"][0] == "007"


def test_written_twice_is_the_same_file(manifest, tmp_path):
    write_manifest(manifest, tmp_path / "a.csv")
    write_manifest(read_manifest(tmp_path / "a.csv"), tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_an_edited_manifest_is_noted(manifest, tmp_path, caplog):
    path = tmp_path / "manifest.csv"
    write_manifest(manifest, path)
    path.write_text(path.read_text().replace("happy", "sad"))
    assert read_manifest(path).notes["edited"] is True
    assert "edited" in caplog.text


def test_select(manifest):
    assert list(manifest.select(split="dev").table["id"]) == ["u2"]
    assert list(manifest.select(labels=["sad"]).table["id"]) == ["u1"]
    assert len(manifest.select(split="test")) == 0
    assert manifest.select(split="dev").notes is manifest.notes


def test_sources_in_files_and_archives(manifest, tmp_path):
    assert str(manifest.source("a.wav")) == str(tmp_path / "a.wav")
    manifest.notes["archives"] = {"a.wav": {"archive": "a.zip", "member": "x/a.wav"}}
    assert str(manifest.source("a.wav")) == f"{tmp_path / 'a.zip'}!x/a.wav"


def test_every_fault_is_listed_at_once(tmp_path):
    path = tmp_path / "manifest.csv"
    lines = [
        ",".join(COLUMNS),
        "u1,a.wav,0,1,s1,,train,,,demo",
        "u1,a.wav,0,1,s1,,train,,,demo",
        "u3,,0,1,s1,,nowhere,,,demo",
        "u4,a.wav,2,1,s1,,train,,,demo",
        "u5,a.wav,-1,1,s1,,train,,,demo",
        "u6,a.wav,0,,s1,,train,,,demo",
        "u7,a.wav,x,1,s1,,train,,,demo",
        "u8,a.wav,0,inf,,,train,,,demo",
    ]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(BadInput) as caught:
        read_manifest(path, root=tmp_path)
    found = sorted((fault.where.rsplit(" ", 1)[1], fault.found) for fault in caught.value.faults)
    assert found == [
        ("3", "id 'u1' again (first in row 2)"),
        ("4", "no audio"),
        ("4", "split 'nowhere'"),
        ("5", "start '2', end '1'"),
        ("6", "start '-1', end '1'"),
        ("7", "start '0', end ''"),
        ("8", "start 'x', end '1'"),
        ("9", "no speaker"),
        ("9", "start '0', end 'inf'"),
    ]


@pytest.mark.parametrize("text", ["", "\x00\x01", 'a,b\n"1,2\n'])
def test_what_is_no_csv_is_refused(tmp_path, text):
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match="manifest"):
        read_manifest(path, root=tmp_path)


def test_missing_columns_are_named(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("id,audio\nu,a\n")
    with pytest.raises(BadInput, match="also start, end, speaker"):
        read_manifest(path, root=tmp_path)


def test_missing_file_root_and_notes(manifest, tmp_path):
    with pytest.raises(BadInput, match="sertransfer prepare"):
        read_manifest(tmp_path / "none.csv")
    path = tmp_path / "manifest.csv"
    write_manifest(manifest, path)
    with pytest.raises(BadInput, match="no such folder"):
        read_manifest(path, root=tmp_path / "gone")
    notes = path.with_suffix(".json")
    for broken in ("[1]", "{"):
        notes.write_text(broken)
        with pytest.raises(BadInput, match="broken JSON"):
            read_manifest(path)
    notes.unlink()
    with pytest.raises(BadInput, match="--root"):
        read_manifest(path)
    assert len(read_manifest(path, root=tmp_path)) == 2


def test_a_bad_table_is_not_written(manifest, tmp_path):
    table = manifest.table.assign(id="same")
    with pytest.raises(BadInput, match="again"):
        write_manifest(manifest.with_table(table), tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.parametrize("written", [0, 1])
def test_a_preparation_that_was_killed_can_be_repeated(manifest, tmp_path, monkeypatch, written):
    target, done = tmp_path / "m.csv", []

    def die(path, text):
        if len(done) == written:
            raise KeyboardInterrupt
        done.append(path)
        Path(path).write_text(text)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_text", die)
        patch.setattr("sertransfer.manifest.write_text", die)
        with pytest.raises(KeyboardInterrupt):
            write_manifest(manifest, target)
    _check_output(target)
    write_manifest(manifest, target)
    assert read_manifest(target, root=tmp_path).table.equals(manifest.table)


def test_notes_hold_root_rows_and_hash(manifest, tmp_path):
    write_manifest(manifest, tmp_path / "m.csv")
    notes = json.loads((tmp_path / "m.json").read_text())
    assert notes["root"] == str(tmp_path.resolve())
    assert notes["rows"] == 2
    assert len(notes["sha256"]) == 64


def test_rows_of_more_cells_than_columns_are_refused(manifest, tmp_path):
    path = tmp_path / "m.csv"
    write_manifest(manifest, path)
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"x,{row}" for row in rows)]))
    with pytest.raises(BadInput, match="more cells than the header has columns"):
        read_manifest(path)


@pytest.mark.parametrize("root", ["x" * 5000, "a\0b", 5, None, ["a"]])
def test_a_root_that_is_none(manifest, tmp_path, root):
    path = tmp_path / "m.csv"
    write_manifest(manifest, path)
    notes = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**notes, "root": root}))
    with pytest.raises(BadInput, match=r"no such folder|no corpus root"):
        read_manifest(path)


def written(tmp_path, *changes, header=None):
    """Write a manifest of three sound rows with *changes* (row, column, value); return its path."""
    columns = [*COLUMNS, "gain", "phq8_score", "mood"]
    rows = [
        {**dict.fromkeys(columns, ""), **row(id=f"u{index}", speaker=f"s{index}", label="x")}
        for index in range(3)
    ]
    for index, column, value in changes:
        rows[index - 2][column] = value
    path = tmp_path / "manifest.csv"
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False, header=header or columns)
    return path


def faults_in(path):
    with pytest.raises(BadInput) as caught:
        read_manifest(path, root=path.parent)
    return [str(fault).removeprefix(str(path)) for fault in caught.value.faults]


def test_the_manifest_of_these_tests_is_sound(tmp_path):
    assert len(read_manifest(written(tmp_path), root=tmp_path)) == 3


@pytest.mark.parametrize("column", ["id", "audio", "speaker", "label", "gender", "age", "corpus", "mood"])
@pytest.mark.parametrize("character", ["\x1b", "\x07", "\x9b", "\u202e", "\u2028"])
def test_control_characters_are_refused_with_row_and_column(tmp_path, column, character):
    faults = faults_in(written(tmp_path, (3, column, f"a{character}b")))
    named = [fault for fault in faults if f"(U+{ord(character):04X}) in {column} 'a" in fault]
    assert len(named) == 1
    assert named[0].startswith(", row 3: found ")
    assert all(fault.isprintable() for fault in faults)


def test_a_line_end_in_a_cell_is_refused(tmp_path):
    (fault,) = faults_in(written(tmp_path, (3, "label", "a\nb")))
    assert fault.startswith(", row 3: found a cell that holds a line end (it ends in row 4)")


def test_control_characters_are_not_written(manifest, tmp_path):
    for column, value in (("label", "a\nb"), ("speaker", "s\x1b"), ("id", "caf\udce9")):
        # As objects: where pyarrow is installed, pandas's own text holds no broken UTF-8.
        broken = manifest.table.assign(**{column: pd.Series([value, "v"], dtype=object)})
        with pytest.raises(BadInput, match=f"in {column} '"):
            write_manifest(manifest.with_table(broken), tmp_path / "m.csv")
    with pytest.raises(BadInput, match="in the name of column"):
        write_manifest(manifest.with_table(manifest.table.assign(**{"a\x1b": ""})), tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.parametrize("other", ["S1", "s1\u200b", "\uff531", "s1 ", "s\u00ad1"])
def test_one_person_under_two_spellings_is_refused(tmp_path, other):
    faults = faults_in(written(tmp_path, (4, "speaker", other)))
    assert any(
        "the same but for case, width, spaces" in fault and ", row 3, row 4: " in fault for fault in faults
    )


def test_ids_with_what_cannot_be_seen_are_refused(tmp_path):
    assert faults_in(written(tmp_path, (3, "id", "u0\u200b")))[0].startswith(
        ", row 3: found id 'u0\\u200b', with"
    )
    assert faults_in(written(tmp_path, (3, "id", "u0 ")))[0].startswith(", row 3: found id 'u0 ', with")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("gain", "0,5"), ("gain", "abc"), ("gain", "0"), ("gain", "-1"), ("gain", "inf"),
        ("age", "31,5"), ("age", "-5"), ("age", "1987"),
        ("phq8_score", "25"), ("phq8_score", "9,5"), ("phq8_score", "nine"),
    ],
)  # fmt: skip
def test_columns_of_numbers_are_checked(tmp_path, column, value):
    (fault,) = faults_in(written(tmp_path, (3, column, value)))
    assert fault.startswith(f", row 3: found {column} '{value}'; expected ")
    assert ("with a decimal point" in fault) == ("," in value)


def test_times_with_a_decimal_comma_are_named(tmp_path):
    (fault,) = faults_in(written(tmp_path, (3, "start", "0,5"), (3, "end", "1.5")))
    assert "start '0,5', end '1.5'" in fault
    assert "write 0.5, with a decimal point" in fault


def test_a_column_twice_is_refused(tmp_path):
    header = [*COLUMNS, "gain", "phq8_score", " label "]
    (fault,) = faults_in(written(tmp_path, header=header))
    assert "column 'label' twice (columns 6 and 13)" in fault


def test_rows_keep_their_number_behind_blank_ones(tmp_path):
    path = written(tmp_path, (4, "gain", "0"))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "", *lines[1:]]))
    assert faults_in(path)[0].startswith(", row 5: found gain '0'")


def test_decomposed_names_of_files_stay_as_they_are(tmp_path):
    audio = "Mu\u0308ller.wav"
    assert read_manifest(written(tmp_path, (3, "audio", audio)), root=tmp_path).table["audio"][1] == audio


def test_recordings_that_are_all_missing_are_one_fault_that_says_where_they_are(tmp_path):
    path = written(tmp_path, *((index, "audio", f"{index}.wav") for index in (2, 3, 4)))
    (tmp_path / "x" / "wav").mkdir(parents=True)
    manifest = read_manifest(path, root=tmp_path / "x")
    with pytest.raises(BadInput) as caught:
        check_recordings(manifest)
    assert [str(fault) for fault in caught.value.faults] == [
        f"{tmp_path / 'x'}: found none of 3 recordings under {tmp_path / 'x'}, such as 2.wav; expected the "
        "recordings that the table names; check the corpus root, and that the recordings are unpacked"
    ]
    (tmp_path / "x" / "wav" / "2.wav").touch()
    with pytest.raises(
        BadInput, match=rf"they are under {tmp_path}/x/wav; .* name {tmp_path}/x/wav as the root"
    ):
        check_recordings(manifest)
    (tmp_path / "x" / "3.wav").touch()
    check_recordings(manifest)  # the others are named one by one where they are read
