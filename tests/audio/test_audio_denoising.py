"""Spectral subtraction: what it takes for noise, what it leaves, and its two variants."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sertransfer.audio.logmel import MelFrontEnd, noise_power, restore, subtract, whole_frames
from sertransfer.front_end import Denoise, FrontEnd
from sertransfer.timebase import PRESETS, Framing


def test_noise_is_the_mean_of_the_frames_of_lowest_energy() -> None:
    level = torch.tensor([9.0, 1.0, 5.0, 2.0, 8.0, 7.0, 6.0, 4.0, 3.0, 10.0])
    power = level[:, None] * torch.tensor([1.0, 2.0])
    torch.testing.assert_close(noise_power(power, 0.2), torch.tensor([1.5, 3.0]))
    torch.testing.assert_close(noise_power(power, 0.01), torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(noise_power(power, 1.0), torch.tensor([5.5, 11.0]))


def test_digital_silence_is_no_noise() -> None:
    power = torch.cat([torch.zeros(5, 3), torch.full((2, 3), 4.0), torch.full((8, 3), 9.0)])
    torch.testing.assert_close(noise_power(power, 0.2), torch.full((3,), 4.0))
    torch.testing.assert_close(noise_power(torch.zeros(4, 3), 0.2), torch.zeros(3))


def test_the_formula_is_beroutis() -> None:
    power = torch.tensor([[10.0, 3.0, 0.0]])
    noise = torch.tensor([2.0, 2.0, 2.0])
    settings = Denoise(over_subtraction=2.0, floor=0.1)
    torch.testing.assert_close(subtract(power, noise, settings), torch.tensor([[6.0, 0.2, 0.2]]))


@pytest.mark.parametrize("samples", [1, 500, 1023, 1024, 1025, 1536, 5000])
@pytest.mark.parametrize("framing", PRESETS.values(), ids=PRESETS)
def test_whole_frames_are_those_inside_the_signal(samples: int, framing: Framing) -> None:
    half = framing.n_fft // 2
    inside = [
        i
        for i in range(framing.frames(samples))
        if i * framing.hop >= half and i * framing.hop + half <= samples
    ]
    everything = list(range(framing.frames(samples)))
    assert everything[whole_frames(framing, samples)] == (inside or everything)


def noisy(samples: int = 32000) -> tuple[torch.Tensor, torch.Tensor]:
    """A tone in the middle third over white noise (generated): the signal and the noise."""
    rng = np.random.default_rng(0)
    noise = 0.01 * torch.from_numpy(rng.standard_normal(samples).astype(np.float32))
    tone = 0.3 * torch.sin(torch.arange(samples) * 0.4)
    tone[: samples // 3] = 0
    tone[2 * samples // 3 :] = 0
    return tone, noise


def test_restoring_removes_noise_and_keeps_the_signal() -> None:
    tone, noise = noisy()
    framing = PRESETS["65ms"]
    restored = restore(tone + noise, torch.hann_window(1024), framing, Denoise())
    assert restored.shape == tone.shape
    pause = slice(0, 10000)
    assert float(restored[pause].square().mean()) < 0.2 * float(noise[pause].square().mean())
    voiced = slice(12000, 20000)
    assert float((restored - tone)[voiced].square().mean()) < 0.02 * float(tone[voiced].square().mean())


@pytest.mark.parametrize("samples", [1, 700, 1024, 9999, 16384])
def test_restoring_without_noise_gives_the_signal_back_to_its_very_ends(samples: int) -> None:
    wave = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, samples).astype(np.float32))
    for framing in PRESETS.values():
        left = (framing.n_fft - framing.window) // 2
        window = torch.nn.functional.pad(
            torch.hann_window(framing.window), (left, framing.n_fft - framing.window - left)
        )
        restored = restore(wave, window, framing, Denoise(over_subtraction=0.0, floor=0.0))
        torch.testing.assert_close(restored, wave, rtol=0, atol=1e-5)


def test_both_variants_lower_the_noise_and_agree_on_what_is_left() -> None:
    tone, noise = noisy()
    plain, one_pass, resynthesised = (
        MelFrontEnd(FrontEnd(denoise=denoise, normalise="none", log_floor=1e-6))(tone + noise)
        for denoise in (Denoise("none"), Denoise(), Denoise(resynthesis=True))
    )
    pause = slice(2, 15)
    for denoised in (one_pass, resynthesised):
        assert float((plain - denoised)[:, pause].mean()) > 1.0
    loud = plain > plain.max() - 3
    assert int(loud.sum()) > 20
    torch.testing.assert_close(one_pass[loud], plain[loud], rtol=0, atol=0.05)
    torch.testing.assert_close(resynthesised[loud], plain[loud], rtol=0, atol=0.2)
