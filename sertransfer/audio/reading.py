"""Segments of recordings as 16 kHz mono samples, from files or in place from zip archives.

Several channels become one by their mean; where that loses 20 dB or more against the channels, because they
cancel, the louder channel is taken instead. A segment is cut at the file's own rate, by the one rounding rule
of :mod:`sertransfer.timebase`, and resampled then (soxr, quality HQ); its edges are treated as silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from sertransfer.audio.contents import damaged, find_contents
from sertransfer.audio.decoding import Counted, Sought, Sound, open_sound
from sertransfer.audio.wav import Pcm16
from sertransfer.errors import bad_input
from sertransfer.manifest import AudioSource
from sertransfer.timebase import SAMPLE_RATE, samples_to_seconds, seconds_to_samples

HIGHEST_RATE = 1_000_000
"""Hz; any rate up to it is a rate: TESS has 24,414 Hz, old Macintosh recordings 11,127 and 22,254."""

LONGEST_SEGMENT = 24 * 3600 * SAMPLE_RATE
"""Samples, after resampling, that are taken at once: a broken header may ask for any amount of memory."""

SILENT_DB = -80.0
"""RMS about the mean, in dB of full scale, below which an utterance is silent: 16 bits end at -96."""

CANCELLED_DB = 20.0
"""What the mean of several channels must lose against them for the louder channel to be taken."""


@dataclass(frozen=True)
class AudioInfo:
    """What is known of a recording without its samples; ``samples`` is the number per channel.

    ``notes`` say what is odd in the file but read all the same, such as a header that names too much sound.
    """

    sample_rate: int
    samples: int
    channels: int
    notes: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return samples_to_seconds(self.samples, self.sample_rate)


def inspect(source: AudioSource) -> AudioInfo:
    """Read the header of a recording and check it against the file.

    A recording that cannot be sought to the sample, such as MP3, is decoded and its samples are counted.

    Raises:
        BadInput: If the recording is missing, empty, shorter than its header says, no audio, or of
            length zero.
    """
    with _opened(source) as (sound, notes):
        try:
            if isinstance(sound, Sought) and not sound.reach_end():
                raise damaged(source, f"an end before the last of the header's {sound.frames} samples")
            return AudioInfo(sound.samplerate, sound.frames, sound.channels, notes)
        except (soundfile.LibsndfileError, OSError) as error:
            raise damaged(source, str(error)) from None


def segment_bounds(info: AudioInfo, start: float | None, end: float | None, where: object) -> tuple[int, int]:
    """Return the first and the one-past-last sample, at the file's rate, of a segment given in seconds.

    Raises:
        BadInput: If the segment holds no sample, reaches past the recording, or is longer than a day.
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
    if resampled_length(last - first, info.sample_rate) > LONGEST_SEGMENT:
        hours = (last - first) / info.sample_rate / 3600
        raise bad_input(
            where,
            found=f"a segment of {hours:.0f} hours at {info.sample_rate} Hz",
            expected="at most 24 hours at once",
            remedy="correct the rate in the header, or give times of shorter utterances",
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
    waveform, info, _ = read_mixed(source, start, end)
    if gain != 1.0:
        waveform *= np.float32(gain)
    if info.sample_rate != sample_rate:
        waveform = resample(waveform, info.sample_rate, sample_rate)
    return waveform


def read_mixed(
    source: AudioSource, start: float | None = None, end: float | None = None
) -> tuple[NDArray[np.float32], AudioInfo, int | None]:
    """Read one segment at the rate of its file.

    Returns:
        Samples, shape ``(samples,)``; the recording's description; and the channel that was taken because the
        mean of all of them cancels, counted from 1 (``None``: their mean).

    Raises:
        BadInput: As :func:`read_segment`.
    """
    with _opened(source) as (sound, notes):
        integers = isinstance(sound, Pcm16)
        try:
            if isinstance(sound, Counted):
                sound.keep()
            info = AudioInfo(sound.samplerate, sound.frames, sound.channels, notes)
            first, last = segment_bounds(info, start, end, source)
            samples = sound.read(first, last - first)
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
    channel = None
    if samples.ndim == 2:
        samples, channel = mix(samples)
    waveform: NDArray[np.float32] = samples.astype(np.float32, copy=False)
    if integers:
        waveform *= np.float32(1 / 32768)
    return waveform, info, channel


@dataclass(frozen=True)
class Heard:
    """What must be known of an utterance before its score is read.

    Attributes:
        silent: Whether its level is below :data:`SILENT_DB`.
        channel: The channel, counted from 1, that is taken because the mean cancels; ``None``: the mean.
        notes: What is odd in the file but read all the same.
    """

    silent: bool = False
    channel: int | None = None
    notes: tuple[str, ...] = ()


def listen(source: AudioSource, start: float | None = None, end: float | None = None) -> Heard:
    """Tell whether an utterance is silent and which channel is taken, reading no more of it than that needs.

    Raises:
        BadInput: As :func:`read_segment`.
    """
    with _opened(source) as (sound, notes):
        if sound.channels == 1 and not isinstance(sound, Counted):
            info = AudioInfo(sound.samplerate, sound.frames, 1)
            first, last = segment_bounds(info, start, end, source)
            count = min(last - first, _PROBE)
            try:
                samples = sound.read(first + (last - first - count) // 2, count)
            except (soundfile.LibsndfileError, OSError) as error:
                raise damaged(source, str(error)) from None
            scale = 32768 if isinstance(sound, Pcm16) else 1
            # what is heard in a part is enough, if the whole may have no more than that
            if len(samples) and _power(samples) * len(samples) > _silence(scale) * (last - first):
                return Heard(notes=notes)
    waveform, _, channel = read_mixed(source, start, end)
    return Heard(is_silent(waveform), channel, notes)


_PROBE = 1024
"""Samples from the middle of an utterance, which nearly always tell that it is not silent."""


def is_silent(waveform: NDArray[np.float32]) -> bool:
    """Tell whether *waveform*, shape ``(samples,)``, full scale 1, is below :data:`SILENT_DB`."""
    return bool(_power(waveform) <= _silence(1))


def _silence(full_scale: int) -> float:
    return float((10 ** (SILENT_DB / 20) * full_scale) ** 2)


def mix(samples: NDArray[Any]) -> tuple[NDArray[Any], int | None]:
    """Return one channel: the mean, or the louder channel where they cancel in the mean.

    Args:
        samples: Shape ``(samples, channels)``.

    Returns:
        Shape ``(samples,)``, and the channel that was taken, counted from 1 (``None``: the mean).
    """
    mixed = samples.mean(axis=1, dtype=np.float32)
    if samples.shape[1] == 1:
        return mixed, None
    powers = _power(samples)
    if not powers.max() > 0 or _power(mixed) > powers.mean() * 10 ** (-CANCELLED_DB / 10):
        return mixed, None
    loudest = int(powers.argmax())
    return np.ascontiguousarray(samples[:, loudest]), loudest + 1


def _power(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean square about the mean, of each channel; a constant is no sound."""
    count = len(samples)
    sums = samples.sum(axis=0, dtype=np.float64)
    squares = np.einsum("i...,i...->...", samples, samples, dtype=np.float64, casting="unsafe")
    power: NDArray[np.float64] = np.maximum(squares / count - (sums / count) ** 2, 0)
    return power


def resample(waveform: NDArray[np.float32], rate: int, target: int) -> NDArray[np.float32]:
    """Return *waveform*, of *rate* Hz, at *target* Hz, :func:`resampled_length` samples long.

    soxr's quality HQ. From 44.1 or 48 kHz to 16 kHz it is flat to 0.03 dB up to 7.4 kHz and 130 dB down from
    8 kHz on.
    """
    import soxr  # only when it is needed: most corpora have the rate already

    wanted = resampled_length(len(waveform), rate, target)
    # soxr rounds a length to the nearest; a little silence at the end lets it make the last sample too
    padded = np.pad(waveform, (0, 1 + rate // target))
    resampled: NDArray[np.float32] = soxr.resample(padded, rate, target, quality="HQ")
    return resampled[:wanted]


@contextmanager
def _opened(source: AudioSource) -> Iterator[tuple[Sound, tuple[str, ...]]]:
    """Open a recording after checking that there is as much of it as its header says."""
    found = find_contents(source)
    if found.pcm16 is not None:
        yield _sounding(source, found.pcm16), found.notes
        return
    if len(found.contents) == 0:
        raise damaged(source, "an empty file")
    with open_sound(source, found) as sound:
        yield _sounding(source, sound), found.notes


def _sounding(source: AudioSource, sound: Sound) -> Sound:
    """Refuse what is no recording by its header."""
    if not isinstance(sound, Counted) and sound.frames == 0:
        raise damaged(source, "a recording of length zero")
    if not 0 < sound.samplerate <= HIGHEST_RATE:
        raise bad_input(
            source,
            found=f"a sample rate of {sound.samplerate} Hz",
            expected=f"one from 1 to {HIGHEST_RATE} Hz",
            remedy="correct the header",
        )
    return sound
