from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from support.corpus_trees import faults_with, load_with, write_emodb

from sertransfer.corpora.emotion import emodb
from sertransfer.corpora.emotion.emodb import EMOTIONS, SPEAKERS, Options, read
from sertransfer.corpora.splits import check_disjoint
from sertransfer.errors import Faults

ALL = [f"{speaker}a01{emotion}a" for speaker in SPEAKERS for emotion in EMOTIONS]


load, faults_of = partial(load_with, emodb), partial(faults_with, emodb)


@pytest.mark.parametrize(
    ("name", "speaker", "label", "gender"),
    [
        ("03a01Wa", "03", "angry", "male"),
        ("08b10Lb", "08", "bored", "female"),
        ("09a07Ea", "09", "disgusted", "female"),
        ("10a02Ac", "10", "fearful", "male"),
        ("11b01Fd", "11", "happy", "male"),
        ("12a05Ta", "12", "sad", "male"),
        ("13b09N", "13", "neutral", "female"),
    ],
)
def test_a_name_tells_speaker_and_emotion(
    tmp_path: Path, name: str, speaker: str, label: str, gender: str
) -> None:
    root = write_emodb(tmp_path, [name])
    row = load(root, task="all", split="paper").table.iloc[0]
    assert (row["id"], row["audio"]) == (name, f"wav/{name}.wav")
    assert (row["speaker"], row["label"], row["gender"]) == (speaker, label, gender)
    assert row["age"] == SPEAKERS[speaker][1]
    assert row["sentence"] == name[2:5]
    assert row["corpus"] == "emodb"


def test_the_default_is_four_classes_and_a_fifth_of_the_speakers(tmp_path: Path) -> None:
    root = write_emodb(tmp_path, ALL)
    manifest = load(root)
    table = manifest.table
    assert len(table) == 40
    assert set(table["label"]) == {"angry", "neutral", "happy", "sad"}
    check_disjoint(table)
    assert table.loc[table["split"] == "test", "speaker"].nunique() == 2
    assert manifest.notes["split"]["test_speakers"] == sorted(
        table.loc[table["split"] == "test", "speaker"].unique()
    )
    assert len(manifest.notes["left_out"]) == 30
    assert {entry["reason"] for entry in manifest.notes["left_out"]} == {
        f"label '{label}' is not one of the four-class task" for label in ("bored", "disgusted", "fearful")
    }
    splits = {tuple(load(root, seed=seed).notes["split"]["test_speakers"]) for seed in range(6)}
    assert len(splits) > 1


def test_speakers_can_be_named(tmp_path: Path) -> None:
    root = write_emodb(tmp_path, ALL)
    table = load(root, test_speakers=("03", "08"), dev_speakers=("09",)).table
    of = table.drop_duplicates("speaker").set_index("speaker")["split"].to_dict()
    assert of.pop("03") == of.pop("08") == "test"
    assert of.pop("09") == "dev"
    assert set(of.values()) == {"train"}
    drawn = load(root, dev_speakers=("09",)).table
    assert set(drawn.loc[drawn["split"] == "dev", "speaker"]) == {"09"}
    assert "09" not in set(drawn.loc[drawn["split"] == "test", "speaker"])
    assert drawn.loc[drawn["split"] == "test", "speaker"].nunique() == 2


def test_all_seven_emotions_and_the_papers_split(tmp_path: Path) -> None:
    root = write_emodb(tmp_path, ALL)
    manifest = load(root, task="all", split="paper", dev_share=0.1)
    counts = manifest.table.groupby(["label", "split"]).size()
    assert all(counts[label, "test"] == 2 and counts[label, "dev"] == 1 for label in EMOTIONS.values())
    assert manifest.notes["split"]["speakers_in_two_splits"] > 0
    assert manifest.notes["left_out"] == []


def test_named_speakers_are_checked_all_at_once(tmp_path: Path) -> None:
    root = write_emodb(tmp_path, ALL)
    texts = faults_of(root, test_speakers=("18", "8"), dev_speakers=("08",))
    assert len(texts) == 2
    assert "option test_speakers: found speaker '18'" in texts[0]
    assert "valid: 03, 08" in texts[0]
    assert "speaker '08', also named for the test set" in texts[1]
    assert "--split speaker" in faults_of(root, split="paper", test_speakers=("08",))[0]


def test_strange_files_are_named_and_can_be_skipped(tmp_path: Path) -> None:
    root = write_emodb(tmp_path, [*ALL[:14], "04a01Wa", "03a01Xa", "noise"])
    (root / "wav" / "03a01Wa.wav").write_bytes(b"RIFF")
    (root / "wav" / "readme.txt").write_text("no recording")
    (root / "wav" / "._03a01Wa.wav").write_bytes(b"")
    texts = faults_of(root)
    assert len(texts) == 4
    assert sum("a speaker of EmoDB" in text for text in texts) == 1
    assert sum("an emotion of emodb" in text for text in texts) == 1
    assert sum("as in 03a01Wa.wav" in text for text in texts) == 1
    assert all("row" not in text for text in texts)
    faults = Faults(skip_bad=True)
    manifest = read(root, Options(), faults)
    assert len(manifest.table) == 7
    reasons = [entry for entry in manifest.notes["left_out"] if "not a recording" in entry["reason"]]
    assert [entry["item"] for entry in reasons] == ["wav/._03a01Wa.wav", "wav/readme.txt"]


def test_one_speaker_can_not_be_split_but_can_be_a_test_set(tmp_path: Path) -> None:
    root = write_emodb(tmp_path, ["03a01Wa", "03a01Na", "03b01Wa"])
    assert "1 speaker(s): 03" in faults_of(root)[0]
    assert set(load(root, test_speakers=("03",)).table["split"]) == {"test"}


def test_nothing_of_the_task_is_an_empty_manifest(tmp_path: Path) -> None:
    manifest = load(write_emodb(tmp_path, ["03a01La"]))
    assert len(manifest) == 0
    assert len(manifest.notes["left_out"]) == 1


def test_a_wrong_root_is_told_where_the_right_one_is(tmp_path: Path) -> None:
    root = write_emodb(tmp_path / "emodb", ["03a01Wa"])
    low = faults_of(root / "wav")[0]
    assert "found a folder one level too low" in low
    assert low.endswith(f"files such as 03a01Wa.wav; name {root}")
    assert f"name {root}" in faults_of(tmp_path)[0]
