"""What reading DAIC-WOZ and E-DAIC has in common: sessions, one by one, become rows and notes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from sertransfer.corpora.interviews.interview import Interview, InterviewReader
from sertransfer.corpora.interviews.segments import Utterance
from sertransfer.corpora.interviews.sessions import Session, member_path
from sertransfer.corpora.interviews.split_files import Subject
from sertransfer.io.progress import tracked
from sertransfer.timebase import SAMPLE_RATE


@dataclass
class SessionsRead(ABC):
    """What has been read so far.

    Attributes:
        corpus: Name of the corpus, in each row.
        prefix: What an utterance's id begins with.
        distributed: How a session comes, as messages say it.
        automatic: Whether transcripts come from automatic recognition, with a confidence in each row.
        reader: Reads the interviews; its errata and faults are the corpus's.
        keep_text: Whether a row keeps what was said.
        left_out: What a rule left out, with the reason.
        channels: Number of channels of each session that is not mono.
        rates: Sample rate in Hz of each session.
        cut_at_end: Rows whose stop time was cut to the end of the audio.
        silent: Subjects of whom nothing is left.
    """

    corpus: ClassVar[str]
    prefix: ClassVar[str]
    distributed: ClassVar[str]
    automatic: ClassVar[bool] = False

    home: Path
    reader: InterviewReader
    keep_text: bool
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    channels: dict[str, int] = field(default_factory=dict)
    rates: dict[str, int] = field(default_factory=dict)
    cut_at_end: list[str] = field(default_factory=list)
    silent: list[dict[str, str]] = field(default_factory=list)

    @abstractmethod
    def open_session(self, number: int, containers: list[Path]) -> Session | None:
        """Return session *number*; ``None`` if it can not be used, the faults say why."""

    @abstractmethod
    def note_audio(self, session: Session, interview: Interview) -> str:
        """Take note of where a session's audio is; return what the rows' column ``audio`` says of it."""

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
            if absent and split == "test" and sessions:
                first = members[0].where.rpartition(", row ")[0]
                reason = f"none of its {len(members)} sessions is there: the copy is without its test part"
                self.leave_out(Path(first).name, reason)
            elif absent and len(members) > 1:
                self.reader.faults.add(
                    self.home,
                    found=f"none of the {len(members)} sessions of the {split} part",
                    expected=f"{members[0].session}_P or {members[0].session}_P.{self.distributed} ...",
                    remedy="give the folder that holds them, or download them",
                )
            else:
                complete += members
        for subject in tracked(complete, "reading interviews", unit="interviews"):
            self.add(subject, sessions.get(subject.session, []))

    def leave_out(self, item: str, reason: str) -> None:
        """Record that *item* was left out."""
        self.left_out.append({"item": item, "reason": reason})

    def add(self, subject: Subject, containers: list[Path]) -> None:
        """Read one session and add its utterances, or its faults."""
        if not containers:
            self.reader.faults.add(
                subject.where,
                found=f"session {subject.session}, of which there is no folder or archive",
                expected=f"{subject.session}_P or {subject.session}_P.{self.distributed} in {self.home}",
                remedy="download the session, or leave it out",
                skippable=True,
            )
            return
        session = self.open_session(subject.session, containers)
        if session is None:
            self.silent.append(subject.described)
            return
        for other in containers:
            if other != session.container:
                self.leave_out(other.name, f"the session is there twice; read from {session.container.name}")
        interview = self.reader.read(subject.session, session)
        if interview is None:
            self.silent.append(subject.described)
        else:
            self._take(subject, session, interview)

    def _take(self, subject: Subject, session: Session, interview: Interview) -> None:
        for erratum, rows in interview.errata:
            self.reader.errata.record(erratum, rows)
        name = f"{session.name}/{member_path(session.transcript or '').name}"
        for line, reason in sorted(interview.left_out):
            self.leave_out(f"{name}, row {line}", reason)
        self.cut_at_end += [f"{name}, row {line}" for line in interview.cut_at_end]
        if interview.channels != 1:
            self.channels[session.name] = interview.channels
        self.rates[session.name] = interview.sample_rate
        audio = self.note_audio(session, interview)
        self.rows += [self._row(subject, audio, item, interview.gain) for item in interview.utterances]

    def rate_notes(self) -> dict[str, Any]:
        """Return the notes on sample rates: how many sessions have each, and which are resampled."""
        counts = sorted(Counter(self.rates.values()).items())
        return {
            "sample_rates": {str(rate): count for rate, count in counts},
            "resampled": {name: rate for name, rate in self.rates.items() if rate != SAMPLE_RATE},
        }

    def _row(self, subject: Subject, audio: str, utterance: Utterance, gain: float | None) -> dict[str, Any]:
        part = f"-{utterance.part}" if utterance.part > 1 else ""
        row: dict[str, Any] = {
            "id": f"{self.prefix}{subject.session}-{utterance.line:04d}{part}",
            "audio": audio,
            "start": utterance.start,
            "end": utterance.end,
            "speaker": f"daic{subject.session}",
            "label": subject.label,
            "split": subject.split,
            "gender": subject.gender,
            "age": subject.age,
            "corpus": self.corpus,
            "session": str(subject.session),
            "phq8_score": subject.score,
            "overlap": utterance.overlap,
        }
        if self.automatic:
            sure = utterance.confidence
            row["confidence"] = "" if sure is None else str(round(sure, 6))
        if gain is not None:
            row["gain"] = gain
        if self.keep_text:
            row["text"] = utterance.text
        return row
