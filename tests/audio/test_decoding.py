"""Recordings that cannot be sought to the sample, that were cut, or that join several streams."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sertransfer.audio import containers, decoding, recordings
from sertransfer.audio.containers import look_at_structure
from sertransfer.audio.reading import AudioInfo, SoundCheck, inspect, listen, read_segment
from sertransfer.errors import BadInput
from sertransfer.io.files import StorageError
from sertransfer.manifest import AudioSource

PACKED = [
    ("ogg", "OGG", "VORBIS", 16_000),
    ("opus", "OGG", "OPUS", 16_000),
    ("mp3", "MP3", "MPEG_LAYER_III", 16_000),
    ("gsm.wav", "WAV", "GSM610", 8000),
    ("g721.wav", "WAV", "G721_32", 8000),
    ("g723.au", "AU", "G723_24", 8000),
    ("ima.wav", "WAV", "IMA_ADPCM", 16_000),
    ("ms.wav", "WAV", "MS_ADPCM", 16_000),
    ("dwvw.aiff", "AIFF", "DWVW_16", 16_000),
    ("gsm.w64", "W64", "GSM610", 8000),
]
OTHERS = ["AVR", "HTK", "SVX", "MAT4", "MAT5", "MPC2K", "PAF", "PVF", "SDS", "IRCAM", "XI", "WVE"]
"""Formats that libsndfile would read, cut ones without a word."""
WHOLE = [
    ("flac", "FLAC", "PCM_16", 16_000),
    ("24.wav", "WAV", "PCM_24", 16_000),
    ("float.wav", "WAV", "FLOAT", 16_000),
    ("aiff", "AIFF", "PCM_16", 16_000),
    ("au", "AU", "PCM_16", 16_000),
    ("w64", "W64", "PCM_16", 16_000),
    ("rf64", "RF64", "PCM_16", 16_000),
    ("caf", "CAF", "PCM_16", 16_000),
    ("sph", "NIST", "PCM_16", 16_000),
    ("voc", "VOC", "PCM_16", 16_000),
]


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    decoding._kept.clear()
    decoding._lengths.clear()


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, samples)


def write(
    path: Path, form: str, subtype: str, rate: int, samples: int = 32_000, seed: int = 0
) -> AudioSource:
    soundfile.write(path, noise(samples, seed), rate, format=form, subtype=subtype)
    return AudioSource(path)


def cut(source: AudioSource, share: float = 0.6) -> None:
    content = source.path.read_bytes()
    source.path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize(("ending", "form", "subtype", "rate"), PACKED + WHOLE)
def test_segments_equal_those_of_the_whole_decoded_file(
    tmp_path: Path, ending: str, form: str, subtype: str, rate: int
) -> None:
    source = write(tmp_path / f"a.{ending}", form, subtype, rate)
    with decoding.Decoder(str(source.path)) as sound:
        whole = sound.read(40_000, dtype="float32")
    assert 32_000 <= len(whole) < 33_000  # packed in blocks
    assert inspect(source) == AudioInfo(rate, len(whole), 1)
    for start, end in ((20_000, 28_000), (1000, 5000), (3000, 31_000)):  # not in order
        part = read_segment(source, start / rate, end / rate, sample_rate=rate)
        np.testing.assert_array_equal(part, whole[start:end])
    np.testing.assert_array_equal(read_segment(source, sample_rate=rate), whole)


@pytest.mark.parametrize(("ending", "form", "subtype", "rate"), PACKED + WHOLE)
def test_a_cut_file_is_never_silently_whole(
    tmp_path: Path, ending: str, form: str, subtype: str, rate: int
) -> None:
    source = write(tmp_path / f"a.{ending}", form, subtype, rate)
    assert inspect(source).notes == ()
    cut(source)
    for reader in (inspect, read_segment):
        with pytest.raises(BadInput, match=r"expected a whole recording"):
            reader(source)


@pytest.mark.parametrize("form", OTHERS)
def test_a_format_whose_end_cannot_be_told_is_not_read(tmp_path: Path, form: str) -> None:
    subtype = {"XI": "DPCM_16", "WVE": "ALAW"}.get(form, "PCM_16")
    source = write(tmp_path / "a.wav", form, subtype, 8000)
    for reader in (inspect, read_segment):
        with pytest.raises(BadInput, match=r"no audio that can be read \(.*convert it with ffmpeg or sox"):
            reader(source)


def test_other_formats_are_named(tmp_path: Path) -> None:
    for form, name in (
        ("IRCAM", "IRCAM"),
        ("PAF", "PAF"),
        ("MAT5", "MATLAB"),
        ("SDS", "SDS"),
        ("SVX", "8SVX"),
    ):
        with pytest.raises(BadInput, match=rf"\({name}\)"):
            inspect(write(tmp_path / f"a.{form}", form, "PCM_16", 16_000))
    source = write(tmp_path / "a.wav", "WAV", "PCM_16", 16_000)
    source.path.write_bytes(b"RIFX" + source.path.read_bytes()[4:])
    with pytest.raises(BadInput, match=r"\(RIFX\)"):
        inspect(source)


def test_a_tag_of_mp3_hides_no_other_format(tmp_path: Path) -> None:
    """libsndfile passes over the tag; the length of what follows is not compared with the file's."""
    tag = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)
    flac = write(tmp_path / "a.flac", "FLAC", "PCM_16", 16_000)
    flac.path.write_bytes(tag + flac.path.read_bytes())
    assert inspect(flac).samples == 32_000
    wav = write(tmp_path / "a.wav", "WAV", "PCM_16", 16_000)
    wav.path.write_bytes(tag + wav.path.read_bytes())
    with pytest.raises(BadInput, match=r"WAV behind a tag of MP3"):
        inspect(wav)


def test_sound_in_several_blocks_of_a_voc_is_a_fault(tmp_path: Path) -> None:
    """libsndfile reads the headers of the later ones as sound."""
    source = write(tmp_path / "a.voc", "VOC", "PCM_16", 16_000, samples=1000)
    content = source.path.read_bytes()
    more = b"\x02" + (200).to_bytes(3, "little") + bytes(200)
    source.path.write_bytes(content.removesuffix(b"\0") + more + b"\0")
    with pytest.raises(BadInput, match="several blocks of sound"):
        inspect(source)
    source.path.write_bytes(content + b"\x05")  # behind its end
    assert inspect(source).samples == 1000


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8", "ULAW"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_wav_of_unknown_length_is_read_to_its_end(
    tmp_path: Path, size: int, subtype: str, packed: bool
) -> None:
    source = write(tmp_path / "a.wav", "WAV", subtype, 16_000, samples=8000)
    expected = read_segment(source)
    content = source.path.read_bytes()
    at = content.index(b"data") + 4
    content = content[:at] + size.to_bytes(4, "little") + content[at + 4 :]
    source.path.write_bytes(content)
    if packed:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a.wav", content)
        source = AudioSource(tmp_path / "a.zip", "a.wav")
    assert inspect(source) == AudioInfo(16_000, 8000, 1)
    np.testing.assert_array_equal(read_segment(source), expected)
    np.testing.assert_array_equal(read_segment(source, 0.1, 0.2), expected[1600:3200])


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_header_some_bytes_too_long_is_read_with_a_note(tmp_path: Path, subtype: str) -> None:
    source = write(tmp_path / "a.wav", "WAV", subtype, 16_000, samples=8000)
    expected, content = read_segment(source), source.path.read_bytes()
    at = content.index(b"data") + 4
    named = int.from_bytes(content[at : at + 4], "little") + 36
    source.path.write_bytes(content[:at] + named.to_bytes(4, "little") + content[at + 4 :])
    info = inspect(source)
    assert (info.samples, len(info.notes)) == (8000, 1)
    assert f"the header names {named} bytes" in info.notes[0]
    assert listen(source).notes == info.notes
    np.testing.assert_array_equal(read_segment(source), expected)


@pytest.mark.parametrize(
    ("form", "place", "order", "sizes"),
    [
        ("RF64", 28, "little", (0, 2**63 - 1, 2**64 - 1)),
        ("W64", None, "little", (2**63 - 1, 2**64 - 1)),
        ("CAF", None, "big", (2**64 - 1,)),
    ],
)
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "ULAW"])
def test_a_length_that_a_writer_into_a_pipe_left_open_is_no_fault(
    tmp_path: Path, form: str, place: int | None, order: str, sizes: tuple[int, ...], subtype: str
) -> None:
    source = write(tmp_path / "a", form, subtype, 16_000, samples=8000)
    expected, content = read_segment(source), source.path.read_bytes()
    if place is None:
        place = content.index(b"data") + (16 if form == "W64" else 4)
    end = content.index(b"data", 64) + {"RF64": 8, "W64": 24, "CAF": 12 + 4}[form] + len(expected) * {
        "PCM_16": 2, "FLOAT": 4, "ULAW": 1
    }[subtype]  # fmt: skip
    for size in sizes:
        unstated = content[:place] + size.to_bytes(8, order) + content[place + 8 : end]
        source.path.write_bytes(unstated)
        assert inspect(source) == AudioInfo(16_000, 8000, 1)
        np.testing.assert_array_equal(read_segment(source), expected)


def test_two_pieces_of_sound_in_a_wav_are_a_fault(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", "WAV", "PCM_16", 16_000, samples=800)
    content = source.path.read_bytes()
    source.path.write_bytes(content + b"data" + (1600).to_bytes(4, "little") + content[-1600:])
    with pytest.raises(BadInput, match="two data chunks"):
        inspect(source)


@pytest.mark.parametrize(
    ("ending", "form", "subtype"),
    [("ogg", "OGG", "VORBIS"), ("opus", "OGG", "OPUS"), ("mp3", "MP3", "MPEG_LAYER_III")],
)
def test_joined_streams_are_all_read(tmp_path: Path, ending: str, form: str, subtype: str) -> None:
    parts = [write(tmp_path / f"{n}.{ending}", form, subtype, 16_000, 20_000 + n, seed=n) for n in range(3)]
    wholes = [read_segment(part) for part in parts]
    joined = AudioSource(tmp_path / f"joined.{ending}")
    joined.path.write_bytes(b"".join(part.path.read_bytes() for part in parts))
    assert inspect(joined).samples == sum(map(len, wholes))
    np.testing.assert_array_equal(read_segment(joined), np.concatenate(wholes))
    middle = len(wholes[0]) + 500
    np.testing.assert_array_equal(
        read_segment(joined, middle / 16_000, (middle + 900) / 16_000), wholes[1][500:1400]
    )


def test_joined_streams_of_two_rates_are_a_fault(tmp_path: Path) -> None:
    recordings = []
    for rate in (16_000, 8000):
        recordings.append(write(tmp_path / f"{rate}.ogg", "OGG", "VORBIS", rate).path.read_bytes())
    (tmp_path / "a.ogg").write_bytes(b"".join(recordings))
    with pytest.raises(BadInput, match=r"a later one of 8000 Hz and 1 channel"):
        inspect(AudioSource(tmp_path / "a.ogg"))


def pages(content: bytes) -> list[int]:
    places = [place for place in range(len(content)) if content[place : place + 4] == b"OggS"]
    return [*places, len(content)]


def test_ogg_without_its_end_gets_a_note_and_with_a_hole_is_a_fault(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ogg", "OGG", "VORBIS", 16_000, samples=160_000)
    content = source.path.read_bytes()
    places = pages(content)
    source.path.write_bytes(content[: places[-2]])
    info = inspect(source)
    assert info.notes == ("the stream has no end: it may have been cut",)
    assert 0 < info.samples < 160_000
    assert len(read_segment(source)) == info.samples
    source.path.write_bytes(content[: places[-4]] + content[places[-3] :])
    with pytest.raises(BadInput, match=f"pages missing before byte {places[-4]}"):
        inspect(source)
    damaged = bytearray(content)
    damaged[places[-3] + 200] ^= 1
    source.path.write_bytes(damaged)
    with pytest.raises(BadInput, match=f"a page at byte {places[-3]} whose check sum is wrong"):
        inspect(source)
    source.path.write_bytes(content + bytes(100))
    assert inspect(source).samples == 160_000
    assert inspect(source).notes == ("100 bytes behind the end of the sound are passed over",)


def test_joined_ogg_of_which_the_first_has_no_end_gets_a_note(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ogg", "OGG", "VORBIS", 16_000, samples=160_000)
    content = source.path.read_bytes()
    places = pages(content)
    other = write(tmp_path / "b.ogg", "OGG", "VORBIS", 16_000, samples=8000, seed=1).path.read_bytes()
    source.path.write_bytes(content[: places[-2]] + other)
    info = inspect(source)
    assert info.notes == ("a stream without its end, before the next: it may have been cut",)
    assert 8000 < info.samples < 168_000
    source.path.write_bytes(content[: places[-2]] + other[pages(other)[1] :])
    with pytest.raises(BadInput, match=f"a page at byte {places[-2]} of a stream without its beginning"):
        inspect(source)


def without_xing(content: bytes) -> bytes:
    """Return an MP3 without the first frame, which holds its length."""
    frame = containers._Frame.read(content[:4])
    assert frame is not None
    assert b"Info" in content[: frame.length] or b"Xing" in content[: frame.length]
    return content[frame.length :]


def test_mp3_without_a_length_is_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "a.mp3", "MP3", "MPEG_LAYER_III", 16_000, samples=160_000)
    complete = read_segment(source)
    source.path.write_bytes(without_xing(source.path.read_bytes()))
    info = inspect(source)
    assert (info.samples, info.notes) == (280 * 576, ())  # whole frames: LAME pads both ends
    whole = read_segment(source)
    delay = int(np.argmax(np.correlate(whole[:8000], complete[:6000], "valid")))
    np.testing.assert_allclose(whole[delay:][:160_000], complete, atol=1e-3)
    np.testing.assert_array_equal(read_segment(source, 7.0, 8.0), whole[112_000:128_000])
    content = source.path.read_bytes()
    source.path.write_bytes(content[:-100])
    capfd.readouterr()
    assert inspect(source).notes == ("the last frame breaks off: the file may have been cut",)
    frame = containers._Frame.read(content[:4])
    assert frame is not None
    source.path.write_bytes(content[: frame.length] + bytes(100) + content[frame.length :])
    assert inspect(source).notes == (f"100 bytes that are no frame of MP3 at byte {frame.length}",)


def test_flac_of_unknown_length_is_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "a.flac", "FLAC", "PCM_16", 16_000)
    whole, content = read_segment(source), bytearray(source.path.read_bytes())
    content[21] &= 0xF0  # the number of samples in STREAMINFO: 36 bits
    content[22:26] = bytes(4)
    source.path.write_bytes(content)
    assert inspect(source) == AudioInfo(16_000, 32_000, 1)
    np.testing.assert_array_equal(read_segment(source, 1.5, 2.0), whole[24_000:])
    cut(source)
    with pytest.raises(BadInput, match=r"a\.flac"):
        inspect(source)


def test_flac_of_unknown_length_that_ends_in_a_frame_gets_a_note() -> None:
    stream = io.BytesIO()
    soundfile.write(stream, noise(16_000), 16_000, format="FLAC")
    content = bytearray(stream.getvalue())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    assert look_at_structure(bytes(content)).notes == ()
    assert look_at_structure(bytes(content[:-10])).notes == (
        "the last frame is not whole: the file may have been cut",
    )


def test_many_segments_of_a_long_recording_decode_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "a.ogg", "OGG", "VORBIS", 16_000, samples=160_000)
    opened = []
    original = decoding.open_decoder
    monkeypatch.setattr(decoding, "open_decoder", lambda *a: opened.append(1) or original(*a))
    for place in np.random.default_rng(0).permutation(90):
        read_segment(source, place / 10, place / 10 + 0.5)
    assert len(opened) == 1
    assert inspect(source).samples == 160_000
    assert len(opened) == 1


def test_another_thread_may_decode_its_recording_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "a.ogg", "OGG", "VORBIS", 16_000)
    expected = read_segment(source)
    opened = []
    original, keep = decoding.open_decoder, decoding.Counted.keep
    monkeypatch.setattr(decoding, "open_decoder", lambda *a: opened.append(1) or original(*a))

    def keep_and_lose(self: decoding.Counted) -> np.ndarray:
        samples = keep(self)
        decoding._kept.clear()
        return samples

    monkeypatch.setattr(decoding.Counted, "keep", keep_and_lose)
    decoding._kept.clear()
    np.testing.assert_array_equal(read_segment(source), expected)
    assert len(opened) == 1


@pytest.mark.parametrize("channels", [1, 2])
def test_a_long_recording_is_kept_on_disk_not_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    wave = noise(200_000 * channels).reshape(-1, channels)
    soundfile.write(tmp_path / "a.ogg", wave, 16_000)
    source = AudioSource(tmp_path / "a.ogg")
    expected = [read_segment(source, n, n + 1) for n in (3, 1, 9)]
    decoding._kept.clear()
    monkeypatch.setattr(decoding, "KEPT_BYTES", 100_000)
    monkeypatch.setattr(decoding.tempfile, "tempdir", str(tmp_path))
    for n, segment in zip((3, 1, 9), expected, strict=True):
        np.testing.assert_array_equal(read_segment(source, n, n + 1), segment)
    (kept,) = decoding._kept.values()
    assert isinstance(kept.base.base if kept.base is not None else None, np.memmap)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ogg"]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "a.ogg", "OGG", "VORBIS", 16_000, samples=160_000)
    monkeypatch.setattr(decoding, "KEPT_BYTES", 1000)

    def full(**_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(decoding.tempfile, "TemporaryFile", full)
    with pytest.raises(StorageError, match="no space is left on the disk"):
        read_segment(source)


def test_libmpg123_says_nothing_and_others_are_heard(tmp_path: Path) -> None:
    write(tmp_path / "a.mp3", "MP3", "MPEG_LAYER_III", 16_000, samples=160_000)
    content = bytearray(without_xing((tmp_path / "a.mp3").read_bytes()))
    content[2000:2100] = bytes(100)
    (tmp_path / "a.mp3").write_bytes(content)
    plain = "import soundfile; soundfile.read('a.mp3')"
    ours = (
        "import os; from pathlib import Path; from sertransfer.audio import decoding;"
        "from sertransfer.audio.reading import read_segment; from sertransfer.manifest import AudioSource;"
        "read_segment(AudioSource(Path('a.mp3')));"
        "caught = decoding._chatter.caught(); caught.__enter__(); os.write(2, b'a warning of ours\\n');"
        "caught.__exit__(None, None, None)"
    )
    said = [
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, text=True)
        for code in (plain, ours)
    ]
    assert "libmpg123" in said[0].stderr  # or this test shows nothing
    assert said[1].stderr == "a warning of ours\n"


def test_pointers_of_git_lfs_are_called_that(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_text(
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{name}\nsize 9\n"
        )
    faults = set()
    for name in ("a.wav", "b.wav"):
        with pytest.raises(BadInput, match="git lfs pull") as error:
            inspect(AudioSource(tmp_path / name))
        faults |= set(error.value.faults)
    assert len(faults) == 1
    assert faults.pop().where == str(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "wav" / "deep").mkdir(parents=True)
    (tmp_path / "a.wav").rename(tmp_path / "wav" / "deep" / "a.wav")
    with pytest.raises(BadInput) as error:
        inspect(AudioSource(tmp_path / "wav" / "deep" / "a.wav"))
    assert error.value.faults[0].where == str(tmp_path)  # where the command must be run


def test_a_file_called_raw_is_no_recording_without_its_rate(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(1000))
    with pytest.raises(BadInput, match="no audio that can be read"):
        inspect(AudioSource(tmp_path / "a.raw"))


# Channels, and silence


def stereo(path: Path, left: np.ndarray, right: np.ndarray, subtype: str = "PCM_16") -> AudioSource:
    soundfile.write(path, np.stack([left, right], axis=1), 16_000, subtype=subtype)
    return AudioSource(path)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_channels_that_cancel_leave_the_louder_one(tmp_path: Path, subtype: str, offset: float) -> None:
    left = noise(8000)
    source = stereo(tmp_path / "a.wav", left + offset, -0.9 * left + offset, subtype)
    assert listen(source).channel == 1
    np.testing.assert_allclose(read_segment(source), left + offset, atol=1e-4)
    source = stereo(tmp_path / "b.wav", -0.9 * left, left, subtype)
    assert listen(source).channel == 2
    np.testing.assert_allclose(read_segment(source), left, atol=1e-4)


@pytest.mark.parametrize(("loss", "channel"), [(19.5, None), (20.5, 1)])
def test_the_rule_is_twenty_decibels(tmp_path: Path, loss: float, channel: int | None) -> None:
    share = 10 ** (-loss / 20)  # of the level, that is left in the mean of x and (2 share - 1) x, about
    left, level = noise(8000), 1.0
    for _ in range(50):  # the level of both depends on the other
        other = 2 * share * level - 1
        level = np.sqrt((1 + other**2) / 2)
    source = stereo(tmp_path / "a.wav", left, other * left, "FLOAT")
    assert listen(source).channel == channel
    expected = left if channel else (1 + other) / 2 * left
    np.testing.assert_allclose(read_segment(source), expected, atol=1e-6)


def test_a_silent_or_another_speakers_channel_is_averaged(tmp_path: Path) -> None:
    assert listen(stereo(tmp_path / "a.wav", noise(8000), np.zeros(8000))).channel is None
    assert listen(stereo(tmp_path / "b.wav", noise(8000), noise(8000, seed=1))).channel is None
    assert listen(stereo(tmp_path / "c.wav", np.zeros(8000), np.zeros(8000))) == SoundCheck(silent=True)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize(
    ("wave", "silent"),
    [
        (np.zeros(16_000), True),
        (np.full(16_000, 0.1), True),  # a constant is no sound
        (10 ** (-83 / 20) * np.sqrt(2) * np.sin(np.arange(16_000)), True),
        (10 ** (-70 / 20) * np.sqrt(2) * np.sin(np.arange(16_000)), False),
        (np.r_[noise(500), np.zeros(15_500)], False),  # heard at its beginning, not in its middle
    ],
    ids=["zeros", "constant", "-83 dB", "-70 dB", "a word"],
)
def test_silence_is_told(tmp_path: Path, form: str, wave: np.ndarray, silent: bool) -> None:
    if form == "OGG" and np.ptp(wave) < 1e-3 and wave.any():
        pytest.skip("Vorbis does not keep so little")
    soundfile.write(tmp_path / "a", wave, 16_000, format=form)
    assert listen(AudioSource(tmp_path / "a")).silent == silent
    if wave.any() and not silent:
        assert listen(AudioSource(tmp_path / "a"), 0.0, 0.02).silent == silent


def test_listening_reads_a_part_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "a.wav", "WAV", "PCM_16", 16_000, samples=160_000)
    taken = []
    original = recordings.os.pread
    monkeypatch.setattr(recordings.os, "pread", lambda f, n, p: taken.append(n) or original(f, n, p))
    assert not listen(source).silent
    assert sum(taken) < 4096


def test_an_empty_wav_with_chunks_behind_is_empty_not_of_unknown_length(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", "WAV", "PCM_16", 16_000, samples=0)
    with source.path.open("ab") as stream:
        stream.write(b"LIST" + (4).to_bytes(4, "little") + b"INFO")
    with pytest.raises(BadInput, match="length zero"):
        inspect(source)
