"""The audio of video corpora, extracted with ffmpeg into a folder that the user names.

The corpus itself is only read. A file that was extracted already is used again if it is whole and not older
than its video; each is written beside its place and renamed, so an interrupted run leaves no half file, and
the next one goes on where it stopped. The folder then is the manifest's root.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sertransfer.audio.reading import inspect
from sertransfer.errors import BadInput, Fault, Faults
from sertransfer.io.files import PRIVATE_FOLDER, atomic_path, write_json
from sertransfer.io.plain_values import parse_json
from sertransfer.manifest import AudioSource
from sertransfer.timebase import SAMPLE_RATE

RECORD = "extraction.json"
"""File in the audio folder that says whose audio it holds."""

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


def extract_audio(
    videos: Mapping[str, Path], audio_folder: str, *, corpus: str, corpus_root: Path, faults: Faults
) -> list[str]:
    """Extract what is not there yet, on every processor.

    Args:
        videos: Audio path relative to the folder -> video.
        audio_folder: The folder; made where it does not exist. Empty is a fault.
        corpus: Name of the corpus, for the folder's record.
        corpus_root: The corpus root, which the folder may not be in.
        faults: Receives a skippable fault for each video whose audio can not be had.

    Returns:
        The keys of *videos* whose audio is there.
    """
    if not videos or not open_audio_folder(audio_folder, corpus, corpus_root, faults):
        return []
    folder = Path(audio_folder)
    missing = [audio for audio, video in videos.items() if not _is_current(folder / audio, video)]
    broken: set[str] = set()
    program = shutil.which("ffmpeg")
    if missing and program is None:
        faults.add(
            "ffmpeg",
            found=f"no such program on PATH; the audio of {len(missing)} videos is to be extracted",
            expected="ffmpeg",
            remedy="install it (for instance with the system's package manager), or extract each video's "
            f"audio yourself, as {folder / missing[0]} (WAV, {SAMPLE_RATE} Hz, mono)",
        )
        broken = set(missing)
    elif missing and program is not None:
        _log.info("extracting the audio of %d of %d videos into %s", len(missing), len(videos), folder)
        found = _extract_all(program, {audio: videos[audio] for audio in missing}, folder)
        faults.extend(found.values(), skippable=True)
        broken = set(found)
    return [audio for audio in videos if audio not in broken]


def open_audio_folder(audio_folder: str, corpus: str, corpus_root: Path, faults: Faults) -> bool:
    """Make the audio folder; whether it may be used (else there is a fault that says why not).

    It must lie outside the corpus, and a record in it says whose audio it holds, so that two corpora can not
    take each other's files for their own.
    """
    folder = Path(audio_folder)
    own, theirs = folder.resolve(), corpus_root.resolve()
    record = {"corpus": corpus, "corpus_root": str(theirs)}
    fault = partial(faults.add, "option audio_folder")
    outside = "a folder outside the corpus, neither in it nor around it"
    if not audio_folder:
        fault(found="no folder", expected=outside, remedy="name one: --audio_folder DIR (audio goes there)")
        return False
    if own.is_relative_to(theirs) or theirs.is_relative_to(own):
        fault(
            found=f"{folder}, with the corpus at {corpus_root}", expected=outside, remedy="name another one"
        )
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        known = parse_json((own / RECORD).read_text(encoding="utf-8")) if (own / RECORD).exists() else record
        if known == record:
            write_json(own / RECORD, record)
            return True
        found = f"{folder}, which holds audio of another corpus (see {RECORD} there)"
        fault(found=found, expected=f"a folder for {corpus} at {theirs}", remedy="name another one")
    except OSError as error:
        fault(found=f"{folder}: {error.strerror}", expected="a folder to write to", remedy="name another one")
    except ValueError:
        fault(found=f"{folder / RECORD}, which can not be read", expected="JSON", remedy="remove that file")
    return False


def _is_current(audio: Path, video: Path) -> bool:
    """Tell whether *audio* is whole and not older than *video*."""
    try:
        if audio.stat().st_mtime_ns < video.stat().st_mtime_ns:
            return False
        return _shape_problem(audio) is None
    except (OSError, BadInput):
        return False


def _shape_problem(audio: Path) -> str | None:
    info = inspect(AudioSource(audio))
    if (info.sample_rate, info.channels) != (SAMPLE_RATE, 1):
        return f"{info.sample_rate} Hz and {info.channels} channel(s)"
    return None


def _extract_all(program: str, videos: Mapping[str, Path], folder: Path) -> dict[str, Fault]:
    pool = ThreadPoolExecutor(os.cpu_count() or 1)  # the threads only wait for their ffmpeg
    try:
        tasks = {
            audio: pool.submit(_extract, program, video, folder / audio) for audio, video in videos.items()
        }
        results = {audio: task.result() for audio, task in tasks.items()}
    finally:
        pool.shutdown(cancel_futures=True)
    return {audio: fault for audio, fault in results.items() if fault is not None}


def _extract(program: str, video: Path, audio: Path) -> Fault | None:
    """Extract one video's audio; what went wrong, if anything did."""
    if not video.is_file():
        return Fault(str(video), "no such file", "a video", "restore it, or leave it out")
    try:
        with atomic_path(audio) as temporary:
            problem = _run(program, video.resolve(), temporary.resolve())
            if problem is None:
                return None
            raise _NoAudioError(problem)
    except _NoAudioError as error:
        remedy = "play the video to see whether it has sound; copy it again, or leave it out"
        return Fault(str(video), str(error), "a video whose audio ffmpeg can extract", remedy)
    except BadInput as error:  # something is in the way of the folder
        return error.faults[0]
    except OSError as error:
        remedy = "free the disk or name another folder"
        return Fault(str(audio), f"{error.strerror or error}", "a file that can be written", remedy)


class _NoAudioError(Exception):
    """No whole audio came out."""


def _run(program: str, video: Path, target: Path) -> str | None:
    """Run ffmpeg; what went wrong, if anything did. Absolute paths can not pass for options."""
    quiet = ["-nostdin", "-hide_banner", "-v", "error", "-xerror", "-y"]
    # A video that is a playlist in disguise reaches neither the network nor devices.
    read = ["-protocol_whitelist", "file", "-i", str(video)]
    sound = ["-map", "0:a:0", "-vn", "-ac", "1", "-ar", str(SAMPLE_RATE), "-c:a", "pcm_s16le"]
    write = ["-map_metadata", "-1", "-fflags", "+bitexact", "-f", "wav", str(target)]
    try:
        done = subprocess.run(
            [program, *quiet, *read, *sound, *write],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"ffmpeg did not end in {TIMEOUT} s"
    said = " ".join(done.stderr.decode("utf-8", errors="replace").split())[-300:]
    if done.returncode:
        return f"ffmpeg ended with status {done.returncode}: {said or 'it said nothing'}"
    try:
        problem = _shape_problem(target)
    except BadInput as error:
        problem = error.faults[0].found
    if said:
        _log.warning("ffmpeg on %s: %s", video, said)
    return problem and f"ffmpeg wrote {problem}"
