"""E-DAIC as it circulates: 275 subjects, contradictory labels, nested files, missing parts, odd rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.daic_tree import silence
from support.speech_trees import (
    E_DAIC_MISFITS,
    e_daic_session,
    e_daic_split,
    faults_of,
    load,
    reasons,
    write_e_daic,
    write_e_daic_labels,
    write_whole_e_daic,
)

from sertransfer.corpora.interviews.e_daic import LAYOUT
from sertransfer.corpora.interviews.errata import ErrataLog
from sertransfer.corpora.interviews.split_files import LabelRule, Splits
from sertransfer.corpora.prepare import prepare, summary
from sertransfer.corpora.registry import CORPORA
from sertransfer.errors import Faults
from sertransfer.manifest import Manifest, read_manifest

HEADER = "Start_Time,End_Time,Text,Confidence\n"
MISFITS = sorted(number for numbers in E_DAIC_MISFITS.values() for number in numbers)


def counts(manifest: Manifest) -> dict[str, tuple[int, int]]:
    """Return the number of subjects and of depressed ones in each part."""
    subjects = manifest.table.drop_duplicates("speaker")
    return {
        str(split): (len(part), int((part["label"] == "depressed").sum()))
        for split, part in subjects.groupby("split")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("e-daic")
    write_whole_e_daic(root, folder="labels/labels", detailed=True)
    return root


def test_275_subjects_by_score(whole: Path) -> None:
    manifest = load("e-daic", whole)
    assert counts(manifest) == {"train": (163, 50), "dev": (56, 15), "test": (56, 21)}
    errata = manifest.notes["errata"]
    assert [entry["name"] for entry in errata] == [f"label-{number}" for number in MISFITS]
    assert all(entry["rows"] == 1 for entry in errata)
    assert not any("labels as released" in line for line in manifest.notes["assumptions"])


def test_275_subjects_as_released(whole: Path) -> None:
    manifest = load("e-daic", whole, labels="released")
    assert counts(manifest) == {"train": (163, 37), "dev": (56, 12), "test": (56, 17)}
    assert manifest.notes["errata"] == []
    named = ", ".join(map(str, MISFITS))
    expected = "labels as released although the score says otherwise, of 20 subject(s)"
    assert expected in manifest.notes["assumptions"]
    # Runs and what is shared of them quote the assumptions: they name nobody.
    assert "325" not in str(manifest.notes["assumptions"])
    line = f"as released although the score says otherwise: {named}"
    assert line in manifest.notes["label_notes"]
    assert line in summary(manifest)


def test_one_label_stays_as_released(whole: Path) -> None:
    manifest = load("e-daic", whole, without_errata=("label-325",))
    assert counts(manifest)["train"] == (163, 49)
    assert "label-325" in manifest.notes["errata_off"]


def test_the_further_label_files_give_ages_and_their_differences_are_named(whole: Path) -> None:
    manifest = load("e-daic", whole)
    subjects = manifest.table.drop_duplicates("session").set_index("session")
    assert subjects.loc["300", "age"] == "20"
    assert subjects.loc["431", "gender"] == "male"
    assert subjects.loc["713", "gender"] == "male"
    assert subjects.loc["307", ["gender", "age"]].tolist() == ["male", "27"]
    told = manifest.notes["label_notes"]
    assert (
        "detailed_lables.csv has other genders of 431, 486, 656, 713: those of the split files are used"
        in told
    )
    exchanged = "Detailed_PHQ8_Labels.csv has other scores of 485, 486 (exchanged there): those of the split"
    assert f"{exchanged} files are used" in told


def test_detailed_labels_alone_are_read(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    write_e_daic_labels(root, detailed=True)
    for split in ("train", "dev", "test"):
        (root / f"labels/{split}_split.csv").unlink()
    faults = Faults()
    splits = Splits(LabelRule("score", ErrataLog((), faults)), faults)
    LAYOUT.read_splits(root, splits)
    assert len(faults) == 0
    assert len(splits.subjects) == len(splits.named) == 275
    assert (splits.subjects[713].gender, splits.subjects[713].split) == ("", "dev")
    assert (splits.subjects[709].label, splits.subjects[709].age) == ("depressed", "29")
    assert splits.files == ["detailed_lables.csv"]


def test_a_further_file_that_cannot_be_read_is_noted(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    (root / "labels/Detailed_PHQ8_Labels.csv").write_bytes(b"\xff\xfe\0")
    told = load("e-daic", root).notes["label_notes"]
    assert any(line.startswith("Detailed_PHQ8_Labels.csv was not used") for line in told)


def test_219_folders_without_the_test_part_are_read(tmp_path: Path) -> None:
    write_whole_e_daic(tmp_path / "e", without=["test"])
    manifest = prepare("e-daic", tmp_path / "e", None, tmp_path / "m.csv")
    assert counts(manifest) == {"train": (163, 50), "dev": (56, 15)}
    said = "1: none of its 56 sessions is there: the copy is without its test part (test_split.csv)"
    assert said in summary(manifest)
    assert manifest.notes["subjects_without_sentences"] == []


def test_one_missing_session_of_the_test_part_is_a_fault(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    e_daic_split(root, "test", ["600,female,1,12,40,1", "602,female,1,12,40,1"])
    (fault,) = faults_of("e-daic", root)
    assert "session 602, of which there is no folder" in fault


def test_a_part_without_a_single_session_is_one_fault(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    e_daic_split(root, "train", ["303,male,0,4,28,0", "304,male,0,4,28,0", "305,male,0,4,28,0"])
    (fault,) = faults_of("e-daic", root)
    assert "found none of the 3 sessions of the train part" in fault


# transcripts


def one(root: Path, words: str, *, seconds: float = 400.0, number: int = 302) -> Path:
    root = write_e_daic(root)
    folder = root / "data/302_P"
    if number != 302:
        folder = folder.rename(root / f"data/{number}_P")
        (folder / "302_AUDIO.wav").unlink()
        e_daic_split(root, "train", [f"{number},male,0,4,28,0"])
    silence(folder / f"{number}_AUDIO.wav", seconds)
    (folder / f"{number}_Transcript.csv").write_text(HEADER + words)
    return root


def spans(manifest: Manifest, number: int = 302) -> list[tuple[float, float]]:
    table = manifest.table[manifest.table["session"] == str(number)]
    return list(zip(table["start"], table["end"], strict=True))


def test_rows_that_span_the_interview_are_left_out(tmp_path: Path) -> None:
    # 657 and 679 have two such rows, the last but one and the last; 48 s is a long row that is none.
    words = (
        "2.0,50.0,a,0.9\n60.0,62.5,b,0.9\n90.5,398.0,c d,0.7\n380.0,385.0,e,0.9\n0.0,399.9,f g h i j,0.6\n"
    )
    words = words.replace("90.5,398.0", "20.5,398.0")
    manifest = load("e-daic", one(tmp_path, words, number=657))
    assert spans(manifest, 657) == [(2.0, 50.0), (60.0, 62.5), (380.0, 385.0)]
    (erratum,) = manifest.notes["errata"]
    assert (erratum["name"], erratum["session"], erratum["rows"]) == ("spanning-row-657", "657", 2)
    rows = [item for item, reason in reasons(manifest).items() if "spans other rows" in reason]
    assert rows == ["657_P/657_Transcript.csv, row 4", "657_P/657_Transcript.csv, row 6"]
    kept = load("e-daic", tmp_path, without_errata=("spanning-row-657",))
    assert len(spans(kept, 657)) == 5
    assert kept.notes["errata"] == []


@pytest.mark.parametrize(
    ("row", "left_out"),
    [
        ("61.5,125.0", False),  # 1 s before the row above has ended
        ("61.4,125.0", True),
        ("2.5,62.5", False),  # a minute
        ("2.5,62.6", True),
        ("62.5,399.0", False),  # long, and after the row above
    ],
)
def test_what_spans(tmp_path: Path, row: str, left_out: bool) -> None:
    manifest = load("e-daic", one(tmp_path, f"60.0,62.5,b,0.9\n{row},c,0.9\n"))
    assert (len(spans(manifest)) == 1) is left_out
    assert bool(manifest.notes["errata"]) is left_out


def test_a_spanning_row_past_the_end_of_the_audio_is_no_fault(tmp_path: Path) -> None:
    manifest = load("e-daic", one(tmp_path, "60.0,62.5,b,0.9\n0.0,500.0,c,0.9\n"))
    assert spans(manifest) == [(60.0, 62.5)]


def test_confidence_is_a_column(tmp_path: Path) -> None:
    words = "1.0,2.0,a,0.370\n2.1,3.0,b,0.91283851\n9.0,10.0,c,\n"
    root = one(tmp_path / "e", words)
    manifest = prepare("e-daic", root, None, tmp_path / "m.csv")
    rows = manifest.table[manifest.table["session"] == "302"]
    assert rows["confidence"].tolist() == ["0.37", "0.912839", ""]
    assert read_manifest(tmp_path / "m.csv").table["confidence"].equals(manifest.table["confidence"])
    merged = load("e-daic", root, merge=True)
    assert merged.table["confidence"][merged.table["session"] == "302"].tolist() == ["0.37", ""]
    other = HEADER.replace(",Confidence", "") + "1.0,2.0,a\n"
    (root / "data/302_P/302_Transcript.csv").write_text(other)
    bare = load("e-daic", root).table
    assert bare["confidence"][bare["session"] == "302"].tolist() == [""]


@pytest.mark.parametrize("cell", ["1.01", "-0.1", "NaN", "high", "0,9"])
def test_a_confidence_that_is_none_is_a_fault(tmp_path: Path, cell: str) -> None:
    (fault,) = faults_of("e-daic", one(tmp_path, f'1.0,2.0,a,"{cell}"\n3.0,4.0,b,0.9\n'))
    assert "302_Transcript.csv, row 2: found confidence" in fault
    assert "a number from 0 to 1, or nothing" in fault


def test_sessions_at_another_rate_are_resampled_and_recorded(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    silence(root / "data/600_P/600_AUDIO.wav", 4.0, rate=48_000)
    manifest = load("e-daic", root)
    assert manifest.notes["sample_rates"] == {"16000": 2, "48000": 1}
    assert manifest.notes["resampled"] == {"600_P": 48_000}
    assert spans(manifest, 600) == [(0.5, 1.25), (2.0, 3.5)]
    assert "1 of 3 recordings (1 at 48000 Hz) are resampled to 16000 Hz" in summary(manifest)


def test_the_options_of_both_corpora_agree() -> None:
    assert CORPORA["e-daic"].options().labels == CORPORA["daic-woz"].options().labels == "score"


def test_label_files_of_a_nested_folder_are_found_whatever_their_case(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    (root / "labels/labels").mkdir()
    for path in sorted((root / "labels").glob("*.csv")):
        path.rename(root / "labels/labels" / path.name.title())
    manifest = load("e-daic", root)
    assert manifest.table["session"].nunique() == 3
    assert manifest.notes["split_files"] == ["Train_Split.Csv", "Dev_Split.Csv", "Test_Split.Csv"]


def test_sessions_and_labels_of_another_session_are_left_out_by_name(tmp_path: Path) -> None:
    root = write_e_daic(tmp_path)
    e_daic_session(root, 604)
    assert reasons(load("e-daic", root))["604_P"] == "no split file names this session"
