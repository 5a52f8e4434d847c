import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sertransfer.demo import synthesis
from sertransfer.demo.synthesis import NEUTRAL, PROSODIES, Prosody, Voice

VOICE = Voice(pitch=120, tract=1.0, rate=1.0, brightness=0.0, breath=0.0)
STILL = Prosody(pitch=0, spread=0, rise=0, rate=4, brightness=0, breath=0.02, jitter=0.0)


def speak(prosody: Prosody, *, voice: Voice = VOICE, seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    return synthesis.synthesise(voice, prosody, seconds, np.random.default_rng(seed))


def centroid(sound: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float(np.sum(power * np.fft.rfftfreq(len(sound), 1 / 16000)) / power.sum())


def pitch_of(sound: np.ndarray) -> float:
    """Median pitch of the clearly voiced frames, by autocorrelation."""
    found = []
    for frame in np.lib.stride_tricks.sliding_window_view(sound, 1024)[::512]:
        power = np.abs(np.fft.rfft(frame * np.hanning(1024), 4096)) ** 2
        correlation = np.fft.irfft(power)[: 16000 // 60]
        lag = 16000 // 400 + int(np.argmax(correlation[16000 // 400 :]))
        if correlation[lag] > 0.5 * correlation[0]:
            found.append(16000 / lag)
    return float(np.median(found))


@settings(max_examples=25, deadline=None)
@given(
    seconds=st.floats(0.15, 1.5),
    seed=st.integers(0, 2**32 - 1),
    emotion=st.sampled_from(sorted(PROSODIES)),
    female=st.booleans(),
)
def test_any_utterance_is_finite_of_exact_length_and_unit_level(seconds, seed, emotion, female):
    generator = np.random.default_rng(seed)
    voice = synthesis.draw_voice(female, generator)
    sound = synthesis.synthesise(voice, synthesis.act(PROSODIES[emotion], generator), seconds, generator)
    assert sound.shape == (int(np.floor(seconds * 16000 + 0.5)),)
    assert np.isfinite(sound).all()
    assert np.sqrt(np.mean(sound**2)) == pytest.approx(1)


def test_the_same_seed_gives_the_same_samples_and_another_seed_others():
    assert np.array_equal(speak(NEUTRAL, seed=3), speak(NEUTRAL, seed=3))
    assert not np.array_equal(speak(NEUTRAL, seed=3), speak(NEUTRAL, seed=4))


@pytest.mark.parametrize("hertz", [100, 150, 220])
def test_the_pitch_is_the_one_asked_for(hertz):
    sound = speak(STILL, voice=Voice(hertz, 1.0, 1.0, 0.0, 0.0))
    assert pitch_of(sound) == pytest.approx(hertz, rel=0.03)


def test_pitch_in_semitones_moves_the_fundamental():
    octave = Prosody(12, 0, 0, 4, 0, 0.02, 0.0)
    assert pitch_of(speak(octave)) / pitch_of(speak(STILL)) == pytest.approx(2, rel=0.05)


def test_brightness_tilts_the_spectrum_and_a_short_tract_raises_it():
    dull, bright = (Prosody(0, 0, 0, 4, tilt, 0.02, 0.0) for tilt in (-6, 6))
    assert centroid(speak(bright)) > 1.3 * centroid(speak(dull))
    short = Voice(120, 1.25, 1.0, 0.0, 0.0)
    assert centroid(speak(STILL, voice=short)) > centroid(speak(STILL))


def test_rate_sets_the_number_of_syllables():
    slow, fast = (
        synthesis._plan(VOICE, Prosody(0, 0, 0, rate, 0, 0.1, 0.0), 32000, np.random.default_rng(1))
        for rate in (2, 7)
    )
    # every syllable has a vowel of its own, so faster speech moves its formants more often
    assert np.abs(np.diff(fast.formants[:, 0])).sum() > 1.5 * np.abs(np.diff(slow.formants[:, 0])).sum()


def test_a_rise_ends_above_where_it_began():
    rising = synthesis._plan(VOICE, Prosody(0, 0, 6, 4, 0, 0.1, 0.0), 32000, np.random.default_rng(1))
    assert rising.pitch[-1] - rising.pitch[0] == pytest.approx(6, abs=0.1)


def test_towards_mixes_and_exaggerates():
    sad = PROSODIES["sad"]
    assert NEUTRAL.towards(sad, 0) == NEUTRAL
    assert NEUTRAL.towards(sad, 1).values() == pytest.approx(sad.values())
    assert NEUTRAL.towards(sad, 2).pitch == pytest.approx(2 * sad.pitch)


def test_sixteen_bits_never_clip_but_scale():
    loud = np.array([0.0, 2.0, -4.0])
    assert synthesis.to_pcm16(loud).tolist() == [0, 16384, -32767]
    assert synthesis.to_pcm16(np.array([0.5, -1.0])).tolist() == [16384, -32767]
    assert synthesis.to_pcm16(np.array([])).shape == (0,)


def test_noises_have_unit_level():
    generator = np.random.default_rng(0)
    assert np.sqrt(np.mean(synthesis.breath_noise(0.5, generator) ** 2)) == pytest.approx(1)
    assert np.sqrt(np.mean(synthesis.room_noise(48000, generator) ** 2)) == pytest.approx(1, rel=0.1)
