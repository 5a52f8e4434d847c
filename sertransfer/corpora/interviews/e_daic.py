"""E-DAIC (AVEC 2019): 275 clinical interviews, those of DAIC-WOZ among them, cut into sentences.

Layout::

    <root>/labels/{train,dev,test}_split.csv       Participant_ID, Gender, PHQ_Binary, PHQ_Score, ...
    <root>/data/<id>_P/<id>_AUDIO.wav              or all of a session in data/<id>_P.tar.gz (.tar, .zip)
    <root>/data/<id>_P/<id>_Transcript.csv         Start_Time, End_Time, Text, Confidence

Transcripts are automatic and name no speaker: their rows stand for the participant, though some carry words
of the interviewer. The label files may lie one folder deeper, in ``labels/labels/`` as unpacking often leaves
them, or in the root.

Two more files circulate. ``detailed_lables.csv`` (so spelt) repeats all 275 subjects with their ages, and
with another gender for some; ages are taken from it, and it is read by itself where no split file is there.
``Detailed_PHQ8_Labels.csv`` has the items of the questionnaire for the 219 subjects of train and dev; its
rows of 485 and 486 are exchanged. The split files are right wherever they differ from these: the manifest's
notes name it.

The manifest's root is the corpus root; where audio had to be extracted from archives, it is the audio folder,
and sessions that lie unpacked in the corpus are named relative to that.

Source: Ringeval et al., "AVEC 2019 workshop and challenge", 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sertransfer.corpora.interviews.interview import (
    InterviewOptions,
    Layout,
    interview_extractions,
    read_interviews,
)
from sertransfer.corpora.interviews.sessions import find_sessions
from sertransfer.corpora.interviews.split_files import PARTS, Splits, find_file, whole_number
from sertransfer.corpora.video import Extraction
from sertransfer.errors import Faults
from sertransfer.manifest import Manifest

SPLIT_FILES = {part: f"{part}_split.csv" for part in PARTS}
FOLDERS = ("labels", "labels/labels", "")
DETAILED, ITEMS = ("detailed_lables.csv", "detailed_labels.csv"), "Detailed_PHQ8_Labels.csv"
EXCHANGED = {485, 486}
"""Sessions whose rows are exchanged in :data:`ITEMS`."""


@dataclass(frozen=True)
class Options(InterviewOptions):
    """How E-DAIC is read; the interviewer's speech is not in its transcripts, so overlaps are not known."""


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read the corpus at *root*; with faults, the manifest holds what could be read all the same.

    Raises:
        BadInput: If the root is not one of E-DAIC.
    """
    return read_interviews(LAYOUT, root, options, faults)


def extractions(root: Path, options: Options) -> list[Extraction]:
    """Return the sessions whose audio has to be extracted: those that are there only as archives."""
    return interview_extractions(LAYOUT, root)


def _is_root(folder: Path) -> bool:
    labels = find_file(folder, FOLDERS, *SPLIT_FILES.values())
    return labels is not None or bool(find_sessions(folder / "data"))


def _read_splits(root: Path, splits: Splits) -> None:
    details = find_file(root, FOLDERS, *DETAILED)
    if details is not None and find_file(root, FOLDERS, *SPLIT_FILES.values()) is None:
        splits.add(details, "")
        return
    splits.read(root, SPLIT_FILES, FOLDERS)
    if details is not None:
        rows = splits.further(details)
        _compare(splits, details.name, rows)
        for session, subject in splits.subjects.items():
            age = whole_number(rows.get(session, {}).get("age", ""))
            splits.subjects[session] = replace(subject, age=str(age or ""))
    items = find_file(root, FOLDERS, ITEMS)
    if items is not None:
        _compare(splits, items.name, splits.further(items))


def _compare(splits: Splits, file: str, rows: dict[int, dict[str, str]]) -> None:
    """Note where a further file differs from the split files."""
    scores, genders = set(), set()
    for session, subject in splits.subjects.items():
        row = rows.get(session, {})
        score, gender = row.get("score"), row.get("gender")
        if score is not None and subject.score and str(whole_number(score)) != subject.score:
            scores.add(session)
        if gender is not None and splits.gender(gender) != subject.gender:
            genders.add(session)
    for what, differing in (("scores", scores), ("genders", genders)):
        if differing:
            known = " (exchanged there)" if what == "scores" and differing == EXCHANGED else ""
            named = ", ".join(map(str, sorted(differing)))
            splits.notes.append(
                f"{file} has other {what} of {named}{known}: those of the split files are used"
            )


LAYOUT = Layout(
    corpus="e-daic",
    prefix="edaic",
    is_root=_is_root,
    holds="labels/train_split.csv (also dev, test) and data/, in it 300_P/ or 300_P.tar.gz and so on",
    home="data",
    ending="tar.gz",
    in_place=(),
    read_splits=_read_splits,
    assumptions=(
        "a session is a subject, and DAIC-WOZ's session of the same number is the same subject",
        "the audio of a session that DAIC-WOZ has too is the same, so its interruptions are cut out",
        "transcripts are automatic and name no speaker: rows may carry words of the interviewer",
    ),
    automatic=True,
)
