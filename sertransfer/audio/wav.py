"""Where a WAV file keeps its samples, and reading those of the commonest kind without a decoder.

Nearly every speech corpus is 16-bit PCM in a WAV file, and its samples lie in the file as they are. Taking
them from there is several times as fast as opening a decoder for each sentence; every other kind, and every
odd header, is left to libsndfile.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

UNKNOWN_SIZES = (0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
"""Sizes that a writer leaves in the header when it cannot seek back: no promise is made."""

UNKNOWN_FROM, UNKNOWN_TO = 0x7F000000, 0xFFFFFFFF
"""Other sizes of this span, beyond the end of the file, are such a stand-in too, with a note."""

TOO_LONG, TOO_LONG_SHARE = 64, 0.1
"""Bytes, and share of the sound, by which a header may name too much: some writers count the header too."""

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


class BrokenSound(ValueError):
    """A sound file is not whole by its own structure; the message says what was found."""


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


def find_pcm16(contents: Contents) -> tuple[Pcm16 | None, str | None]:
    """Find the samples of a WAV file of canonical 16-bit PCM.

    A RIFF file that is shorter than its header says is refused, whatever its coding: libsndfile would cut
    it silently.

    Returns:
        The samples, ``None`` for what a decoder has to read; and a note on an odd header, if it is one.

    Raises:
        BrokenSound: If the file ends before its sound does, or holds two pieces of sound.
    """
    size = len(contents)
    head = contents[0:_HEAD]
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None, None
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
            note = check_length(length, size - place)
            if note is not None or place + length > size or length == 0:
                return None, note
            if place + length + 8 < size:
                _refuse_second(contents, place + length + length % 2)
            return _pcm16(contents, coding, place, length), None
        place += length + length % 2  # chunks begin at even places
    raise BrokenSound(f"{size} bytes without any sound after the header")


def find_zero_length(contents: Contents) -> int | None:
    """Return where a WAV file names a length of 0 although sound follows; ``None`` where it does not.

    Its writer was stopped before it could fill the length in. libsndfile takes it for an empty file.
    """
    size = len(contents)
    if contents[0:4] != b"RIFF" or contents[8:12] != b"WAVE":
        return None
    place = 12
    while place + 8 <= size:
        chunk = contents[place : place + 8]
        length = int.from_bytes(chunk[4:8], "little")
        if chunk[:4] == b"data":
            follows = place + 8 < size and not _is_chain(contents, place + 8)
            return place + 4 if length == 0 and follows else None
        if not any(chunk[:4]):
            return None
        place += 8 + length + length % 2
    return None


def _is_chain(contents: Contents, place: int) -> bool:
    """Tell whether nothing but chunks follow, to the end of the file."""
    size = len(contents)
    while place + 8 <= size:
        chunk = contents[place : place + 8]
        if not all(32 <= letter < 127 for letter in chunk[:4]):
            return False
        length = int.from_bytes(chunk[4:8], "little")
        place += 8 + length + length % 2
    return size <= place <= size + 1


def check_length(named: int, there: int) -> str | None:
    """Compare the bytes of sound that a header names with those that are there.

    Returns:
        A note where the sound is read to its end although the header names more; ``None`` if nothing is odd,
        or the header names no length at all.

    Raises:
        BrokenSound: If sound is missing.
    """
    missing = named - there
    if missing <= 0 or named in UNKNOWN_SIZES:
        return None
    if UNKNOWN_FROM <= named <= UNKNOWN_TO:
        return f"the header names {named} bytes of sound, as a writer into a pipe does; all {there} are read"
    if missing <= TOO_LONG and missing <= TOO_LONG_SHARE * named:
        return f"the header names {named} bytes of sound and there are {there}, which are all read"
    raise BrokenSound(f"{there} of the {named} bytes of sound that the header names")


def _refuse_second(contents: Contents, place: int) -> None:
    """Refuse a second piece of sound among the chunks from *place* on."""
    size = len(contents)
    while place + 8 <= size:
        chunk = contents[place : place + 8]
        if chunk[:4] == b"data":
            raise BrokenSound(f"two data chunks, the second at byte {place}")
        if not chunk[:4].isascii() or not any(chunk[:4]):  # no chunk: what an editor left behind
            return
        length = int.from_bytes(chunk[4:8], "little")
        place += 8 + length + length % 2


def _pcm16(contents: Contents, coding: bytes, offset: int, length: int) -> Pcm16 | None:
    if len(coding) < 16:
        return None
    tag, channels, rate, _, width, bits = struct.unpack("<HHIIHH", coding)
    if tag != _PCM or bits != 16 or channels < 1 or rate < 1 or width != 2 * channels:
        return None
    return Pcm16(contents, offset, rate, channels, length // width)
