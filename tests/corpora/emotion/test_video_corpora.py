"""MELD, eNTERFACE'05, RML and AFEW, each in its own layout, with a pretended ffmpeg."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.corpus_trees import write_table
from support.speech_trees import (
    MELD_CLIPS,
    calls,
    faults_of,
    labels_of,
    load,
    meld_row,
    reasons,
    write_afew,
    write_enterface,
    write_ffmpeg,
    write_meld,
    write_rml,
    write_video,
)

from sertransfer.corpora.emotion import rml
from sertransfer.errors import Faults

SEVEN = {"angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised"}
SIX = SEVEN - {"neutral"}


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_ffmpeg(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def audio(tmp_path: Path) -> str:
    return str(tmp_path / "audio")


def test_the_audio_folder_is_the_root(tmp_path: Path, audio: str, program: Path) -> None:
    manifest = load("rml", write_rml(tmp_path / "rml"), audio_folder=audio)
    assert manifest.root == Path(audio)
    assert all(manifest.source(name).path.is_file() for name in manifest.table["audio"])
    assert len(calls(program)) == len(manifest)  # nothing is extracted that the task leaves out


def test_a_video_that_fails_is_reported_with_all_other_faults(tmp_path: Path, audio: str) -> None:
    root = write_rml(tmp_path / "rml")
    write_video(root / "s1/an1.avi", "broken")
    write_video(root / "s1/xx1.avi")
    faults = faults_of("rml", root, audio_folder=audio)
    assert "moov atom not found" in faults[0]
    assert "the name 'xx1.avi'" in faults[1]
    assert len(faults) == 2
    kept = load("rml", root, audio_folder=audio, skip_bad=True)
    assert len(kept) == 11


def test_no_audio_folder_is_one_fault_beside_the_others(tmp_path: Path) -> None:
    root = write_rml(tmp_path / "rml")
    write_video(root / "s1/xx1.avi")
    faults = faults_of("rml", root)
    assert len(faults) == 2
    assert "--audio_folder DIR" in "\n".join(faults)


def test_a_reader_alone_extracts_nothing_and_says_so(tmp_path: Path, audio: str, program: Path) -> None:
    root, faults = write_rml(tmp_path / "rml"), Faults()
    manifest = rml.read(root, rml.Options(audio_folder=audio), faults)
    assert len(manifest) == 0
    assert calls(program) == []
    assert not Path(audio).exists()
    assert "run 'sertransfer prepare', which extracts it" in str(next(iter(faults)))


# MELD


def test_meld_rows(tmp_path: Path, audio: str) -> None:
    manifest = load("meld", write_meld(tmp_path / "meld"), audio_folder=audio, task="all")
    table = manifest.table.set_index("id")
    row = table.loc["dev_dia1_utt0"]
    assert (row["audio"], row["speaker"], row["gender"]) == ("dev/dia1_utt0.wav", "Ross", "male")
    assert (row["label"], row["split"], row["dialog"]) == ("happy", "dev", "dev_1")
    assert table.loc["test_dia2_utt0", "gender"] == ""  # a waiter
    assert set(table["label"]) == SEVEN
    assert "secret" not in manifest.table.to_csv() + str(manifest.notes)
    assert manifest.notes["split"] == {"rule": "corpus", "speakers_in_two_splits": 4}


def test_meld_known_bad_clips_are_left_out(tmp_path: Path, audio: str) -> None:
    root = write_meld(tmp_path / "meld")
    write_table(root / "dev_sent_emo.csv", [meld_row(110, 7, "joy", "Joey"), meld_row(0, 0, "joy", "Joey")])
    write_table(root / "train_sent_emo.csv", [meld_row(125, 3, "joy", "Joey"), meld_row(0, 0, "joy", "Ross")])
    write_video(root / "train_splits/dia125_utt3.mp4", "broken")
    (root / "train_splits/._dia0_utt0.mp4").touch()
    manifest = load("meld", root, audio_folder=audio)
    out = reasons(manifest)
    assert out["dev/dia110_utt7.mp4"] == "the corpus lacks this clip"
    assert out["train/dia125_utt3.mp4"] == "the corpus's clip is corrupt"
    assert out["train_splits/dia1_utt0.mp4"] == "train_sent_emo.csv does not name it"
    assert out["train_splits/._dia0_utt0.mp4"] == "not a recording (.mp4)"
    assert {"dev_dia0_utt0", "train_dia0_utt0"} <= set(manifest.table["id"])


@pytest.mark.parametrize("media", ["", "clips-{part}"])
def test_meld_clips_are_found_where_they_are(tmp_path: Path, audio: str, media: str) -> None:
    root = write_meld(tmp_path / "meld")
    for part, folder in MELD_CLIPS.items():
        target = root / (media.format(part=part) if media else f"{part}/{folder}")
        target.parent.mkdir(exist_ok=True)
        (root / folder).rename(target)
        if not media:
            (root / f"{part}_sent_emo.csv").rename(root / part / f"{part}_sent_emo.csv")
    assert len(load("meld", root, audio_folder=audio, media=media)) == 12


def test_meld_reports_all_faults_at_once(tmp_path: Path, audio: str) -> None:
    root = write_meld(tmp_path / "meld")
    (root / "dev_sent_emo.csv").unlink()
    (root / "output_repeated_splits_test").rename(root / "elsewhere")
    rows = [
        meld_row("x", 0, "joy", "Joey"),
        meld_row(1, 0, "jolly", "Joey"),
        meld_row(2, 0, "Joy", "Joey"),
        meld_row(2, 0, "joy", "Joey"),
        meld_row(77, 0, "joy", "Joey"),
    ]
    write_table(root / "train_sent_emo.csv", rows)
    faults = faults_of("meld", root, audio_folder=audio)
    text = "\n".join(faults)
    for part in (
        "dev_sent_emo.csv: found no such file",
        "no folder of the test clips; expected one of output_repeated_splits_test",
        "row 2: found Dialogue_ID 'x'",
        "row 3: found label 'jolly'; expected an emotion of meld; did you mean 'joy'?",
        "row 5: found utterance 'train_dia2_utt0' again",
        "dia77_utt0.mp4: found no such file",
    ):
        assert part in text
    assert len(faults) == 6
    write_table(root / "train_sent_emo.csv", [{"Dialogue_ID": 1, "Utterance_ID": 1}])
    text = "\n".join(faults_of("meld", root, audio_folder=audio))
    assert "expected a column 'Speaker'" in text
    assert "expected a column 'Emotion'" in text


# eNTERFACE'05


def test_enterface_folders(tmp_path: Path, audio: str) -> None:
    manifest = load("enterface", write_enterface(tmp_path / "en"), audio_folder=audio, task="all")
    table = manifest.table.set_index("id")
    row = table.loc["s2_fe_1"]
    assert (row["audio"], row["speaker"], row["label"]) == ("subject2/s2_fe_1.wav", "2", "fearful")
    assert row["sentence"] == "1"
    assert set(table["label"]) == SIX
    assert (table["speaker"] == "6").sum() == 12  # the subject without folders of sentences
    assert table.loc["s6_an_2", "sentence"] == "2"
    assert manifest.notes["misnamed"] == []


def test_enterface_trusts_the_folder_of_a_misnamed_file(tmp_path: Path, audio: str) -> None:
    root = write_enterface(tmp_path / "en", (1, 2, 6))
    (root / "subject 2/anger/sentence 1/s2_an_1.avi").rename(root / "subject 2/anger/sentence 1/s_3_sa_4.avi")
    (root / "subject 6/anger/s6_an_1.avi").rename(root / "subject 6/anger/s5_an_1.avi")
    (root / "subject 1/anger/sentence 1/Thumbs.db").touch()
    manifest = load("enterface", root, audio_folder=audio)
    assert labels_of(manifest)["s2_an_1"] == "angry"
    assert {entry["item"]: entry["reason"] for entry in manifest.notes["misnamed"]} == {
        "subject 2/anger/sentence 1/s_3_sa_4.avi": "its folders say s2_an_1",
        "subject 6/anger/s5_an_1.avi": "its folders say s6_an_1",
    }
    assert "subject 1/anger/sentence 1/Thumbs.db" in reasons(manifest)
    row = manifest.table.set_index("id").loc["s2_an_1"]
    assert row["speaker"] == "2"


def test_enterface_reports_all_faults_at_once(tmp_path: Path, audio: str) -> None:
    root = write_enterface(tmp_path / "en", (1, 2, 6))
    write_video(root / "subject 1/angr/sentence 1/s1_an_1.avi")
    write_video(root / "subject 1/anger/five/s1_an_5.avi")
    write_video(root / "subject 1/anger/sentence 1/s1_an_7.avi")
    (root / "subject 2/fear/sentence 1/s2_fe_1.avi").unlink()
    write_video(root / "subject 6/anger/clip.avi")
    (root / "readme").mkdir()
    faults = faults_of("enterface", root, audio_folder=audio)
    text = "\n".join(faults)
    for part in (
        "the folder 'angr'; expected an emotion of eNTERFACE'05; did you mean 'anger'?",
        "the folder 'five'",
        "utterance 's1_an_1' again",
        "sentence 1: found no clip (.avi)",
        "the name 'clip.avi'",
    ):
        assert part in text
    assert len(faults) == 5
    out = reasons(load("enterface", root, audio_folder=audio, skip_bad=True))
    assert out["readme"] == "not a folder of a subject ('subject N')"


# RML


@pytest.mark.parametrize(
    ("name", "label"), [("an1", "angry"), ("s1_HA_03", "happy"), ("2su", "surprised"), ("sa-1", "sad")]
)
def test_rml_names(tmp_path: Path, audio: str, name: str, label: str) -> None:
    write_video(tmp_path / "rml/s1" / f"{name}.avi")
    manifest = load("rml", tmp_path / "rml", audio_folder=audio, task="all", split="none")
    row = manifest.table.iloc[0]
    assert (row["id"], row["label"], row["speaker"]) == (f"s1_{name}", label, "s1")
    assert "the whole corpus has 720 utterances; 1 are here" in manifest.notes["assumptions"]


@pytest.mark.parametrize("name", ["sand1", "1", "an_ha", "xan"])
def test_rml_names_that_tell_no_one_emotion(tmp_path: Path, audio: str, name: str) -> None:
    root = write_rml(tmp_path / "rml")
    write_video(root / "s1" / f"{name}.avi")
    (fault,) = faults_of("rml", root, audio_folder=audio)
    assert f"the name '{name}.avi'; expected one of the codes an, di, fe, ha, sa, su" in fault


# AFEW


def test_afew_parts(tmp_path: Path, audio: str) -> None:
    root = write_afew(tmp_path / "afew")
    write_video(root / "Test_AFEW/000000000.avi")
    manifest = load("afew", root, audio_folder=audio, task="eleven")
    table = manifest.table.set_index("id")
    row = table.loc["dev_surprise_001123"]
    assert row["audio"] == "Val_AFEW/Surprise/001123.wav"
    assert (row["label"], row["split"], row["speaker"]) == ("surprised", "dev", "unknown")
    assert table["split"].value_counts().to_dict() == {"train": 14, "dev": 14}
    assert set(table["label"]) == SEVEN
    assert reasons(manifest)["Test_AFEW"] == "not one of Train_AFEW, Val_AFEW, which have labels"
    assert any("speakers are not known" in text for text in manifest.notes["assumptions"])


def test_afew_reports_all_faults_at_once(tmp_path: Path, audio: str) -> None:
    root = write_afew(tmp_path / "afew")
    (root / "Val_AFEW").rename(root / "Validation")
    write_video(root / "Train_AFEW/Sadness/1.avi")
    faults = faults_of("afew", root, audio_folder=audio, test_speakers=("x",))
    text = "\n".join(faults)
    assert "Val_AFEW: found no such folder" in text
    assert "label 'Sadness'; expected an emotion of afew; did you mean 'Sad'?" in text
    assert "speakers named for the split 'corpus'" in text
    assert len(faults) == 3
