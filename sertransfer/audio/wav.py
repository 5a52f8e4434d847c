"""Where a WAV file keeps its samples, and reading those of the commonest kind without a decoder.

Nearly every speech corpus is 16-bit PCM in a WAV file, and its samples lie in the file as they are. Taking
them from there is several times as fast as opening a decoder for each sentence; every other kind is left
to libsndfile.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
"""Data sizes that a writer leaves in the header when it can not seek back: no promise is made."""

_PCM = 1

_HEAD = 64
"""Bytes taken at first: mostly the header is all in there, and its chunks need no reads of their own."""


class Contents(Protocol):
    """A file's bytes, in memory or not."""

    def __len__(self) -> int:
        """Return their number."""
        ...

    def __getitem__(self, span: slice, /) -> bytes:
        """Return the bytes from ``span.start`` to ``span.stop``, fewer where there are not so many."""
        ...


class IncompleteWav(ValueError):
    """A WAV file holds less than its header promises; the message says what was found."""


class Pcm16(NamedTuple):
    """Interleaved 16-bit samples in a file.

    Attributes:
        contents: The file.
        offset: Place of the first sample, in bytes.
        samplerate: In Hz.
        channels: Number of channels.
        frames: Samples per channel.
    """

    contents: Contents
    offset: int
    samplerate: int
    channels: int
    frames: int

    def read(self, first: int, count: int) -> NDArray[np.int16]:
        """Return *count* samples from *first* on, shape ``(samples,)`` or ``(samples, channels)``."""
        width = 2 * self.channels
        start = self.offset + first * width
        data = self.contents[start : start + count * width]
        samples = np.frombuffer(data[: len(data) // width * width], dtype="<i2")
        return samples if self.channels == 1 else samples.reshape(-1, self.channels)


def find_pcm16(contents: Contents) -> Pcm16 | None:
    """Find the samples of a WAV file of 16-bit PCM; ``None`` for what a decoder has to read.

    A RIFF file that is shorter than its header says is refused, whatever its coding: libsndfile would cut
    it silently.

    Raises:
        IncompleteWav: If the file ends before its sound does.
    """
    size = len(contents)
    head = contents[0:_HEAD]
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    place, coding = 12, b""
    while place + 8 <= size:
        chunk = head[place : place + 24]  # a chunk's name and length, and of the format what is needed
        if len(chunk) < 24:
            chunk = contents[place : place + 24]
        if not any(chunk[:4]):  # a hole in the file, not a million chunks of nothing
            break
        length = int.from_bytes(chunk[4:8], "little")
        place += 8
        if chunk[:4] == b"fmt ":
            coding = chunk[8:24]
        elif chunk[:4] == b"data":
            if length in _UNKNOWN_SIZES:
                return None
            if place + length > size:
                raise IncompleteWav(f"{size - place} of the {length} bytes of sound that the header names")
            return _pcm16(contents, coding, place, length)
        place += length + length % 2  # chunks begin at even places
    raise IncompleteWav(f"{size} bytes without any sound after the header")


def _pcm16(contents: Contents, coding: bytes, offset: int, length: int) -> Pcm16 | None:
    if len(coding) < 16:
        return None
    tag, channels, rate, _, width, bits = struct.unpack("<HHIIHH", coding)
    if tag != _PCM or bits != 16 or channels < 1 or rate < 1 or width != 2 * channels:
        return None
    return Pcm16(contents, offset, rate, channels, length // width)
