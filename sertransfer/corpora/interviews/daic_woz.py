"""DAIC-WOZ: clinical interviews with PHQ-8 depression labels, cut into the participant's sentences.

The corpus root holds ``<id>_P/<id>_AUDIO.wav`` (16 kHz) and ``<id>_P/<id>_TRANSCRIPT.csv``, or the archives
``<id>_P.zip`` as they are distributed, which are read in place; beside them stand the split files. One
utterance is one row of the participant; its label is its subject's. The root is only ever read: the audio of
sessions that were packed again as tar is extracted into a folder that the user names.

The test split carries no labels, which ``full_test_split.csv`` adds where a copy of the corpus has it.

Source: Gratch et al., "The Distress Analysis Interview Corpus of human and computer interviews", LREC 2014;
the AVEC 2017 depression sub-challenge for the splits.
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
from sertransfer.corpora.interviews.segments import Overlaps
from sertransfer.corpora.interviews.sessions import find_sessions
from sertransfer.corpora.interviews.split_files import PARTS, Splits, find_file
from sertransfer.corpora.video import Extraction
from sertransfer.errors import Faults
from sertransfer.manifest import Manifest

SPLIT_FILES = {part: f"{part}_split_Depression_AVEC2017.csv" for part in PARTS}
FULL_TEST = "full_test_split.csv"


@dataclass(frozen=True)
class Options(InterviewOptions):
    """How DAIC-WOZ is read.

    Attributes:
        overlaps: What becomes of a row that the interviewer talks over: ``keep`` (the share stands in the
            column ``overlap``), ``trim`` (cut the overlap out) or ``drop`` (leave the row out).
    """

    overlaps: Overlaps = "keep"


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read the corpus at *root*; with faults, the manifest holds what could be read all the same.

    Args:
        root: Folder with the ``<id>_P`` sessions and the split files.
        options: The settings.
        faults: Receives every fault of every session; what is left out for one is skippable.

    Raises:
        BadInput: If the root is not one of DAIC-WOZ.
    """
    return read_interviews(LAYOUT, root, options, faults)


def extractions(root: Path, options: Options) -> list[Extraction]:
    """Return the sessions whose audio has to be extracted: those that are there only as tar."""
    return interview_extractions(LAYOUT, root)


def _is_root(folder: Path) -> bool:
    split_file = find_file(folder, [""], *SPLIT_FILES.values(), FULL_TEST)
    return split_file is not None or bool(find_sessions(folder))


def _read_splits(root: Path, splits: Splits) -> None:
    splits.read(root, SPLIT_FILES, [""], optional="test")
    full = find_file(root, [""], FULL_TEST)
    if full is not None and find_file(root, [""], SPLIT_FILES["test"]) is None:
        splits.add(full, "test", labelled=True)
    elif full is not None:
        _label_test(splits, full)
    order = sorted(splits.subjects.items(), key=lambda item: (PARTS.index(item[1].split), item[0]))
    splits.subjects = dict(order)


def _label_test(splits: Splits, path: Path) -> None:
    """Take the labels of the test subjects from the full file, which must name the same subjects."""
    splits.files.append(path.name)
    labelled, named = splits.subjects_of(path, "test", labelled=True)
    test = {session for session, subject in splits.subjects.items() if subject.split == "test"}
    for session, subject in labelled.items():
        known = splits.subjects.get(session)
        if session in test and known is not None:
            gender = known.gender or subject.gender
            splits.subjects[session] = replace(subject, gender=gender, where=known.where)
        elif session not in splits.named or known is not None:
            found = f"session {session}, which the test split does not name"
            _disagree(splits.faults, subject.where, found)
    for session in sorted(test - named.keys()):
        _disagree(splits.faults, path, f"no row for session {session}")
    # A test subject whose label is faulty is left out; without this it would stay in, unlabelled.
    for session in (test & named.keys()) - labelled.keys():
        del splits.subjects[session]


def _disagree(faults: Faults, where: object, found: str) -> None:
    expected = f"the sessions of {SPLIT_FILES['test']}"
    faults.add(where, found=found, expected=expected, remedy="correct one of the two files")


LAYOUT = Layout(
    corpus="daic-woz",
    prefix="daic",
    is_root=_is_root,
    holds="the <id>_P sessions and the split files",
    home="",
    ending="zip",
    in_place=(".zip",),
    read_splits=_read_splits,
    assumptions=("a session is a subject, and E-DAIC's session of the same number is the same subject",),
)
