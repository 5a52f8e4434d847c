"""Sound that libsndfile decodes: read by seek where it can be sought to the sample, else counted and kept.

What a decoder says of the length and of places in MP3, OGG, ADPCM or a FLAC file of unknown length is a
guess. Such a recording is decoded from its beginning and its samples are counted. For segments it is decoded
once: the samples of the last one that was used are kept, in memory or in an unnamed temporary file.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from sertransfer.audio.containers import ContainerPart, Contents
from sertransfer.audio.recordings import KEPT_BYTES, Found, Key, Patched, spool, unreadable
from sertransfer.errors import BadInput, bad_input
from sertransfer.manifest import AudioSource

EVEN = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""libsndfile's names of codings of constant width; only these, and FLAC, can be sought to the sample."""

UNKNOWN_LENGTH = 2**62
"""libsndfile gives more than this many samples for a length that is not known."""

BLOCK = 2**17
"""Samples of all channels together that are decoded at once."""

LARGEST = 16 * 2**30
"""Bytes of a recording that is decoded and counted: a small file may hold days of silence in 255 channels."""

KEPT_LENGTHS = 4096
"""Recordings whose counted length is remembered."""


class Sound(Protocol):
    """An opened recording."""

    @property
    def samplerate(self) -> int:
        """Rate in Hz."""
        ...

    @property
    def channels(self) -> int:
        """Number of channels."""
        ...

    @property
    def frames(self) -> int:
        """Samples per channel."""
        ...

    def read(self, first: int, count: int) -> NDArray[Any]:
        """Return *count* samples from *first* on, shape ``(samples,)`` or ``(samples, channels)``."""
        ...


class Sought:
    """A recording that is read where it lies, by seek."""

    def __init__(self, sound: soundfile.SoundFile) -> None:
        self._sound = sound
        self.samplerate: int = sound.samplerate
        self.channels: int = sound.channels
        self.frames: int = sound.frames

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """Return *count* samples from *first* on, shape ``(samples,)`` or ``(samples, channels)``."""
        self._sound.seek(first)
        samples: NDArray[np.float32] = self._sound.read(count, dtype="float32")
        return samples

    def reach_end(self) -> bool:
        """Tell whether the last sample is there; a packed file that was cut ends before it."""
        try:
            self._sound.seek(self.frames - 1)
            return len(self._sound.read(1, dtype="float32")) == 1
        except soundfile.LibsndfileError:
            return False


class Counted:
    """A recording that is decoded from its beginning; its samples are counted."""

    def __init__(self, source: AudioSource, found: Found, samplerate: int, channels: int) -> None:
        self._source, self._found = source, found
        self.samplerate, self.channels = samplerate, channels
        self._samples: NDArray[np.float32] | None = None

    @property
    def frames(self) -> int:
        """Samples per channel, decoded to be counted the first time that they are asked for."""
        kept = _kept.get(self._found.key) if self._samples is None else self._samples
        if kept is not None:
            return len(kept)
        length = _lengths.get(self._found.key)
        if length is None:
            length = sum(len(block) for block in self._blocks())
            self._remember(length)
        return length

    def keep(self) -> NDArray[np.float32]:
        """Decode all of it now, since segments are to be read and not only its length; shape of a block."""
        if self._samples is None:
            # Its own reference: another thread may put its recording in the place of this one at any time.
            self._samples = _kept.get(self._found.key)
        if self._samples is None:
            _kept.clear()  # before the next is decoded
            self._samples = _kept[self._found.key] = self._gather()
            self._remember(len(self._samples))
        return self._samples

    def _remember(self, length: int) -> None:
        if len(_lengths) >= KEPT_LENGTHS:
            _lengths.clear()
        _lengths[self._found.key] = length

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """Return *count* samples from *first* on, shape ``(samples,)`` or ``(samples, channels)``."""
        part: NDArray[np.float32] = np.array(self.keep()[first : first + count])
        return part[:, 0] if self.channels == 1 else part

    def _gather(self) -> NDArray[np.float32]:
        """Return all samples in one array, in memory or mapped from a temporary file without a name."""
        gathered: list[NDArray[np.float32]] = []
        size, blocks = 0, self._blocks()
        for block in blocks:
            gathered.append(block)
            size += block.nbytes
            if size > KEPT_BYTES:
                pieces = itertools.chain(_emptied(gathered), blocks)
                with spool(piece.tobytes() for piece in pieces) as file:
                    mapped = np.memmap(file, np.float32, mode="r").reshape(-1, self.channels)
                return mapped.view(np.ndarray)
        return np.concatenate(gathered) if gathered else np.zeros((0, self.channels), np.float32)

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the samples in blocks, shape ``(samples, channels)``."""
        size = 0
        for part in self._found.parts or (None,):
            with open_decoder(self._source, self._found, part) as decoder:
                if (decoder.samplerate, decoder.channels) != (self.samplerate, self.channels):
                    found = f"{decoder.samplerate} Hz and {decoder.channels} channel(s)"
                    raise bad_input(
                        self._source,
                        found=f"joined streams, a later one of {found}",
                        expected=f"{self.samplerate} Hz and {self.channels} channel(s), as the first has",
                        remedy="cut the file into one for each stream",
                    )
                while True:
                    with _quiet(decoder.chatty):
                        count = max(1, BLOCK // self.channels)
                        block = decoder.read(count, dtype="float32", always_2d=True)
                    if not len(block):
                        break
                    size += block.nbytes
                    if size > LARGEST:
                        raise self.too_large(f"more than {LARGEST / 2**30:g} GiB")
                    yield block

    def too_large(self, size: str) -> BadInput:
        """Return the error of a recording that would decode to *size*."""
        return bad_input(
            self._source,
            found=f"{size} of decoded sound, {self.channels} channel(s) at {self.samplerate} Hz",
            expected=f"at most {LARGEST / 2**30:g} GiB in a recording that cannot be sought to the sample",
            remedy="convert it to FLAC or WAV, with fewer channels or a lower rate, or cut it",
        )


_kept: dict[Key, NDArray[np.float32]] = {}
"""The samples of the one recording that is kept, shape ``(samples, channels)``."""

_lengths: dict[Key, int] = {}


def _emptied(blocks: list[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yield *blocks*, each of which is let go when the next is asked for."""
    while blocks:
        yield blocks.pop(0)


class Decoder(soundfile.SoundFile):  # type: ignore[misc]  # the library has no types
    """libsndfile without a seek after every read: some decoders cannot, others lose their place."""

    chatty: bool = False

    def seekable(self) -> bool:
        """Return ``False``."""
        return False


@contextmanager
def open_decoder(source: AudioSource, found: Found, part: ContainerPart | None = None) -> Iterator[Decoder]:
    """Open a recording, or *part* of its bytes, at its beginning.

    Raises:
        BadInput: If libsndfile cannot read it.
    """
    with _opened(Decoder, source, found, part) as decoder:
        yield decoder


@contextmanager
def open_sound(source: AudioSource, found: Found) -> Iterator[Sought | Counted]:
    """Open what :func:`~sertransfer.audio.recordings.find_contents` found.

    Raises:
        BadInput: If libsndfile cannot read it.
    """
    with _opened(soundfile.SoundFile, source, found, None) as sound:
        even = sound.subtype in EVEN
        known = sound.frames < UNKNOWN_LENGTH
        if known and not found.parts and (even or sound.format == "FLAC") and sound.seekable():
            yield Sought(sound)
            return
        counted = Counted(source, found, sound.samplerate, sound.channels)
        named = sound.frames * sound.channels * 4 if known and not found.parts else 0
    if named > LARGEST:
        raise counted.too_large(f"{named / 2**30:.1f} GiB")
    yield counted


@contextmanager
def _opened(kind: type[Any], source: AudioSource, found: Found, part: ContainerPart | None) -> Iterator[Any]:
    contents = found.contents
    given: Any
    packed = source.member is not None or isinstance(contents, Patched)
    # a name that ends in .raw would make soundfile ask for rate and coding
    if part is not None or packed or source.path.suffix.lower() == ".raw":
        given = io.BufferedReader(_Window(contents, part or ContainerPart(0, len(contents))), 2**16)
    else:
        given = os.fsencode(source.path)  # a name need not be UTF-8
    chatty = _may_be_mp3(contents[0:12])
    try:
        with _quiet(chatty):
            sound = kind(given)
    except soundfile.LibsndfileError as error:
        if "SF_INFO" in error.error_string:
            raise bad_input(
                source,
                found="a sample rate or number of channels that no recording has",
                expected="1 Hz or more, and 1 channel or more",
                remedy="correct the header, or replace the file",
            ) from None
        raise unreadable(source, error.error_string.rstrip(".")) from None
    if contents[0:3] == b"ID3" and sound.format not in ("MP3", "FLAC"):
        sound.close()
        raise unreadable(source, f"{sound.format} behind a tag of MP3")
    if kind is Decoder:
        sound.chatty = chatty
    try:
        yield sound
    finally:
        with _quiet(chatty):
            sound.close()


_TAG = 128
"""Bytes at the end of an MP3 file that libmpg123 looks at for a tag."""


class _Window(io.RawIOBase):
    """A part of a file's bytes as a file, for a decoder."""

    def __init__(self, contents: Contents, part: ContainerPart) -> None:
        super().__init__()
        self._contents, self._part, self._place = contents, part, 0
        self._length = part.claimed or part.stop - part.start

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into *buffer*; the number of bytes."""
        if (
            self._place >= self._length - _TAG and self._part.claimed
        ):  # where a tag may stand, which is asked for
            data = bytes(min(len(buffer), max(0, self._length - self._place)))
        else:
            first = self._part.start + self._place
            data = self._contents[first : max(first, min(self._part.stop, first + len(buffer)))]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; where that is."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._length}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place


# What libmpg123 writes to standard error on every frame that it does not like

_CALM = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b".snd", b"riff", b"caff", b"NIST")
"""Beginnings of files that libmpg123 never sees."""

_CHATTER = re.compile(rb"\s*(\[(\.\./)*src/libmpg123|(Note|Warning): )")


def _may_be_mp3(head: bytes) -> bool:
    return not head.startswith(_CALM)


def _quiet(wanted: bool) -> AbstractContextManager[None]:
    return _chatter.caught() if wanted else nullcontext()


class _Chatter:
    """Keeps the lines of libmpg123 from standard error; what others wrote meanwhile is written afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._error = -1
        self._caught: Any = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch them during the block, in which any number of threads may be."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._begin()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._end()

    def _begin(self) -> None:
        try:
            self._error = os.dup(2)
        except OSError:  # no standard error: nobody to be spared
            self._error = -1
            return
        self._caught = tempfile.TemporaryFile()  # noqa: SIM115 (closed in _end, by another thread perhaps)
        os.dup2(self._caught.fileno(), 2)

    def _end(self) -> None:
        if self._error < 0:
            return
        os.dup2(self._error, 2)
        os.close(self._error)
        with self._caught as caught:
            if caught.seek(0, io.SEEK_END):
                caught.seek(0)
                kept = b"".join(line for line in caught if not _CHATTER.match(line))
                os.write(2, kept)


_chatter = _Chatter()
