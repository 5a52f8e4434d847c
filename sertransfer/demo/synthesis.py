"""Speech-like sound whose prosody carries an emotion: a source-filter synthesiser in numpy.

A glottal pulse train with a pitch contour, jitter and shimmer, mixed with aspiration noise, goes
through formant resonators that move from vowel to vowel; consonants are frication noise, closures with
a burst, nasals and glides. There are no words: the model learns from pitch, rhythm and voice quality.

Why numpy and not espeak-ng: every sample follows from a seed, bit for bit; no binary and no voice data
have to be installed; and pitch level, range and final movement, rate, brightness, breathiness and jitter
are set directly, with the spread within a class that makes learning visible but not perfect. What it
produces is generated sound, and a score on it says that the chain works, nothing about people.

Units: pitch in semitones relative to the speaker's own, rate in syllables a second, brightness in dB an
octave above 500 Hz, breath as noise amplitude over voice amplitude, times in seconds, frequencies in Hz.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, signal

from sertransfer.timebase import SAMPLE_RATE, seconds_to_samples

Floats = NDArray[np.float64]

CONTROL = 80
"""Samples between two values of the control tracks (5 ms)."""
WINDOW, HOP, TRANSFORM = 512, 256, 1024
"""The filters act on Hann windows with half overlap, which add up to one; the zero padding of the
transform takes the resonators' ringing."""

VOWELS = (
    (730, 1090, 2440, 3400),
    (270, 2290, 3010, 3500),
    (300, 870, 2240, 3300),
    (530, 1840, 2480, 3500),
    (570, 840, 2410, 3300),
    (660, 1720, 2410, 3500),
    (490, 1350, 1690, 3300),
    (440, 1020, 2240, 3300),
)
"""Formants of an adult male's vowels in Hz (the averages of Peterson and Barney, 1952, rounded)."""
BANDWIDTHS = (80.0, 100.0, 140.0, 220.0)
NASAL = (270, 1100, 2200, 3300)
CONSONANTS = ("fricative", "stop", "nasal", "glide", "none")


@dataclass(frozen=True)
class Voice:
    """A speaker: mean pitch in Hz, formant scale (1 = the adult male of :data:`VOWELS`), and habits.

    ``rate`` is a factor on the speaking rate, ``brightness`` and ``breath`` add to the prosody's.
    """

    pitch: float
    tract: float
    rate: float
    brightness: float
    breath: float


@dataclass(frozen=True)
class Prosody:
    """How an utterance is spoken. ``rise`` is the movement from its first to its last syllable."""

    pitch: float
    spread: float
    rise: float
    rate: float
    brightness: float
    breath: float
    jitter: float

    def towards(self, other: Prosody, weight: float) -> Prosody:
        """Return the prosody *weight* of the way to *other* (beyond 1 exaggerates)."""
        mixed = [a + weight * (b - a) for a, b in zip(self.values(), other.values(), strict=True)]
        return Prosody(*mixed)

    def values(self) -> tuple[float, ...]:
        """Return the values in the order of the fields."""
        return (self.pitch, self.spread, self.rise, self.rate, self.brightness, self.breath, self.jitter)


NEUTRAL = Prosody(pitch=0, spread=1.8, rise=-2, rate=4.5, brightness=0, breath=0.06, jitter=0.008)
PROSODIES = {
    "angry": Prosody(pitch=4.5, spread=4, rise=-4, rate=5.8, brightness=3.5, breath=0.03, jitter=0.03),
    "neutral": NEUTRAL,
    "happy": Prosody(pitch=4.5, spread=4, rise=5, rate=5.3, brightness=0.5, breath=0.06, jitter=0.008),
    "sad": Prosody(pitch=-2, spread=0.6, rise=-2.5, rate=3.3, brightness=-3.5, breath=0.22, jitter=0.012),
    "disappointed": Prosody(pitch=-1, spread=1.2, rise=-5, rate=3.8, brightness=-2, breath=0.15, jitter=0.01),
    "bored": Prosody(pitch=-1.5, spread=0.5, rise=-1, rate=3.2, brightness=-1.5, breath=0.08, jitter=0.008),
    "disgusted": Prosody(pitch=-1, spread=2.5, rise=-4, rate=3.8, brightness=2, breath=0.1, jitter=0.03),
    "excited": Prosody(pitch=6, spread=5, rise=3, rate=6.2, brightness=2, breath=0.06, jitter=0.012),
    "surprised": Prosody(pitch=6, spread=4, rise=9, rate=4.5, brightness=1, breath=0.08, jitter=0.01),
    "fearful": Prosody(pitch=6, spread=1.5, rise=2, rate=6, brightness=-0.5, breath=0.2, jitter=0.04),
    "other": Prosody(pitch=1, spread=2.5, rise=1, rate=4.8, brightness=0.5, breath=0.1, jitter=0.015),
}
"""The mean prosody of each class; the four of the main task first."""


def draw_voice(female: bool, generator: np.random.Generator) -> Voice:
    """Draw a speaker."""
    mean, tract = (205.0, 1.16) if female else (118.0, 1.0)
    return Voice(
        pitch=mean * 2 ** (generator.normal(0, 1.6) / 12),
        tract=tract * float(np.clip(generator.normal(1, 0.04), 0.9, 1.1)),
        rate=float(np.clip(generator.normal(1, 0.07), 0.8, 1.2)),
        brightness=generator.normal(0, 1.0),
        breath=abs(generator.normal(0, 0.03)),
    )


def act(prosody: Prosody, generator: np.random.Generator, *, intensity: float = 0.35) -> Prosody:
    """Draw one utterance's prosody around the mean of its class.

    The utterance is acted more or less strongly (a normal factor around 1 with deviation *intensity* on
    the way from neutral), and every feature varies by itself besides, so that the classes overlap.
    """
    acted = NEUTRAL.towards(prosody, max(0.0, generator.normal(1, intensity)))
    return Prosody(
        pitch=acted.pitch + generator.normal(0, 1.5),
        spread=max(0.2, acted.spread) * generator.lognormal(0, 0.25),
        rise=acted.rise + generator.normal(0, 2.5),
        rate=max(1.5, acted.rate * generator.lognormal(0, 0.1)),
        brightness=acted.brightness + generator.normal(0, 1.5),
        breath=max(0.01, acted.breath) * generator.lognormal(0, 0.4),
        jitter=max(0.002, acted.jitter) * generator.lognormal(0, 0.3),
    )


def synthesise(voice: Voice, prosody: Prosody, seconds: float, generator: np.random.Generator) -> Floats:
    """Return an utterance of *seconds*, float64 ``(samples,)`` at 16 kHz, with a root mean square of 1."""
    samples = seconds_to_samples(seconds, SAMPLE_RATE)
    tracks = _plan(voice, prosody, samples, generator)
    voiced, frication = _excitation(voice, prosody, tracks, samples, generator)
    sound = _filter(voiced, frication, tracks, voice, prosody)
    return _normalised(sound)


def breath_noise(seconds: float, generator: np.random.Generator) -> Floats:
    """Return an inhalation: band-limited noise that swells and fades, root mean square of 1."""
    samples = seconds_to_samples(seconds, SAMPLE_RATE)
    noise = signal.lfilter([1, 0, -1], [1, -1.1, 0.4], generator.standard_normal(samples))
    sound = noise * np.sin(np.linspace(0, np.pi, samples)) ** 2
    return _normalised(sound)


def room_noise(samples: int, generator: np.random.Generator) -> Floats:
    """Return the room's noise floor, tilted to low frequencies, with a root mean square of 1."""
    noise = signal.lfilter([1.0], [1, -0.9], generator.standard_normal(samples))
    return np.asarray(noise * math.sqrt(1 - 0.81), dtype=np.float64)


def _normalised(sound: Floats) -> Floats:
    return np.asarray(sound / np.sqrt(np.mean(sound**2)), dtype=np.float64)


@dataclass(frozen=True)
class _Tracks:
    """Control tracks, one value every :data:`CONTROL` samples; ``formants`` is ``(values, 4)`` in Hz."""

    formants: Floats
    voicing: Floats
    frication: Floats
    centre: Floats
    pitch: Floats


def _plan(voice: Voice, prosody: Prosody, samples: int, generator: np.random.Generator) -> _Tracks:
    """Lay out syllables and turn them into smooth control tracks."""
    length = samples // CONTROL + 2
    syllables = max(2, round(prosody.rate * voice.rate * samples / SAMPLE_RATE))
    weights = generator.lognormal(0, 0.25, syllables)
    weights[-1] *= 1.4  # phrases end on a long syllable
    edges = np.concatenate([[0], np.cumsum(weights / weights.sum())]) * length
    formants = np.empty((length, 4))
    voicing, frication = np.zeros(length), np.zeros(length)
    centre = np.full(length, 4000.0)
    for start, stop in pairwise(edges.tolist()):
        first, last = round(start), round(stop)
        onset = first + round((stop - start) * generator.uniform(0.2, 0.4))
        kind = CONSONANTS[generator.choice(5, p=[0.25, 0.25, 0.2, 0.2, 0.1])]
        formants[first:last] = VOWELS[generator.integers(len(VOWELS))]
        voicing[first:last] = generator.lognormal(0, 0.15)
        if kind in ("fricative", "stop"):
            voicing[first:onset] = 0.0
            # a stop is a closure and a burst of 15 ms, a fricative sounds all the way
            noisy = first if kind == "fricative" else max(first, onset - 3)
            frication[noisy:onset] = generator.uniform(0.1, 0.3)
            centre[first:onset] = generator.uniform(2200, 6500)
        elif kind == "nasal":
            voicing[first:onset] *= 0.4
            formants[first:onset] = NASAL
        elif kind == "glide":
            voicing[first:onset] *= 0.7
            formants[first:onset] *= generator.uniform(0.75, 1.25, 4)
    fade = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / 8)
    accents = np.interp(
        np.arange(length), (edges[:-1] + edges[1:]) / 2, generator.normal(0, prosody.spread, syllables)
    )
    movement = prosody.rise * (np.linspace(0, 1, length) ** 1.5 - 0.5)
    return _Tracks(
        formants=ndimage.gaussian_filter1d(formants, 4, axis=0) * voice.tract,
        voicing=ndimage.gaussian_filter1d(voicing, 2) * fade,
        frication=ndimage.gaussian_filter1d(frication, 1) * fade,
        centre=centre,
        pitch=prosody.pitch + movement + ndimage.gaussian_filter1d(accents, 5),
    )


def _excitation(
    voice: Voice, prosody: Prosody, tracks: _Tracks, samples: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the glottal source with its aspiration, and the frication noise, each ``(samples,)``."""
    places = np.arange(samples) / CONTROL
    grid = np.arange(len(tracks.pitch))
    jitter = generator.normal(0, prosody.jitter * 2, len(grid))
    hertz = voice.pitch * 2 ** (tracks.pitch / 12) * (1 + jitter)
    phase = np.cumsum(np.interp(places, grid, np.clip(hertz, 50, 600))) / SAMPLE_RATE
    cycle = phase.astype(np.int64)
    within = phase - cycle
    shimmer = generator.normal(1, 2 * prosody.jitter, cycle[-1] + 1)[cycle]
    # the derivative of a raised-cosine opening and a quarter-cosine closing (Rosenberg's pulse)
    opening, closing = 0.42, 0.16
    pulse = np.where(
        within < opening,
        0.5 / opening * np.sin(np.pi * within / opening),
        np.where(
            within < opening + closing, -0.5 / closing * np.sin(np.pi / 2 * (within - opening) / closing), 0.0
        ),
    )
    breath = (prosody.breath + voice.breath) * generator.standard_normal(samples)
    voiced = np.interp(places, grid, tracks.voicing) * (pulse * shimmer + breath)
    frication = np.interp(places, grid, tracks.frication) * generator.standard_normal(samples)
    return voiced, frication


def _filter(voiced: Floats, frication: Floats, tracks: _Tracks, voice: Voice, prosody: Prosody) -> Floats:
    """Shape the excitation, window by window, in the frequency domain; return ``(samples,)``."""
    samples = len(voiced)
    count = samples // HOP + 2
    starts = np.arange(count) * HOP
    at = np.minimum(np.maximum(starts - HOP + WINDOW // 2, 0) // CONTROL, len(tracks.centre) - 1)
    window = signal.get_window("hann", WINDOW)
    hertz = fft.rfftfreq(TRANSFORM, 1 / SAMPLE_RATE)
    delay = np.exp(-2j * np.pi * hertz / SAMPLE_RATE)
    tract = np.ones((count, len(hertz)), dtype=np.complex128)
    for formant, bandwidth in zip(tracks.formants[at].T, BANDWIDTHS, strict=True):
        radius = math.exp(-math.pi * bandwidth / SAMPLE_RATE)
        turn = 2 * radius * np.cos(2 * np.pi * formant / SAMPLE_RATE)[:, None]
        tract *= (1 - turn * delay + radius**2 * delay**2) / (1 - turn + radius**2)
    octaves = np.log2(np.maximum(hertz, 500) / 500)
    tilt = 10 ** ((prosody.brightness + voice.brightness) * octaves / 20)
    hiss = np.exp(-0.5 * ((hertz - tracks.centre[at][:, None]) / 1200) ** 2)

    def transform(excitation: Floats) -> NDArray[np.complex128]:
        padded = np.concatenate([np.zeros(HOP), excitation, np.zeros(2 * WINDOW)])
        frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:count]
        return np.asarray(fft.rfft(frames * window, TRANSFORM))

    blocks = fft.irfft(transform(voiced) * tilt / tract + transform(frication) * hiss, TRANSFORM)
    sound = np.zeros((count + TRANSFORM // HOP, HOP))
    for part in range(TRANSFORM // HOP):
        sound[part : part + count] += blocks[:, part * HOP : (part + 1) * HOP]
    return np.asarray(sound.reshape(-1)[HOP : HOP + samples], dtype=np.float64)


def to_pcm16(sound: Floats) -> NDArray[np.int16]:
    """Return *sound* (full scale 1) as 16-bit samples, scaled down as a whole if it would clip."""
    loudest = float(np.max(np.abs(sound), initial=0.0))
    return np.asarray(np.round(sound * (32767 / max(1.0, loudest))), dtype=np.int16)


def decibels(value: float) -> float:
    """Return the amplitude factor of *value* decibels."""
    return float(10 ** (value / 20))
