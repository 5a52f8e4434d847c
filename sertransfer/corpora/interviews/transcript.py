"""Transcripts of DAIC-WOZ (with speakers) and E-DAIC (automatic, without): rows, and the marks in them.

DAIC-WOZ's are TAB-separated rows ``start_time stop_time speaker value``; E-DAIC's, comma-separated
``Start_Time, End_Time, Text, Confidence``, are brought to that form, line for line, so that one parser knows
the marks and checks the times. Rows of E-DAIC stand for the participant, though some may carry words of the
interviewer.

Rows that are not speech of the interview go first, whatever their times are: synchronisation marks, words to
the experimenter, scrubbed entries (the waveform is zeroed there), empty rows, and participant rows with
nothing but non-verbal (``<laughter>``) or not-understood (``xxx``) marks. Brackets alone are no reason:
``people <peop>`` is a cut-off word. Then the times of what is left are checked.

In 83 transcripts of E-DAIC a last row starts far before the row above it and runs to the end of the
interview; audio cut by it would hold the interviewer too. A row of over a minute that starts before an
earlier row of the same speaker has ended is therefore left out. A message never quotes a transcript's text.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from sertransfer.errors import BadInput, Faults
from sertransfer.io.csv_tables import decode_lines, split_rows
from sertransfer.timebase import PRESETS, samples_to_seconds

INTERVIEWER, PARTICIPANT = "ellie", "participant"
COLUMNS = ("start_time", "stop_time", "speaker", "value")
CONFIDENCE = "confidence"
"""Optional column, of automatic transcripts."""
END_TOLERANCE = samples_to_seconds(PRESETS["65ms"].hop, PRESETS["65ms"].sample_rate)
"""Seconds by which a stop time may lie past the end of the file (one hop); it is cut then."""

SPANNING_SECONDS = 60.0
"""A row that spans the interview is longer than this; no other row of E-DAIC is."""
SPANNING_TOLERANCE = 1.0
"""Seconds, at least, by which it starts before an earlier row of its speaker ended (minutes in E-DAIC)."""
SPANNING_REASON = (
    "spans other rows: over 60 s long, and starts before an earlier row of the speaker has ended"
)

NO_TEXT = "no text"
_SCRUBBED = "scrubbed_entry"
_SYNC = re.compile(r"[<\[]\s*sync(?:h|ing|hing)?\b", re.IGNORECASE)
_STAGE = re.compile(r"<\s*(?:ellie starts|talking to experimenter)\b", re.IGNORECASE)
# A bracket that is never closed takes what follows up to the next space.
_BRACKETED = re.compile(r"<[^<>]*>|\[[^\[\]]*\]|[<\[]\S*")
_NOT_UNDERSTOOD = re.compile(r"\bx{3,}\b", re.IGNORECASE)
_TIME = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Row:
    """One row with speech.

    Attributes:
        line: Line in the file (the header is line 1).
        order: Position among the rows that are not blank; neighbours differ by 1.
        start, stop: Seconds in the audio file, erratum shift included.
        speaker: :data:`INTERVIEWER` or :data:`PARTICIPANT`.
        text: What was said.
        confidence: Of an automatic transcript, from 0 to 1; ``None`` where the file gives none.
    """

    line: int
    order: int
    start: float
    stop: float
    speaker: str
    text: str
    confidence: float | None = None


@dataclass
class Transcript:
    """A transcript's rows with speech.

    Attributes:
        rows: In the file's order.
        dropped: (line, reason) of participant rows that rules left out, and of rows that span others.
        cut_at_end: Lines whose stop time was cut to the end of the file.
        spanning: Lines that span others and were left out for that.
    """

    rows: list[Row] = field(default_factory=list)
    dropped: list[tuple[int, str]] = field(default_factory=list)
    cut_at_end: list[int] = field(default_factory=list)
    spanning: list[int] = field(default_factory=list)

    def spoken_by(self, speaker: str) -> list[Row]:
        """Return the rows of one speaker, in the file's order."""
        return [row for row in self.rows if row.speaker == speaker]


def mark_of(text: str) -> str | None:
    """Return why a row with this text is no speech of the interview, whoever speaks, or ``None``."""
    if not text.strip():
        return NO_TEXT
    if _SCRUBBED in text.lower():
        return "scrubbed entry: the waveform is zeroed there"
    if _SYNC.search(text):
        return "synchronisation mark"
    if _STAGE.search(text):
        return "mark of the experimenter"
    return None


def has_words(text: str) -> bool:
    """Tell whether anything stands beside non-verbal and not-understood marks.

    Examples:
        >>> has_words("people <peop>"), has_words("<laughter> xxx")
        (True, False)
    """
    return re.search(r"\w", _NOT_UNDERSTOOD.sub(" ", _BRACKETED.sub(" ", text))) is not None


def parse_transcript(
    data: bytes,
    where: str,
    faults: Faults,
    *,
    duration: float = math.inf,
    shift: float = 0.0,
    keep_nonverbal: bool = False,
    keep_spanning: bool = False,
) -> Transcript | None:
    """Read a transcript; each faulty row is a skippable fault and is left out.

    Args:
        data: The file's bytes.
        where: The file's name, for the messages.
        faults: Receives the faults.
        duration: Length of the audio in seconds.
        shift: Seconds to add to every time.
        keep_nonverbal: Keep participant rows of nothing but non-verbal or not-understood marks.
        keep_spanning: Keep rows that span others.

    Returns:
        The transcript, or ``None`` if the file as a whole is no transcript (one fault says why).
    """
    lines = _lines(data)
    filled = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    problem = _header_problem(data, filled)
    if problem is not None:
        faults.add(
            f"{where}, row {filled[0][0]}" if filled else where,
            found=problem,
            expected=f"a TAB-separated transcript with the header {' '.join(COLUMNS)}",
            remedy="copy the transcript again, or leave the session out",
            skippable=True,
        )
        return None
    header = _names(filled[0][1])
    at = {name: header.index(name) for name in (*COLUMNS, CONFIDENCE) if name in header}
    checks = _Rows(where, faults, duration, shift, at, len(header))
    transcript = Transcript()
    ended: dict[str | None, float] = {}  # where each speaker's rows so far have ended
    for order, (line, content) in enumerate(filled[1:]):
        cells = [cell.strip() for cell in content.split("\t")]
        speaker, text = checks.speaker_and_text(cells)
        reason = _reason_to_drop(speaker, text, keep_nonverbal)
        if reason is not None:
            if speaker != INTERVIEWER:
                transcript.dropped.append((line, reason))
        elif checks.well_formed(line, cells):
            times = checks.times(line, cells)
            if times is None:
                continue
            start, stop = times
            # To the microsecond, as the times are: a minute is no longer than a minute.
            back = round(ended.get(speaker, start) - start, 6)
            long = round(stop - start, 6) > SPANNING_SECONDS
            if not keep_spanning and long and back > SPANNING_TOLERANCE:
                transcript.spanning.append(line)
                transcript.dropped.append((line, SPANNING_REASON))
            elif checks.inside(line, cells, start, stop):
                ended[speaker] = max(ended.get(speaker, start), stop)
                transcript.cut_at_end += [line] if stop > duration else []
                confidence = checks.confidence(cells)
                stop = min(stop, duration)
                transcript.rows.append(Row(line, order, start, stop, str(speaker), text, confidence))
    return transcript


def _reason_to_drop(speaker: str | None, text: str, keep_nonverbal: bool) -> str | None:
    """Return why a row is left out by rule; *speaker* is ``None`` where the row has no such cell."""
    reason = mark_of(text)
    if reason == NO_TEXT:
        # Under an unknown speaker, or without one, an empty value rather means that cells are missing.
        return reason if speaker in (INTERVIEWER, PARTICIPANT, "") else None
    if reason is None and speaker == PARTICIPANT and not (keep_nonverbal or has_words(text)):
        return "no words: only non-verbal or not-understood marks"
    return reason


@dataclass(frozen=True)
class _Rows:
    """Checks single rows against the file they are about."""

    where: str
    faults: Faults
    duration: float
    shift: float
    at: dict[str, int]
    width: int

    def _add(self, line: int, found: str, expected: str, remedy: str) -> None:
        self.faults.add(
            f"{self.where}, row {line}", found=found, expected=expected, remedy=remedy, skippable=True
        )

    def speaker_and_text(self, cells: list[str]) -> tuple[str | None, str]:
        """Return the speaker in lower case (``None``: no such cell) and the text (a TAB in it is a space)."""
        speaker, value = self.at["speaker"], self.at["value"]
        last = len(cells) if value == self.width - 1 else value + 1
        return (cells[speaker].lower() if len(cells) > speaker else None), " ".join(cells[value:last])

    def well_formed(self, line: int, cells: list[str]) -> bool:
        needed = max(index for name, index in self.at.items() if name not in ("value", CONFIDENCE)) + 1
        if len(cells) < needed:
            found, expected = f"{len(cells)} TAB-separated cells", ", ".join(COLUMNS)
            self._add(line, found, expected, "correct the row")
            return False
        speaker = cells[self.at["speaker"]]
        if speaker.lower() not in (INTERVIEWER, PARTICIPANT):
            found = f"speaker {self._shown(speaker, cells)}"
            self._add(line, found, "Ellie or Participant", "correct the speaker")
            return False
        cell = self._confidence_cell(cells)
        if cell and not 0 <= (-1.0 if (value := _seconds(cell)) is None else value) <= 1:
            found = f"confidence {self._shown(cell, cells)}"
            self._add(line, found, "a number from 0 to 1, or nothing", "correct the row")
            return False
        return True

    def _confidence_cell(self, cells: list[str]) -> str:
        place = self.at.get(CONFIDENCE, len(cells))
        return cells[place] if place < len(cells) else ""

    def confidence(self, cells: list[str]) -> float | None:
        """Return the confidence of a well-formed row."""
        cell = self._confidence_cell(cells)
        return float(cell) if cell else None

    def _times_found(self, cells: list[str]) -> str:
        first, last = (self._shown(cells[self.at[name]], cells) for name in ("start_time", "stop_time"))
        return f"start {first}, stop {last}"

    def times(self, line: int, cells: list[str]) -> tuple[float, float] | None:
        """Return start and stop in seconds of the audio file, which may lie outside of it."""
        start, stop = (_seconds(cells[self.at[name]]) for name in ("start_time", "stop_time"))
        if start is None or stop is None:
            expected = "two times in seconds such as 12.345"
            self._add(line, self._times_found(cells), expected, "correct the times")
            return None
        if stop < start:
            expected = "a stop that is not before the start"
            self._add(line, self._times_found(cells), expected, "correct the times")
            return None
        # To the microsecond (a 60th of a sample), so that no binary noise of the sum reaches the manifest.
        return round(start + self.shift, 6), round(stop + self.shift, 6)

    def inside(self, line: int, cells: list[str], start: float, stop: float) -> bool:
        """Return whether a row lies inside the audio, up to :data:`END_TOLERANCE` at its end."""
        found = self._times_found(cells)
        if self.shift:
            found = f"{found} (with {self.shift:g} s added by the erratum)"
        if start < 0:
            self._add(line, found, "times from 0 s on", "correct the times")
            return False
        if start >= self.duration or stop > self.duration + END_TOLERANCE:
            expected = f"times inside the audio, which is {self.duration:.3f} s long"
            self._add(line, found, expected, "check that audio and transcript belong together and are whole")
            return False
        return True

    def _shown(self, cell: str, cells: list[str]) -> str:
        """Return a cell for a message; what may be a transcript's text (moved columns) is not quoted."""
        letters = r"\w" if len(cells) >= self.width else r"\d"
        if len(cell) <= 24 and re.fullmatch(rf"[{letters}.,:+-]*", cell):
            return f"'{cell}'"
        return f"a text of {len(cell)} characters"


def _lines(data: bytes) -> list[str]:
    # Undecodable bytes can only stand in the text, which is not used: they are no reason to refuse a file.
    text = data.decode("utf-8-sig", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _names(line: str) -> list[str]:
    return [cell.strip(" ,").lower() for cell in line.split("\t")]


NO_COLUMNS = "none of the columns of a transcript in its first line"


def _header_problem(data: bytes, filled: list[tuple[int, str]]) -> str | None:
    """Return what is wrong with the file as a whole, or ``None``."""
    if b"\0" in data:
        return "binary data, or text that is not UTF-8"
    if not filled:
        return "an empty file"
    line = filled[0][1]
    missing = [name for name in COLUMNS if name not in _names(line)]
    if not missing:
        return None
    for delimiter, name in ((",", "comma"), (";", "semicolon"), (" ", "space")):
        cells = {cell.strip().lower() for cell in line.split(delimiter)}
        if len(cells.intersection(COLUMNS)) > 1:
            return f"the {name} as the delimiter"
    if len(missing) < len(COLUMNS):
        return f"a header without {', '.join(missing)}"
    return NO_COLUMNS


def _seconds(cell: str) -> float | None:
    if not _TIME.fullmatch(cell):
        return None
    seconds = float(cell)
    return seconds if math.isfinite(seconds) else None


HEADER = ("start_time", "end_time", "text")
"""Columns that are needed, in any case; the fourth is Confidence."""

LEAVE_OUT = "download it again, or leave it out"


def is_e_daic(data: bytes) -> bool:
    """Tell whether a file's first line with content is the header of a transcript of E-DAIC."""
    lines = data.decode("utf-8-sig", errors="replace").splitlines()
    first = next((line for line in lines if line.strip()), "")
    return _columns(first.split(",")) is not None


def as_daic_woz(data: bytes, where: str, faults: Faults) -> bytes | None:
    """Return a transcript in DAIC-WOZ's form; ``None`` if it is none.

    Args:
        data: The file's bytes.
        where: The file's name, for the messages.
        faults: Receives a skippable fault for each faulty row, or one that says why it is no transcript.
    """

    def bad(place: str, found: str, expected: str) -> None:
        faults.add(place, found=found, expected=expected, remedy=LEAVE_OUT, skippable=True)

    try:
        given = decode_lines(data, where, errors="replace")
    except BadInput:
        bad(where, "binary data, or text that is not UTF-8", "a comma-separated transcript")
        return None
    rows, _ = split_rows(given, where, faults, even=False)
    lines = [""] * len(given)
    at = _columns(rows[0].cells) if rows else None
    for number, cells in rows:
        if at is None:
            break
        if number == rows[0].number:
            # The text comes last: whatever it holds, it is then one cell.
            lines[number - 1] = "\t".join((*COLUMNS[:-1], CONFIDENCE, COLUMNS[-1]))
        elif len(cells) <= max(at[name] for name in HEADER):
            found = f"{len(cells)} comma-separated cells"
            bad(f"{where}, row {number}", found, "Start_Time, End_Time, Text, Confidence")
        else:
            start, stop, text = (" ".join(cells[at[name]].split()) for name in HEADER)
            # A comma in an unquoted text moves what follows it.
            whole = CONFIDENCE in at and len(cells) == len(rows[0].cells)
            sure = " ".join(cells[at[CONFIDENCE]].split()) if whole else ""
            lines[number - 1] = f"{start}\t{stop}\tParticipant\t{sure}\t{text}"
    if at is None:
        found = NO_COLUMNS if data.strip() else "an empty file"
        bad(where, found, "a comma-separated transcript with Start_Time, End_Time, Text, Confidence")
        return None
    return ("\n".join(lines) + "\n").encode()


def _columns(cells: list[str]) -> dict[str, int] | None:
    names = [cell.strip().casefold() for cell in cells]
    if not set(HEADER) <= set(names):
        return None
    return {name: names.index(name) for name in (*HEADER, CONFIDENCE) if name in names}
