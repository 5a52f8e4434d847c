"""One interview of DAIC-WOZ: from its two files to the participant's utterances, or to faults."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sertransfer.audio.reading import AudioInfo, inspect
from sertransfer.corpora.interviews.errata import SPANNING, ErrataLog, Erratum
from sertransfer.corpora.interviews.level import speech_gain
from sertransfer.corpora.interviews.segments import (
    Cutting,
    Interval,
    Rules,
    Utterance,
    cut_utterances,
    interviewer_turns,
)
from sertransfer.corpora.interviews.sessions import Session
from sertransfer.corpora.interviews.transcript import INTERVIEWER, PARTICIPANT, Transcript, parse_transcript
from sertransfer.errors import BadInput, Faults

_LEAVE_OUT = "download the session again, or leave it out"


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
    """

    rules: Rules
    keep_nonverbal: bool
    level_dbfs: float | None
    errata: ErrataLog
    faults: Faults

    def read(self, number: int, session: Session) -> Interview | None:
        """Read session *number*; ``None`` if it can not be used, the faults say why (all of them)."""
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
            data = session.read_transcript()
        except OSError as error:
            self._add(session.transcript_name, error.strerror or str(error), "a readable transcript")
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
