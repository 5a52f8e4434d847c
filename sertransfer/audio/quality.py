"""In what state a recording is: level, bandwidth and clipping of its speech."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch

WINDOW = 512
"""Samples of a spectrum's window; at 16 kHz its lines stand 31 Hz apart."""

FLOOR_DB = -60.0
"""What lies further below the highest line of the mean spectrum does not count as band."""

_AT_ONCE = 2**20
"""Samples whose spectra are taken at once: they need twenty times the memory of the waveform."""

CLIPPED = 0.999
"""Share of full scale from which on a sample counts as clipped."""


@dataclass(frozen=True)
class Condition:
    """State of some speech.

    Attributes:
        level_dbfs: RMS in dB of full scale; ``-inf`` for silence.
        bandwidth_hz: Highest frequency of the mean spectrum within :data:`FLOOR_DB` of its highest line.
        clipped: Share of the samples at full scale.
    """

    level_dbfs: float
    bandwidth_hz: float
    clipped: float


def measure_condition(waveforms: Iterable[NDArray[np.float32]], sample_rate: int) -> Condition:
    """Measure speech that may come in pieces.

    Args:
        waveforms: Each of shape ``(samples,)``, full scale 1; one sample in all at least.
        sample_rate: In Hz.
    """
    spectrum = np.zeros(WINDOW // 2 + 1)
    energy, samples, clipped = 0.0, 0, 0
    pieces = (whole[n : n + _AT_ONCE] for whole in waveforms for n in range(0, len(whole), _AT_ONCE))
    for piece in pieces:
        waveform = piece.astype(np.float64)
        energy += float(waveform @ waveform)
        samples += len(waveform)
        clipped += int((np.abs(waveform) >= CLIPPED).sum())
        padded = np.pad(waveform, (0, max(0, WINDOW - len(waveform))))
        spectrum += welch(padded, nperseg=WINDOW, detrend=False)[1] * len(waveform)
    if energy == 0:
        return Condition(float("-inf"), 0.0, 0.0)
    heard = np.flatnonzero(spectrum >= spectrum.max() * 10 ** (FLOOR_DB / 10))
    return Condition(
        level_dbfs=float(10 * np.log10(energy / samples)),
        bandwidth_hz=float(heard[-1] * sample_rate / WINDOW),
        clipped=clipped / samples,
    )
