"""Segments of recordings as 16 kHz mono samples, read by seek, from files or in place from zip archives.

Several channels become one by their mean. A segment is cut at the file's own rate, by the one rounding
rule of :mod:`sertransfer.timebase`, and resampled then; its edges are treated as silence.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from sertransfer.audio.contents import damaged, find_contents
from sertransfer.audio.wav import Pcm16
from sertransfer.errors import bad_input
from sertransfer.manifest import AudioSource
from sertransfer.timebase import SAMPLE_RATE, samples_to_seconds, seconds_to_samples

LOWEST_RATE, HIGHEST_RATE = 1000, 1_000_000
"""Hz; what a header names beyond them is no recording of speech."""

LARGEST_FILTER = 12_000_000
"""Numbers. Between rates without a common divisor, such as 44,101 and 16,000 Hz, a filter has a billion."""

SAMPLE_BYTES = {"PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
SAMPLE_BYTES |= {"ULAW": 1, "ALAW": 1}
"""By libsndfile's name of a coding; others are packed."""

PACKED = ("FLAC", "OGG", "MP3")
"""Formats in which these codings are packed too."""

MOST_PACKED = 8000
"""Samples that a byte of a packed recording stands for at most; FLAC makes some thousand of silence."""


@dataclass(frozen=True)
class AudioInfo:
    """What a recording's header says; ``samples`` is the number per channel."""

    sample_rate: int
    samples: int
    channels: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return samples_to_seconds(self.samples, self.sample_rate)


def inspect(source: AudioSource) -> AudioInfo:
    """Read the header of a recording and check it against the file.

    Raises:
        BadInput: If the recording is missing, empty, shorter than its header says, no audio, or of
            length zero.
    """
    with _opened(source) as sound:
        return AudioInfo(sound.samplerate, sound.frames, sound.channels)


def segment_bounds(info: AudioInfo, start: float | None, end: float | None, where: object) -> tuple[int, int]:
    """Return the first and the one-past-last sample, at the file's rate, of a segment given in seconds.

    Raises:
        BadInput: If the segment holds no sample or reaches past the recording.
    """
    first = 0 if start is None else seconds_to_samples(start, info.sample_rate)
    last = info.samples if end is None else seconds_to_samples(end, info.sample_rate)
    if not 0 <= first < last <= info.samples:
        raise bad_input(
            where,
            found=f"segment {0.0 if start is None else start} to {info.duration if end is None else end} s",
            expected=f"at least one sample, inside 0 to {info.duration} s",
            remedy="correct the times, or leave the utterance out",
        )
    return first, last


def resampled_length(samples: int, sample_rate: int, target_rate: int = SAMPLE_RATE) -> int:
    """Return how many samples *samples* at *sample_rate* become at *target_rate* (rounded up)."""
    return -(-samples * target_rate // sample_rate)


def read_segment(
    source: AudioSource,
    start: float | None = None,
    end: float | None = None,
    *,
    sample_rate: int = SAMPLE_RATE,
    gain: float = 1.0,
) -> NDArray[np.float32]:
    """Read one segment.

    Args:
        source: The recording.
        start: Seconds from its beginning; ``None`` = the beginning.
        end: Seconds from its beginning; ``None`` = the end of the recording.
        sample_rate: Rate in Hz to resample to.
        gain: Factor on the samples, not clipped.

    Returns:
        Samples, shape ``(samples,)``, full scale at 1.

    Raises:
        BadInput: As :func:`inspect`; and if the segment is empty or reaches past the recording, the
            recording ends before its header says, or a sample is not a finite number.
    """
    with _opened(source) as sound:
        info = AudioInfo(sound.samplerate, sound.frames, sound.channels)
        first, last = segment_bounds(info, start, end, source)
        integers = isinstance(sound, Pcm16)
        try:
            samples = _read(sound, first, last - first)
        except (soundfile.LibsndfileError, OSError) as error:
            raise damaged(source, str(error)) from None
    if len(samples) < last - first:
        raise damaged(source, f"an end after {first + len(samples)} of {info.samples} samples")
    if not integers and not np.isfinite(samples).all():
        bad = first + int(np.argmin(np.isfinite(samples).reshape(len(samples), -1).all(axis=1)))
        raise bad_input(
            source,
            found=f"a sample that is no finite number, at {samples_to_seconds(bad, info.sample_rate)} s",
            expected="finite samples",
            remedy="repair the recording, or leave the utterance out",
        )
    if samples.ndim == 2:
        samples = samples.mean(axis=1, dtype=np.float32)
    waveform: NDArray[np.float32] = samples.astype(np.float32, copy=False)
    waveform *= np.float32(gain / 32768 if integers else gain)
    if info.sample_rate != sample_rate:
        waveform = _resample(waveform, info.sample_rate, sample_rate)
    return waveform


def _resample(waveform: NDArray[np.float32], rate: int, target: int) -> NDArray[np.float32]:
    import torch  # torch only when it is needed: corpus readers ask for lengths and nothing else

    resampled: NDArray[np.float32] = _resampler(rate, target)(torch.from_numpy(waveform)).numpy()
    return resampled


@lru_cache(maxsize=8)
def _resampler(rate: int, target: int) -> Callable[[Any], Any]:
    """Return torchaudio's windowed-sinc resampler; its kernel is kept from one segment to the next."""
    from torchaudio.transforms import Resample

    resampler: Callable[[Any], Any] = Resample(rate, target)
    return resampler


def _read(sound: soundfile.SoundFile | Pcm16, first: int, count: int) -> NDArray[Any]:
    if isinstance(sound, Pcm16):
        return sound.read(first, count)
    sound.seek(first)
    samples: NDArray[np.float32] = sound.read(count, dtype="float32")
    return samples


@contextmanager
def _opened(source: AudioSource) -> Iterator[soundfile.SoundFile | Pcm16]:
    """Open a recording after checking that there is as much of it as its header says."""
    contents, plain = find_contents(source)
    if plain is not None:
        yield _sounding(source, plain)
        return
    size = len(contents)
    if size == 0:
        raise damaged(source, "an empty file")
    try:
        sound = soundfile.SoundFile(io.BytesIO(contents) if isinstance(contents, bytes) else str(source.path))
    except soundfile.LibsndfileError as error:
        raise bad_input(
            source,
            found=f"no audio that can be read ({error.error_string.rstrip('.')})",
            expected="WAV, FLAC, OGG or another format of libsndfile",
            remedy="convert or replace the file",
        ) from None
    with sound:
        promised = sound.frames * sound.channels
        width = SAMPLE_BYTES.get(sound.subtype) if sound.format not in PACKED else None
        if promised * (width or 1 / MOST_PACKED) > size:
            raise damaged(source, f"{size} bytes, and {promised} samples by the header")
        yield _sounding(source, sound)


def _sounding(source: AudioSource, sound: soundfile.SoundFile | Pcm16) -> soundfile.SoundFile | Pcm16:
    """Refuse what is no recording of speech by its header; a broken one may ask for any amount of memory."""
    if sound.frames == 0:
        raise damaged(source, "a recording of length zero")
    rate = sound.samplerate
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or _filter_size(rate) > LARGEST_FILTER:
        raise bad_input(
            source,
            found=f"a sample rate of {rate} Hz",
            expected=f"a common one from {LOWEST_RATE} to {HIGHEST_RATE} Hz",
            remedy=f"correct the header, or resample the file to {SAMPLE_RATE} Hz",
        )
    return sound


def _filter_size(rate: int) -> int:
    """Return how many numbers the filter that resamples from *rate* has, about."""
    common = math.gcd(rate, SAMPLE_RATE)
    return (rate // common) * (SAMPLE_RATE // common)
