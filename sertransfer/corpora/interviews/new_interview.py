"""An interview of no corpus: cut by its transcript as the corpora's are, or without one by voice activity.

A transcript has DAIC-WOZ's or E-DAIC's form. Silero's detector of speech is an optional library, whose
network comes inside its package: nothing is downloaded. It knows speech from silence and noise, not one
speaker from another.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sertransfer.corpora.interviews.segments import (
    Overlaps,
    Rules,
    SentenceOptions,
    Utterance,
    cut_utterances,
)
from sertransfer.corpora.interviews.transcript import INTERVIEWER, as_daic_woz, is_e_daic, parse_transcript
from sertransfer.errors import Faults, bad_input
from sertransfer.timebase import SAMPLE_RATE, samples_to_seconds


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


LONGEST = 15.0
"""Seconds after which speech without a pause is cut at its best place."""

PAUSE_MS = 300
"""Shortest pause in milliseconds that ends a piece: within a sentence people pause for less."""


def find_speech(waveform: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Return begin and end in seconds of each piece of speech, in order.

    Args:
        waveform: Shape ``(samples,)``, at :data:`sertransfer.timebase.SAMPLE_RATE`, full scale 1.

    Raises:
        BadInput: If the detector is not installed.
    """
    import torch

    threads = torch.get_num_threads()
    detector = _open()  # whose import sets one thread for the whole process
    try:
        found: list[dict[str, int]] = detector.get_speech_timestamps(
            torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32)),
            detector.load_silero_vad(),
            sampling_rate=SAMPLE_RATE,
            min_silence_duration_ms=PAUSE_MS,
            max_speech_duration_s=LONGEST,
        )
    finally:
        torch.set_num_threads(threads)
    return [
        (samples_to_seconds(piece["start"], SAMPLE_RATE), samples_to_seconds(piece["end"], SAMPLE_RATE))
        for piece in found
    ]


def _open() -> Any:
    try:
        import silero_vad
    except ImportError:
        raise bad_input(
            "voice activity",
            found="no detector installed",
            expected="the package silero-vad",
            remedy="run 'make vad' (or pip install -r requirements-vad.lock), or give a transcript with"
            " --transcript FILE",
        ) from None
    return silero_vad
