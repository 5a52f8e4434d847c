from __future__ import annotations

import os
import unicodedata
from functools import partial
from pathlib import Path

import pytest
from support.corpus_trees import faults_with, load_with, write_table, write_wav

from sertransfer.corpora.emotion import csv
from sertransfer.corpora.prepare import prepare
from sertransfer.errors import BadInput, Faults
from sertransfer.manifest import read_manifest

load, faults_of = partial(load_with, csv), partial(faults_with, csv)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = []
    for index in range(10):
        write_wav(tmp_path / "clips" / f"c{index}.wav")
        rows.append(
            {
                "file": f"clips/c{index}.wav",
                "emotion": ("joy", "calm")[index % 2],
                "who": f"p{index % 5}",
                "set": ("train", "test")[index % 5 == 4],
                "gain": 2.5,
            }
        )
    write_table(tmp_path / "mine.csv", rows)
    return tmp_path


NAMES = {"audio": "file", "label": "emotion", "speaker": "who", "split_column": "set"}


def test_columns_are_mapped_and_labels_pass_through(folder: Path) -> None:
    for root in (folder, folder / "mine.csv"):
        manifest = load(root, **NAMES, extra=("gain",), corpus="home")
        row = manifest.table.iloc[0]
        assert (row["id"], row["audio"], row["label"]) == ("clips/c0", "clips/c0.wav", "joy")
        assert (row["speaker"], row["split"], row["corpus"]) == ("p0", "train", "home")
        assert row["gain"] == 2.5
        assert manifest.root == folder
        assert manifest.notes["split"] == {"rule": "column", "speakers_in_two_splits": 0}


def test_labels_can_be_mapped_and_put_to_a_task(folder: Path) -> None:
    mapped = load(folder, **NAMES, label_map="joy=high,calm=low").table
    assert set(mapped["label"]) == {"high", "low"}
    four = load(folder, **NAMES, label_map="joy=happy,calm=", task="four")
    assert set(four.table["label"]) == {"happy"}
    assert len(four.notes["left_out"]) == 5
    partly = faults_of(folder, **NAMES, label_map="joy=high")
    assert len(partly) == 5
    assert "row 3: found label 'calm'" in partly[0]
    assert "--label_map" in partly[0]
    assert "label 'joy'" in faults_of(folder, **NAMES, task="eleven")[0]


def test_own_splits_and_seeded_ones(folder: Path) -> None:
    paper = load(folder, **NAMES, split="paper").table
    assert paper.groupby("label")["split"].value_counts().to_dict() == {
        ("calm", "train"): 4,
        ("calm", "test"): 1,
        ("joy", "train"): 4,
        ("joy", "test"): 1,
    }
    speaker = load(folder, **NAMES, split="speaker").table
    assert speaker.loc[speaker["split"] == "test", "speaker"].nunique() == 1
    assert "--split paper, speaker or none" in faults_of(folder, **{**NAMES, "split_column": "fold"})[0]


def test_segments_and_ids(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.flac.wav", seconds=1)
    rows = [
        {"key": key, "audio": "a.flac.wav", "label": "x", "speaker": "s", "start": start, "end": end}
        for key, start, end in (("k1", 0, 0.5), ("k2", 0.5, 0.9), ("k3", "", ""))
    ]
    write_table(tmp_path / "t.csv", rows)
    plain = load(tmp_path, split="none").table
    assert plain["id"].tolist() == ["a.flac_0-0.5", "a.flac_0.5-0.9", "a.flac"]
    assert plain["start"].tolist()[:2] == [0, 0.5]
    assert [float(value) for value in plain["duration"]] == pytest.approx([0.5, 0.4, 1.0])
    keyed = load(tmp_path, split="none", id="key").table
    assert keyed["id"].tolist() == ["k1", "k2", "k3"]


def test_the_table_must_be_found(folder: Path) -> None:
    write_table(folder / "other.csv", [{"a": 1}])
    assert "mine.csv, other.csv" in faults_of(folder, **NAMES)[0]
    assert len(load(folder, **NAMES, table="mine.csv")) == 10
    assert "no file" in faults_of(folder, **NAMES, table="absent.csv")[0]
    assert "no CSV" in faults_of(folder / "clips", **NAMES)[0]
    assert "found nothing" in faults_of(folder / "absent", **NAMES)[0]


def test_columns_of_the_manifest_are_not_extra(folder: Path) -> None:
    assert "column(s) label" in faults_of(folder, **NAMES, extra=("label", "gain"))[0]
    (fault,) = faults_of(folder, **NAMES, extra=("mood",))
    assert "a column 'mood' (mood); name the column with --extra" in fault


def test_a_missing_column_of_ids_is_named_by_the_setting_of_this_corpus(folder: Path) -> None:
    (fault,) = faults_of(folder, **NAMES, id="number")
    assert "a column 'number' (id); name the column with --id" in fault


def test_a_row_without_audio_is_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav")
    rows = [{"id": "u1", "audio": "a.wav"}, {"id": "u2", "audio": ""}, {"id": "u3", "audio": "/etc/b.wav"}]
    write_table(tmp_path / "t.csv", [{**row, "label": "x", "speaker": "s"} for row in rows])
    texts = faults_of(tmp_path, split="none", id="id")
    assert len(texts) == 2
    assert "row 3: found no audio" in texts[0]
    assert "row 4: found audio '/etc/b.wav'" in texts[1]


def test_rows_of_more_cells_than_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(
        "audio,label,speaker,split\nx,a.wav,sad,s1,train\nx,b.wav,sad,s2,test\n"
    )
    with pytest.raises(BadInput, match="more cells than the header has columns"):
        csv.read(tmp_path, csv.Options(check_audio=False), Faults())


def write_rows(folder: Path, rows: list[dict[str, object]], **options: str) -> Path:
    for row in rows:
        write_wav(folder / str(row["audio"]).replace("\\", "/"))
    return write_table(folder / "t.csv", rows, **options)


def one_each(speakers: list[str]) -> list[dict[str, object]]:
    return [
        {"audio": f"c/{index}.wav", "label": ("joy", "calm")[index % 2], "speaker": name}
        for index, name in enumerate(speakers)
    ]


@pytest.mark.parametrize(
    "other",
    [
        "{}\u200b",
        "\ufeff{}",
        " {} ",
        "{}\u00a0",
        "{}\u2060",
        "{}\u00ad",
        "{}\ufe0f",
        "P{0[1]}é",
        "p{0[1]}e\u0301",
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_one_person_under_two_spellings_is_one_speaker(tmp_path: Path, other: str, seed: int) -> None:
    people = [f"p{index}é" for index in range(6)]
    rows = one_each([name for one in people for name in (one, other.format(one))])
    write_rows(tmp_path, rows)
    manifest = load(tmp_path, split="speaker", seed=seed)
    assert sorted(manifest.table["speaker"].unique()) == people
    assert manifest.notes["split"]["speakers_in_two_splits"] == 0
    assert (manifest.table.groupby("speaker")["split"].nunique() == 1).all()
    told = " ".join(manifest.notes["assumptions"])
    assert "spelt in several ways" in told or "invisible characters" in told or other == " {} "


def test_merged_spellings_are_told_and_ids_that_differ_invisibly_refused(tmp_path: Path) -> None:
    rows = [
        {**row, "key": key} for row, key in zip(one_each(["A", "a", "b"]), ["u", "u\u200b", "v"], strict=True)
    ]
    write_rows(tmp_path, rows)
    notes = load(tmp_path, split="none").notes["assumptions"]
    assert "1 speaker(s) are spelt in several ways, which are taken for one person each: 'A' and 'a'" in notes
    assert [fault.partition("t.csv")[2] for fault in faults_of(tmp_path, split="none", id="key")] == [
        ", row 3: found id 'u' again (first in row 2); expected each id once; "
        "rename or remove one of the rows"
    ]


@pytest.mark.parametrize("column", ["audio", "label", "speaker", "gender", "mood"])
@pytest.mark.parametrize("character", ["\x1b", "\x00", "\x85", "\u202e", "\u2028", "\x07"])
def test_control_characters_are_refused_with_row_and_column(
    tmp_path: Path, column: str, character: str
) -> None:
    rows = [
        {"id": key, "audio": "a.wav", "label": "x", "speaker": "s", "gender": "f", "mood": "m"}
        for key in "uvw"
    ]
    write_rows(tmp_path, rows)
    rows[1][column] = f"a{character}b"
    write_table(tmp_path / "t.csv", rows)
    (fault,) = faults_of(tmp_path, split="none", extra=("mood",), id="id")
    if character == "\x00":
        assert "zero bytes" in fault
    else:
        assert ", row 3: found " in fault
        assert f"(U+{ord(character):04X}) in {column} 'a" in fault
    assert fault.isprintable()


def test_a_control_character_in_a_column_that_is_not_used_is_no_fault(tmp_path: Path) -> None:
    rows = [{"audio": "a.wav", "label": "x", "speaker": "s", "said": "it\x92s\x1b"}]
    write_rows(tmp_path, rows)
    assert len(load(tmp_path, split="none")) == 1
    assert (
        "in the name of column"
        in faults_of(
            write_table(
                tmp_path / "u.csv", [{"audio": "a.wav", "label": "x", "speaker": "s", "a\x1bb": "1"}]
            ),
            split="none",
            extra=("a\x1bb",),
        )[0]
    )


def test_numbers_are_checked_as_the_times_are(tmp_path: Path) -> None:
    good = {"audio": "a.wav", "label": "x", "speaker": "s", "age": "30", "gain": "0.5", "phq8_score": "9"}
    wrong = [
        ("gain", "0,5"),
        ("gain", "abc"),
        ("gain", "0"),
        ("gain", "-1"),
        ("age", "31,5"),
        ("age", "-5"),
        ("phq8_score", "25"),
        ("phq8_score", "9,5"),
    ]
    rows = [good, *({**good, column: value} for column, value in wrong)]
    write_rows(tmp_path, rows, delimiter=";")
    extra = {"delimiter": ";", "extra": ("gain", "phq8_score"), "split": "none"}
    rows = [{**row, "id": index} for index, row in enumerate(rows)]
    write_table(tmp_path / "t.csv", rows, delimiter=";")
    texts = faults_of(tmp_path, **extra, id="id")
    found = sorted(tuple(text.partition("row ")[2].split(": found ")) for text in texts)
    assert [(row, text.partition(";")[0]) for row, text in found] == sorted(
        (str(row), f"{column} '{value}'") for row, (column, value) in enumerate(wrong, 3)
    )
    assert "write 0.5, with a decimal point" in " ".join(texts)
    write_table(tmp_path / "t.csv", [{**rows[0], "start": "0,1", "end": "0,2"}], delimiter=";")
    (fault,) = faults_of(tmp_path, **extra, id="id")
    assert "start '0,1', end '0,2'" in fault
    assert "decimal point" in fault


def test_stray_quotes_keep_every_row(tmp_path: Path) -> None:
    rows = [{**row, "said": "well"} for row in one_each(["a", "b", "c", "d"])]
    rows[1]["said"] = '"so I said'
    write_rows(tmp_path, rows, delimiter="\t")
    manifest = load(tmp_path, split="none", delimiter="TAB")
    assert len(manifest) == 4
    assert (
        "1 row(s) hold a quotation mark that nothing closes, which is read as it is: 3"
        in manifest.notes["assumptions"]
    )
    rows[2]["speaker"] = '"c'
    write_table(tmp_path / "t.csv", rows, delimiter="\t")
    (fault,) = faults_of(tmp_path, split="none", delimiter="TAB")
    assert "row 4: found a quotation mark that nothing closes in speaker '\"c'" in fault


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("audio,speaker,label, label \na.wav,s,x,y\n")
    assert "column 'label' twice (columns 3 and 4)" in faults_of(tmp_path, split="none")[0]


def test_a_wrong_delimiter_is_named(folder: Path) -> None:
    text = (folder / "mine.csv").read_text()
    (folder / "mine.csv").write_text(text.replace(",", ";"))
    assert "set --delimiter ';'" in faults_of(folder, **NAMES)[0]
    (folder / "mine.csv").write_text("sep=;\n" + text.replace(",", ";"))
    assert len(load(folder, **NAMES)) == 10


def test_paths_from_windows_are_read(tmp_path: Path) -> None:
    rows = one_each(["a", "b"])
    write_rows(tmp_path, rows)
    write_table(tmp_path / "t.csv", [{**row, "audio": str(row["audio"]).replace("/", "\\")} for row in rows])
    table = load(tmp_path, split="none").table
    assert table["audio"].tolist() == ["c/0.wav", "c/1.wav"]
    assert table["id"].tolist() == ["c/0", "c/1"]
    write_table(tmp_path / "t.csv", [{**rows[0], "audio": r"C:\clips\0.wav"}])
    assert "a path inside the corpus root" in faults_of(tmp_path, split="none")[0]
    write_wav(tmp_path / "c\\0.wav")
    write_table(tmp_path / "t.csv", [{**rows[0], "audio": r"c\0.wav"}])
    assert load(tmp_path, split="none").table["audio"].tolist() == [r"c\0.wav"]


@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_file_names_in_another_unicode_form_are_found(tmp_path: Path, in_table: str, on_disk: str) -> None:
    rows = [{"audio": "Müller/é.wav", "label": "x", "speaker": "s"}]
    write_wav(tmp_path / unicodedata.normalize(on_disk, "Müller/é.wav"))
    write_table(tmp_path / "t.csv", [{**rows[0], "audio": unicodedata.normalize(in_table, "Müller/é.wav")}])
    manifest = load(tmp_path, split="none")
    (audio,) = manifest.table["audio"]
    assert audio == unicodedata.normalize(on_disk, "Müller/é.wav")
    assert manifest.source(audio).path.is_file()
    assert manifest.table["id"].tolist() == ["Müller/é"]


def test_a_file_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    rows = one_each(["a", "b"])
    write_rows(tmp_path, rows)
    write_table(tmp_path / "t.csv", [rows[0], {**rows[1], "audio": "c/é.wav"}])
    odd = tmp_path / "c" / os.fsdecode(b"\xe9.wav")
    (tmp_path / "c" / "1.wav").rename(odd)
    (fault,) = faults_of(tmp_path, split="none")
    assert r"'\udce9.wav', a name that is not UTF-8" in fault
    odd.rename(tmp_path / "c" / "É.wav")
    (fault,) = faults_of(tmp_path, split="none")
    assert "found 'É.wav', with other capitals" in fault


@pytest.mark.parametrize("place", ["", "sub", "sub/deeper"])
def test_a_wrong_root_is_one_fault_that_says_where_the_recordings_are(tmp_path: Path, place: str) -> None:
    rows = one_each([f"s{index}" for index in range(39)])
    write_rows(tmp_path / "here" / place, rows)
    write_table(tmp_path / "here" / "t.csv", rows)
    if place:
        (fault,) = faults_of(tmp_path / "here", split="none", table="t.csv")
        found = f"none of 39 recordings under {tmp_path / 'here'}, such as c/0.wav; they are under "
        assert f"{found}{tmp_path / 'here' / place};" in fault
    else:
        assert len(load(tmp_path / "here", split="none")) == 39
    write_table(
        tmp_path / "here" / "t.csv", [{**row, "audio": f"gone/{index}.wav"} for index, row in enumerate(rows)]
    )
    (fault,) = faults_of(tmp_path / "here", split="none", table="t.csv")
    assert f"they are in {tmp_path / 'here' / place / 'c'};" in fault


def test_names_that_no_disk_takes_are_named(tmp_path: Path) -> None:
    rows = one_each(["a", "b"])
    write_rows(tmp_path, rows)
    write_table(tmp_path / "t.csv", [{**row, "audio": f"{'a' * 300}{row['audio']}"} for row in rows])
    (fault,) = faults_of(tmp_path, split="none", table="t.csv")
    assert "none of 2 recordings" in fault


def test_hidden_tables_and_our_own_manifests_are_passed_over(folder: Path) -> None:
    (folder / "._mine.csv").write_bytes(b"\0\5\26\7Mac OS X")
    prepare("csv", folder, csv.Options(**NAMES), folder / "manifest.csv")
    prepare("csv", folder, csv.Options(**NAMES), folder / "manifest.csv")
    assert len(read_manifest(folder / "manifest.csv")) == 10
    (folder / "mine.csv").unlink()
    assert "manifest.csv, a manifest that 'prepare' wrote" in faults_of(folder, **NAMES)[0]
