"""What 'prepare' says of the sound of a corpus: silence, channels that cancel, odd and missing files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sertransfer.audio.reading import SoundCheck
from sertransfer.corpora.emotion.csv import Options
from sertransfer.corpora.prepare import prepare, summary
from sertransfer.corpora.recordings import silence_remarks, sound_warnings
from sertransfer.errors import BadInput
from sertransfer.manifest import Manifest, read_manifest


def noise(seconds: float, rate: int = 16_000) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, int(seconds * rate))


def corpus(folder: Path, rows: list[str]) -> Path:
    lines = ["audio,label,speaker,start,end,split", *rows]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return folder / "t.csv"


def prepared(folder: Path, rows: list[str], **more: bool) -> Manifest:
    prepare("csv", corpus(folder, rows), Options(**more), folder / "out" / "m.csv")
    return read_manifest(folder / "out" / "m.csv")


def test_silent_utterances_and_recordings_are_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", noise(1), 16_000)
    soundfile.write(tmp_path / "quiet.wav", np.zeros(16_000), 16_000)
    soundfile.write(tmp_path / "half.wav", np.r_[noise(1), np.zeros(16_000)], 16_000)
    rows = [
        "loud.wav,a,p,,,test",
        "quiet.wav,a,p,,,test",
        "half.wav,b,q,0.1,0.9,test",
        "half.wav,b,q,1.2,2,test",
    ]
    manifest = prepared(tmp_path, rows)
    assert manifest.notes["silent"] == ["quiet", "half_1.2-2"]
    text = summary(manifest)
    assert "silent (below -80 dB of full scale): 2 utterance(s) (quiet, half_1.2-2)" in text
    assert "nothing else is in quiet.wav" in text


def test_a_corpus_without_silence_says_nothing(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", noise(1), 16_000)
    manifest = prepared(tmp_path, ["loud.wav,a,p,,,test"])
    assert manifest.notes["silent"] == []
    assert "louder_channel" not in manifest.notes
    assert "silent" not in summary(manifest)


def test_scored_silence_gets_a_remark_whether_prepare_listened_or_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, wave in {"a": noise(1), "b": np.zeros(16_000), "c": np.zeros(16_000)}.items():
        soundfile.write(tmp_path / f"{name}.wav", wave, 16_000)
    rows = [f"{name}.wav,x,{name},,,test" for name in "abc"]
    for manifest in (prepared(tmp_path, rows), prepared(tmp_path, rows, check_audio=False)):
        with caplog.at_level(logging.WARNING):
            remarks = silence_remarks(manifest, ["a", "b"], "utterances")
        assert remarks == ["1 of 2 scored utterances are silent (below -80 dB of full scale)"]
        assert caplog.messages == ["silent, and scored all the same: b"]
        caplog.clear()
        assert silence_remarks(manifest, ["a"], "utterances") == []


def test_what_is_odd_in_a_file_is_told_once_with_its_score() -> None:
    odd = SoundCheck(notes=("the header names too much",))
    assert sound_warnings([odd, SoundCheck(), odd], "sentence") == ["the header names too much"]


def test_channels_that_cancel_are_recorded(tmp_path: Path) -> None:
    wave = noise(2)
    soundfile.write(tmp_path / "s.wav", np.stack([0.5 * wave, -0.5 * wave], axis=1), 16_000)
    soundfile.write(tmp_path / "t.wav", np.stack([wave, wave], axis=1), 16_000)
    manifest = prepared(tmp_path, ["s.wav,a,p,,,test", "s.wav,a,p,0.5,1,test", "t.wav,a,p,,,test"])
    assert manifest.notes["louder_channel"] == {"s": 1, "s_0.5-1": 1}
    assert manifest.notes["silent"] == []
    assert "the louder channel is taken (s: 1, s_0.5-1: 1)" in summary(manifest)


def test_an_odd_file_is_read_and_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(1), 16_000)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:40] + (32_036).to_bytes(4, "little") + content[44:])
    manifest = prepared(tmp_path, ["a.wav,a,p,,,test"])
    assert manifest.table["duration"].tolist() == ["1.0"]
    (note,) = manifest.notes["odd_files"]["a.wav"]
    assert "32036 bytes" in note
    assert f"a.wav: {note}" in summary(manifest)


def test_durations_of_packed_recordings_are_counted(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", noise(1.5), 16_000)
    soundfile.write(tmp_path / "b.wav", noise(2, 8000), 8000, subtype="GSM610")
    (tmp_path / "c.ogg").write_bytes((tmp_path / "a.ogg").read_bytes() * 2)
    manifest = prepared(tmp_path, [f"{name},a,p,,,test" for name in ("a.ogg", "b.wav", "c.ogg")])
    assert manifest.table["duration"].astype(float).tolist() == [1.5, 2.0, 3.0]


def test_a_corpus_of_24414_hz_is_read(tmp_path: Path) -> None:
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", noise(1, 24_414), 96_000 if name == "c" else 24_414)
    manifest = prepared(tmp_path, [f"{name}.wav,a,p,,,test" for name in "abc"])
    assert manifest.notes["sample_rates"] == {"24414": 2, "96000": 1}


def test_pointers_of_git_lfs_are_one_fault(tmp_path: Path) -> None:
    for name in "abcd":
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{name}\nsize 9\n"
        path = tmp_path / name / "x.wav"
        path.parent.mkdir()
        path.write_text(text)
    soundfile.write(tmp_path / "good.wav", noise(1), 16_000)
    rows = [*(f"{name}/x.wav,a,p,,,test" for name in "abcd"), "good.wav,a,p,,,test"]
    with pytest.raises(BadInput) as error:
        prepare("csv", corpus(tmp_path, rows), Options(), tmp_path / "m.csv")
    (fault,) = error.value.faults
    assert fault.where == str(tmp_path)
    assert fault.found == "pointers of Git LFS in the place of files, 4 of 5 recordings"
    assert "git lfs pull" in fault.remedy
    manifest = prepare("csv", tmp_path / "t.csv", Options(), tmp_path / "m.csv", skip_bad=True)
    assert manifest.table["id"].tolist() == ["good"]
    assert len(json.loads((tmp_path / "m.json").read_text())["skipped"]) == 1
