"""DAIC-WOZ: clinical interviews with PHQ-8 depression labels, cut into the participant's sentences.

The corpus root holds ``<id>_P/<id>_AUDIO.wav`` (16 kHz) and ``<id>_P/<id>_TRANSCRIPT.csv``, or the archives
``<id>_P.zip`` as they are distributed, which are read in place; beside them stand the split files. One
utterance is one row of the participant; its label is its subject's. The root is only ever read.

Identity: a session is a subject. The ``speaker`` of session 300 is ``daic300``. E-DAIC (2019) carries the
same sessions 300 to 492 in other splits, so its reader has to use the same key; then a check for subjects
on both sides of a split also holds across the two corpora.

Source: Gratch et al., "The Distress Analysis Interview Corpus of human and computer interviews", LREC 2014;
the AVEC 2017 depression sub-challenge for the splits.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sertransfer.corpora.daic_errata import ErrataLog
from sertransfer.corpora.daic_interview import Interview, InterviewReader
from sertransfer.corpora.daic_segments import OVERLAPS, Rules, Utterance
from sertransfer.corpora.daic_sessions import Session, find_corpus, open_session
from sertransfer.corpora.daic_splits import SPLIT_FILES, Subject, read_splits
from sertransfer.corpora.looking import looking
from sertransfer.errors import Faults, nearest
from sertransfer.manifest import INTERVIEWER_TURNS, WITHOUT_SENTENCES, Manifest, make_table
from sertransfer.timebase import PRESETS, SAMPLE_RATE, samples_to_seconds

CORPUS = "daic-woz"
FRAME = samples_to_seconds(PRESETS["65ms"].window, SAMPLE_RATE)
"""Seconds of one analysis frame of the paper (64 ms)."""


@dataclass(frozen=True)
class Options:
    """How DAIC-WOZ is read.

    Attributes:
        without_errata: Errata to switch off, by name (``shift-318``), kind (``shift``, ``interruption``,
            ``no-interviewer``, ``label``) or ``all``. Without the one for 409 its label stays as released.
        overlaps: What becomes of a row that the interviewer talks over: ``keep`` (the share stands in the
            column ``overlap``), ``trim`` (cut the overlap out) or ``drop`` (leave the row out).
        merge: Merge consecutive rows of the participant.
        merge_gap: Longest silence in seconds that merging bridges.
        minimum: Shortest utterance in seconds; the default is one frame.
        keep_nonverbal: Keep rows of nothing but non-verbal (``<laughter>``) or unclear (``xxx``) marks.
        keep_text: Keep what was said, in a column ``text``. It is clinical data: off by default.
        female_code: Which Gender code, 0 or 1, means female. Sources disagree: noted as an assumption.
        level_normalise: Write a gain per session that brings the participant's rows to one level.
        level_dbfs: That level: RMS in dB of full scale.
    """

    without_errata: tuple[str, ...] = ()
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
    reading = _Reading(root, options, faults, ErrataLog(options.without_errata, faults))
    _check(options, faults)
    layout = None if len(faults) else find_corpus(root, faults)
    if layout is not None:
        splits = read_splits(
            layout.splits, root, female_code=options.female_code, errata=reading.errata, faults=faults
        )
        reading.splits = splits.files
        order = {split: index for index, split in enumerate(SPLIT_FILES)}
        for subject in sorted(splits.subjects.values(), key=lambda item: (order[item.split], item.session)):
            reading.add(subject, layout.sessions.get(subject.session, []))
        for session in sorted(layout.sessions.keys() - splits.named):
            reading.leave_out(f"{session}_P", "no split file names this session")
    return Manifest(make_table(reading.rows), root, reading.notes())


def _check(options: Options, faults: Faults) -> None:
    def add(name: str, expected: str, remedy: str) -> None:
        value = getattr(options, name)
        faults.add(f"option {name}", found=f"'{value}'", expected=expected, remedy=remedy)

    if options.overlaps not in OVERLAPS:
        add("overlaps", "a way to treat overlaps", nearest(options.overlaps, OVERLAPS))
    for name in ("merge_gap", "minimum"):
        if not 0 <= getattr(options, name) < math.inf:
            add(name, "seconds from 0 on", "correct the option")
    if options.female_code not in (0, 1):
        add("female_code", "0 or 1", "correct the option")
    if not -120 <= options.level_dbfs <= 0:
        add("level_dbfs", "a level from -120 to 0 dB of full scale", "correct the option")


@dataclass
class _Reading:
    """What has been read so far."""

    root: Path
    options: Options
    faults: Faults
    errata: ErrataLog
    rows: list[dict[str, Any]] = field(default_factory=list)
    archives: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)
    channels: dict[str, int] = field(default_factory=dict)
    cut_at_end: list[str] = field(default_factory=list)
    turns: dict[str, list[str]] = field(default_factory=dict)
    silent: list[dict[str, str]] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        options = self.options
        rules = Rules(options.overlaps, options.merge, options.merge_gap, options.minimum)
        level = options.level_dbfs if options.level_normalise else None
        self._reader = InterviewReader(rules, options.keep_nonverbal, level, self.errata, self.faults)

    def leave_out(self, item: str, reason: str) -> None:
        self.left_out.append({"item": item, "reason": reason})

    def add(self, subject: Subject, containers: list[Path]) -> None:
        """Read one session and add its utterances, or its faults; one of another shard is passed over."""
        if not looking().holds(str(subject.session)):
            return
        if not containers:
            self.faults.add(
                subject.where,
                found=f"session {subject.session}, of which there is no folder or archive",
                expected=f"{subject.session}_P or {subject.session}_P.zip in {self.root}",
                remedy="download the session, or leave it out",
                skippable=True,
            )
            return
        session = open_session(subject.session, containers, self.faults)
        if session is None:
            self.silent.append(subject.described)
            return
        for other in containers:
            if other != session.container:
                self.leave_out(other.name, f"the session is there twice; read from {session.container.name}")
        interview = self._reader.read(subject.session, session)
        if interview is None:
            self.silent.append(subject.described)
        else:
            self._take(subject, session, interview)

    def _take(self, subject: Subject, session: Session, interview: Interview) -> None:
        for erratum, rows in interview.errata:
            self.errata.record(erratum, rows)
        name = f"{session.name}/{PurePosixPath(session.transcript or '').name}"
        for line, reason in sorted(interview.left_out):
            self.leave_out(f"{name}, row {line}", reason)
        self.cut_at_end += [f"{name}, row {line}" for line in interview.cut_at_end]
        if session.archived:
            entry = {"archive": session.container.name, "member": str(session.audio)}
            self.archives[session.audio_value] = entry
        if interview.channels != 1:
            self.channels[session.name] = interview.channels
        if interview.turns:
            self.turns[session.audio_value] = [f"{start} {end}" for start, end in interview.turns]
        self.rows += [self._row(subject, session, item, interview.gain) for item in interview.utterances]

    def _row(
        self, subject: Subject, session: Session, utterance: Utterance, gain: float | None
    ) -> dict[str, Any]:
        part = f"-{utterance.part}" if utterance.part > 1 else ""
        row: dict[str, Any] = {
            "id": f"daic{subject.session}-{utterance.line:04d}{part}",
            "audio": session.audio_value,
            "start": utterance.start,
            "end": utterance.end,
            "speaker": f"daic{subject.session}",
            "label": subject.label,
            "split": subject.split,
            "gender": subject.gender,
            "corpus": CORPUS,
            "session": str(subject.session),
            "phq8_score": subject.score,
            "overlap": utterance.overlap,
        }
        if gain is not None:
            row["gain"] = gain
        if self.options.keep_text:
            row["text"] = utterance.text
        return row

    def notes(self) -> dict[str, Any]:
        """Return the manifest's notes."""
        female = self.options.female_code
        return {
            "corpus": CORPUS,
            "options": asdict(self.options),
            "split_files": self.splits,
            "archives": self.archives,
            "errata": self.errata.applied(),
            "errata_off": self.errata.switched_off(),
            "assumptions": [
                f"Gender {female} is female and {1 - female} is male (sources disagree)",
                "a session is a subject, and E-DAIC's session of the same number is the same subject",
            ],
            "channels": self.channels,
            "cut_at_end": self.cut_at_end,
            INTERVIEWER_TURNS: self.turns,
            WITHOUT_SENTENCES: self.silent,
            "left_out": self.left_out,
        }
