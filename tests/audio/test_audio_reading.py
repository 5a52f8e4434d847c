"""Reading of segments, from files and archives, and what faulty recordings get."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sertransfer.audio import recordings
from sertransfer.audio.reading import (
    AudioInfo,
    inspect,
    listen,
    read_segment,
    resample,
    resampled_length,
    segment_bounds,
)
from sertransfer.errors import BadInput
from sertransfer.manifest import AudioSource
from sertransfer.timebase import seconds_to_samples


def tone(samples: int, rate: int = 16000, channels: int = 1) -> np.ndarray:
    time = np.arange(samples) / rate
    wave = 0.4 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 1000 * time)
    return wave if channels == 1 else np.stack([wave * (c + 1) / channels for c in range(channels)], axis=1)


def write(path: Path, wave: np.ndarray, rate: int = 16000, subtype: str = "PCM_16") -> AudioSource:
    soundfile.write(path, wave, rate, subtype=subtype)
    return AudioSource(path)


def test_inspect_tells_what_the_header_says(tmp_path: Path) -> None:
    info = inspect(write(tmp_path / "a.wav", tone(12000, 8000, 2), 8000))
    assert info == AudioInfo(8000, 12000, 2)
    assert info.duration == 1.5


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE", "PCM_U8"])
def test_a_segment_is_the_slice_of_the_whole(tmp_path: Path, subtype: str) -> None:
    source = write(tmp_path / "a.wav", tone(16000), subtype=subtype)
    whole, _ = soundfile.read(source.path, dtype="float32")
    np.testing.assert_array_equal(read_segment(source), whole)
    part = read_segment(source, 0.25, 0.5)
    assert part.dtype == np.float32
    np.testing.assert_array_equal(part, whole[4000:8000])
    np.testing.assert_allclose(read_segment(source, 0.25, 0.5, gain=3.0), 3 * whole[4000:8000], rtol=1e-6)


def test_other_formats_are_read(tmp_path: Path) -> None:
    wave = tone(8000)
    soundfile.write(tmp_path / "a.flac", wave, 16000)
    np.testing.assert_allclose(
        read_segment(AudioSource(tmp_path / "a.flac"), 0.1, 0.2), wave[1600:3200], atol=1e-4
    )


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_channels_become_one_by_their_mean(tmp_path: Path, subtype: str) -> None:
    wave = tone(4000, channels=3)
    source = write(tmp_path / "a.wav", wave, subtype=subtype)
    np.testing.assert_allclose(read_segment(source), wave.mean(axis=1), atol=1e-4)


def power_db(wave: np.ndarray) -> float:
    return float(10 * np.log10(2 * wave.astype(np.float64).var() + 1e-30))


def resampled_tone(hertz: float, rate: int) -> np.ndarray:
    """Return a tone of full scale after resampling to 16 kHz, without its ends."""
    wave = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
    return resample(wave, rate, 16_000)[2000:-2000]


@pytest.mark.parametrize("rate", [22_050, 24_414, 44_100, 48_000, 96_000])
def test_resampling_is_flat_up_to_7_khz_and_lets_nothing_through_from_8_khz_on(rate: int) -> None:
    for hertz in (100, 1000, 3000, 5000, 6000, 7000):
        assert abs(power_db(resampled_tone(hertz, rate))) < 0.1
    for hertz in (8050, 8500, 9000, 10_000):
        assert power_db(resampled_tone(hertz, rate)) < -80


@pytest.mark.parametrize("hertz", [200, 1000, 2000, 3000, 3500, 3900])
def test_resampling_from_8_khz_makes_no_images(hertz: int) -> None:
    wave = resampled_tone(hertz, 8000).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    frequencies = np.fft.rfftfreq(len(wave), 1 / 16_000)
    image = spectrum[frequencies > 4050].max() / spectrum.max()
    assert 20 * np.log10(image) < -80
    if hertz < 3600:
        assert abs(power_db(wave)) < 0.1


def test_a_segment_is_cut_at_the_files_rate_and_resampled_then(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", tone(24_414, 24_414), 24_414, "FLOAT")
    whole, _ = soundfile.read(source.path, dtype="float32")
    first, last = seconds_to_samples(0.5, 24_414), seconds_to_samples(0.9, 24_414)
    part = read_segment(source, 0.5, 0.9)
    np.testing.assert_array_equal(part, resample(whole[first:last], 24_414, 16_000))
    np.testing.assert_allclose(part[400:-400], tone(16_000)[8000:][: len(part)][400:-400], atol=1e-3)


@given(st.integers(1, 3000), st.sampled_from([1000, 8000, 11_025, 11_127, 22_050, 24_414, 44_100, 48_000]))
def test_the_length_after_resampling_is_known_before(samples: int, rate: int) -> None:
    assert len(resample(np.zeros(samples, np.float32), rate, 16_000)) == resampled_length(samples, rate)


def test_the_exact_end_is_inside_and_half_a_sample_rounds_up(tmp_path: Path) -> None:
    info = AudioInfo(16000, 16000, 1)
    assert segment_bounds(info, 0.5, 1.0, "x") == (8000, 16000)
    assert segment_bounds(info, 0.5 / 16000, 1.5 / 16000, "x") == (1, 2)
    assert segment_bounds(info, None, None, "x") == (0, 16000)
    assert segment_bounds(info, 0.25, None, "x") == (4000, 16000)
    source = write(tmp_path / "a.wav", tone(16000))
    assert len(read_segment(source, 0.75, 1.0)) == 4000


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0001), (1.0, 2.0), (0.5, 0.5), (0.6, 0.5), (1.0, None)])
def test_a_segment_that_is_empty_or_reaches_past_the_end_is_refused(
    tmp_path: Path, start: float, end: float | None
) -> None:
    source = write(tmp_path / "a.wav", tone(16000))
    with pytest.raises(BadInput, match=r"inside 0 to 1\.0 s"):
        read_segment(source, start, end)


def truncate(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def test_a_truncated_file_is_named_with_what_is_missing(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", tone(16000))
    truncate(source.path, 20044)
    with pytest.raises(BadInput, match=r"a\.wav: found 20000 of the 32000 bytes of sound"):
        inspect(source)
    with pytest.raises(BadInput, match="20000 of the 32000"):
        read_segment(source)
    truncate(source.path, 36)
    with pytest.raises(BadInput, match="36 bytes without any sound"):
        inspect(source)


def test_a_chunk_before_the_sound_is_stepped_over(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", tone(1000))
    content = source.path.read_bytes()
    extra = b"junk" + (3).to_bytes(4, "little") + b"abc\0"  # an odd length is padded
    riff = (len(content) + len(extra) - 8).to_bytes(4, "little")
    source.path.write_bytes(b"RIFF" + riff + content[8:36] + extra + content[36:])
    assert inspect(source).samples == 1000
    truncate(source.path, len(content) - 100)
    with pytest.raises(BadInput, match="of the 2000 bytes"):
        inspect(source)


def test_a_header_without_a_promise_is_no_truncation(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", tone(1000))
    content = source.path.read_bytes()
    source.path.write_bytes(content[:40] + b"\xff\xff\xff\xff" + content[44:])
    assert inspect(source).samples == 1000


def test_a_compressed_file_that_ends_early_is_found_when_it_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.flac", rng.uniform(-0.5, 0.5, 64000), 16000)
    truncate(tmp_path / "a.flac", 60000)
    with pytest.raises(BadInput, match=r"a\.flac: found"):
        read_segment(AudioSource(tmp_path / "a.flac"))


def test_missing_empty_silent_headers_and_text_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no sound in here")
    write(tmp_path / "zero.wav", np.zeros(0))
    (tmp_path / "folder.wav").mkdir()
    for name, message in {
        "missing.wav": "found no such file",
        "empty.wav": "found an empty file",
        "text.wav": "found no audio that can be read",
        "zero.wav": "found a recording of length zero",
        "folder.wav": "found a file that cannot be read",
    }.items():
        for reader in (inspect, read_segment):
            with pytest.raises(BadInput, match=message) as error:
                reader(AudioSource(tmp_path / name))
            assert error.value.faults[0].where == str(tmp_path / name)
            assert error.value.faults[0].remedy


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_sample_that_is_no_finite_number_is_refused_with_its_time(
    tmp_path: Path, value: float, channels: int
) -> None:
    wave = tone(16000, channels=channels)
    wave[8000] = value
    source = write(tmp_path / "a.wav", wave, subtype="FLOAT")
    with pytest.raises(BadInput, match=r"no finite number, at 0\.5 s"):
        read_segment(source, 0.25, 0.75)
    assert len(read_segment(source, 0.0, 0.5)) == 8000


def archive(path: Path, *, compression: int = zipfile.ZIP_DEFLATED) -> AudioSource:
    write(path.with_suffix(".wav"), tone(16000))
    with zipfile.ZipFile(path, "w", compression) as packed:
        packed.write(path.with_suffix(".wav"), "300_P/300_AUDIO.wav")
        packed.writestr("300_P/empty.wav", b"")
    return AudioSource(path, "300_P/300_AUDIO.wav")


def test_a_member_of_an_archive_reads_as_the_file_does(tmp_path: Path) -> None:
    source = archive(tmp_path / "300_P.zip")
    before = sorted(tmp_path.iterdir())
    loose = AudioSource(tmp_path / "300_P.wav")
    assert inspect(source) == inspect(loose)
    np.testing.assert_array_equal(read_segment(source, 0.1, 0.9), read_segment(loose, 0.1, 0.9))
    assert sorted(tmp_path.iterdir()) == before


def test_consecutive_segments_of_a_member_unpack_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = archive(tmp_path / "300_P.zip")
    recordings._last.clear()
    reads = []
    original = zipfile.ZipFile.read
    monkeypatch.setattr(
        zipfile.ZipFile, "read", lambda self, name: reads.append(name) or original(self, name)
    )
    for place in range(5):
        read_segment(source, place / 10, place / 10 + 0.1)
    assert reads == ["300_P/300_AUDIO.wav"]


def test_a_rewritten_archive_is_read_again(tmp_path: Path) -> None:
    source = archive(tmp_path / "300_P.zip")
    assert inspect(source).samples == 16000
    write(tmp_path / "new.wav", tone(8000))
    with zipfile.ZipFile(source.path, "w") as packed:
        packed.write(tmp_path / "new.wav", source.member)
    assert inspect(source).samples == 8000


def test_a_file_that_was_replaced_or_rewritten_is_read_again(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", tone(16000))
    before = read_segment(source, 0.1, 0.2)
    write(tmp_path / "b.wav", -tone(16000)).path.replace(source.path)  # as long, and as many bytes
    np.testing.assert_allclose(read_segment(source, 0.1, 0.2), -before, atol=1e-4)
    write(source.path, tone(8000))
    assert inspect(source).samples == 8000
    source.path.unlink()
    with pytest.raises(BadInput, match="no such file"):
        read_segment(source, 0.1, 0.2)


def test_a_disk_that_fails_while_it_is_read_is_a_fault_of_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "a.wav", tone(16000))
    inspect(source)

    def fail(*_: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(recordings.os, "pread", fail)
    with pytest.raises(BadInput, match=r"a\.wav: found .*Input/output error"):
        read_segment(source, 0.1, 0.2)


def test_a_read_that_comes_in_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "a.wav", tone(16000))
    whole, plain = read_segment(source), recordings.os.pread
    monkeypatch.setattr(
        recordings.os, "pread", lambda file, count, place: plain(file, min(count, 7000), place)
    )
    np.testing.assert_array_equal(read_segment(source), whole)


def test_one_file_at_most_stays_open(tmp_path: Path) -> None:
    sources = [write(tmp_path / f"{number}.wav", tone(800)) for number in range(5)]
    for source in sources:
        read_segment(source)
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert [name for name in held if name.startswith(str(tmp_path))] == [str(sources[-1].path)]


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_is_named_however_it_is_packed(compression: int, tmp_path: Path) -> None:
    source = archive(tmp_path / "300_P.zip", compression=compression)
    content = bytearray(source.path.read_bytes())
    content[200:600] = bytes(400)
    source.path.write_bytes(content)
    with pytest.raises(BadInput, match=r"300_P\.zip.*found (an archive|a file) that cannot be read \([^N)]"):
        read_segment(source)


def test_faulty_archives_are_named(tmp_path: Path) -> None:
    source = archive(tmp_path / "300_P.zip", compression=zipfile.ZIP_STORED)
    with pytest.raises(BadInput, match=r"no member .*did you mean '300_P/300_AUDIO\.wav'"):
        inspect(AudioSource(source.path, "300_P/300_AUDIO.WAV"))
    with pytest.raises(BadInput, match=r"300_P\.zip!300_P/empty\.wav: found an empty file"):
        inspect(AudioSource(source.path, "300_P/empty.wav"))
    with pytest.raises(BadInput, match="no such file"):
        inspect(AudioSource(tmp_path / "301_P.zip", "x"))
    content = bytearray(source.path.read_bytes())
    content[1000] ^= 0xFF  # inside the member: its check sum fails
    source.path.write_bytes(content)
    with pytest.raises(BadInput, match=r"an archive that cannot be read.*CRC"):
        read_segment(source)
    truncate(source.path, 500)
    with pytest.raises(BadInput, match="not a zip file"):
        read_segment(source)


def with_rate(path: Path, rate: int, samples: int = 1000) -> AudioSource:
    soundfile.write(path, tone(samples), 16_000)
    header = bytearray(path.read_bytes())
    header[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(header)
    return AudioSource(path)


@pytest.mark.parametrize("rate", [1, 999, 11_127, 22_254, 24_414, 44_101, 96_000, 999_999, 1_000_000])
def test_any_rate_is_a_rate(tmp_path: Path, rate: int) -> None:
    source = with_rate(tmp_path / "a.wav", rate)
    assert inspect(source) == AudioInfo(rate, 1000, 1)
    assert len(read_segment(source)) == -(-1000 * 16_000 // rate)


@pytest.mark.parametrize("rate", [0, 1_000_001, 4_294_967_295])
def test_a_rate_that_no_recording_has_is_refused(tmp_path: Path, rate: int) -> None:
    source = with_rate(tmp_path / "a.wav", rate)
    for reader in (inspect, read_segment, listen):
        with pytest.raises(BadInput, match="a sample rate o") as error:
            reader(source)
        assert len(error.value.faults) == 1


def test_an_archive_that_promises_too_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sertransfer.audio.recordings.LARGEST_MEMBER", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(1001))
    with pytest.raises(BadInput, match="a recording of 1001 bytes in an archive"):
        inspect(AudioSource(tmp_path / "a.zip", "a.wav"))


@pytest.mark.parametrize("form", ["W64", "AU", "AIFF"])
def test_a_header_that_promises_terabytes_is_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a"
    soundfile.write(path, np.full(1000, 0.1), 16000, format=form, subtype="PCM_16")
    whole = path.read_bytes()
    refused = 0
    for at in range(0, 200, 4):  # wherever the format keeps a length
        damaged = bytearray(whole)
        damaged[at : at + 8] = (2**44).to_bytes(8, "little" if form == "W64" else "big")
        path.write_bytes(damaged)
        try:
            read_segment(AudioSource(path))
        except BadInput:
            refused += 1
    assert refused > 3


def test_packed_silence_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros(160_000), 16000)
    assert len(read_segment(AudioSource(tmp_path / "a.flac"))) == 160_000


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"]
)
def test_a_pipe_or_device_is_not_waited_for(tmp_path, make):
    make(tmp_path / "a.wav")
    for read in (inspect, read_segment):
        with pytest.raises(BadInput, match="found a device or pipe"):
            read(AudioSource(tmp_path / "a.wav"))
