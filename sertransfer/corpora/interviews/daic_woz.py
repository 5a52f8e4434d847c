"""DAIC-WOZ: clinical interviews with PHQ-8 depression labels, cut into the participant's sentences.

The corpus root holds ``<id>_P/<id>_AUDIO.wav`` (16 kHz) and ``<id>_P/<id>_TRANSCRIPT.csv``, or the archives
``<id>_P.zip`` as they are distributed, which are read in place; beside them stand the split files. One
utterance is one row of the participant; its label is its subject's. The root is only ever read: the audio of
sessions that were packed again as tar is extracted into a folder that the user names.

Identity: a session is a subject. The ``speaker`` of session 300 is ``daic300``. E-DAIC (2019) carries the
same sessions 300 to 492 in other splits, so its reader has to use the same key; then a check for subjects
on both sides of a split also holds across the two corpora.

Source: Gratch et al., "The Distress Analysis Interview Corpus of human and computer interviews", LREC 2014;
the AVEC 2017 depression sub-challenge for the splits.
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sertransfer.corpora.interviews.archives import (
    ConvertedSession,
    SessionOpener,
    archive_extraction,
    needed_archive,
)
from sertransfer.corpora.interviews.errata import ErrataLog
from sertransfer.corpora.interviews.interview import Interview, InterviewReader
from sertransfer.corpora.interviews.reading import SessionsRead
from sertransfer.corpora.interviews.segments import OVERLAPS, Rules
from sertransfer.corpora.interviews.sessions import Session, find_corpus, open_session
from sertransfer.corpora.interviews.split_files import (
    LABEL_NOTES,
    SPLIT_FILES,
    LabelRule,
    check_label_rule,
    read_splits,
)
from sertransfer.corpora.video import Extraction, find_audio_folder
from sertransfer.errors import Faults, nearest
from sertransfer.manifest import INTERVIEWER_TURNS, WITHOUT_SENTENCES, Manifest, make_table
from sertransfer.timebase import PRESETS, SAMPLE_RATE, samples_to_seconds

CORPUS = "daic-woz"
IN_PLACE = (".zip",)
"""Endings of archives whose audio is read in place."""
FRAME = samples_to_seconds(PRESETS["65ms"].window, SAMPLE_RATE)
"""Seconds of one analysis frame of the paper (64 ms)."""


@dataclass(frozen=True)
class Options:
    """How DAIC-WOZ is read.

    Attributes:
        labels: Where a label comes from: ``score`` (depressed exactly where PHQ-8 is 10 or more; each label
            that this changes is an erratum ``label-<id>``), or ``released`` (the binary of the split files).
        without_errata: Errata to switch off, by name (``shift-318``), kind (``shift``, ``interruption``,
            ``no-interviewer``, ``label``, ``spanning-row``) or ``all``.
        audio_folder: Folder, outside the corpus, for the audio of sessions that are there only as tar.
        overlaps: What becomes of a row that the interviewer talks over: ``keep`` (the share stands in the
            column ``overlap``), ``trim`` (cut the overlap out) or ``drop`` (leave the row out).
        merge: Merge consecutive rows of the participant.
        merge_gap: Longest silence in seconds that merging bridges.
        minimum: Shortest utterance in seconds; the default is one frame.
        keep_nonverbal: Keep rows of nothing but non-verbal (``<laughter>``) or unclear (``xxx``) marks.
        keep_text: Keep what was said, in a column ``text``. It is clinical data: off by default.
        female_code: Which Gender code means female: 0 as released; 1 for a copy that has them reversed.
        level_normalise: Write a gain per session that brings the participant's rows to one level.
        level_dbfs: That level: RMS in dB of full scale.
    """

    labels: str = "score"
    without_errata: tuple[str, ...] = ()
    audio_folder: str = ""
    overlaps: str = "keep"
    merge: bool = False
    merge_gap: float = 1.0
    minimum: float = FRAME
    keep_nonverbal: bool = False
    keep_text: bool = False
    female_code: int = 0
    level_normalise: bool = False
    level_dbfs: float = -26.0


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read the corpus at *root*; with faults, the manifest holds what could be read all the same.

    Args:
        root: Folder with the ``<id>_P`` sessions and the split files.
        options: The settings.
        faults: Receives every fault of every session; what is left out for one is skippable.
    """
    root = Path(root)
    errata = ErrataLog(options.without_errata, faults)
    rules = Rules(options.overlaps, options.merge, options.merge_gap, options.minimum)
    level = options.level_dbfs if options.level_normalise else None
    reader = InterviewReader(rules, options.keep_nonverbal, level, errata, faults)
    reading = _Reading(root, reader, options.keep_text, rule=LabelRule(options.labels, errata))
    if options.audio_folder:
        reading.audio_folder = find_audio_folder(options.audio_folder, CORPUS, root, faults)
    _check(options, faults)
    layout = None if len(faults) else find_corpus(root, faults)
    if layout is not None:
        splits = read_splits(
            layout.splits,
            root,
            female_code=options.female_code,
            errata=errata,
            faults=faults,
            rule=reading.rule,
        )
        errata.check_sessions(splits.named)
        reading.splits = splits.files
        order = {split: index for index, split in enumerate(SPLIT_FILES)}
        subjects = sorted(splits.subjects.values(), key=lambda item: (order[item.split], item.session))
        reading.add_all(subjects, layout.sessions)
        for session in sorted(layout.sessions.keys() - splits.named):
            reading.leave_out(f"{session}_P", "no split file names this session")
    return Manifest(make_table(reading.rows), root, reading.notes(options))


def extractions(root: Path, options: Options) -> list[Extraction]:
    """Return the sessions whose audio has to be extracted: those that are there only as tar."""
    layout = find_corpus(Path(root), Faults())
    if layout is None:
        return []
    ignored = Faults()  # the reader reports them
    errata = ErrataLog((), ignored)
    named = read_splits(layout.splits, root, female_code=0, errata=errata, faults=ignored).named
    found = {number: needed_archive(number, layout.sessions.get(number, []), IN_PLACE) for number in named}
    return [archive_extraction(number, archive) for number, archive in sorted(found.items()) if archive]


def _check(options: Options, faults: Faults) -> None:
    def add(name: str, expected: str, remedy: str) -> None:
        value = getattr(options, name)
        faults.add(f"option {name}", found=f"'{value}'", expected=expected, remedy=remedy)

    check_label_rule(options.labels, faults)
    if options.overlaps not in OVERLAPS:
        add("overlaps", "a way to treat overlaps", nearest(options.overlaps, OVERLAPS))
    for name in ("merge_gap", "minimum"):
        if not 0 <= getattr(options, name) < math.inf:
            add(name, "seconds from 0 on", "correct the option")
    if options.female_code not in (0, 1):
        add("female_code", "0 or 1", "correct the option")
    if not -120 <= options.level_dbfs <= 0:
        add("level_dbfs", "a level from -120 to 0 dB of full scale", "correct the option")


def gender_notes(female_code: int) -> list[str]:
    """Return what the manifest's notes say of a copy whose Gender codes are read the other way round.

    As released 1 is male and 0 is female: E-DAIC writes the words for the 189 sessions that both corpora
    have.
    """
    return ["Gender 1 is read as female and 0 as male, unlike the corpus as released"] if female_code else []


@dataclass
class _Reading(SessionsRead):
    """What has been read so far."""

    corpus = CORPUS
    prefix = "daic"
    distributed = "zip"

    rule: LabelRule = field(kw_only=True)
    audio_folder: Path | None = None
    archives: dict[str, dict[str, str]] = field(default_factory=dict)
    turns: dict[str, list[str]] = field(default_factory=dict)
    splits: list[str] = field(default_factory=list)

    def open_session(self, number: int, containers: list[Path]) -> Session | None:
        """Open a session's folder, its zip in place, or another archive, whose audio was extracted."""
        archive = needed_archive(number, containers, IN_PLACE)
        if archive is not None:
            opener = SessionOpener(self.audio_folder, self.reader.faults, lambda data, *_: data)
            return opener.from_archive(number, archive)
        return open_session(number, containers, self.reader.faults)

    def note_audio(self, session: Session, interview: Interview) -> str:
        """Note the archive that the audio is a member of, and when the interviewer speaks."""
        audio = session.audio_value
        if isinstance(session, ConvertedSession) and session.wav is not None:
            audio = Path(os.path.relpath(session.wav.resolve(), self.home.resolve())).as_posix()
        elif session.archived:
            self.archives[audio] = {"archive": session.container.name, "member": str(session.audio)}
        if interview.turns:
            self.turns[audio] = [f"{start} {end}" for start, end in interview.turns]
        return audio

    def notes(self, options: Options) -> dict[str, Any]:
        """Return the manifest's notes."""
        errata = self.reader.errata
        return {
            "corpus": CORPUS,
            "options": asdict(options),
            "split_files": self.splits,
            "archives": self.archives,
            "errata": errata.applied(),
            "errata_off": errata.switched_off(),
            "assumptions": [
                *self.rule.assumptions(),
                *gender_notes(options.female_code),
                "a session is a subject, and E-DAIC's session of the same number is the same subject",
            ],
            LABEL_NOTES: self.rule.named(),
            **self.rate_notes(),
            "channels": self.channels,
            "cut_at_end": self.cut_at_end,
            INTERVIEWER_TURNS: self.turns,
            WITHOUT_SENTENCES: self.silent,
            "left_out": self.left_out,
        }
