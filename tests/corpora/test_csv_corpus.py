from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from corpus_trees import faults_with, load_with, write_table, write_wav

from sertransfer.corpora import csv_corpus
from sertransfer.errors import BadInput, Faults

load, faults_of = partial(load_with, csv_corpus), partial(faults_with, csv_corpus)


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
    assert "a column 'mood' (mood)" in faults_of(folder, **NAMES, extra=("mood",))[0]


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
        csv_corpus.read(tmp_path, csv_corpus.Options(check_audio=False), Faults())
