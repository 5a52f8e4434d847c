"""Where somebody speaks in a recording, by Silero's voice activity detector (an optional library).

The detector's network comes inside its package: nothing is downloaded. It knows speech from silence and
noise, not one speaker from another.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sertransfer.errors import bad_input
from sertransfer.timebase import SAMPLE_RATE, samples_to_seconds

LONGEST = 15.0
"""Seconds after which speech without a pause is cut at its best place."""

PAUSE_MS = 300
"""Shortest pause in milliseconds that ends a piece: within a sentence people pause for less."""


def find_speech(waveform: NDArray[np.float32], *, longest: float = LONGEST) -> list[tuple[float, float]]:
    """Return begin and end in seconds of each piece of speech, in order.

    Args:
        waveform: Shape ``(samples,)``, at :data:`sertransfer.timebase.SAMPLE_RATE`, full scale 1.
        longest: Seconds that a piece has at most; ``math.inf`` for no limit.

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
            max_speech_duration_s=longest if math.isfinite(longest) else float("inf"),
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
