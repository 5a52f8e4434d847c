"""Prints follow the samples: through names, headers, containers and cuts, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sertransfer.audio import fingerprint
from sertransfer.audio.fingerprint import prints_of, recording_prints, utterance_prints
from sertransfer.manifest import AudioSource, Manifest, make_table

RATE = 16000


def speech(seconds: float, seed: int = 0) -> NDArray[np.int16]:
    """Return noise whose loudness changes a few times a second."""
    random = np.random.default_rng(seed)
    count = int(seconds * RATE)
    steps = np.arange(0, count + 4000, 4000)
    loudness = np.interp(np.arange(count), steps, random.uniform(50, 4000, len(steps)))
    return (random.standard_normal(count).clip(-4, 4) * loudness).astype(np.int16)


WHOLE = speech(20)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 200_000), st.integers(16_000, 100_000))
def test_a_cut_has_the_prints_of_the_whole(start: int, length: int) -> None:
    own = prints_of(WHOLE[start : start + length])
    assert own
    assert set(own) <= set(prints_of(WHOLE))
    assert prints_of(WHOLE[start : start + length], 2) == own[:2]


def test_two_recordings_have_no_print_in_common() -> None:
    assert len(prints_of(WHOLE)) > 50
    assert not set(prints_of(WHOLE)) & set(prints_of(speech(20, seed=1)))


def test_silence_has_none_and_what_is_too_short_has_one() -> None:
    assert prints_of(np.zeros(50_000, np.int16)) == []
    assert prints_of(np.tile(np.array([0, 15], np.int16), 20_000)) == []
    assert prints_of(np.zeros(0, np.int16)) == []
    short = WHOLE[:1000]
    assert len(prints_of(short)) == 1
    assert prints_of(short) == prints_of(short.copy()) != prints_of(WHOLE[1:1000])


def test_of_equal_peaks_the_first_counts() -> None:
    wave = np.clip(WHOLE[:20_000], -500, 500)  # flat tops
    own = prints_of(wave)
    assert set(prints_of(wave[7_000:])) <= set(own)


def write_all(folder: Path) -> dict[str, str]:
    """Write the same two seconds under several names, headers and containers."""
    wave = WHOLE[:32_000]
    names = {"plain": "a.wav", "flac": "b/c.flac", "24 bits": "d.wav", "float": "e.wav", "chunk": "f.wav"}
    (folder / "b").mkdir()
    soundfile.write(folder / "a.wav", wave, RATE, subtype="PCM_16")
    soundfile.write(folder / "b/c.flac", wave, RATE, subtype="PCM_16")
    soundfile.write(folder / "d.wav", wave / 32768, RATE, subtype="PCM_24")
    soundfile.write(folder / "e.wav", wave / 32768, RATE, subtype="FLOAT")
    plain = (folder / "a.wav").read_bytes()
    listed = (
        b"LIST" + (26).to_bytes(4, "little") + b"INFOISFT" + (14).to_bytes(4, "little") + b"Lavf58.29.100\0"
    )
    size = (len(plain) - 8 + len(listed)).to_bytes(4, "little")
    (folder / "f.wav").write_bytes(b"RIFF" + size + plain[8:36] + listed + plain[36:])
    return names


def manifest_of(root: Path, names: dict[str, str], **columns: object) -> Manifest:
    rows = [
        {"id": key, "audio": name, "speaker": key, "corpus": "x", **columns} for key, name in names.items()
    ]
    return Manifest(make_table(rows), root)


def test_names_headers_containers_and_gains_do_not_count(tmp_path: Path) -> None:
    names = write_all(tmp_path)
    found = utterance_prints(manifest_of(tmp_path, names, gain=0.3))
    assert list(found) == list(names)
    assert all(own == prints_of(WHOLE[:32_000]) for own in found.values())
    part = utterance_prints(manifest_of(tmp_path, {"plain": "a.wav"}, start=0.5, end=1.5))
    assert part["plain"] == prints_of(WHOLE[8_000:24_000])


def test_a_long_recording_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", WHOLE, RATE, subtype="PCM_16")
    monkeypatch.setattr(fingerprint, "_WINDOW", 3000)
    longest: list[NDArray[np.float32]] = []
    read = fingerprint.read_segment
    monkeypatch.setattr(
        fingerprint, "read_segment", lambda *a, **k: longest.append(read(*a, **k)) or longest[-1]
    )
    assert recording_prints(AudioSource(tmp_path / "a.wav")) == prints_of(WHOLE)
    manifest = manifest_of(tmp_path, {"a": "a.wav"}, start=0.5, end=19.0)
    assert utterance_prints(manifest, most=2)["a"] == prints_of(WHOLE[8000:304_000], 2)
    assert max(map(len, longest)) == 3000


def test_the_prints_of_a_slow_recording_are_found(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", WHOLE, 8, subtype="PCM_16")  # a minute is less than a reach
    assert recording_prints(AudioSource(tmp_path / "a.wav")) == prints_of(WHOLE)


def test_prints_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "audio").mkdir()
    names = {**write_all(tmp_path / "audio"), "gone": "gone.wav"}
    manifest, cache = manifest_of(tmp_path / "audio", names), tmp_path / "cache"
    found = utterance_prints(manifest, cache=cache)
    assert found["gone"] == []
    few = utterance_prints(manifest, most=2, cache=cache)
    assert few["plain"] == found["plain"][:2]
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "read_segment", None)
        assert utterance_prints(manifest, cache=cache) == found
        assert utterance_prints(manifest, most=2, cache=cache) == few
    for path in (cache / "prints").iterdir():
        path.write_bytes(path.read_bytes()[:-30])
    assert utterance_prints(manifest, cache=cache) == found
    assert "damaged" in caplog.text
    soundfile.write(tmp_path / "audio/a.wav", speech(2, seed=5), RATE, subtype="PCM_16")
    assert utterance_prints(manifest, cache=cache)["plain"] == prints_of(speech(2, seed=5))
    shutil.rmtree(cache)
