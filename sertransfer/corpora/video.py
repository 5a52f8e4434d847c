"""Audio that is extracted from videos and archives into a folder of the user's, before a corpus is read.

A corpus declares what it needs as :class:`Extraction`; 'prepare' calls :func:`extract_audio`, and the reader
finds the audio in the folder. The corpus itself is only read. Audio that is there is used again if it is
whole and its source has not changed; each file is written beside its place and renamed, so an interrupted run
leaves no half file, and the next one goes on where it stopped.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sertransfer.audio.reading import AudioInfo, inspect
from sertransfer.errors import BadInput, Fault, Faults, bad_input
from sertransfer.io.files import PRIVATE_FOLDER, atomic_path, regular_file, write_json
from sertransfer.io.plain_values import parse_json
from sertransfer.manifest import AudioSource
from sertransfer.timebase import SAMPLE_RATE

RECORD = "extraction.json"
"""File in the audio folder that says whose audio it holds, and what each file was extracted from."""

TIMEOUT = 600
"""Seconds for one video. The longest clips of these corpora last a few minutes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoOptions:
    """The option of every video corpus.

    Attributes:
        audio_folder: Folder, outside the corpus, for the audio (16 kHz, mono) that ffmpeg extracts.
    """

    audio_folder: str = ""


@dataclass(frozen=True)
class Extraction:
    """Audio that has to be extracted before a corpus can be read.

    Attributes:
        source: The video or archive.
        audio: Place of the audio, relative to the audio folder.
        extract: Writes the audio of the source to a path, or raises ``BadInput``; ``None`` = ffmpeg.
    """

    source: Path
    audio: str
    extract: Callable[[Path, Path], None] | None = None


def extract_audio(
    extractions: Sequence[Extraction], audio_folder: str, *, corpus: str, corpus_root: Path, faults: Faults
) -> None:
    """Extract what is not there yet, on every processor.

    Args:
        extractions: What the corpus needs.
        audio_folder: The folder; made where it does not exist. One that cannot be used is left to the reader
            to report (:func:`find_audio_folder`).
        corpus: Name of the corpus, for the folder's record.
        corpus_root: The corpus root, which the folder may not be in.
        faults: Receives a skippable fault for each source whose audio cannot be extracted.

    Raises:
        BadInput: If the folder cannot be made, or ffmpeg is needed and not there.
    """
    folder = find_audio_folder(audio_folder, corpus, corpus_root, Faults())
    if folder is None or not extractions:
        return
    record = {"corpus": corpus, "corpus_root": str(corpus_root.resolve()), **_make(folder)}
    stamps: dict[str, Any] = dict(record.get("sources") or {})
    missing = [one for one in extractions if not _is_current(one, folder, stamps.get(one.audio))]
    videos = [one for one in missing if one.extract is None]
    if videos and shutil.which("ffmpeg") is None:
        raise bad_input(
            "ffmpeg",
            found=f"no such program on PATH; the audio of {len(videos)} videos is to be extracted",
            expected="ffmpeg",
            remedy="install it (for instance with the system's package manager), or extract each video's "
            f"audio yourself, as {folder / videos[0].audio} (WAV, {SAMPLE_RATE} Hz, mono)",
        )
    broken: dict[str, Fault] = {}
    if missing:
        _log.info("extracting %d of %d recordings into %s", len(missing), len(extractions), folder)
        broken = _extract_all(missing, folder)
        faults.extend(broken.values(), skippable=True)
    stamps |= {one.audio: _stamp(one.source) for one in extractions if one.audio not in broken}
    write_json(folder / RECORD, record | {"sources": stamps})


def find_audio_folder(audio_folder: str, corpus: str, corpus_root: Path, faults: Faults) -> Path | None:
    """Return the audio folder, or ``None`` with a fault if it may not be used.

    It must lie outside the corpus, and a record in it says whose audio it holds, so that two corpora cannot
    take each other's files for their own.
    """
    folder = Path(audio_folder)
    own, theirs = folder.resolve(), corpus_root.resolve()
    found, remedy = "", "name another one"
    expected = "a folder outside the corpus, neither in it nor around it"
    if not audio_folder:
        found, remedy = "no folder", "name one: --audio_folder DIR (audio goes there)"
    elif own.is_relative_to(theirs) or theirs.is_relative_to(own):
        found = f"{folder}, with the corpus at {corpus_root}"
    else:
        try:
            known = _read_record(own)
            if (known.get("corpus", corpus), known.get("corpus_root", str(theirs))) != (corpus, str(theirs)):
                found = f"{folder}, which holds audio of another corpus (see {RECORD} there)"
                expected = f"a folder for {corpus} at {theirs}"
        except OSError as error:
            found, expected = f"{folder}: {error.strerror}", "a folder to write to"
        except ValueError:
            found, expected = f"{folder / RECORD}, which cannot be read", "JSON"
            remedy = "remove that file"
    if found:
        faults.add("option audio_folder", found=found, expected=expected, remedy=remedy)
        return None
    return folder


def _make(folder: Path) -> dict[str, Any]:
    """Make the folder; return its record.

    Raises:
        BadInput: If it cannot be made or read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        return _read_record(folder)
    except OSError as error:
        raise bad_input(
            "option audio_folder",
            found=f"{folder}: {error.strerror}",
            expected="a folder to write to",
            remedy="name another one",
        ) from None


def _read_record(folder: Path) -> dict[str, Any]:
    """Return the folder's record; empty if there is none.

    Raises:
        ValueError: If it is not one.
        OSError: If it cannot be read.
    """
    try:
        record = parse_json(regular_file(folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(record, dict) or not isinstance(record.get("sources", {}), dict):
        raise ValueError("not a record")
    return record


def _is_current(one: Extraction, folder: Path, stamp: Any) -> bool:
    """Tell whether the audio is whole and was extracted from the source as it is now.

    Folders of earlier versions have no *stamp* of the source: there the audio must not be older.
    """
    audio = folder / one.audio
    try:
        if stamp is not None and stamp != _stamp(one.source):
            return False
        if stamp is None and audio.stat().st_mtime_ns < one.source.stat().st_mtime_ns:
            return False
        info = inspect(AudioSource(audio))
        return one.extract is not None or _shape_problem(info) is None
    except (OSError, BadInput):
        return False


def _stamp(source: Path) -> list[int]:
    status = source.stat()
    return [status.st_size, status.st_mtime_ns]


def _extract_all(extractions: Sequence[Extraction], folder: Path) -> dict[str, Fault]:
    """Extract; return what went wrong, by audio."""
    # Threads are enough: they wait for ffmpeg, or unpack outside Python's lock.
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        tasks = {one.audio: pool.submit(_extract, one, folder) for one in extractions}
        results = {audio: task.result() for audio, task in tasks.items()}
    finally:
        pool.shutdown(cancel_futures=True)
    return {audio: fault for audio, fault in results.items() if fault is not None}


def _extract(one: Extraction, folder: Path) -> Fault | None:
    """Extract one source's audio into *folder*; return what went wrong, if anything did."""
    audio = folder / one.audio
    if not one.source.is_file():
        return Fault(str(one.source), "no such file", "a video", "restore it, or leave it out")
    try:
        with atomic_path(audio, top=folder) as temporary:
            (one.extract or _run_ffmpeg)(one.source, temporary)
    except BadInput as error:
        return error.faults[0]
    except OSError as error:
        remedy = "free the disk or name another folder"
        return Fault(str(audio), f"{error.strerror or error}", "a file that can be written", remedy)
    return None


def _shape_problem(info: AudioInfo) -> str | None:
    if (info.sample_rate, info.channels) != (SAMPLE_RATE, 1):
        return f"{info.sample_rate} Hz and {info.channels} channel(s)"
    return None


def _run_ffmpeg(video: Path, target: Path) -> None:
    """Write the audio of *video* to *target*.

    Raises:
        BadInput: If ffmpeg cannot, or what it wrote is not whole.
    """
    program = shutil.which("ffmpeg") or "ffmpeg"
    quiet = ["-nostdin", "-hide_banner", "-v", "error", "-xerror", "-y"]
    # Absolute paths cannot pass for options. A video that is a playlist in disguise reaches neither the
    # network nor devices.
    read = ["-protocol_whitelist", "file", "-i", str(video.resolve())]
    sound = ["-map", "0:a:0", "-vn", "-ac", "1", "-ar", str(SAMPLE_RATE), "-c:a", "pcm_s16le"]
    write = ["-map_metadata", "-1", "-fflags", "+bitexact", "-f", "wav", str(target.resolve())]
    try:
        done = subprocess.run(
            [program, *quiet, *read, *sound, *write],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _no_audio(video, f"ffmpeg did not end in {TIMEOUT} s") from None
    said = " ".join(done.stderr.decode("utf-8", errors="replace").split())[-300:]
    if done.returncode:
        raise _no_audio(video, f"ffmpeg ended with status {done.returncode}: {said or 'it said nothing'}")
    try:
        problem = _shape_problem(inspect(AudioSource(target)))
    except BadInput as error:
        problem = error.faults[0].found
    if problem:
        raise _no_audio(video, f"ffmpeg wrote {problem}")
    if said:
        _log.warning("ffmpeg on %s: %s", video, said)


def _no_audio(video: Path, found: str) -> BadInput:
    remedy = "play the video to see whether it has sound; copy it again, or leave it out"
    return bad_input(video, found=found, expected="a video whose audio ffmpeg can extract", remedy=remedy)
