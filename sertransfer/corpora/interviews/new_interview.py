"""An interview of no corpus: its transcript, in DAIC-WOZ's or E-DAIC's form, cut as the corpora's are."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from sertransfer.corpora.interviews.segments import (
    Overlaps,
    Rules,
    SentenceOptions,
    Utterance,
    cut_utterances,
)
from sertransfer.corpora.interviews.transcript import INTERVIEWER, as_daic_woz, is_e_daic, parse_transcript
from sertransfer.errors import Faults


@dataclass(frozen=True)
class CutOptions(SentenceOptions):
    """How an interview of no corpus is cut.

    Attributes:
        overlaps: What becomes of a row that the interviewer talks over: ``keep``, ``trim`` or ``drop``.
    """

    overlaps: Overlaps = "keep"


def known_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return those of a corpus's *options* that say how its transcripts were cut."""
    return {name: options[name] for name in asdict(CutOptions()) if name in options}


@dataclass(frozen=True)
class Cuts:
    """What a transcript gave.

    Attributes:
        utterances: The participant's, in the order of their times.
        left_out: (line, reason) of each participant row that a rule left out, and of each that spans others.
        interviewer: Whether the transcript has rows of the interviewer.
    """

    utterances: list[Utterance]
    left_out: list[tuple[int, str]]
    interviewer: bool


def cut_transcript(
    data: bytes, where: str, options: CutOptions, faults: Faults, *, duration: float = math.inf
) -> Cuts | None:
    """Cut an interview by its transcript.

    Args:
        data: The file's bytes, TAB-separated as DAIC-WOZ's or comma-separated as E-DAIC's.
        where: The file's name, for the messages.
        options: How it is cut.
        faults: Receives a skippable fault for each faulty row, and one for a file that is no transcript.
        duration: Length of the audio in seconds.

    Returns:
        The sentences, or ``None`` if the file is no transcript or nothing in it can be used.
    """
    table: bytes | None = data
    if is_e_daic(data):
        table = as_daic_woz(data, where, faults)
    if table is None:
        return None
    transcript = parse_transcript(
        table, where, faults, duration=duration, keep_nonverbal=options.keep_nonverbal
    )
    if transcript is None:
        return None
    cutting = cut_utterances(transcript, Rules.of(options))
    if not cutting.utterances:
        faults.add(
            where,
            found="no usable sentence of the participant",
            expected="rows of the speaker Participant that the rules for marks, overlaps and length leave",
            remedy="check the transcript and the options",
            skippable=True,
        )
        return None
    interviewer = bool(transcript.spoken_by(INTERVIEWER))
    return Cuts(cutting.utterances, sorted([*transcript.dropped, *cutting.left_out]), interviewer)
