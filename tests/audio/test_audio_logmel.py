"""Mel spectrograms: parity with torchaudio and librosa, and finite output whatever comes."""

from __future__ import annotations

from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.errors import BadInput
from sertransfer.front_end import Denoise, FrontEnd
from sertransfer.timebase import PRESETS, Framing

PLAIN = FrontEnd(denoise=Denoise("none"), gain=1.0, log="none", normalise="none")


def speechlike(samples: int, seed: int = 0) -> torch.Tensor:
    """Harmonics that come and go, over faint noise (generated, no speech)."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 16000
    voice = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 30))
    wave = 0.2 * voice * np.clip(np.sin(2 * np.pi * 1.5 * time), 0, 1) + 0.01 * rng.standard_normal(samples)
    return torch.from_numpy(wave.astype(np.float32))


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest deviation, relative to the band's own level."""
    return float(np.max(np.abs(found - expected) / (np.abs(expected).mean(axis=1, keepdims=True) + 1e-12)))


@pytest.mark.parametrize("framing", [PRESETS["65ms"], PRESETS["25ms"], Framing(600, 600, 600)], ids=str)
@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", "none"])
@pytest.mark.filterwarnings("ignore:.*mel filter.*:UserWarning", "ignore:Empty filters:UserWarning")
def test_power_mels_are_those_of_torchaudio_and_librosa(framing: Framing, scale: str, norm: str) -> None:
    wave = speechlike(20_137)
    front_end = replace(PLAIN, framing=framing, mel_scale=scale, mel_norm=norm)
    found = MelFrontEnd(front_end)(wave).numpy()
    frames = 1 + len(wave) // framing.hop
    assert found.shape == (128, frames)
    assert found.dtype == np.float32
    by_torchaudio = torchaudio.transforms.MelSpectrogram(
        16000,
        framing.n_fft,
        framing.window,
        framing.hop,
        n_mels=128,
        norm=None if norm == "none" else norm,
        mel_scale=scale,
        pad_mode="constant",
    )(wave).numpy()
    by_librosa = librosa.feature.melspectrogram(
        y=wave.numpy(),
        sr=16000,
        n_fft=framing.n_fft,
        win_length=framing.window,
        hop_length=framing.hop,
        n_mels=128,
        htk=scale == "htk",
        norm=None if norm == "none" else norm,
        pad_mode="constant",
    )
    assert relative(found, by_torchaudio) < 1e-5
    assert np.linalg.norm(found - by_librosa) < 1e-4 * np.linalg.norm(by_librosa)
    # torchaudio computes its filters in single precision. Where a band has one bin at the foot of its
    # triangle, that shows, by more than what separates the rest; the two peers differ there likewise.
    deviations = np.abs(found - by_librosa).max(axis=1) / (by_librosa.mean(axis=1) + 1e-12)
    assert np.mean(deviations < 1e-4) > 0.95
    assert deviations.max() < 1e-3


def test_logarithms_follow_the_power_down_to_the_floor() -> None:
    wave = speechlike(8000)
    power = MelFrontEnd(PLAIN)(wave).numpy()
    natural = MelFrontEnd(replace(PLAIN, log="natural", log_floor=1e-3))(wave).numpy()
    decibels = MelFrontEnd(replace(PLAIN, log="db", log_floor=1e-3))(wave).numpy()
    np.testing.assert_allclose(natural, np.log(np.maximum(power, 1e-3)), rtol=1e-5)
    np.testing.assert_allclose(decibels, librosa.power_to_db(power, amin=1e-3, top_db=None), rtol=1e-4)
    assert (power < 1e-3).any()


@pytest.mark.parametrize(("normalise", "axes"), [("utterance", (0, 1)), ("band", 1)])
def test_normalised_features_have_mean_0_and_deviation_1(normalise: str, axes: int | tuple[int, int]) -> None:
    mel = MelFrontEnd(FrontEnd(normalise=normalise))(speechlike(16000)).numpy()
    np.testing.assert_allclose(mel.mean(axis=axes), 0, atol=1e-4)
    np.testing.assert_allclose(mel.std(axis=axes), 1, atol=1e-4)


def test_the_gain_acts_on_the_amplitude_and_does_not_clip() -> None:
    wave = speechlike(8000)
    assert float((2 * wave.abs()).max()) > 0.5
    loud = wave * 4
    single = MelFrontEnd(PLAIN)(loud)
    double = MelFrontEnd(replace(PLAIN, gain=2.0))(loud)
    torch.testing.assert_close(double, 4 * single)
    torch.testing.assert_close(MelFrontEnd(PLAIN)(2 * loud), double)


@pytest.mark.parametrize("resynthesis", [False, True])
def test_clipping_is_a_choice_and_is_counted(resynthesis: bool) -> None:
    wave = speechlike(8000) * 3
    front_end = replace(PLAIN, gain=2.0, clip=True)
    mel = MelFrontEnd(front_end)
    torch.testing.assert_close(mel(wave), MelFrontEnd(PLAIN)((2 * wave).clamp(-1, 1)))
    assert mel.clipped(wave) == int((2 * wave.abs() > 1).sum()) > 0
    denoised = replace(front_end, denoise=Denoise(resynthesis=resynthesis))
    assert not torch.allclose(MelFrontEnd(denoised)(wave), MelFrontEnd(replace(denoised, clip=False))(wave))


def test_a_result_is_not_overwritten_by_the_next_call() -> None:
    for front_end in (PLAIN, FrontEnd()):
        mel = MelFrontEnd(front_end)
        first = mel(speechlike(16000, 1))
        kept = first.clone()
        mel(speechlike(16000, 2))
        torch.testing.assert_close(first, kept, rtol=0, atol=0)


def test_what_came_before_does_not_show() -> None:
    mel = MelFrontEnd(FrontEnd())
    waves = [speechlike(length, length) for length in (20000, 3000, 16384, 1, 511, 20000)]
    for wave in waves:
        torch.testing.assert_close(mel(wave), MelFrontEnd(FrontEnd())(wave), rtol=0, atol=0)


FRONT_ENDS = [
    FrontEnd(),
    FrontEnd(denoise=Denoise(resynthesis=True)),
    FrontEnd(log="none", normalise="none"),
    FrontEnd(log="db", normalise="band", framing=PRESETS["25ms"], clip=True),
    FrontEnd(denoise=Denoise("none"), log="none", mel_scale="htk", framing=PRESETS["25ms"]),
]
WEIRD = {
    "silence": torch.zeros(8000),
    "one sample": torch.ones(1),
    "one silent sample": torch.zeros(1),
    "square": torch.sign(torch.sin(torch.arange(16000) * 0.3)),
    "direct current": torch.full((12000,), 0.7),
    "denormal": torch.full((9000,), 1e-42),
    "very faint": torch.full((9000,), 1e-20) * torch.sign(torch.sin(torch.arange(9000.0))),
    "one click": torch.nn.functional.pad(torch.ones(1), (5000, 5000)),
    "half silent": torch.cat([torch.zeros(8000), speechlike(8000)]),
}


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=range(len(FRONT_ENDS)))
@pytest.mark.parametrize("name", WEIRD)
def test_weird_input_gives_finite_features(front_end: FrontEnd, name: str) -> None:
    mel = MelFrontEnd(front_end)(WEIRD[name])
    assert mel.shape == (128, front_end.framing.frames(len(WEIRD[name])))
    assert bool(mel.isfinite().all())


MELS = [MelFrontEnd(front_end) for front_end in FRONT_ENDS]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 3000), elements=st.floats(-2.0, 2.0, width=32)),
    st.sampled_from(range(len(MELS))),
)
def test_every_output_is_finite_and_has_the_frames_that_the_time_base_says(
    wave: np.ndarray, which: int
) -> None:
    mel = MELS[which](torch.from_numpy(wave))
    assert mel.shape == (128, FRONT_ENDS[which].framing.frames(len(wave)))
    assert bool(mel.isfinite().all())


def test_a_constant_becomes_zero_when_normalised() -> None:
    for normalise in ("utterance", "band"):
        mel = MelFrontEnd(FrontEnd(normalise=normalise))(torch.zeros(5000))
        assert float(mel.abs().max()) < 1e-3


def test_empty_filters_are_counted() -> None:
    quick = PRESETS["25ms"]
    assert MelFrontEnd(FrontEnd(framing=quick, mel_scale="htk")).empty_filters == 1
    assert MelFrontEnd(FrontEnd(framing=quick)).empty_filters == 0
    assert MelFrontEnd(FrontEnd()).empty_filters == 0
    many = MelFrontEnd(replace(PLAIN, framing=Framing(64, 32, 64), mels=400))
    assert many.empty_filters > 32  # whole parts of the bank are empty
    assert many(speechlike(4000)).shape == (400, 126)


def test_contradicting_settings_are_all_named() -> None:
    with pytest.raises(BadInput) as error:
        MelFrontEnd(
            FrontEnd(
                f_max=9000.0,
                mels=0,
                gain=0.0,
                log_floor=0.0,
                framing=Framing(400, 300, 512),
                denoise=Denoise(noise_fraction=0.0, floor=-1.0, resynthesis=True),
            )
        )
    assert len(error.value.faults) == 7
    with pytest.raises(BadInput, match="did you mean 'natural'"):
        MelFrontEnd(FrontEnd(log="naturall"))


@pytest.mark.parametrize("shape", [(0,), (1, 100), ()])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        MelFrontEnd(FrontEnd())(torch.zeros(shape))
