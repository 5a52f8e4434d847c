"""From a transcript's rows to the participant's utterances: interruptions, overlaps, merging, minimum.

The order is fixed: what lies before the interviewer's first row goes, interruptions are cut out, overlaps
are kept, trimmed or dropped, consecutive rows are merged where asked for, and what is too short goes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Le

from sertransfer.config import NotNegative
from sertransfer.corpora.interviews.transcript import INTERVIEWER, PARTICIPANT, Transcript
from sertransfer.timebase import PRESETS, SAMPLE_RATE, samples_to_seconds, seconds_to_samples

FRAME = samples_to_seconds(PRESETS["65ms"].window, SAMPLE_RATE)
"""Seconds of one analysis frame of the paper (64 ms)."""

Overlaps = Literal["keep", "trim", "drop"]
Interval: TypeAlias = tuple[float, float]
"""Begin and end in seconds."""


@dataclass(frozen=True)
class SentenceOptions:
    """How rows of a transcript become sentences.

    Attributes:
        merge: Merge consecutive rows of the participant.
        merge_gap: Longest silence in seconds that merging bridges.
        minimum: Shortest sentence in seconds; the default is one frame.
        keep_nonverbal: Keep rows of nothing but non-verbal (``<laughter>``) or unclear (``xxx``) marks.
        level_normalise: Bring the participant's rows to one level by a gain for each session.
        level_dbfs: That level: RMS in dB of full scale.
    """

    merge: bool = False
    merge_gap: NotNegative = 1.0
    minimum: NotNegative = FRAME
    keep_nonverbal: bool = False
    level_normalise: bool = False
    level_dbfs: Annotated[float, Ge(-120), Le(0)] = -26.0


@dataclass(frozen=True)
class Utterance:
    """Speech of the participant.

    Attributes:
        line: Line of the transcript in which it begins.
        part: 1, or the number of the piece where a row was cut into several.
        first, last: Positions of its first and last row among the transcript's rows.
        start, end: Seconds in the audio file.
        overlap: Share of its duration that the interviewer talks over; ``None`` if that is not known.
        text: What the row says (of the whole row, also for a piece of it).
        confidence: Of an automatic transcript; of merged rows the lowest. ``None`` where there is none.
    """

    line: int
    part: int
    first: int
    last: int
    start: float
    end: float
    overlap: float | None
    text: str
    confidence: float | None = None


@dataclass(frozen=True)
class Rules:
    """The rules that cut rows into utterances: settings of a corpus, or of an interview of no corpus."""

    overlaps: str
    merge: bool
    merge_gap: float
    minimum: float

    @classmethod
    def of(cls, options: SentenceOptions) -> Rules:
        """Return the rules in *options*; overlaps are kept where these do not say what becomes of them."""
        overlaps = getattr(options, "overlaps", "keep")
        return cls(overlaps, options.merge, options.merge_gap, options.minimum)


@dataclass(frozen=True)
class Cutting:
    """The utterances, (line, reason) of what was left out, and the rows that the interruption touched."""

    utterances: list[Utterance]
    left_out: list[tuple[int, str]]
    interrupted: int


def cut_utterances(transcript: Transcript, rules: Rules, interruption: Interval | None = None) -> Cutting:
    """Return the participant's utterances in the order of their times."""
    talk = union((row.start, row.stop) for row in transcript.spoken_by(INTERVIEWER))
    opening = talk[0][0] if talk else 0.0
    left_out: list[tuple[int, str]] = []
    pieces: list[Utterance] = []
    interrupted = 0
    for row in transcript.spoken_by(PARTICIPANT):
        if row.start < opening:
            left_out.append((row.line, "before the interviewer's first row"))
            continue
        parts = [(row.start, row.stop)]
        if interruption is not None:
            parts = subtract(parts[0], [interruption])
            interrupted += parts != [(row.start, row.stop)]
            if not parts:
                left_out.append((row.line, "inside the interruption of the interview"))
                continue
        if rules.overlaps == "drop" and any(_overlap(part, talk) for part in parts):
            left_out.append((row.line, "overlaps with the interviewer"))
            continue
        if rules.overlaps == "trim":
            parts = [piece for part in parts for piece in subtract(part, talk)]
            if not parts:
                left_out.append((row.line, "nothing left beside the interviewer's speech"))
        pieces += [
            Utterance(row.line, number, row.order, row.order, start, end, None, row.text, row.confidence)
            for number, (start, end) in enumerate(parts, start=1)
        ]
    if rules.merge:
        cuts = [interruption] if interruption is not None else []
        pieces = _merge(pieces, rules.merge_gap, cuts + (talk if rules.overlaps == "trim" else []))
    utterances = []
    for piece in pieces:
        samples = seconds_to_samples(piece.end, SAMPLE_RATE) - seconds_to_samples(piece.start, SAMPLE_RATE)
        # Nothing of no length, even where no minimum is asked for.
        if samples < max(1, seconds_to_samples(rules.minimum, SAMPLE_RATE)):
            left_out.append((piece.line, f"shorter than {rules.minimum:g} s"))
            continue
        share = _overlap((piece.start, piece.end), talk) / (piece.end - piece.start)
        utterances.append(replace(piece, overlap=round(share, 6) if talk else None))
    utterances.sort(key=lambda piece: (piece.start, piece.line, piece.part))
    return Cutting(utterances, left_out, interrupted)


def interviewer_turns(
    transcript: Transcript, minimum: float, interruption: Interval | None = None
) -> list[Interval]:
    """Return where the interviewer alone speaks, in order, of *minimum* seconds or more.

    It is the participant's microphone, so that what the participant says meanwhile must go. The same
    interruption is cut out as of the participant's rows.
    """
    cuts = [(row.start, row.stop) for row in transcript.spoken_by(PARTICIPANT)]
    cuts = union(cuts if interruption is None else [*cuts, interruption])
    talk = union((row.start, row.stop) for row in transcript.spoken_by(INTERVIEWER))
    least = max(1, seconds_to_samples(minimum, SAMPLE_RATE))
    return [
        (start, end)
        for turn in talk
        for start, end in subtract(turn, cuts)
        if seconds_to_samples(end, SAMPLE_RATE) - seconds_to_samples(start, SAMPLE_RATE) >= least
    ]


def _merge(pieces: Sequence[Utterance], gap: float, cuts: Sequence[Interval]) -> list[Utterance]:
    """Join pieces of neighbouring rows with at most *gap* seconds between, and no cut between them.

    Rows are neighbours when no other row stands between, be it the interviewer's or one that was left out.
    """
    merged: list[Utterance] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if (
            last is not None
            and piece.first == last.last + 1
            and last.start <= piece.start
            # To the microsecond, as the times are: a gap of exactly the limit is bridged.
            and round(piece.start - last.end, 6) <= gap
            and not any(begin < piece.start and last.end < end for begin, end in cuts)
        ):
            text = f"{last.text} {piece.text}"
            known = [item.confidence for item in (last, piece) if item.confidence is not None]
            confidence, end = min(known, default=None), max(last.end, piece.end)
            merged[-1] = replace(last, last=piece.last, end=end, text=text, confidence=confidence)
        else:
            merged.append(piece)
    return merged


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the union of *intervals* as disjoint intervals in order.

    Examples:
        >>> union([(4, 5), (0, 2), (1, 3)])
        [(0, 3), (4, 5)]
    """
    joined: list[Interval] = []
    for start, end in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def subtract(interval: Interval, cuts: Iterable[Interval]) -> list[Interval]:
    """Return what remains of *interval* without *cuts*, which are disjoint and in order.

    Examples:
        >>> subtract((0, 10), [(2, 3), (9, 12)])
        [(0, 2), (3, 9)]
    """
    start, end = interval
    rest = []
    for begin, stop in cuts:
        if stop <= start or begin >= end or begin == stop:
            continue
        if begin > start:
            rest.append((start, begin))
        start = stop
        if start >= end:
            return rest
    return [*rest, (start, end)]


def _overlap(interval: Interval, cuts: Iterable[Interval]) -> float:
    """Return the seconds of *interval* that lie in *cuts*, which are disjoint."""
    return sum(max(0.0, min(interval[1], end) - max(interval[0], begin)) for begin, end in cuts)
