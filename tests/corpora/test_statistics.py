from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.corpus_trees import write_wav

from sertransfer.corpora import statistics
from sertransfer.errors import BadInput
from sertransfer.manifest import Manifest, make_table
from sertransfer.reporting.tables import align, format_description

PEOPLE = {"a": ("female", "young"), "b": ("M", "61"), "c": ("male", "40-49"), "d": ("", "")}
ROWS = [
    ("a", "sad", "train"),
    ("a", "happy", "test"),
    ("b", "sad", "train"),
    ("b", "sad", "train"),
    ("c", "glee", "dev"),
    ("d", "angry", ""),
]


def manifest_of(root: Path, **extra: object) -> Manifest:
    rows = []
    for index, (speaker, label, split) in enumerate(ROWS):
        gender, age = PEOPLE[speaker]
        rows.append(
            {
                "id": f"u{index}",
                "audio": f"u{index}.wav",
                "speaker": speaker,
                "label": label,
                "split": split,
                "gender": gender,
                "age": age,
                "corpus": "toy",
                **extra,
            }
        )
    return Manifest(make_table(rows), root)


def test_the_papers_tables_for_a_toy_corpus(tmp_path: Path) -> None:
    for index in range(len(ROWS)):
        write_wav(tmp_path / f"u{index}.wav", seconds=20)
    found = statistics.describe(manifest_of(tmp_path))
    assert found.overview.to_dict("records") == [
        {"corpus": "toy", "speakers": "4", "h:mm": "0:02", "utterances": 6, "classes": 4}
    ]
    assert found.unit == "speakers"
    assert found.speakers.loc["female"].to_dict() == {
        "young": 1,
        "middle-aged": 0,
        "old": 0,
        "unknown": 0,
        "total": 1,
    }
    assert found.speakers.loc["male"].tolist() == [0, 1, 1, 0, 2]
    assert list(found.speakers.index) == ["female", "male", "unknown", "total"]
    assert found.speakers.loc["total", "total"] == 4
    assert list(found.labels.index) == ["angry", "happy", "sad", "glee", "total"]
    assert list(found.labels.columns) == ["training", "development", "test", "no split", "total"]
    assert found.labels.loc["sad"].tolist() == [3, 0, 0, 0, 3]
    assert found.labels.loc["total"].tolist() == [3, 1, 1, 1, 6]
    assert found.label_shares == pytest.approx({"angry": 1 / 6, "happy": 1 / 6, "sad": 0.5, "glee": 1 / 6})
    assert found.remarks == ()
    plain = json.loads(json.dumps(found.as_dict()))
    assert plain["table3"]["sad"]["training"] == 3
    assert plain["table2"]["counts"]["male"]["old"] == 1


def test_durations_come_from_times_then_the_column_then_headers(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path)
    table = manifest.table
    table.loc[0, ["start", "end"]] = [1.0, 3.5]
    table["duration"] = ["", "4", "5", "6", "7", ""]
    write_wav(tmp_path / "u5.wav", seconds=0.5)
    assert statistics.durations(manifest).tolist() == [2.5, 4, 5, 6, 7, 0.5]


def test_every_unreadable_recording_is_named(tmp_path: Path) -> None:
    for index in range(4):
        write_wav(tmp_path / f"u{index}.wav")
    with pytest.raises(BadInput) as refusal:
        statistics.describe(manifest_of(tmp_path))
    assert len(refusal.value.faults) == 2
    assert "u4.wav" in refusal.value.faults[0].where


def test_unknown_speakers_are_not_counted(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, duration="1")
    manifest.table["speaker"] = "unknown"
    found = statistics.describe(manifest)
    assert found.overview["speakers"][0] == "unknown"
    assert found.unit == "utterances"
    assert found.speakers.loc["total", "total"] == 6
    assert "Table 2 counts utterances" in found.remarks[0]


def test_a_speaker_with_two_ages_counts_once_with_a_remark(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, duration="1")
    manifest.table.loc[1, "age"] = "80"
    found = statistics.describe(manifest)
    assert found.speakers.loc["female", "young"] == 1
    assert found.speakers.loc["total", "total"] == 4
    assert "1 speaker(s)" in found.remarks[0]


def test_the_same_name_in_two_corpora_is_two_speakers(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, duration="1800")
    manifest.table.loc[3:, "corpus"] = "other"
    found = statistics.describe(manifest)
    assert found.overview["corpus"].tolist() == ["toy", "other"]
    assert found.overview["h:mm"].tolist() == ["1:30", "1:30"]
    assert found.overview["speakers"].tolist() == ["2", "3"]
    assert found.speakers.loc["total", "total"] == 5


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("Young", "young"),
        ("middle aged", "middle-aged"),
        ("elderly", "old"),
        ("0", "young"),
        ("34.9", "young"),
        ("35", "middle-aged"),
        ("59", "middle-aged"),
        ("60", "old"),
        ("20 - 29", "young"),
        ("", "unknown"),
        ("-5", "unknown"),
        ("nan", "unknown"),
        ("1000", "unknown"),
        ("ancient", "unknown"),
    ],
)
def test_age_bands(age: str, band: str) -> None:
    assert statistics.age_band(age) == band


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (29, "0:00"), (30, "0:01"), (3599, "1:00"), (743_100, "206:25")]
)
def test_clock(seconds: float, text: str) -> None:
    assert statistics.clock(seconds) == text


def test_a_table_without_labels_and_splits_is_described_too(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, duration="1")
    manifest.table[["label", "split"]] = ""
    found = statistics.describe(manifest)
    assert found.labels.to_dict() == {
        "no split": {"no label": 6, "total": 6},
        "total": {"no label": 6, "total": 6},
    }
    assert found.label_shares == {"no label": 1.0}
    assert found.overview["classes"][0] == 0


def test_the_text_names_the_papers_tables_and_their_error(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, duration="1")
    manifest.table.loc[1, "age"] = "80"
    text = format_description(statistics.describe(manifest))
    for caption in (
        "the paper's Table 1",
        "the paper's Table 2",
        "the paper's Table 3",
        "the paper's Figure 1",
    ):
        assert caption in text
    swapped = "prints its Training and Test columns swapped in every row but the total"
    assert swapped not in text
    manifest.table["corpus"] = "lssed"
    assert swapped in format_description(statistics.describe(manifest))
    assert "sad    50.0 %" in text
    assert "Note: 1 speaker(s)" in text
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_columns_are_aligned() -> None:
    lines = align([("name", "n"), ("a", 5), ("longer", 1234)]).splitlines()
    assert lines == ["name       n", "-" * 12, "a          5", "longer  1234"]


def test_no_cell_makes_a_row_of_its_own() -> None:
    assert align([("name", "n"), ("a\nerror: \x1b[31m", 5)]).splitlines()[2] == "a\\nerror: \\x1b[31m  5"
