"""IEMOCAP, FAU-AIBO, RAVDESS and CREMA-D, each in its own layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.corpus_trees import write_wav
from support.speech_trees import (
    EMO_HEADER,
    faults_of,
    labels_of,
    load,
    reasons,
    write_aibo,
    write_crema_d,
    write_iemocap,
    write_ravdess,
)

DIALOG = "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"


def append(path: Path, line: str) -> None:
    with path.open("a") as stream:
        stream.write(line + "\n")


# RAVDESS


def test_ravdess_names(tmp_path: Path) -> None:
    table = load("ravdess", write_ravdess(tmp_path, [1, 12]), task="all", split="none").table.set_index("id")
    row = table.loc["03-01-06-01-01-01-12"]
    assert row["audio"] == "Actor_12/03-01-06-01-01-01-12.wav"
    assert (row["speaker"], row["gender"], row["label"]) == ("12", "female", "fearful")
    assert (row["sentence"], row["intensity"], row["split"]) == ("01", "normal", "")
    first = table[table["speaker"] == "01"]
    assert first["label"].tolist() == [
        "neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised",
    ]  # fmt: skip
    assert set(first["gender"]) == {"male"}


def test_ravdess_calm_is_no_class_unless_mapped(tmp_path: Path) -> None:
    root = write_ravdess(tmp_path, [1, 2])
    eleven = load("ravdess", root, task="eleven", split="none")
    assert set(eleven.table["label"]) == {
        "neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised",
    }  # fmt: skip
    assert reasons(eleven)["03-01-02-01-01-01-01"] == "label 'calm' is not one of the eleven-class task"
    mapped = load("ravdess", root, split="none", label_map="calm=neutral, sad=")
    assert labels_of(mapped)["03-01-02-01-01-01-01"] == "neutral"
    assert "sad" not in set(mapped.table["label"])
    assert reasons(mapped)["03-01-04-01-01-01-01"] == "label is mapped to nothing"


def test_ravdess_leaves_songs_and_strangers_out(tmp_path: Path) -> None:
    root = write_ravdess(tmp_path, [1])
    write_wav(root / "Actor_01/03-02-03-01-01-01-01.wav")
    (root / "Actor_01/Thumbs.db").touch()
    (root / "Actor_01/._03-01-01-01-01-01-01.wav").touch()
    (root / "docs").mkdir()
    manifest = load("ravdess", root, split="none")
    out = reasons(manifest)
    assert out["Actor_01/03-02-03-01-01-01-01.wav"] == "not speech (channel 02 is song)"
    assert out["Actor_01/Thumbs.db"] == out["Actor_01/._03-01-01-01-01-01-01.wav"]
    assert out["docs"] == "not a folder of an actor (Actor_NN)"
    assert manifest.notes["assumptions"] == ["the whole corpus has 1440 utterances; 8 are here"]


def test_ravdess_reports_all_faults_at_once(tmp_path: Path) -> None:
    root = write_ravdess(tmp_path, [1, 2, 3])
    folder = root / "Actor_01"
    write_wav(folder / "angry.wav")
    write_wav(folder / "03-01-09-01-01-01-01.wav")
    write_wav(folder / "03-01-05-01-01-01-02.wav")
    write_wav(folder / "03-01-05-01-02-01-01.wav").write_bytes(b"RIFF")
    write_wav(folder / "03-01-05-01-02-01-01.WAV")
    faults = faults_of("ravdess", root, label_map="clam=neutral,calm=neutrl", test_speakers=("04",))
    text = "\n".join(faults)
    for part in (
        "the name 'angry.wav'",
        "label '09'; expected an emotion of ravdess",
        "actor 02 in the name; expected 01, as the folder says",
        "utterance '03-01-05-01-02-01-01' again",
        "'clam' in 'clam=neutral'; expected a label of ravdess; did you mean 'calm'?",
        "'neutrl' in 'calm=neutrl'; expected a class of LSSED, a label of ravdess, or nothing; "
        "did you mean 'neutral'?",
        "speaker '04'; expected a speaker that is there",
    ):
        assert part in text
    assert len(faults) == 7  # of the two files of one name, the first (.WAV) is the one that is read
    kept = load("ravdess", root, skip_bad=True, split="none")
    assert len(kept) == 13


def test_a_damaged_recording_moves_no_other(tmp_path: Path) -> None:
    root = write_ravdess(tmp_path)
    before = load("ravdess", root, split="paper").table.set_index("id")["split"]
    broken = "03-01-05-01-01-01-03"
    (root / "Actor_03" / f"{broken}.wav").write_bytes(b"RIFF")
    (fault,) = faults_of("ravdess", root, split="paper")
    assert f"{broken}.wav" in fault
    after = load("ravdess", root, split="paper", skip_bad=True).table.set_index("id")["split"]
    assert after.to_dict() == before.drop(broken).to_dict()


# CREMA-D


def test_crema_d_names_and_demographics(tmp_path: Path) -> None:
    root = write_crema_d(tmp_path)
    write_wav(root / "AudioWAV/1002_ITH_SAD_X.wav")
    manifest = load("crema-d", root, task="eleven", split="none")
    row = manifest.table.set_index("id").loc["1002_IEO_FEA_XX"]
    assert row["audio"] == "AudioWAV/1002_IEO_FEA_XX.wav"
    assert (row["speaker"], row["gender"], row["age"]) == ("1002", "male", "22")
    assert (row["label"], row["sentence"], row["intensity"]) == ("fearful", "IEO", "XX")
    assert set(manifest.table["label"]) == {"angry", "disgusted", "fearful", "happy", "neutral", "sad"}
    assert labels_of(manifest)["1002_ITH_SAD_X"] == "sad"


def test_crema_d_leaves_the_silent_file_out(tmp_path: Path) -> None:
    root = write_crema_d(tmp_path, [1075, 1076])
    write_wav(root / "AudioWAV/1076_MTI_SAD_XX.wav")
    manifest = load("crema-d", root)
    assert "1076_MTI_SAD_XX" not in set(manifest.table["id"])
    assert reasons(manifest)["AudioWAV/1076_MTI_SAD_XX.wav"] == "known to be silent"


def test_crema_d_without_demographics(tmp_path: Path) -> None:
    root = write_crema_d(tmp_path, [1001, 1002])
    table = root / "VideoDemographics.csv"
    table.write_text("ActorID,Age,Sex\n1001,51,Male\n")
    manifest = load("crema-d", root)
    expected = "gender and age of actor 1002 are not known: no row in VideoDemographics.csv"
    assert expected in manifest.notes["assumptions"]
    assert set(manifest.table["gender"]) == {"male", ""}
    table.unlink()
    manifest = load("crema-d", root)
    assert "gender and age are not known: there is no VideoDemographics.csv" in manifest.notes["assumptions"]
    assert set(manifest.table["age"]) == {""}


def test_crema_d_reports_all_faults_at_once(tmp_path: Path) -> None:
    root = write_crema_d(tmp_path)
    (root / "VideoDemographics.csv").write_text("ActorID,Age,Sex\n1001,old,Male\n1002,30,x\n")
    write_wav(root / "AudioWAV/1001_IEO_JOY_XX.wav")
    write_wav(root / "AudioWAV/1001-IEO.wav")
    text = "\n".join(faults_of("crema-d", root))
    assert "row 2: found Age 'old', Sex 'Male'" in text
    assert "row 3: found Age '30', Sex 'x'" in text
    assert "label 'JOY'" in text
    assert "the name '1001-IEO.wav'" in text
    (root / "VideoDemographics.csv").write_text("Actor,Age\n1001,30\n")
    assert len(faults_of("crema-d", root)) == 4


# IEMOCAP


def test_iemocap_speaker_is_the_letter_of_the_turn(tmp_path: Path) -> None:
    table = load("iemocap", write_iemocap(tmp_path), task="all", split="none").table.set_index("id")
    female, male = table.loc["Ses02F_impro01_F000"], table.loc["Ses02F_impro01_M001"]
    assert (female["speaker"], female["gender"]) == ("Ses02F", "female")
    assert (male["speaker"], male["gender"]) == ("Ses02M", "male")
    assert male["audio"] == "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_M001.wav"
    assert (male["session"], male["dialog"]) == ("2", "Ses02F_impro01")
    assert table["speaker"].nunique() == 10


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("four", {"neutral": 1, "happy": 2, "angry": 1, "sad": 1}),
        (
            "eleven",
            {
                "neutral": 1, "happy": 1, "excited": 1, "angry": 1, "sad": 1, "surprised": 1, "fearful": 1,
                "disgusted": 1, "other": 2,
            },
        ),
        (
            "all",
            {
                "neutral": 1, "happy": 1, "excited": 1, "angry": 1, "sad": 1, "surprised": 1, "fearful": 1,
                "disgusted": 1, "frustrated": 1, "other": 1,
            },
        ),
    ],
)  # fmt: skip
def test_iemocap_labels(tmp_path: Path, task: str, expected: dict[str, int]) -> None:
    manifest = load("iemocap", write_iemocap(tmp_path), task=task)
    table = manifest.table
    counts = table.loc[table["session"] == "1", "label"].value_counts().to_dict()
    assert counts == expected
    assert reasons(manifest)["Ses01F_impro01_F010"] == "the annotators did not agree (xxx)"


def test_iemocap_excited_can_be_left_out(tmp_path: Path) -> None:
    manifest = load("iemocap", write_iemocap(tmp_path), label_map="excited=")
    assert (manifest.table["label"] == "happy").sum() == 5


def test_iemocap_splits(tmp_path: Path) -> None:
    root = write_iemocap(tmp_path)
    table = load("iemocap", root).table
    assert table.loc[table["split"] == "test", "session"].nunique() == 1
    table = load("iemocap", root, test_speakers=("5",), dev_speakers=("4",)).table
    assert set(table.loc[table["split"] == "test", "speaker"]) == {"Ses05F", "Ses05M"}
    assert set(table.loc[table["split"] == "dev", "speaker"]) == {"Ses04F", "Ses04M"}
    table = load("iemocap", root, split="speaker", test_speakers=("Ses05M",)).table
    assert set(table.loc[table["split"] == "test", "speaker"]) == {"Ses05M"}
    (fault,) = faults_of("iemocap", root, test_speakers=("Ses05M",))
    assert "session 'Ses05M'; expected a session that is there; valid: 1, 2, 3, 4, 5" in fault


def test_iemocap_reports_all_faults_at_once(tmp_path: Path) -> None:
    root = write_iemocap(tmp_path, [1, 2, 3, 4])
    path = root / DIALOG
    lines = (
        "[1.0 - 2.0] Ses01F_impro01_F020 neu",
        "[1.0 - 2.0]\tSes02F_impro01_F020\tneu\t[2.5, 2.5, 2.5]",
        "[1.0 - 2.0]\tSes01F_impro01_X020\tneu\t[2.5, 2.5, 2.5]",
        "[1.0 - 2.0]\tSes01F_impro01_F021\tbad\t[2.5, 2.5, 2.5]",
        "[1.0 - 2.0]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]",
        "[1.0 - 2.0]\tSes01F_impro01_F099\tneu\t[2.5, 2.5, 2.5]",
    )
    for line in lines:
        append(path, line)
    faults = faults_of("iemocap", root)
    text = "\n".join(faults)
    for part in (
        "Session5: found no dialog/EmoEvaluation and no sentences/wav",
        f"{path}, row 25: found '[1.0 - 2.0] Ses01F_impro01_F020 neu'",
        f"{path}, row 26: found the turn 'Ses02F_impro01_F020'",
        f"{path}, row 27: found the turn 'Ses01F_impro01_X020'",
        f"{path}, row 28: found label 'bad'",
        f"{path}, row 29: found utterance 'Ses01F_impro01_F000' again (first in {path}, row 3)",
        "Ses01F_impro01_F099.wav: found no such file",
    ):
        assert part in text
    assert len(faults) == 7
    assert len(load("iemocap", root, skip_bad=True)) == 20


def test_iemocap_leaves_out_what_no_line_names(tmp_path: Path) -> None:
    root = write_iemocap(tmp_path)
    spare = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F055.wav"
    write_wav(root / spare)
    (root / DIALOG).with_name("._Ses01F_impro01.txt").write_bytes(b"\x00\xff")
    out = reasons(load("iemocap", root))
    assert out[spare] == "no line of EmoEvaluation names it"
    assert out["Session1/dialog/EmoEvaluation/._Ses01F_impro01.txt"] == "not an evaluation (a hidden file)"


def test_iemocap_turns_that_overlap_carry_xx(tmp_path: Path) -> None:
    root = write_iemocap(tmp_path)
    turn = "Ses03M_script01_1_FXX0"
    (root / f"Session3/dialog/EmoEvaluation/{turn[:-5]}.txt").write_text(
        f"{EMO_HEADER}[0.5 - 1.5]\t{turn}\tang\t[2.5000, 2.5000, 2.5000]\n"
    )
    write_wav(root / f"Session3/sentences/wav/{turn[:-5]}/{turn}.wav")
    row = load("iemocap", root).table.set_index("id").loc[turn]
    assert (row["speaker"], row["label"]) == ("Ses03F", "angry")


def test_iemocap_without_any_recording_says_so_once(tmp_path: Path) -> None:
    root = write_iemocap(tmp_path)
    for path in root.rglob("*.wav"):
        path.unlink()
    (fault,) = faults_of("iemocap", root)
    assert "none of 25 recordings" in fault


# FAU-AIBO


def test_aibo_trains_on_one_school_and_tests_on_the_other(tmp_path: Path) -> None:
    table = load("aibo", write_aibo(tmp_path), task="all").table.set_index("id")
    row = table.loc["Mont_02_003_00"]
    assert (row["speaker"], row["label"], row["split"]) == ("Mont_02", "positive", "test")
    assert (row["audio"], row["school"], row["confidence"]) == ("wav/Mont_02_003_00.wav", "Mont", "0.8")
    assert set(table["label"]) == {"angry", "emphatic", "neutral", "positive", "rest"}
    assert dict(zip(table["school"], table["split"], strict=True)) == {"Ohm": "train", "Mont": "test"}


def test_aibo_tasks(tmp_path: Path) -> None:
    root = write_aibo(tmp_path)
    assert set(load("aibo", root).table["label"]) == {"angry", "neutral"}
    assert set(load("aibo", root, task="eleven").table["label"]) == {"angry", "neutral", "other"}
    assert set(load("aibo", root, label_map="positive=happy").table["label"]) == {"angry", "neutral", "happy"}
    two = load("aibo", root, classes="2cl", task="all").table
    assert two["label"].value_counts().to_dict() == {"idle": 18, "negative": 12}
    (fault,) = faults_of("aibo", root, classes="2cl")
    assert "'four' with the two classes; expected the task 'all'" in fault


def test_aibo_labels_may_lie_in_a_folder(tmp_path: Path) -> None:
    root = write_aibo(tmp_path)
    (root / "labels/IS2009EmotionChallenge").mkdir(parents=True)
    path = root / "chunk_labels_5cl_corpus.txt"
    path.rename(root / "labels/IS2009EmotionChallenge" / path.name)
    assert len(load("aibo", root, task="all")) == 30


def test_aibo_speakers_can_be_named(tmp_path: Path) -> None:
    root = write_aibo(tmp_path)
    table = load("aibo", root, split="speaker", test_speakers=("Ohm_02",)).table
    assert set(table.loc[table["split"] == "test", "speaker"]) == {"Ohm_02"}
    (fault,) = faults_of("aibo", root, test_speakers=("Ohm_02",))
    assert "speakers named for the split 'corpus'" in fault


def test_aibo_reports_all_faults_at_once(tmp_path: Path) -> None:
    root = write_aibo(tmp_path)
    path = root / "chunk_labels_5cl_corpus.txt"
    for line in ("Ohm_09 N 0.5", "Ohm_01_001_00 N", "", "Ohm_01_700_00 Q 0.5", "Ohm_01_701_00 N 0.5"):
        append(path, line)
    append(path, "Ohm_01_000_00 N 0.5")
    write_wav(root / "wav/Ohm_01_900_00.wav")
    faults = faults_of("aibo", root)
    text = "\n".join(faults)
    for part in (
        f"{path}, row 31: found 'Ohm_09 N 0.5'",
        f"{path}, row 32: found 'Ohm_01_001_00 N'",
        f"{path}, row 34: found label 'Q'; expected an emotion of aibo; valid: A, E, N, P, R",
        "wav/Ohm_01_701_00.wav: found no such file",
        f"{path}, row 36: found utterance 'Ohm_01_000_00' again",
    ):
        assert part in text
    assert len(faults) == 5
    out = reasons(load("aibo", root, skip_bad=True))
    assert out["wav/Ohm_01_900_00.wav"] == "chunk_labels_5cl_corpus.txt does not name it"
