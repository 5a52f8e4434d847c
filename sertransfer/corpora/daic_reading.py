"""What reading DAIC-WOZ and E-DAIC has in common: sessions, one by one, become rows and notes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from sertransfer.corpora.daic_interview import Interview, InterviewReader
from sertransfer.corpora.daic_segments import Utterance
from sertransfer.corpora.daic_sessions import Session
from sertransfer.corpora.daic_splits import Subject
from sertransfer.corpora.looking import looking


@dataclass
class SessionsRead(ABC):
    """What has been read so far.

    Attributes:
        corpus: Name of the corpus, in each row.
        prefix: What an utterance's id begins with.
        distributed: How a session comes, as messages say it.
        reader: Reads the interviews; its errata and faults are the corpus's.
        keep_text: Whether a row keeps what was said.
        left_out: What a rule left out, with the reason.
        channels: Number of channels of each session that is not mono.
        cut_at_end: Rows whose stop time was cut to the end of the audio.
        silent: Subjects of whom nothing is left.
    """

    corpus: ClassVar[str]
    prefix: ClassVar[str]
    distributed: ClassVar[str]

    home: Path
    reader: InterviewReader
    keep_text: bool
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    channels: dict[str, int] = field(default_factory=dict)
    cut_at_end: list[str] = field(default_factory=list)
    silent: list[dict[str, str]] = field(default_factory=list)

    @abstractmethod
    def open_session(self, number: int, containers: list[Path]) -> Session | None:
        """Return session *number*; ``None`` if it can not be used, the faults say why."""

    @abstractmethod
    def note_audio(self, session: Session, interview: Interview) -> str:
        """Take note of where a session's audio is; return what the rows' column ``audio`` says of it."""

    def leave_out(self, item: str, reason: str) -> None:
        """Record that *item* was left out."""
        self.left_out.append({"item": item, "reason": reason})

    def add(self, subject: Subject, containers: list[Path]) -> None:
        """Read one session and add its utterances, or its faults; one of another shard is passed over."""
        if not looking().holds(str(subject.session)):
            return
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
        name = f"{session.name}/{PurePosixPath(session.transcript or '').name}"
        for line, reason in sorted(interview.left_out):
            self.leave_out(f"{name}, row {line}", reason)
        self.cut_at_end += [f"{name}, row {line}" for line in interview.cut_at_end]
        if interview.channels != 1:
            self.channels[session.name] = interview.channels
        audio = self.note_audio(session, interview)
        self.rows += [self._row(subject, audio, item, interview.gain) for item in interview.utterances]

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
            "corpus": self.corpus,
            "session": str(subject.session),
            "phq8_score": subject.score,
            "overlap": utterance.overlap,
        }
        if gain is not None:
            row["gain"] = gain
        if self.keep_text:
            row["text"] = utterance.text
        return row
