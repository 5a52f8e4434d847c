import json

import pandas as pd
import pytest

from sertransfer.errors import BadInput
from sertransfer.manifest import COLUMNS, Manifest, make_table, read_manifest, write_manifest


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
