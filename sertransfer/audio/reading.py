"""Segments of recordings as 16 kHz mono samples, from files or in place from zip archives.

Several channels become one by their mean; where that loses 20 dB or more against the channels, because they
cancel, the louder channel is taken instead. A segment is cut at the file's own rate, by the one rounding rule
of :mod:`sertransfer.timebase`, and resampled then (soxr, quality HQ); its edges are treated as silence. Long
segments are read, mixed and resampled in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from sertransfer.audio.containers import Pcm16
from sertransfer.audio.decoding import Counted, Sought, Sound, open_sound
from sertransfer.audio.recordings import damaged, find_contents
from sertransfer.errors import bad_input
from sertransfer.manifest import AudioSource
from sertransfer.timebase import SAMPLE_RATE, samples_to_seconds, seconds_to_samples

HIGHEST_RATE = 1_000_000
"""Hz; any rate up to it is a rate: TESS has 24,414 Hz, old Macintosh recordings 11,127 and 22,254."""

LONGEST_SEGMENT = 4 * 3600 * SAMPLE_RATE
"""Samples, after resampling, that are taken at once; a header may ask for any amount of memory."""

AT_ONCE = 2**22
"""Samples of all channels together that are decoded, or resampled, at once: 16 MiB."""

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
    with _opened(source) as (sound, notes), _decoding(source):
        if isinstance(sound, Sought) and not sound.reach_end():
            raise damaged(source, f"an end before the last of the header's {sound.frames} samples")
        return AudioInfo(sound.samplerate, sound.frames, sound.channels, notes)


def segment_bounds(info: AudioInfo, start: float | None, end: float | None, where: object) -> tuple[int, int]:
    """Return the first and the one-past-last sample, at the file's rate, of a segment given in seconds.

    Raises:
        BadInput: If the segment holds no sample, reaches past the recording, or is longer than
            :data:`LONGEST_SEGMENT`.
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
            found=f"a segment of {hours:.1f} hours at {info.sample_rate} Hz",
            expected=f"at most {LONGEST_SEGMENT / SAMPLE_RATE / 3600:g} hours at once",
            remedy="give times of shorter utterances, cut the recording, or correct the rate in its header",
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
    with _opened(source) as (sound, _):
        segment = _Segment(source, sound, start, end)
        waveform = segment.read(sample_rate)
    if gain != 1.0:
        waveform *= np.float32(gain)
    return waveform


class _Segment:
    """A segment of an opened recording, which becomes one channel block by block.

    All channels of a long recording together may take a hundred times the memory of what they become.
    """

    def __init__(self, source: AudioSource, sound: Sound, start: float | None, end: float | None) -> None:
        self._source, self._sound = source, sound
        with _decoding(source):
            if isinstance(sound, Counted):
                sound.keep()
            info = AudioInfo(sound.samplerate, sound.frames, sound.channels)
        self._info = info
        self._first, self._last = segment_bounds(info, start, end, source)

    def read(self, sample_rate: int) -> NDArray[np.float32]:
        """Return the samples at *sample_rate*, shape ``(samples,)``."""
        count, rate = self._last - self._first, self._info.sample_rate
        if count * self._info.channels <= AT_ONCE:  # nearly all
            mixed, _ = mix(self._block(self._first, self._last))
            return mixed if rate == sample_rate else resample(mixed, rate, sample_rate)
        if self._info.channels == 1:
            return self._gather(self._blocks(sample_rate), sample_rate)
        powers = _Powers()
        waveform = self._gather((powers.add(block) for block in self._blocks(sample_rate)), sample_rate)
        channel = powers.taken
        if channel is not None:
            blocks = (block[:, channel - 1] for block in self._blocks(sample_rate))
            waveform = self._gather(blocks, sample_rate)
        return waveform

    def listen(self) -> tuple[bool, int | None]:
        """Return whether it is silent, and the channel that is taken, without keeping any of it."""
        powers = _Powers()
        for block in self._blocks(self._info.sample_rate):
            powers.add(block)
        return powers.silent, powers.taken

    def _gather(self, blocks: Iterator[NDArray[np.float32]], target: int) -> NDArray[np.float32]:
        """Return one channel's *blocks* in one array, at *target* Hz."""
        rate = self._info.sample_rate
        gathered = np.empty(resampled_length(self._last - self._first, rate, target), np.float32)
        place = 0
        for block in blocks if rate == target else resample_blocks(blocks, rate, target):
            part = block[: len(gathered) - place]
            gathered[place : place + len(part)] = part
            place += len(part)
        return gathered

    def _blocks(self, target: int) -> Iterator[NDArray[np.float32]]:
        """Yield all samples, in blocks that are not large at *target* Hz either."""
        step = max(1, min(AT_ONCE // self._info.channels, AT_ONCE * self._info.sample_rate // target))
        for first in range(self._first, self._last, step):
            yield self._block(first, min(self._last, first + step))

    def _block(self, first: int, last: int) -> NDArray[np.float32]:
        """Return some samples, full scale 1, shape ``(samples,)`` or ``(samples, channels)``."""
        info = self._info
        with _decoding(self._source):
            samples = self._sound.read(first, last - first)
        if len(samples) < last - first:
            raise damaged(self._source, f"an end after {first + len(samples)} of {info.samples} samples")
        values: NDArray[np.float32] = samples.astype(np.float32, copy=False)
        if isinstance(self._sound, Pcm16):
            values *= np.float32(1 / 32768)
        elif not np.isfinite(values).all():
            bad = first + int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(axis=1)))
            raise bad_input(
                self._source,
                found=f"a sample that is no finite number, at {samples_to_seconds(bad, info.sample_rate)} s",
                expected="finite samples",
                remedy="repair the recording, or leave the utterance out",
            )
        return values


@contextmanager
def _decoding(source: AudioSource) -> Iterator[None]:
    """Name the recording that cannot be decoded."""
    try:
        yield
    except (soundfile.LibsndfileError, OSError) as error:
        raise damaged(source, str(error)) from None


@dataclass(frozen=True)
class SoundCheck:
    """What must be known of an utterance before its score is read.

    Attributes:
        silent: Whether its level is below :data:`SILENT_DB`.
        channel: The channel, counted from 1, that is taken because the mean cancels; ``None``: the mean.
        notes: What is odd in the file but read all the same.
    """

    silent: bool = False
    channel: int | None = None
    notes: tuple[str, ...] = ()


def listen(source: AudioSource, start: float | None = None, end: float | None = None) -> SoundCheck:
    """Tell whether an utterance is silent and which channel is taken, reading no more of it than that needs.

    Raises:
        BadInput: As :func:`read_segment`.
    """
    with _opened(source) as (sound, notes):
        if sound.channels == 1 and not isinstance(sound, Counted):
            info = AudioInfo(sound.samplerate, sound.frames, 1)
            first, last = segment_bounds(info, start, end, source)
            count = min(last - first, _PROBE)
            with _decoding(source):
                samples = sound.read(first + (last - first - count) // 2, count)
            scale = 32768 if isinstance(sound, Pcm16) else 1
            # what is heard in a part is enough, if the whole may have no more than that
            if len(samples) and _power(samples) * len(samples) > _silence(scale) * (last - first):
                return SoundCheck(notes=notes)
        silent, channel = _Segment(source, sound, start, end).listen()
    return SoundCheck(silent, channel, notes)


_PROBE = 1024
"""Samples from the middle of an utterance, which nearly always tell that it is not silent."""


def _silence(full_scale: int) -> float:
    return float((10 ** (SILENT_DB / 20) * full_scale) ** 2)


def mix(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], int | None]:
    """Return one channel: the mean, or the louder channel where they cancel in the mean.

    Args:
        samples: Shape ``(samples, channels)``, or ``(samples,)``, which is returned as it is.

    Returns:
        Shape ``(samples,)``, and the channel that was taken, counted from 1 (``None``: the mean).
    """
    if samples.ndim == 1:
        return samples, None
    powers = _Powers()
    mixed = powers.add(samples)
    channel = powers.taken
    return (mixed if channel is None else np.ascontiguousarray(samples[:, channel - 1])), channel


class _Powers:
    """Mean squares, about the mean, of the channels of a segment and of what they are mixed to."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: Any = 0.0
        self._squares: Any = 0.0

    def add(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take a block, shape ``(samples,)`` or ``(samples, channels)``; its mean over the channels."""
        # one channel behind the other: NumPy takes ten times as long over the few values of a row
        channels = np.ascontiguousarray(np.atleast_2d(samples.T))
        mixed: NDArray[np.float32] = samples if samples.ndim == 1 else channels.mean(axis=0, dtype=np.float32)
        sums, squares = zip(*map(_sums, (*channels, mixed)), strict=True)
        self._count += len(samples)
        self._sums = self._sums + np.array(sums)
        self._squares = self._squares + np.array(squares)
        return mixed

    @property
    def taken(self) -> int | None:
        """The channel, counted from 1, that is taken because the mean cancels; ``None``: the mean."""
        channels, mixed = self._powers[:-1], self._powers[-1]
        if len(channels) == 1 or not channels.max() > 0:
            return None
        if mixed > channels.mean() * 10 ** (-CANCELLED_DB / 10):
            return None
        return int(channels.argmax()) + 1

    @property
    def silent(self) -> bool:
        """Whether what they become is below :data:`SILENT_DB`."""
        taken = self.taken
        return bool(self._powers[-1 if taken is None else taken - 1] <= _silence(1))

    @property
    def _powers(self) -> NDArray[np.float64]:
        return _about_mean(self._count, self._sums, self._squares)


def _sums(samples: NDArray[Any]) -> tuple[float, float]:
    """Return the sum and the sum of squares of one channel."""
    squares = np.einsum("i,i->", samples, samples, dtype=np.float64, casting="unsafe")
    return float(samples.sum(dtype=np.float64)), float(squares)


def _about_mean(count: int, sums: Any, squares: Any) -> NDArray[np.float64]:
    """Return the mean square about the mean: a constant is no sound."""
    power: NDArray[np.float64] = np.maximum(squares / count - (sums / count) ** 2, 0)
    return power


def _power(samples: NDArray[Any]) -> float:
    """Return the mean square about the mean of one channel."""
    return float(_about_mean(len(samples), *_sums(samples)))


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


def resample_blocks(
    blocks: Iterator[NDArray[np.float32]], rate: int, target: int
) -> Iterator[NDArray[np.float32]]:
    """Yield what :func:`resample` makes of all *blocks* together, and a little silence behind it."""
    import soxr

    stream = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros(1 + rate // target, np.float32), last=True)


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
    if sound.samplerate > HIGHEST_RATE:
        raise bad_input(
            source,
            found=f"a sample rate of {sound.samplerate} Hz",
            expected=f"one from 1 to {HIGHEST_RATE} Hz",
            remedy="correct the header",
        )
    return sound
