import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sertransfer.errors import BadInput
from sertransfer.timebase import PRESETS, Framing, parse_framing, samples_to_seconds, seconds_to_samples


@pytest.mark.parametrize(
    ("seconds", "samples"),
    [(0, 0), (0.5 / 16000, 1), (0.49 / 16000, 0), (1.5 / 16000, 2), (1.1, 17600), (34.319917, 549119)],
)
def test_seconds_round_half_up(seconds, samples):
    assert seconds_to_samples(seconds, 16000) == samples


@given(st.integers(0, 2**40), st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]))
def test_the_exact_end_of_a_file_comes_back(samples, rate):
    assert seconds_to_samples(samples_to_seconds(samples, rate), rate) == samples


@given(st.floats(0, 1e5), st.floats(0, 1e5))
def test_order_is_kept(one, other):
    low, high = sorted((one, other))
    assert seconds_to_samples(low, 16000) <= seconds_to_samples(high, 16000)


@pytest.mark.parametrize("seconds", [math.nan, math.inf])
def test_no_time_is_refused(seconds):
    with pytest.raises(ValueError, match="no time"):
        seconds_to_samples(seconds, 16000)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("samples", [1, 159, 160, 511, 512, 513, 16000, 16001])
def test_frame_count_is_that_of_a_centred_transform(name, samples):
    framing = PRESETS[name]
    spectrum = torch.stft(
        torch.zeros(samples), framing.n_fft, framing.hop, framing.window, torch.hann_window(framing.window),
        center=True, pad_mode="constant", return_complex=True,
    )  # fmt: skip
    assert spectrum.shape[-1] == framing.frames(samples)


def test_presets_are_the_papers_and_asrs():
    assert PRESETS["65ms"] == Framing(1024, 512, 1024)
    assert PRESETS["25ms"] == Framing(400, 160, 512)
    assert PRESETS["65ms"].name == "65ms"


def test_a_framing_in_milliseconds():
    framing = parse_framing("40/10ms")
    assert (framing.window, framing.hop, framing.n_fft) == (640, 160, 1024)
    assert framing.name == "40/10ms"
    assert np.log2(parse_framing("64/32ms").n_fft) == 10


@pytest.mark.parametrize("text", ["65", "fast", "40/ms", "10/40ms", "0/0ms"])
def test_a_wrong_framing_is_refused(text):
    with pytest.raises(BadInput, match="expected"):
        parse_framing(text)
