"""The structure of sound files: where a WAV file keeps its samples, signs of a cut, and joined streams."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Literal, NamedTuple, Protocol

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


class ContainerPart(NamedTuple):
    """A part of a file that a decoder reads as a file of its own.

    Attributes:
        start: Its first byte.
        stop: One past its last.
        claimed: How many bytes it is said to have, where a decoder guesses the samples from that number.
    """

    start: int
    stop: int
    claimed: int = 0


Order = Literal["big", "little"]


class Structure(NamedTuple):
    """What was found.

    Attributes:
        parts: What a decoder reads one after the other; empty where it reads the file as it is.
        notes: What is odd but read all the same.
    """

    parts: tuple[ContainerPart, ...] = ()
    notes: tuple[str, ...] = ()


_READ = (b"RIFF", b"RF64", b"BW64", b"riff", b".snd", b"dns.", b"fLaC", b"OggS", b"ID3", b"caff", b"NIST_1A")
"""How files of formats begin that are read, beside AIFF, VOC and MP3: of these it is known how they end."""

_OTHERS = {
    b"RIFX": "RIFX", b"FORM": "8SVX", b" paf": "PAF", b"fap ": "PAF", b"PVF1": "PVF", b"2BIT": "AVR",
    b"MATL": "MATLAB", b"\xf0\x7e": "SDS", b"\x01\x04": "MPC 2000", b"\x64\xa3": "IRCAM", b"Exte": "XI",
}  # fmt: skip
"""Other formats of libsndfile, which would read a file that was cut without a word."""


def other_format(contents: Contents) -> str | None:
    """Return what a file is that is not read; ``None`` if it begins like a format that is."""
    head = contents[0:64]
    known = head.startswith(_READ) or head[:19] == b"Creative Voice File" or _Frame.read(head) is not None
    if known or (head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")):
        return None
    return next(
        (name for start, name in _OTHERS.items() if head.startswith(start)), "no sound by its beginning"
    )


def look_at_structure(contents: Contents) -> Structure:
    """Look at every kind of file but RIFF, which :func:`find_pcm16` knows.

    Raises:
        BrokenSound: If the file is cut or damaged for certain.
    """
    head = contents[0:64]
    if head[:4] == b"OggS":
        return _ogg(contents)
    if head[:4] == b"fLaC":
        return _flac(contents)
    if head[:3] == b"ID3" or _Frame.read(head) is not None:
        return _mp3(contents)
    promise = _promised(contents, head)
    if promise is not None:
        length, place = promise
        note = check_length(length, max(0, len(contents) - place))
        if note is not None:
            return Structure(notes=(note,))
    return Structure()


def find_unstated_length(contents: Contents) -> tuple[int, bytes] | None:
    """Return what a header should name in the place of a length that its writer could not fill in.

    libsndfile reads such a WAV or RF64 as empty, and refuses such a Wave64 or CAF.

    Returns:
        The place in the file, and the bytes that belong there; ``None`` where a length is stated, or
        libsndfile does without it.
    """
    head = contents[0:64]
    if head[:4] == b"RIFF":
        place = find_zero_length(contents)
        return None if place is None else (place, b"\xff" * 4)
    if head[:4] in (b"RF64", b"BW64"):
        found = _chunk(contents, 12, (b"data",), order="little", even=True)
        unstated = head[12:16] == b"ds64" and int.from_bytes(head[28:36], "little") in UNKNOWN_SIZES
        if unstated and found is not None and found[0] == 0xFFFFFFFF:
            return 28, (len(contents) - found[1]).to_bytes(8, "little")
    if head[:4] == b"riff":
        found = _wave64(contents)
        if found is not None and found[0] + _WAVE64_HEADER in UNKNOWN_SIZES:
            there = len(contents) - found[1] + _WAVE64_HEADER
            return found[1] - 8, there.to_bytes(8, "little")
    if head[:4] == b"caff":
        found = _chunk(contents, 8, (b"data",), order="big", even=False, width=8)
        if found is not None and found[0] in UNKNOWN_SIZES:
            return found[1] - 8, (len(contents) - found[1]).to_bytes(8, "big")
    return None


# Formats whose header names the bytes of sound

_VOC_SOUND = (b"\x01", b"\x09")
"""Kinds of blocks of a VOC file that hold sound; a third continues the one before."""

_WAVE64_HEADER = 24
"""Bytes of a chunk's header in Wave64, which its length counts."""


def _promised(contents: Contents, head: bytes) -> tuple[int, int] | None:
    """Return how many bytes of sound a header names, and where they begin."""
    if head[:4] in (b".snd", b"dns."):
        order: Order = "big" if head[:4] == b".snd" else "little"
        return int.from_bytes(head[8:12], order), int.from_bytes(head[4:8], order)
    if head[:4] == b"FORM":
        return _chunk(contents, 12, (b"SSND",), order="big", even=True)
    if head[:4] in (b"RF64", b"BW64"):
        found = _chunk(contents, 12, (b"data",), order="little", even=True)
        if found is None or head[12:16] != b"ds64":
            return found
        return int.from_bytes(head[28:36], "little"), found[1]
    if head[:4] == b"riff":  # Wave64: names and lengths are longer, and a length counts its own header
        return _wave64(contents)
    if head[:4] == b"caff":
        found = _chunk(contents, 8, (b"data",), order="big", even=False, width=8)
        return None if found is None or found[0] >= 2**63 else found  # -1: unknown
    if head[:7] == b"NIST_1A":
        return _nist(contents)
    if head[:19] == b"Creative Voice File":
        start = int.from_bytes(head[20:22], "little")
        block = contents[start : start + 4]
        if block[:1] not in _VOC_SOUND:
            return None
        end = start + 4 + int.from_bytes(block[1:4], "little")
        if contents[end : end + 1] in (*_VOC_SOUND, b"\x02"):
            raise BrokenSound("several blocks of sound, which cannot be read: convert it to WAV")
        return end - start - 4, start + 4
    return None


def _chunk(
    contents: Contents, place: int, names: tuple[bytes, ...], *, order: Order, even: bool, width: int = 4
) -> tuple[int, int] | None:
    size = len(contents)
    while place + 4 + width <= size:
        head = contents[place : place + 4 + width]
        length = int.from_bytes(head[4:], order)
        place += 4 + width
        if head[:4] in names:
            return length, place
        if not any(head[:4]):
            return None
        place += length + (length % 2 if even else 0)
    return None


def _wave64(contents: Contents) -> tuple[int, int] | None:
    place, size = 40, len(contents)
    while place + 24 <= size:
        head = contents[place : place + 24]
        length = int.from_bytes(head[16:], "little")
        if head[:4] == b"data":
            return max(0, length - _WAVE64_HEADER), place + _WAVE64_HEADER
        if length < _WAVE64_HEADER:
            return None
        place += -(-length // 8) * 8
    return None


def _nist(contents: Contents) -> tuple[int, int] | None:
    lines = contents[0:1024].split(b"\n")
    if any(b"shorten" in line for line in lines):  # packed
        return None
    try:
        start = int(lines[1])
        fields = {line.split()[0]: line.split()[2] for line in lines[2:] if len(line.split()) == 3}
        counts = [int(fields.get(name, b"1")) for name in (b"channel_count", b"sample_n_bytes")]
        return int(fields[b"sample_count"]) * counts[0] * counts[1], start
    except (IndexError, KeyError, ValueError):
        return None


# OGG

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
"""Each byte with its bits in reverse: OGG's check sum is that of zlib, mirrored."""

_LAST, _FIRST = 4, 2
"""Flags of a page: the last and the first of its stream."""


def _ogg_checksum(page: bytes) -> int:
    value = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(value.to_bytes(4, "big").translate(_REVERSED), "little")


def _ogg(contents: Contents) -> Structure:
    """Walk through the pages; a stream that begins behind another is a part of its own."""
    size, place = len(contents), 0
    starts: list[int] = []
    open_streams: dict[bytes, int] = {}
    begun = False  # whether the last page was the first of a stream: several may run side by side
    notes: list[str] = []
    while place < size:
        head = contents[place : place + 27 + 255]
        if head[:4] != b"OggS":
            if open_streams or not starts:
                raise BrokenSound(f"no page of OGG at byte {place} of {size}")
            notes.append(f"{size - place} bytes behind the end of the sound are passed over")
            size = place
            break
        segments = head[26] if len(head) > 26 else 255
        length = 27 + segments + sum(head[27 : 27 + segments])
        if place + length > size or len(head) < 27 + segments:
            raise BrokenSound(f"a last page that breaks off at byte {size}: the file was cut")
        page = contents[place : place + length]
        if _ogg_checksum(page[:22] + bytes(4) + page[26:]) != int.from_bytes(page[22:26], "little"):
            raise BrokenSound(f"a page at byte {place} whose check sum is wrong")
        flags, serial, number = head[5], head[14:18], int.from_bytes(head[18:22], "little")
        if flags & _FIRST:
            if not begun:
                starts.append(place)
                if open_streams:
                    notes.append("a stream without its end, before the next: it may have been cut")
                open_streams.clear()
            open_streams[serial] = number
        elif serial not in open_streams:
            raise BrokenSound(f"a page at byte {place} of a stream without its beginning")
        elif number != (open_streams[serial] + 1) % 2**32:
            raise BrokenSound(f"pages missing before byte {place}")
        open_streams[serial] = number
        begun = bool(flags & _FIRST)
        if flags & _LAST:
            del open_streams[serial]
        place += length
    if open_streams:
        notes.append("the stream has no end: it may have been cut")
    parts = tuple(map(ContainerPart, starts, [*starts[1:], size]))
    return Structure(parts if len(parts) > 1 or size < len(contents) else (), tuple(notes))


# FLAC of unknown length: whether its last frame is whole

_LONGEST_FRAME = 2**18
"""Bytes at the end of a file in which the beginning of its last frame is sought."""


def _flac(contents: Contents) -> Structure:
    info = contents[8:42]
    length = int.from_bytes(info[13:18], "big") & (2**36 - 1)
    if length:
        return Structure()  # the decoder knows where its end must be
    size = len(contents)
    tail = contents[max(0, size - _LONGEST_FRAME) : size]
    for start in islice(_syncs(tail), 8):
        if _crc16(tail[start:-2]) == int.from_bytes(tail[-2:], "big"):
            return Structure()
    return Structure(notes=("the last frame is not whole: the file may have been cut",))


def _syncs(tail: bytes) -> Iterator[int]:
    """Yield where a frame may begin, the last first."""
    place = len(tail)
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        if tail[place + 1 : place + 2] in (b"\xf8", b"\xf9") and _flac_header(tail[place : place + 16]):
            yield place


def _flac_header(head: bytes) -> bool:
    """Tell whether *head* begins with a frame header whose check sum is right."""
    if len(head) < 16:
        return False
    number = 8 - (head[4] ^ 0xFF).bit_length()  # as UTF-8 codes it: leading ones
    length = 4 + max(1, number)
    length += {6: 1, 7: 2}.get(head[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    value = 0
    for byte in head[:length]:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (0x07 if value & 0x80 else 0)) & 0xFF
    return value == head[length]


def _crc16_table() -> list[int]:
    table = []
    for value in range(256):
        value <<= 8
        for _ in range(8):
            value = (value << 1 ^ (0x8005 if value & 0x8000 else 0)) & 0xFFFF
        table.append(value)
    return table


_CRC16 = _crc16_table()


def _crc16(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 8 & 0xFF00) ^ _CRC16[value >> 8 ^ byte]
    return value


# MP3

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MPEG1 = {
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_MPEG2 = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates in kbit/s by layer."""


class _Frame(NamedTuple):
    """The header of a frame: its length in bytes (0 in the free format), and where a tag would stand."""

    length: int
    tag: int

    @classmethod
    def read(cls, head: bytes) -> _Frame | None:
        if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
            return None
        version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
        bit_rate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
        if version == 1 or layer == 4 or bit_rate == 15 or rate == 3:
            return None
        mono, first = head[3] >> 6 == 3, version == 3
        tag = 4 + ((17 if mono else 32) if first else (9 if mono else 17))
        if bit_rate == 0:
            return cls(0, tag)
        bits = (_MPEG1 if first else _MPEG2)[layer][bit_rate - 1] * 1000
        hertz = _RATES[version][rate]
        if layer == 1:
            return cls((12 * bits // hertz + padding) * 4, tag)
        return cls((72 if layer == 3 and not first else 144) * bits // hertz + padding, tag)


_CLAIM = 64
"""libsndfile guesses the length of a stream that does not tell it, from its bytes and the bit rate of its
first frame, and stops there however much follows. The highest bit rate is forty times the lowest."""


def _mp3(contents: Contents) -> Structure:
    """Find the streams of a file, each with its own length in its first frame, or the frames one by one."""
    size, place = len(contents), 0
    parts: list[ContainerPart] = []
    notes: list[str] = []
    while place < size:
        first = _behind_tags(contents, place)
        head = contents[first : first + 200]
        frame = _Frame.read(head)
        if frame is None:
            break
        named = _named_bytes(head, frame)
        if named is not None:
            if first + named > size:
                raise BrokenSound(f"{size - first} of the {named} bytes of sound that the header names")
            part = ContainerPart(place, first + named)
        else:
            end, note = _walk(contents, first)
            part = ContainerPart(place, end, 0 if _tagged(head, frame) else _CLAIM * (end - place))
            notes += [note] if note and end > place else []
        if part.stop <= place:
            break
        parts.append(part)
        place = part.stop
    return Structure(
        tuple(parts) if len(parts) > 1 or any(part.claimed for part in parts) else (), tuple(notes)
    )


def _tagged(head: bytes, frame: _Frame) -> bool:
    return head[frame.tag : frame.tag + 4] in (b"Xing", b"Info") or head[36:40] == b"VBRI"


def _behind_tags(contents: Contents, place: int) -> int:
    """Return where the first frame from *place* on may begin, behind tags and empty bytes."""
    while True:
        head = contents[place : place + 10]
        if head[:3] == b"ID3" and len(head) == 10:
            length = 0
            for byte in head[6:10]:
                length = length << 7 | byte & 0x7F
            place += 10 + length + (10 if head[5] & 0x10 else 0)
        elif head[:3] == b"TAG":
            place += 128
        elif head[:1] == b"\0":
            block = contents[place : place + 4096]
            place += len(block) - len(block.lstrip(b"\0"))
        else:
            return place


def _named_bytes(head: bytes, frame: _Frame) -> int | None:
    """Return how many bytes the stream has by its first frame, counted from that one."""
    tag = head[frame.tag : frame.tag + 16]
    if tag[:4] in (b"Xing", b"Info"):
        flags = int.from_bytes(tag[4:8], "big")
        at = 12 if flags & 1 else 8
        return int.from_bytes(tag[at : at + 4], "big") or None if flags & 2 else None
    if head[36:40] == b"VBRI":
        return int.from_bytes(head[46:50], "big") or None
    return None


def _walk(contents: Contents, place: int) -> tuple[int, str | None]:
    """Step from frame to frame; where the last whole one ends, and what is odd on the way."""
    size, block, base, note = len(contents), b"", 0, None
    while place + 4 <= size:
        if not base <= place <= base + len(block) - 4:
            base, block = place, contents[place : place + 2**18]
        frame = _Frame.read(block[place - base : place - base + 4])
        if frame is None:
            follows = _next_frame(contents, place)
            if follows is None:
                return place, note
            note, place = f"{follows - place} bytes that are no frame of MP3 at byte {place}", follows
        elif frame.length == 0:  # the free format names no length
            return size, note
        elif place + frame.length > size:
            return place, "the last frame breaks off: the file may have been cut"
        else:
            place += frame.length
    return place, note


def _next_frame(contents: Contents, place: int) -> int | None:
    """Return where a frame that another follows begins next, if one does within a megabyte."""
    block = contents[place : place + 2**20]
    at = 0
    while (at := block.find(b"\xff", at + 1)) >= 0:
        frame = _Frame.read(block[at : at + 4])
        if frame is not None and frame.length and _Frame.read(block[at + frame.length :][:4]) is not None:
            return place + at
    return None
