"""Level, bandwidth and clipping of sounds that are known."""

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from sertransfer.audio.quality import measure_condition

RATE = 16_000


def noise(seconds=1.0, level=0.1):
    return np.random.default_rng(0).normal(0, level, int(seconds * RATE)).astype(np.float32)


def test_a_sine_has_its_level_and_its_frequency():
    sine = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.float32)
    found = measure_condition([sine], RATE)
    assert found.level_dbfs == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01)
    assert 1000 <= found.bandwidth_hz < 1600
    assert found.clipped == 0


def test_a_band_that_ends_is_found():
    narrow = sosfilt(butter(12, 3400, fs=RATE, output="sos"), noise()).astype(np.float32)
    assert measure_condition([noise()], RATE).bandwidth_hz == 8000
    assert 3400 < measure_condition([narrow], RATE).bandwidth_hz < 6500


def test_pieces_count_by_their_length():
    whole = noise()
    parts = measure_condition([whole[:300], whole[300:]], RATE)
    assert parts.level_dbfs == pytest.approx(measure_condition([whole], RATE).level_dbfs)


def test_clipping_and_silence():
    assert measure_condition([np.clip(noise(level=1.0), -1, 1)], RATE).clipped == pytest.approx(
        0.317, abs=0.02
    )
    silent = measure_condition([np.zeros(100, np.float32)], RATE)
    assert (silent.level_dbfs, silent.bandwidth_hz, silent.clipped) == (float("-inf"), 0, 0)
