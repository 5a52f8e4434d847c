import csv
import io
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sertransfer.corpora.interviews import daic_woz
from sertransfer.demo import corpora
from sertransfer.demo import daic_woz as demo_daic_woz
from sertransfer.errors import BadInput, Faults

ITEM_COLUMNS = [f"PHQ8_{item}" for item in demo_daic_woz.ITEMS]


def table(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


def session(folder: Path, number: int) -> tuple[list[dict[str, str]], np.ndarray]:
    """The transcript and the sound of a session, unpacked or zipped."""
    names = [f"{number}_TRANSCRIPT.csv", f"{number}_AUDIO.wav"]
    if (folder / f"{number}_P").is_dir():
        text, sound = ((folder / f"{number}_P" / name).read_bytes() for name in names)
    else:
        with zipfile.ZipFile(folder / f"{number}_P.zip") as archive:
            text, sound = (archive.read(name) for name in names)
    samples, rate = soundfile.read(io.BytesIO(sound))
    assert rate == 16000
    return table(text.decode(), "\t"), samples


def loudness(sound: np.ndarray, start: float, stop: float) -> float:
    return float(np.sqrt(np.mean(sound[round(start * 16000) : round(stop * 16000)] ** 2)))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return corpora.make_daic_woz(tmp_path_factory.mktemp("demo") / "daic-woz", sessions=(6, 3, 2))


def numbers(folder: Path) -> set[int]:
    return {int(path.name[:3]) for path in folder.iterdir() if path.name[:3].isdigit()}


def test_split_files_carry_the_real_headers(corpus):
    for split in ("train", "dev"):
        rows = table((corpus / f"{split}_split_Depression_AVEC2017.csv").read_text())
        assert list(rows[0]) == ["Participant_ID", "PHQ8_Binary", "PHQ8_Score", "Gender", *ITEM_COLUMNS]
        for row in rows:
            items = [int(row[column]) for column in ITEM_COLUMNS]
            assert sum(items) == int(row["PHQ8_Score"])
            assert set(items) <= {0, 1, 2, 3}
            mismarked = row["Participant_ID"] == "409"
            assert (int(row["PHQ8_Score"]) >= 10) == (mismarked or row["PHQ8_Binary"] == "1")
    assert list(table((corpus / "test_split_Depression_AVEC2017.csv").read_text())[0]) == [
        "participant_ID",
        "Gender",
    ]
    assert list(table((corpus / "full_test_split.csv").read_text())[0]) == [
        "Participant_ID",
        "PHQ_Binary",
        "PHQ_Score",
        "Gender",
    ]


def test_409_is_scored_ten_but_marked_not_depressed(corpus):
    rows = {
        row["Participant_ID"]: row
        for row in table((corpus / "train_split_Depression_AVEC2017.csv").read_text())
    }
    assert (rows["409"]["PHQ8_Score"], rows["409"]["PHQ8_Binary"]) == ("10", "0")


def test_splits_name_each_session_on_disk_once_and_one_of_each_is_zipped(corpus):
    listed = [
        int(row.get("Participant_ID") or row["participant_ID"])
        for split in ("train", "dev", "test")
        for row in table((corpus / f"{split}_split_Depression_AVEC2017.csv").read_text())
    ]
    assert len(listed) == len(set(listed)) == 11
    assert set(listed) == numbers(corpus)
    assert {321, 409, 451} <= set(listed)
    assert all(300 <= number <= 492 for number in listed)
    assert not set(listed) & ((demo_daic_woz.MISSING | demo_daic_woz.WITH_ERRATUM) - {321, 409, 451})
    assert len(list(corpus.glob("*_P.zip"))) == 3


def test_transcripts_hold_what_real_ones_hold(corpus):
    values = set()
    for number in numbers(corpus):
        rows, sound = session(corpus, number)
        assert {row["speaker"] for row in rows} <= {"Ellie", "Participant"}
        values |= {row["value"] for row in rows}
        assert 15 < len(sound) / 16000 < 55
        last = max(float(row["stop_time"]) for row in rows)
        assert last + (demo_daic_woz.SHIFT if number == 321 else 0) < len(sound) / 16000
        interview = [row for row in rows if row["speaker"] == "Participant"]
        assert 10 <= sum("<" not in row["value"] or "<peop>" in row["value"] for row in interview) <= 18
        if number > 363:
            questions = [row["value"] for row in rows if row["speaker"] == "Ellie" and row["value"] != "mhm"]
            assert all("(" in value for value in questions)
    assert {"<sync>", "<laughter>", "scrubbed_entry", "xxx", "is it recording now"} <= values


def test_sound_lies_where_the_transcript_says_once_the_shift_is_applied(corpus):
    for number in sorted(numbers(corpus)):
        rows, sound = session(corpus, number)
        shift = 3.8379167 if number == 321 else 0.0
        for row in rows:
            if row["speaker"] == "Participant" and row["value"][0] not in "<s":
                start, stop = (float(row[name]) + shift for name in ("start_time", "stop_time"))
                assert loudness(sound, start, stop) > 5 * loudness(sound, start - 0.15, start - 0.02)


def test_321_is_misplaced_before_the_erratum(corpus):
    rows, sound = session(corpus, 321)
    answers = [row for row in rows if row["speaker"] == "Participant" and row["value"][0] not in "<s"]
    ratios = [
        loudness(sound, float(row["start_time"]), float(row["stop_time"]))
        / loudness(sound, float(row["start_time"]) - 0.15, float(row["start_time"]) - 0.02)
        for row in answers
        if float(row["start_time"]) > 0.2
    ]
    assert min(ratios) < 2


def test_451_has_no_interviewer_rows_though_others_have(corpus):
    rows, _ = session(corpus, 451)
    assert {row["speaker"] for row in rows} == {"Participant"}
    assert {row["speaker"] for row in session(corpus, 321)[0]} == {"Ellie", "Participant"}


def test_scrubbed_entries_are_digital_silence_and_overlaps_occur(corpus):
    scrubbed, overlaps = 0, 0
    for number in numbers(corpus):
        rows, sound = session(corpus, number)
        shift = 3.8379167 if number == 321 else 0.0
        for row in rows:
            if row["value"] == "scrubbed_entry":
                scrubbed += 1
                times = (float(row[name]) + shift for name in ("start_time", "stop_time"))
                assert loudness(sound, *times) == 0
        spans = [(float(row["start_time"]), float(row["stop_time"])) for row in rows]
        overlaps += sum(later[0] < earlier[1] for earlier, later in pairwise(spans))
    assert scrubbed
    assert overlaps > 5


def test_blank_lines_occur():
    one = demo_daic_woz.DemoSession(305, "dev", False, (0,) * 8, female=True, zipped=False, level=-30)
    rows = demo_daic_woz.draw_rows(one, 0)
    assert "\n\n" in demo_daic_woz.transcript(one, rows)


def test_the_smallest_corpus_is_sound_and_reproducible(tmp_path):
    first, again = (corpora.make_daic_woz(tmp_path / name, sessions=(1, 1, 1), seed=4) for name in "ab")
    assert len(numbers(first)) == 3
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert all((first / path).read_bytes() == (again / path).read_bytes() for path in files)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_splits_hold_both_groups_where_they_can(count):
    sessions = demo_daic_woz.draw_sessions({"train": count, "dev": 1, "test": 1}, seed=0)
    train = [s for s in sessions if s.split == "train"]
    assert len({s.depressed for s in train}) == min(2, count)
    assert sum(s.zipped for s in train) == 1


def test_groups_are_drawn_alike_in_all_but_the_way_of_speaking():
    sessions = demo_daic_woz.draw_sessions({"train": 20, "dev": 12, "test": 4}, seed=0)
    for split, count in (("train", 8), ("dev", 5), ("test", 2)):
        groups = [
            [s for s in sessions if s.split == split and s.depressed is depressed]
            for depressed in (True, False)
        ]
        assert len(groups[0]) == count
        assert all(len({s.female for s in group}) == 2 for group in groups)
        levels = [np.mean([s.level for s in group]) for group in groups]
        assert abs(levels[0] - levels[1]) < 2
    assert all((s.score >= 10) == s.depressed for s in sessions)


def test_all_189_sessions_can_be_drawn():
    drawn = demo_daic_woz.draw_sessions({"train": 107, "dev": 35, "test": 47}, seed=0)
    numbers = {session.number for session in drawn}
    assert numbers == set(range(300, 493)) - demo_daic_woz.MISSING


def test_too_many_or_no_sessions_are_refused(tmp_path):
    with pytest.raises(BadInput, match="150 at most"):
        corpora.make_daic_woz(tmp_path / "a", sessions=(140, 12, 4))
    with pytest.raises(BadInput, match="dev"):
        corpora.make_daic_woz(tmp_path / "a", sessions=(4, 0, 1))


def test_the_reader_finds_no_fault_and_after_the_errata_the_true_labels(corpus):
    faults = Faults()
    manifest = daic_woz.read(corpus, daic_woz.Options(), faults)
    assert list(faults) == []
    truth = {
        f"daic{s.number}": "depressed" if s.depressed else "not depressed"
        for s in demo_daic_woz.draw_sessions({"train": 6, "dev": 3, "test": 2}, seed=0)
    }
    assert dict(manifest.table.groupby("speaker")["label"].first()) == truth
    assert manifest.table.groupby("speaker").size().between(9, 16).all()
    assert {entry["session"] for entry in manifest.notes["errata"]} == {"321", "409", "451"}
