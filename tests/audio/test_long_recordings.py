"""Memory that a recording takes: bounded by its header, whatever its length and its number of channels."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sertransfer.audio import decoding, logmel, quality, reading, recordings
from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.audio.quality import measure_condition
from sertransfer.audio.reading import inspect, listen, read_segment
from sertransfer.errors import BadInput
from sertransfer.front_end import FrontEnd
from sertransfer.manifest import AudioSource

FORMS = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("WAV", "IMA_ADPCM"),
]


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    decoding._kept.clear()
    decoding._lengths.clear()


def write(path: Path, form: str, subtype: str, rate: int, channels: int, *, cancel: bool) -> AudioSource:
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, (20_011, channels))
    if cancel:
        wave = wave[:, :1] * np.where(np.arange(channels) % 2, -0.98, 1.0)
    soundfile.write(path, wave, rate, format=form, subtype=subtype)
    return AudioSource(path)


@pytest.mark.parametrize(("form", "subtype"), FORMS)
@pytest.mark.parametrize(
    ("channels", "cancel"), [(1, False), (2, False), (2, True), (8, False), (8, True)], ids=str
)
@pytest.mark.parametrize("rate", [8000, 16_000, 24_414, 48_000])
def test_a_long_segment_in_blocks_equals_one_read_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    subtype: str,
    channels: int,
    cancel: bool,
    rate: int,
) -> None:
    if subtype == "IMA_ADPCM" and channels > 2:
        pytest.skip("libsndfile packs two channels at most")
    source = write(tmp_path / "a", form, subtype, rate, channels, cancel=cancel)
    times = [(None, None), (0.05, 0.4)]
    whole = [(read_segment(source, *span), listen(source, *span)) for span in times]
    if subtype in ("PCM_16", "PCM_24", "FLOAT"):  # the others do not keep as much
        assert all((heard.channel is not None) == cancel for _, heard in whole)
    monkeypatch.setattr(reading, "AT_ONCE", 3000)
    taken = []
    for kind in (reading.Pcm16, reading.Sought, reading.Counted):
        read = kind.read
        monkeypatch.setattr(
            kind,
            "read",
            lambda self, first, count, read=read: taken.append(count * channels) or read(self, first, count),
        )
    for span, (expected, heard) in zip(times, whole, strict=True):
        np.testing.assert_allclose(read_segment(source, *span), expected, atol=1e-7)
        assert listen(source, *span) == heard
    assert len(taken) > 5
    assert max(taken) <= 3000


BOMB = """
import resource, sys
from pathlib import Path
import soxr
from sertransfer.audio.reading import inspect, listen, read_segment
from sertransfer.manifest import AudioSource
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**28, -1))
source = AudioSource(Path(sys.argv[1]))
print(inspect(source).samples, listen(source).silent, len(read_segment(source)))
"""


def test_many_channels_at_a_high_rate_take_the_memory_of_what_they_become(tmp_path: Path) -> None:
    seconds, rate, channels = 50, 192_000, 8
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", rate, channels, "PCM_16") as sound:
        for _ in range(seconds):
            sound.write(np.zeros((rate, channels), np.int16))
    assert path.stat().st_size < 100_000  # of 307 MB of samples
    done = subprocess.run(
        [sys.executable, "-c", BOMB, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [str(seconds * rate), "True", str(seconds * 16_000)], done.stderr[-2000:]


def test_more_than_four_hours_at_once_are_refused_and_read_in_parts(tmp_path: Path) -> None:
    source = AudioSource(tmp_path / "a.wav")
    soundfile.write(source.path, np.zeros(5 * 3600 + 1, np.int16), 1)
    assert inspect(source).duration == 5 * 3600 + 1
    for reader in (read_segment, listen):
        with pytest.raises(BadInput, match=r"a segment of 5\.0 hours at 1 Hz; expected at most 4 hours"):
            reader(source)
    assert len(read_segment(source, 100, 160)) == 960_000


@pytest.mark.parametrize(("form", "subtype"), [("OGG", "VORBIS"), ("WAV", "GSM610"), ("FLAC", "PCM_16")])
@pytest.mark.parametrize("joined", [1, 2])
def test_a_recording_that_decodes_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, subtype: str, joined: int
) -> None:
    source = AudioSource(tmp_path / "a")
    soundfile.write(source.path, np.zeros(200_000), 8000, format=form, subtype=subtype)
    content = bytearray(source.path.read_bytes())
    if form == "FLAC":  # of unknown length
        content[21] &= 0xF0
        content[22:26] = bytes(4)
    source.path.write_bytes(content * (joined if form == "OGG" else 1))
    before = [inspect(source).samples, len(read_segment(source))]
    assert before[0] >= 200_000
    decoding._kept.clear()
    decoding._lengths.clear()
    monkeypatch.setattr(decoding, "LARGEST", 790_000)
    monkeypatch.setattr(decoding, "KEPT_BYTES", 100_000)
    for reader in (inspect, read_segment, listen):
        with pytest.raises(BadInput, match=r"GiB of decoded sound, 1 channel\(s\) at 8000 Hz") as error:
            reader(source)
        assert len(error.value.faults) == 1


def test_what_a_header_tells_is_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.ogg", np.zeros((100_000, 2)), 16_000)
    monkeypatch.setattr(decoding, "LARGEST", 700_000)
    monkeypatch.setattr(decoding.Decoder, "read", None)
    with pytest.raises(BadInput, match="GiB of decoded sound"):
        inspect(AudioSource(tmp_path / "a.ogg"))


def test_a_large_member_of_an_archive_is_kept_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, 50_000)
    sources = []
    for name, subtype in (("a.wav", "PCM_16"), ("b.wav", "FLOAT"), ("c.wav", "GSM610"), ("d.ogg", None)):
        soundfile.write(tmp_path / name, wave, 8000, subtype=subtype)
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(tmp_path / name, name)
        sources.append(AudioSource(tmp_path / f"{name}.zip", name))
    expected = [(inspect(source), read_segment(source, 1, 2)) for source in sources]
    monkeypatch.setattr(recordings, "KEPT_BYTES", 1000)
    recordings._last.clear()
    for source, (info, segment) in zip(sources, expected, strict=True):
        assert inspect(source) == info
        np.testing.assert_array_equal(read_segment(source, 1, 2), segment)
        (kept,) = recordings._last.values()
        assert not isinstance(kept.contents, bytes)


def test_a_damaged_member_is_named_while_it_goes_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", np.random.default_rng(0).bytes(100_000))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[50_000] ^= 255
    (tmp_path / "a.zip").write_bytes(content)
    monkeypatch.setattr(recordings, "KEPT_BYTES", 1000)
    with pytest.raises(BadInput, match="an archive that cannot be read"):
        inspect(AudioSource(tmp_path / "a.zip", "a.wav"))


@pytest.mark.parametrize("log", ["natural", "none"])
def test_features_of_a_long_utterance_are_those_of_all_frames_at_once(
    monkeypatch: pytest.MonkeyPatch, log: str
) -> None:
    import torch

    wave = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32))
    expected = MelFrontEnd(FrontEnd(log=log))(wave)
    monkeypatch.setattr(logmel, "_FRAMES_AT_ONCE", 10)
    mel = MelFrontEnd(FrontEnd(log=log))
    assert torch.equal(mel(wave), expected)
    assert len(mel._space["frames"]) == 10


def test_the_state_of_a_long_utterance_is_measured_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, 100_000).astype(np.float32)
    whole = measure_condition([wave], 16_000)
    monkeypatch.setattr(quality, "_AT_ONCE", 4096)
    longest = []
    welch = quality.welch
    monkeypatch.setattr(quality, "welch", lambda x, **k: longest.append(len(x)) or welch(x, **k))
    parts = measure_condition([wave], 16_000)
    assert max(longest) == 4096
    assert parts.level_dbfs == pytest.approx(whole.level_dbfs)
    assert (parts.bandwidth_hz, parts.clipped) == (whole.bandwidth_hz, whole.clipped)
