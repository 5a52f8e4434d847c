"""Extraction of audio: with a pretended ffmpeg, and with a real one where it is installed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.speech_trees import calls, write_ffmpeg, write_video

from sertransfer.audio.reading import inspect, read_segment
from sertransfer.corpora import video
from sertransfer.corpora.video import RECORD, Extraction, extract_audio, find_audio_folder
from sertransfer.errors import BadInput, Faults
from sertransfer.manifest import AudioSource

REAL = shutil.which("ffmpeg")
AUDIO = "a/b.wav"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_ffmpeg(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def extract(
    tmp_path: Path, *names: str, folder: str | None = None, **more: object
) -> tuple[list[str], list[str]]:
    """Extract the videos ``corpus/<name>.avi``; return what is there, and the faults."""
    faults = Faults()
    videos = [Extraction(tmp_path / "corpus" / f"{name}.avi", f"a/{name}.wav") for name in names]
    folder = str(tmp_path / "audio") if folder is None else folder
    corpus, root = str(more.get("corpus", "rml")), tmp_path / "corpus"
    found = None
    try:
        extract_audio(videos, folder, corpus=corpus, corpus_root=root, faults=faults)
        found = find_audio_folder(folder, corpus, root, faults)
    except BadInput as error:
        faults.extend(error.faults)
    sound = [one.audio for one in videos if found is not None and (found / one.audio).is_file()]
    return sound, [str(fault) for fault in faults]


def test_audio_is_extracted_once(tmp_path: Path, program: Path) -> None:
    source = write_video(tmp_path / "corpus/b.avi")
    assert extract(tmp_path, "b") == ([AUDIO], [])
    audio = tmp_path / "audio" / AUDIO
    info = inspect(AudioSource(audio))
    assert (info.sample_rate, info.channels, info.samples) == (16_000, 1, 1600)
    (call,) = calls(program)
    assert f"-i {source.resolve()} " in call
    assert "-protocol_whitelist file -i" in call
    assert "-ac 1 -ar 16000" in call
    written = audio.stat().st_mtime_ns
    assert extract(tmp_path, "b") == ([AUDIO], [])
    assert (len(calls(program)), audio.stat().st_mtime_ns) == (1, written)
    assert sorted(path.name for path in (tmp_path / "audio").rglob("*")) == ["a", "b.wav", RECORD]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def make_stereo(path: Path) -> None:
    shutil.copy(path.parents[2] / "bin" / "stereo.wav", path)


@pytest.mark.parametrize("spoil", [cut, make_stereo, Path.unlink])
def test_audio_that_is_not_whole_is_extracted_again(
    tmp_path: Path, program: Path, spoil: Callable[[Path], None]
) -> None:
    write_video(tmp_path / "corpus/b.avi")
    extract(tmp_path, "b")
    spoil(tmp_path / "audio" / AUDIO)
    assert extract(tmp_path, "b") == ([AUDIO], [])
    assert len(calls(program)) == 2
    assert inspect(AudioSource(tmp_path / "audio" / AUDIO)).samples == 1600


def test_only_what_is_missing_is_extracted_again(tmp_path: Path, program: Path) -> None:
    for name in "bcd":
        write_video(tmp_path / f"corpus/{name}.avi")
    extract(tmp_path, *"bcd")
    audio = tmp_path / "audio/a"
    written = {name: (audio / f"{name}.wav").stat().st_mtime_ns for name in "bd"}
    (audio / "c.wav").unlink()
    before = len(calls(program))
    assert extract(tmp_path, *"bcd")[1] == []
    (call,) = calls(program)[before:]
    assert "/c.avi " in call
    assert {name: (audio / f"{name}.wav").stat().st_mtime_ns for name in "bd"} == written
    assert (audio / "c.wav").is_file()


def test_audio_of_a_video_that_was_replaced_is_extracted_again(tmp_path: Path, program: Path) -> None:
    video = write_video(tmp_path / "corpus/b.avi")
    extract(tmp_path, "b")
    write_video(video, "sound, but other")
    os.utime(video, ns=(0, 0))  # an older file: only its size and time tell that it is another one
    assert extract(tmp_path, "b") == ([AUDIO], [])
    assert len(calls(program)) == 2
    assert extract(tmp_path, "b") == ([AUDIO], [])
    assert len(calls(program)) == 2


def test_audio_in_a_folder_of_an_earlier_version_must_not_be_older_than_its_video(
    tmp_path: Path, program: Path
) -> None:
    video = write_video(tmp_path / "corpus/b.avi")
    extract(tmp_path, "b")
    record = tmp_path / "audio" / RECORD
    record.write_text(json.dumps({"corpus": "rml", "corpus_root": str(tmp_path / "corpus")}))
    assert extract(tmp_path, "b") == ([AUDIO], [])
    assert len(calls(program)) == 1
    record.write_text(json.dumps({"corpus": "rml", "corpus_root": str(tmp_path / "corpus")}))
    os.utime(tmp_path / "audio" / AUDIO, ns=(0, 0))
    assert extract(tmp_path, "b") == ([AUDIO], [])
    assert len(calls(program)) == 2
    assert (tmp_path / "audio" / AUDIO).stat().st_mtime_ns > video.stat().st_mtime_ns


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("broken", "ffmpeg ended with status 1: moov atom not found"),
        ("mute", "ffmpeg ended with status 234: it said nothing"),
        ("short", "ffmpeg wrote 956 of the 3200 bytes"),
        ("stereo", "ffmpeg wrote 16000 Hz and 2 channel(s)"),
    ],
)
def test_a_video_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, program: Path, content: str, found: str
) -> None:
    for name in ("a", "c"):
        write_video(tmp_path / f"corpus/{name}.avi")
    write_video(tmp_path / "corpus/b.avi", content)
    sound, faults = extract(tmp_path, "a", "b", "c", "d")
    assert sound == ["a/a.wav", "a/c.wav"]
    assert [fault.split(": ")[0] for fault in faults] == [f"{tmp_path}/corpus/{name}.avi" for name in "bd"]
    assert found in faults[0]
    assert "leave it out" in faults[0]
    assert "no such file" in faults[1]
    assert sorted(path.name for path in (tmp_path / "audio/a").iterdir()) == ["a.wav", "c.wav"]


def test_a_remark_is_logged_and_no_fault(
    tmp_path: Path, program: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / "corpus/b.avi", "odd")
    with caplog.at_level(logging.WARNING):
        assert extract(tmp_path, "b") == ([AUDIO], [])
    assert "a remark" in caplog.text


def test_a_video_that_never_ends(tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program / "ffmpeg").write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(video, "TIMEOUT", 0.2)
    write_video(tmp_path / "corpus/b.avi")
    sound, (fault,) = extract(tmp_path, "b")
    assert sound == []
    assert "ffmpeg did not end in 0.2 s" in fault


def test_without_ffmpeg_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("b", "c"):
        write_video(tmp_path / f"corpus/{name}.avi")
    sound, (fault,) = extract(tmp_path, "b", "c")
    assert sound == []
    assert "the audio of 2 videos" in fault
    assert "install it" in fault
    assert str(tmp_path / "audio" / AUDIO) in fault


def test_audio_that_is_there_needs_no_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = write_ffmpeg(tmp_path / "bin") / "sound.wav"
    monkeypatch.setenv("PATH", str(tmp_path))
    write_video(tmp_path / "corpus/b.avi")
    (tmp_path / "audio/a").mkdir(parents=True)
    shutil.copy(sound, tmp_path / "audio" / AUDIO)
    assert extract(tmp_path, "b") == ([AUDIO], [])


@pytest.mark.parametrize("inside", ["corpus", "corpus/audio", ""])
def test_the_corpus_is_never_written_to(tmp_path: Path, program: Path, inside: str) -> None:
    write_video(tmp_path / "corpus/b.avi")
    before = sorted(tmp_path.rglob("*"))
    sound, (fault,) = extract(tmp_path, "b", folder=str(tmp_path / inside))
    assert sound == []
    assert "a folder outside the corpus, neither in it nor around it" in fault
    assert sorted(tmp_path.rglob("*")) == before


def test_no_folder_is_a_fault(tmp_path: Path, program: Path) -> None:
    write_video(tmp_path / "corpus/b.avi")
    _, (fault,) = extract(tmp_path, "b", folder="")
    assert "--audio_folder DIR" in fault


def test_a_folder_of_another_corpus_is_refused(tmp_path: Path, program: Path) -> None:
    write_video(tmp_path / "corpus/b.avi")
    extract(tmp_path, "b")
    record = tmp_path / "audio" / RECORD
    status = (tmp_path / "corpus/b.avi").stat()
    assert json.loads(record.read_text()) == {
        "corpus": "rml",
        "corpus_root": str(tmp_path / "corpus"),
        "sources": {AUDIO: [status.st_size, status.st_mtime_ns]},
    }
    _, (fault,) = extract(tmp_path, "b", corpus="afew")
    assert "which holds audio of another corpus" in fault
    record.write_text("{")
    _, (fault,) = extract(tmp_path, "b")
    assert "remove that file" in fault


def test_a_folder_that_can_not_be_made_or_written(tmp_path: Path, program: Path) -> None:
    write_video(tmp_path / "corpus/b.avi")
    (tmp_path / "file").touch()
    _, (fault,) = extract(tmp_path, "b", folder=str(tmp_path / "file/audio"))
    assert "a folder to write to" in fault
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio/a").touch()
    _, (fault,) = extract(tmp_path, "b")
    assert "a file in the way" in fault


def test_audio_is_not_written_through_links_in_the_folder(tmp_path: Path, program: Path) -> None:
    write_video(tmp_path / "corpus/b.avi")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio/a").symlink_to(tmp_path / "elsewhere")
    _, (fault,) = extract(tmp_path, "b")
    assert "audio/a: found a symbolic link" in fault
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_interrupt_stops_the_queue(tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"v{number:02d}" for number in range(40)]
    for name in names:
        write_video(tmp_path / f"corpus/{name}.avi")
    started = []

    def interrupted(*arguments: object) -> None:
        started.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "_extract", interrupted)
    monkeypatch.setattr(video.os, "cpu_count", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path, *names)
    assert len(started) < len(names)


@pytest.mark.skipif(
    REAL is None, reason="ffmpeg is not installed: extraction by the real program is not tested"
)
@pytest.mark.parametrize("container", ["avi", "mp4"])
def test_a_real_ffmpeg_extracts_the_sound(tmp_path: Path, container: str) -> None:
    path = tmp_path / "corpus" / f"two words.{container}"
    path.parent.mkdir()
    make = [str(REAL), "-v", "error", "-f", "lavfi", "-i", "testsrc=duration=1:size=64x48:rate=10"]
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=1", "-ac", "2", "-shortest"]
    subprocess.run([*make, *tone, str(path)], check=True, stdin=subprocess.DEVNULL)
    silent = tmp_path / "corpus" / "no sound.avi"
    subprocess.run([*make, str(silent)], check=True, stdin=subprocess.DEVNULL)
    half = tmp_path / "corpus" / "half.mp4"
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 3] if container == "mp4" else b"RIFF")
    faults = Faults()
    videos = [Extraction(path, "one.wav"), Extraction(silent, "two.wav"), Extraction(half, "three.wav")]
    folder = tmp_path / "audio"
    extract_audio(videos, str(folder), corpus="rml", corpus_root=path.parent, faults=faults)
    assert [path.name for path in folder.glob("*.wav")] == ["one.wav"]
    assert sorted(str(fault.where).rsplit("/", 1)[1] for fault in faults) == ["half.mp4", "no sound.avi"]
    waveform = read_segment(AudioSource(folder / "one.wav"))
    assert inspect(AudioSource(folder / "one.wav")).sample_rate == 16_000
    assert len(waveform) == pytest.approx(16_000, rel=0.1)
    assert np.argmax(np.abs(np.fft.rfft(waveform[:16_000], 16_000))) == pytest.approx(440, abs=2)
