"""From the sessions of DAIC-WOZ or E-DAIC to a manifest: one reader, and a :class:`Layout` for each corpus.

A session is a subject. The ``speaker`` of session 300 is ``daic300`` in both corpora, on purpose: E-DAIC
(2019) carries sessions 300 to 492 of DAIC-WOZ in other splits, so a check for subjects on both sides of a
split also holds across the two.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sertransfer.audio.reading import AudioInfo, inspect, read_segment
from sertransfer.corpora.collection import check_root
from sertransfer.corpora.interviews.errata import SPANNING, ErrataLog, Erratum
from sertransfer.corpora.interviews.segments import (
    Cutting,
    Interval,
    Rules,
    SentenceOptions,
    Utterance,
    cut_utterances,
    interviewer_turns,
)
from sertransfer.corpora.interviews.sessions import (
    Session,
    extractions,
    find_sessions,
    member_path,
    open_session,
)
from sertransfer.corpora.interviews.split_files import LABEL_NOTES, LabelRule, LabelSource, Splits, Subject
from sertransfer.corpora.interviews.transcript import (
    INTERVIEWER,
    PARTICIPANT,
    Transcript,
    as_daic_woz,
    parse_transcript,
)
from sertransfer.corpora.video import Extraction, find_audio_folder
from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.io.progress import tracked
from sertransfer.manifest import INTERVIEWER_TURNS, WITHOUT_SENTENCES, AudioSource, Manifest, make_table
from sertransfer.timebase import SAMPLE_RATE

_LEAVE_OUT = "download the session again, or leave it out"


@dataclass(frozen=True)
class InterviewOptions(SentenceOptions):
    """How a corpus of interviews is read.

    Attributes:
        labels: Where a label comes from: ``score`` (depressed exactly where PHQ-8 is 10 or more; each label
            that this changes is an erratum ``label-<id>``), or ``released`` (the binary of the split files).
        without_errata: Errata to switch off, by name (``interruption-373``), kind (``shift``,
            ``interruption``, ``no-interviewer``, ``label``, ``spanning-row``) or ``all``.
        audio_folder: Folder, outside the corpus, for the audio of sessions that have to be extracted.
        keep_text: Keep what was said, in a column ``text``. It is clinical data: off by default.
        female_code: Which Gender code means female: 0 as released; 1 for a copy that has them reversed.
    """

    labels: LabelSource = "score"
    without_errata: tuple[str, ...] = ()
    audio_folder: str = ""
    keep_text: bool = False
    female_code: Literal[0, 1] = 0


@dataclass(frozen=True)
class Layout:
    """How a corpus of interviews lies on a disk, and what its transcripts are.

    Attributes:
        corpus: Name of the corpus.
        prefix: What an utterance's id begins with.
        is_root: Whether a folder looks like the corpus root.
        holds: What the root holds, for messages.
        home: Folder of the sessions, relative to the root.
        ending: Ending of a session's archive as it is distributed.
        in_place: Endings of archives whose audio is read where it is.
        read_splits: Reads the split files of a root.
        automatic: Transcripts come from automatic recognition: with a confidence in each row, without
            speakers. The manifest's root then is the audio folder where anything had to be extracted.
        assumptions: What is assumed of every session.
    """

    corpus: str
    prefix: str
    is_root: Callable[[Path], bool]
    holds: str
    home: str
    ending: str
    in_place: tuple[str, ...]
    read_splits: Callable[[Path, Splits], None]
    assumptions: tuple[str, ...]
    automatic: bool = False


def read_interviews(layout: Layout, root: Path, options: InterviewOptions, faults: Faults) -> Manifest:
    """Read the corpus at *root*; with faults, the manifest holds what could be read all the same.

    Args:
        layout: Which corpus.
        root: Its root.
        options: The settings.
        faults: Receives every fault of every session; what is left out for one is skippable.

    Raises:
        BadInput: If the root is not one of the corpus.
    """
    root = Path(root)
    check_root(root, layout.is_root, layout.holds)
    errata = ErrataLog(options.without_errata, faults, automatic=layout.automatic)
    splits = Splits(LabelRule(options.labels, errata), faults, options.female_code)
    layout.read_splits(root, splits)
    errata.check_sessions(splits.named)
    folder = None
    if options.audio_folder:
        folder = find_audio_folder(options.audio_folder, layout.corpus, root, faults)
    sessions = find_sessions(root / layout.home)
    reading = _Reading(layout, root, options, InterviewReader.of(options, errata, faults, layout), folder)
    if sessions:
        reading.add_all(splits.subjects.values(), sessions)
    else:
        faults.add(
            root / layout.home,
            found="no session",
            expected=f"300_P/ or 300_P.{layout.ending} ...",
            remedy="put the sessions there, unpacked or as archives",
        )
    for session in sorted(sessions.keys() - splits.named):
        reading.leave_out(f"{session}_P", "no split file names this session")
    return reading.manifest(splits)


def interview_extractions(layout: Layout, root: Path) -> list[Extraction]:
    """Return the audio that has to be extracted before :func:`read_interviews`."""
    ignored = Faults()  # the reader reports them
    splits = Splits(LabelRule("score", ErrataLog((), ignored)), ignored)
    layout.read_splits(Path(root), splits)
    return extractions(find_sessions(Path(root) / layout.home), splits.named, layout.in_place)


@dataclass
class Interview:
    """What one session gave.

    Attributes:
        utterances: The participant's, in the order of their times; never none.
        channels, sample_rate: Of the audio.
        gain: Factor that brings it to the level asked for; ``None`` if none was.
        left_out: (line of the transcript, reason) of each row that a rule left out.
        cut_at_end: Lines whose stop time was cut to the end of the audio.
        errata: The errata that concern it, with the number of rows that each changed.
        turns: Begin and end in seconds of the interviewer's speech.
    """

    utterances: list[Utterance]
    channels: int
    sample_rate: int
    gain: float | None = None
    left_out: list[tuple[int, str]] = field(default_factory=list)
    cut_at_end: list[int] = field(default_factory=list)
    errata: list[tuple[Erratum, int]] = field(default_factory=list)
    turns: list[Interval] = field(default_factory=list)


@dataclass(frozen=True)
class InterviewReader:
    """Reads interviews by the same settings.

    Attributes:
        rules: How rows become utterances.
        keep_nonverbal: Keep rows of nothing but non-verbal or not-understood marks.
        level_dbfs: RMS level to bring each interview to; ``None`` = leave it.
        errata: The errata that are switched on (only looked up here).
        faults: Receives the faults, each of them skippable.
        automatic: Transcripts are in E-DAIC's form.
    """

    rules: Rules
    keep_nonverbal: bool
    level_dbfs: float | None
    errata: ErrataLog
    faults: Faults
    automatic: bool = False

    @classmethod
    def of(
        cls, options: InterviewOptions, errata: ErrataLog, faults: Faults, layout: Layout
    ) -> InterviewReader:
        """Return the reader for a corpus."""
        level = options.level_dbfs if options.level_normalise else None
        return cls(Rules.of(options), options.keep_nonverbal, level, errata, faults, layout.automatic)

    def read(self, number: int, session: Session) -> Interview | None:
        """Read session *number*; ``None`` if it cannot be used, the faults say why (all of them)."""
        info = self._inspect(session) if session.audio is not None else None
        duration = info.duration if info is not None else math.inf
        transcript = self._transcript(number, session, duration) if session.transcript is not None else None
        if transcript is None:
            return None
        interview = Interview([], *((info.channels, info.sample_rate) if info is not None else (0, 0)))
        interview.left_out += transcript.dropped
        interview.cut_at_end = transcript.cut_at_end
        self._note(interview, "shift", number, len(transcript.rows))
        spanning = self._spanning(number)
        if transcript.spanning and spanning is not None:
            interview.errata.append((spanning, len(transcript.spanning)))
        cutting = self._cut(number, session, transcript, interview)
        if info is None or cutting is None:
            return None
        interview.left_out += cutting.left_out
        interview.utterances = cutting.utterances
        if self.level_dbfs is not None:
            try:
                interview.gain = speech_gain(session.audio_source, cutting.utterances, self.level_dbfs)
            except BadInput as error:
                self._take_over(error)
                return None
        return interview

    def _add(self, where: object, found: str, expected: str, remedy: str = _LEAVE_OUT) -> None:
        self.faults.add(where, found=found, expected=expected, remedy=remedy, skippable=True)

    def _take_over(self, error: BadInput) -> None:
        for fault in error.faults:
            self._add(fault.where, fault.found, fault.expected, fault.remedy)

    def _note(self, interview: Interview, kind: str, number: int, rows: int) -> None:
        erratum = self.errata.find(kind, number)
        if erratum is not None:
            interview.errata.append((erratum, rows))

    def _inspect(self, session: Session) -> AudioInfo | None:
        """Return the audio's header, or ``None`` if there is a fault in it."""
        try:
            return inspect(session.audio_source)
        except BadInput as error:
            self._take_over(error)
            return None

    def _spanning(self, number: int) -> Erratum | None:
        what = "transcript rows that span the interview are left out"
        return self.errata.found(SPANNING, number, what)

    def _transcript(self, number: int, session: Session, duration: float) -> Transcript | None:
        try:
            data: bytes | None = session.read_transcript()
        except BadInput as error:
            self._take_over(error)
            return None
        except OSError as error:
            self._add(session.transcript_name, error.strerror or str(error), "a readable transcript")
            return None
        if self.automatic and data is not None:
            data = as_daic_woz(data, session.transcript_name, self.faults)
        if data is None:
            return None
        erratum = self.errata.find("shift", number)
        return parse_transcript(
            data,
            session.transcript_name,
            self.faults,
            duration=duration,
            shift=erratum.seconds[0] if erratum is not None else 0.0,
            keep_nonverbal=self.keep_nonverbal,
            keep_spanning=self._spanning(number) is None,
        )

    def _cut(
        self, number: int, session: Session, transcript: Transcript, interview: Interview
    ) -> Cutting | None:
        participant = transcript.spoken_by(PARTICIPANT)
        if participant and not transcript.spoken_by(INTERVIEWER):
            if self.errata.find("no-interviewer", number) is None:
                found = "no row of the interviewer (Ellie), so no begin of the interview"
                self._add(session.transcript_name, found, "rows of both speakers")
                return None
            self._note(interview, "no-interviewer", number, len(participant))
        erratum = self.errata.find("interruption", number)
        interruption = (erratum.seconds[0], erratum.seconds[1]) if erratum is not None else None
        cutting = cut_utterances(transcript, self.rules, interruption)
        interview.turns = interviewer_turns(transcript, self.rules.minimum, interruption)
        self._note(interview, "interruption", number, cutting.interrupted)
        if not cutting.utterances:
            expected = "at least one that the rules for marks, overlaps and length leave"
            remedy = "check the transcript and the options, or leave the session out"
            found = "no usable sentence of the participant"
            self._add(session.transcript_name, found, expected, remedy)
            return None
        return cutting


def speech_gain(source: AudioSource, utterances: Iterable[Utterance], level_dbfs: float) -> float:
    """Return the factor that brings the utterances' common RMS to *level_dbfs* (full scale = 1 = 0 dB).

    Raises:
        BadInput: If the audio cannot be read, or the utterances are silent.
    """
    energy, samples = 0.0, 0
    for utterance in utterances:
        waveform = read_segment(source, utterance.start, utterance.end).astype(np.float64)
        energy += float(waveform @ waveform)
        samples += len(waveform)
    if energy == 0:
        raise bad_input(
            source,
            found="silence in every row of the participant",
            expected="speech whose level can be normalised",
            remedy="leave the session out, or switch level_normalise off",
        )
    return float(10 ** (level_dbfs / 20) / np.sqrt(energy / samples))


@dataclass
class _Reading:
    """The sessions that have been read so far.

    Attributes:
        taken: Subject, session and interview of each that can be used.
        left_out: What a rule left out, with the reason.
        cut_at_end: Rows whose stop time was cut to the end of the audio.
        silent: Subjects of whom nothing is left.
    """

    layout: Layout
    root: Path
    options: InterviewOptions
    reader: InterviewReader
    audio_folder: Path | None
    taken: list[tuple[Subject, Session, Interview]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    cut_at_end: list[str] = field(default_factory=list)
    silent: list[dict[str, str]] = field(default_factory=list)

    def add_all(self, subjects: Iterable[Subject], sessions: Mapping[int, list[Path]]) -> None:
        """Read the sessions of *subjects*, one by one.

        Copies without a single session of the test part are common: that is noted, once. Where nothing of
        another part is there, that is one fault.
        """
        parts: dict[str, list[Subject]] = {}
        for subject in subjects:
            parts.setdefault(subject.split, []).append(subject)
        complete = []
        for split, members in parts.items():
            absent = not any(sessions.get(subject.session) for subject in members)
            if absent and split == "test":
                first = members[0].where.rpartition(", row ")[0]
                reason = f"none of its {len(members)} sessions is there: the copy is without its test part"
                self.leave_out(Path(first).name, reason)
            elif absent and len(members) > 1:
                number, ending = members[0].session, self.layout.ending
                self.reader.faults.add(
                    self.root / self.layout.home,
                    found=f"none of the {len(members)} sessions of the {split} part",
                    expected=f"{number}_P or {number}_P.{ending} ...",
                    remedy="give the folder that holds them, or download them",
                )
            else:
                complete += members
        for subject in tracked(complete, "reading interviews", unit="interviews"):
            self._add(subject, sessions.get(subject.session, []))

    def leave_out(self, item: str, reason: str) -> None:
        """Record that *item* was left out."""
        self.left_out.append({"item": item, "reason": reason})

    def _add(self, subject: Subject, containers: list[Path]) -> None:
        """Read one session and keep it, or add its faults."""
        number, home = subject.session, self.root / self.layout.home
        if not containers:
            self.reader.faults.add(
                subject.where,
                found=f"session {number}, of which there is no folder or archive",
                expected=f"{number}_P or {number}_P.{self.layout.ending} in {home}",
                remedy="download the session, or leave it out",
                skippable=True,
            )
            return
        session = open_session(
            number,
            containers,
            self.reader.faults,
            in_place=self.layout.in_place,
            audio_folder=self.audio_folder,
        )
        if session is None:
            self.silent.append(subject.described)
            return
        for other in containers:
            if other != session.container:
                self.leave_out(other.name, f"the session is there twice; read from {session.container.name}")
        interview = self.reader.read(number, session)
        if interview is None:
            self.silent.append(subject.described)
            return
        for erratum, rows in interview.errata:
            self.reader.errata.record(erratum, rows)
        name = f"{session.name}/{member_path(session.transcript or '').name}"
        for line, reason in sorted(interview.left_out):
            self.leave_out(f"{name}, row {line}", reason)
        self.cut_at_end += [f"{name}, row {line}" for line in interview.cut_at_end]
        self.taken.append((subject, session, interview))

    def manifest(self, splits: Splits) -> Manifest:
        """Return the manifest."""
        root = self.root
        extracted = any(session.extracted is not None for _, session, _ in self.taken)
        if self.layout.automatic and extracted and self.audio_folder is not None:
            root = self.audio_folder
        rows: list[dict[str, Any]] = []
        archives: dict[str, dict[str, str]] = {}
        turns: dict[str, list[str]] = {}
        for subject, session, interview in self.taken:
            audio = self._audio(session, root)
            if session.archived and session.extracted is None:
                archives[audio] = {"archive": session.container.name, "member": str(session.audio)}
            if interview.turns:
                turns[audio] = [f"{start} {end}" for start, end in interview.turns]
            rows += [self._row(subject, audio, item, interview.gain) for item in interview.utterances]
        errata, rates = self.reader.errata, {session.name: own.sample_rate for _, session, own in self.taken}
        notes: dict[str, Any] = {
            "corpus": self.layout.corpus,
            "options": asdict(self.options),
            "split_files": splits.files,
            **({} if self.layout.automatic else {"archives": archives}),
            "errata": errata.applied(),
            "errata_off": errata.switched_off(),
            "assumptions": [
                *splits.rule.assumptions(),
                *_gender_notes(self.options.female_code),
                *self.layout.assumptions,
            ],
            LABEL_NOTES: [*splits.rule.named(), *splits.notes],
            "sample_rates": {str(rate): count for rate, count in sorted(Counter(rates.values()).items())},
            "resampled": {name: rate for name, rate in rates.items() if rate != SAMPLE_RATE},
            "channels": {session.name: own.channels for _, session, own in self.taken if own.channels != 1},
            "cut_at_end": self.cut_at_end,
            **({} if self.layout.automatic else {INTERVIEWER_TURNS: turns}),
            WITHOUT_SENTENCES: self.silent,
            "left_out": self.left_out,
        }
        return Manifest(make_table(rows), root, notes)

    def _audio(self, session: Session, root: Path) -> str:
        """Return where the audio is, relative to *root*."""
        if session.extracted is None and not self.layout.automatic:
            return session.audio_value
        return Path(os.path.relpath(session.audio_source.path.resolve(), root.resolve())).as_posix()

    def _row(self, subject: Subject, audio: str, utterance: Utterance, gain: float | None) -> dict[str, Any]:
        part = f"-{utterance.part}" if utterance.part > 1 else ""
        row: dict[str, Any] = {
            "id": f"{self.layout.prefix}{subject.session}-{utterance.line:04d}{part}",
            "audio": audio,
            "start": utterance.start,
            "end": utterance.end,
            "speaker": f"daic{subject.session}",
            "label": subject.label,
            "split": subject.split,
            "gender": subject.gender,
            "age": subject.age,
            "corpus": self.layout.corpus,
            "session": str(subject.session),
            "phq8_score": subject.score,
            "overlap": utterance.overlap,
        }
        if self.layout.automatic:
            sure = utterance.confidence
            row["confidence"] = "" if sure is None else str(round(sure, 6))
        if gain is not None:
            row["gain"] = gain
        if self.options.keep_text:
            row["text"] = utterance.text
        return row


def _gender_notes(female_code: int) -> list[str]:
    """Return what is said of a copy whose Gender codes are read the other way round.

    As released 1 is male and 0 is female: E-DAIC writes the words for the 189 sessions that both corpora
    have.
    """
    return ["Gender 1 is read as female and 0 as male, unlike the corpus as released"] if female_code else []
