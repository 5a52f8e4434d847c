"""Where a WAV file keeps its samples: what is read from there, and what is left to the decoder."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sertransfer.audio.containers import BrokenSound, find_pcm16


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def wav(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def coding(tag: int = 1, channels: int = 1, rate: int = 16000, bits: int = 16, width: int | None = None):
    width = channels * bits // 8 if width is None else width
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, bits))


SOUND = chunk(b"data", np.arange(12, dtype="<i2").tobytes())


@given(st.integers(1, 3), st.integers(1, 50), st.data())
def test_any_stretch_equals_what_libsndfile_reads(channels: int, frames: int, data: st.DataObject) -> None:
    values = np.random.default_rng(frames).integers(-32768, 32768, (frames, channels)).astype(np.int16)
    stream = io.BytesIO()
    soundfile.write(stream, values, 8000, format="WAV", subtype="PCM_16")
    found, _ = find_pcm16(stream.getvalue())
    assert found is not None
    assert (found.samplerate, found.channels, found.frames) == (8000, channels, frames)
    first = data.draw(st.integers(0, frames - 1))
    count = data.draw(st.integers(1, frames - first))
    np.testing.assert_array_equal(found.read(first, count).reshape(count, channels), values[first:][:count])


def test_chunks_of_odd_length_are_stepped_over() -> None:
    found, _ = find_pcm16(wav(chunk(b"LIST", b"odd"), coding(), chunk(b"fact", b"1234567"), SOUND))
    assert found is not None
    np.testing.assert_array_equal(found.read(0, 12), np.arange(12))


@pytest.mark.parametrize("length", range(40))
def test_sound_is_found_wherever_the_header_ends(length: int) -> None:
    """Also where a chunk lies across the end of the bytes that are read at first."""
    found, _ = find_pcm16(wav(chunk(b"LIST", bytes(length)), coding(), SOUND))
    assert found is not None
    np.testing.assert_array_equal(found.read(0, 12), np.arange(12))


@pytest.mark.parametrize(
    "content",
    [
        b"fLaC" + bytes(40),
        b"",
        wav(coding(tag=3, bits=32), SOUND),  # floating point
        wav(coding(tag=0xFFFE), SOUND),  # the extensible form may hold anything
        wav(coding(bits=24), SOUND),
        wav(coding(width=4), SOUND),  # one channel of 16 bits in steps of four bytes
        wav(coding(channels=0, width=2), SOUND),
        wav(coding(rate=0), SOUND),
        wav(SOUND, coding()),  # sound before its coding
        wav(chunk(b"fmt ", b"short"), SOUND),
        wav(coding(), chunk(b"data", b"")),  # a writer that could not seek back
    ],
    ids=range(11),
)
def test_everything_else_is_left_to_the_decoder(content: bytes) -> None:
    assert find_pcm16(content)[0] is None


def test_a_file_shorter_than_its_header_says_is_refused_whatever_its_coding() -> None:
    for form in (coding(), coding(tag=3, bits=32)):
        whole = wav(form, SOUND)
        with pytest.raises(BrokenSound, match="21 of the 24 bytes"):
            find_pcm16(whole[:-3])
        with pytest.raises(BrokenSound, match="without any sound"):
            find_pcm16(whole[:36])


def test_a_hole_where_chunks_should_be_is_not_walked_through() -> None:
    class Counted(bytes):
        taken = 0

        def __getitem__(self, span: slice) -> bytes:  # type: ignore[override]
            Counted.taken += 1
            return super().__getitem__(span)

    with pytest.raises(BrokenSound, match="without any sound"):
        find_pcm16(Counted(wav(coding(), chunk(b"JUNK", bytes(100))) + bytes(100_000)))
    assert Counted.taken < 10


def test_a_file_that_shrinks_while_it_is_open_gives_whole_frames() -> None:
    content = bytearray(wav(coding(channels=2), SOUND))
    found, _ = find_pcm16(content)
    assert found is not None
    del content[-3:]
    assert found.read(4, 2).tolist() == [[8, 9]]


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_size_that_stands_for_unknown_is_no_promise(size: int) -> None:
    content = wav(coding(), SOUND[:4] + struct.pack("<I", size) + SOUND[8:])
    assert find_pcm16(content) == (None, None)


@pytest.mark.parametrize("size", [0x7F000000, 0x7FFFFFD0, 0xFFFFFFF0])
def test_another_size_that_no_writer_means_gets_a_note(size: int) -> None:
    content = wav(coding(), SOUND[:4] + struct.pack("<I", size) + SOUND[8:])
    found, note = find_pcm16(content)
    assert found is None
    assert note is not None
    assert f"the header names {size} bytes of sound, as a writer into a pipe does; all 24 are read" in note


def test_a_size_that_a_writer_may_mean_is_a_cut() -> None:
    with pytest.raises(BrokenSound, match="24 of the 2130706431 bytes"):
        find_pcm16(wav(coding(), SOUND[:4] + struct.pack("<I", 0x7F000000 - 1) + SOUND[8:]))


def test_a_header_some_bytes_too_long_gets_a_note() -> None:
    sound = chunk(b"data", bytes(2000))
    content = wav(coding(), sound[:4] + struct.pack("<I", 2044) + sound[8:])
    assert find_pcm16(content) == (
        None,
        "the header names 2044 bytes of sound and there are 2000, which are all read",
    )
    with pytest.raises(BrokenSound, match="2000 of the 2065 bytes"):
        find_pcm16(wav(coding(), sound[:4] + struct.pack("<I", 2065) + sound[8:]))


def test_two_data_chunks_are_refused() -> None:
    with pytest.raises(BrokenSound, match="two data chunks, the second at byte 80"):
        find_pcm16(wav(coding(), SOUND, chunk(b"LIST", b"odd"), SOUND)[:])
    odd = chunk(b"data", bytes(range(7)))
    with pytest.raises(BrokenSound, match="two data chunks, the second at byte 52"):
        find_pcm16(wav(coding(bits=8), odd, odd))
    found, _ = find_pcm16(wav(coding(), SOUND, chunk(b"LIST", b"odd")))
    assert found is not None
    assert found.frames == 12
