"""Features of many utterances: the key of all they depend on, their places, and computing them into one file.

Frame counts are known from the headers of the recordings, so every utterance has its place before the
first one is read, and worker processes write side by side.
"""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.audio.reading import AudioInfo, inspect, read_segment, resampled_length, segment_bounds
from sertransfer.audio.speaker_norm import (
    RestingState,
    Speaker,
    no_state,
    resting_manifest,
    speakers_of,
    uses_rest,
)
from sertransfer.errors import BadInput, Fault, SertransferError, bad_input
from sertransfer.front_end import FrontEnd
from sertransfer.io.files import hash_value
from sertransfer.io.progress import bar
from sertransfer.manifest import AudioSource, Manifest

FORMAT_VERSION = 2
"""Raised whenever features or layout change; part of the key, so that old stores are not taken for new."""


def store_key(manifest: Manifest, front_end: FrontEnd, rest: Manifest | None = None) -> str:
    """Return the key of the store of *manifest*: a hash of all that its features depend on.

    That is every utterance's id, audio, times and gain, size and time of change of every audio file,
    the front end, and the format; with resting states also who speaks, and all of this for the resting
    recordings in *rest* (``None`` = *manifest* itself).
    """
    table = manifest.table
    content = [FORMAT_VERSION, front_end.as_dict(), *_utterances(manifest)]
    if uses_rest(front_end):
        content += [speakers_of(table), resting_key(manifest, front_end, manifest if rest is None else rest)]
    return hash_value(content)[:32]


def _utterances(manifest: Manifest) -> list[Any]:
    """Return columns and rows that say which sound the utterances are, and the state of the files."""
    table = manifest.table
    files = {}
    for audio in table["audio"].unique():
        source = manifest.source(audio)
        try:
            status = source.path.stat()
            files[audio] = (source.member, status.st_size, status.st_mtime_ns)
        except OSError:
            files[audio] = (source.member, -1, -1)
    columns = [column for column in ("id", "audio", "start", "end", "gain") if column in table]
    rows = [[str(value) for value in row] for row in table[columns].itertuples(index=False)]
    return [columns, rows, files]


def rows_key(manifest: Manifest, *more: object) -> str:
    """Return a hash of the utterances of *manifest*, the state of their files, and *more*."""
    return hash_value([*more, *_utterances(manifest)])[:32]


def resting_key(manifest: Manifest, front_end: FrontEnd, rest: Manifest) -> str:
    """Return a hash of all that the resting states of the speakers of *manifest* depend on."""
    resting = resting_manifest(manifest, rest)
    return hash_value([speakers_of(resting.table), store_key(resting, plain(front_end))])[:32]


def plain(front_end: FrontEnd) -> FrontEnd:
    """Return the front end that resting states are measured with."""
    return replace(front_end, normalise="none")


Failure = tuple[str, Fault]
"""An utterance's id, and why it has no features."""

Entry = tuple[str, int, int]
"""An utterance's id, and its offset and length in frames."""


@dataclass(frozen=True)
class Job:
    """One utterance, and its place in the file in frames; times in seconds, ``None`` = to the end.

    ``state`` is its speaker's at rest, where the front end asks for it.
    """

    id: str
    source: AudioSource
    start: float | None
    end: float | None
    gain: float
    offset: int
    frames: int
    state: RestingState | None = None


@dataclass(frozen=True)
class ExtractionPlan:
    """What is to be computed, and what is known beforehand not to work: together, all of ``ids``."""

    front_end: FrontEnd
    ids: list[str]
    jobs: list[Job]
    failures: list[Failure]

    @property
    def frames(self) -> int:
        """Number of frames of all jobs."""
        return self.jobs[-1].offset + self.jobs[-1].frames if self.jobs else 0

    @property
    def dtype(self) -> str:
        """Half precision for logarithmic features; single for linear power, which overflows half."""
        return "float32" if self.front_end.log == "none" else "float16"

    def entries(self, failures: Iterable[Failure]) -> list[Entry]:
        """Return the entries of all utterances but those of *failures*."""
        failed = {identity for identity, _ in failures}
        return [(job.id, job.offset, job.frames) for job in self.jobs if job.id not in failed]


def make_plan(
    manifest: Manifest, front_end: FrontEnd, states: Mapping[Speaker, RestingState] | None = None
) -> ExtractionPlan:
    """Give every utterance of *manifest* its place; recordings are looked at, not read.

    Args:
        manifest: The utterances.
        front_end: How their features are computed.
        states: The resting states of the speakers, for a front end that asks for them: an utterance whose
            speaker has none is a failure.

    Raises:
        BadInput: If there are no utterances.
    """
    table = manifest.table
    if len(table) == 0:
        raise bad_input(
            manifest.root, found="no utterances", expected="at least one", remedy="check splits and labels"
        )
    sources = {audio: manifest.source(audio) for audio in table["audio"].unique()}
    infos = {audio: _look(source) for audio, source in sources.items()}
    gains = table["gain"].fillna(1.0) if "gain" in table else [1.0] * len(table)
    jobs: list[Job] = []
    failures: list[Failure] = []
    offset = 0
    rate = front_end.framing.sample_rate
    for identity, audio, start, end, gain, speaker in zip(
        table["id"], table["audio"], table["start"], table["end"], gains, speakers_of(table), strict=True
    ):
        info, source = infos[audio], sources[audio]
        state = (states or {}).get(speaker)
        if uses_rest(front_end) and state is None:
            failures.append((identity, no_state(speaker)))
            continue
        if isinstance(info, Fault):
            failures.append((identity, info))
            continue
        times = [None if math.isnan(time) else float(time) for time in (start, end)]
        try:
            first, last = segment_bounds(info, times[0], times[1], source)
        except BadInput as error:
            failures.append(failure_of(identity, error))
            continue
        frames = front_end.framing.frames(resampled_length(last - first, info.sample_rate, rate))
        jobs.append(Job(identity, source, times[0], times[1], float(gain), offset, frames, state))
        offset += frames
    return ExtractionPlan(front_end, table["id"].tolist(), jobs, failures)


def _look(source: AudioSource) -> AudioInfo | Fault:
    try:
        return inspect(source)
    except BadInput as error:
        return error.faults[0]


def failure_of(identity: str, error: BadInput) -> Failure:
    """Return what the utterance *identity* is left out for."""
    fault = error.faults[0]
    return identity, replace(fault, where=f"utterance '{identity}', {fault.where}")


_JOBS_AT_ONCE = 32
_SAFE_PATH = "PYTHONSAFEPATH"


@dataclass
class ExtractionResult:
    """What came of a plan, or of a part of it."""

    failures: list[Failure] = field(default_factory=list)
    clipped: int = 0
    samples: int = 0

    @property
    def faults(self) -> list[Fault]:
        """Every fault once, though a recording's fault is one of each of its utterances."""
        return list(dict.fromkeys(fault for _, fault in self.failures))

    @property
    def clipped_share(self) -> float | None:
        """Share of the samples that were clipped; ``None`` where clipping was not chosen."""
        return self.clipped / self.samples if self.samples else None


def extract(plan: ExtractionPlan, path: Path, *, workers: int, progress: bool) -> ExtractionResult:
    """Compute the features of *plan* into the new file *path*; whoever hashes it sees it onto the disk.

    Args:
        plan: The jobs; the failures that it knows already head the result's.
        path: The file.
        workers: Processes of one thread each; 0 = this process.
        progress: Show a progress bar on standard error.

    Raises:
        SertransferError: If the disk is full or a worker process dies.
    """
    total = ExtractionResult(failures=list(plan.failures))
    if not plan.jobs:
        return total
    _allocate(path, plan.frames * plan.front_end.mels * np.dtype(plan.dtype).itemsize)
    chunks = list(_chunks(plan.jobs))
    writer = _Writer(plan, path)
    parts = _in_processes(writer, chunks, workers) if workers else ((len(c), writer(c)) for c in chunks)
    with bar("features", len(plan.ids), unit="utterances", shown=progress, done=len(plan.failures)) as shown:
        for done, part in parts:
            total.failures += part.failures
            total.clipped += part.clipped
            total.samples += part.samples
            shown.advance(done)
    place = {identity: index for index, identity in enumerate(plan.ids)}
    total.failures.sort(key=lambda failure: place[failure[0]])
    return total


def _allocate(path: Path, size: int) -> None:
    """Create the file with its space on the disk, so that a full one is found before the work."""
    with path.open("wb") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            raise SertransferError(
                f"{path.parent}: no room for {size / 1e9:.2f} GB of features ({error.strerror}); free some"
            ) from None


def _chunks(jobs: list[Job]) -> Iterator[list[Job]]:
    """Cut the jobs into pieces of work; a packed recording is never cut, so that it is unpacked once."""
    chunk: list[Job] = []
    for job in jobs:
        together = job.source.member is not None and chunk and chunk[-1].source == job.source
        if len(chunk) >= _JOBS_AT_ONCE and not together:
            yield chunk
            chunk = []
        chunk.append(job)
    yield chunk


class _Writer:
    """Computes jobs into their places in the file; opens file and front end in the process that uses it."""

    def __init__(self, plan: ExtractionPlan, path: Path) -> None:
        self._front_end, self._path = plan.front_end, path
        self._dtype, self._mels = np.dtype(plan.dtype), plan.front_end.mels
        self._mel: MelFrontEnd | None = None

    def __call__(self, jobs: list[Job]) -> ExtractionResult:
        if self._mel is None:
            self._mel = MelFrontEnd(self._front_end)
        result = ExtractionResult()
        with self._path.open("r+b", buffering=0) as features:
            for job in jobs:
                try:
                    self._write(job, self._mel, features.fileno(), result)
                except BadInput as error:
                    result.failures.append(failure_of(job.id, error))
        return result

    def _write(self, job: Job, mel: MelFrontEnd, features: int, result: ExtractionResult) -> None:
        waveform = torch.from_numpy(
            read_segment(
                job.source,
                job.start,
                job.end,
                sample_rate=self._front_end.framing.sample_rate,
                gain=job.gain,
            )
        )
        with np.errstate(over="ignore"):  # what overflows is found just below
            values = mel(waveform, job.state).T.numpy().astype(self._dtype, order="C")
        if len(values) != job.frames or not np.isfinite(values).all():
            raise bad_input(
                job.source,
                found=f"{len(values)} frames with values that are not finite"
                if len(values) == job.frames
                else f"{len(values)} frames",
                expected=f"{job.frames} frames of finite features",
                remedy="repair the recording or its gain, or leave the utterance out",
            )
        # not through a mapping: each of its pages is a fault, which took as long as the mel filters
        data, place = values.data.cast("B"), job.offset * self._mels * self._dtype.itemsize
        while data:
            written = os.pwrite(features, data, place)
            data, place = data[written:], place + written
        if self._front_end.clip:
            result.clipped += mel.clipped(waveform)
            result.samples += len(waveform)


_writer: _Writer | None = None
"""The writer of a worker process."""


def _in_processes(
    writer: _Writer, chunks: list[list[Job]], workers: int
) -> Iterator[tuple[int, ExtractionResult]]:
    """Yield ``(jobs, result)`` of the chunks as worker processes finish them.

    Processes are spawned: forking after torch has started threads can hang.
    """
    with _safe_path():
        pool = ProcessPoolExecutor(
            min(workers, len(chunks)), get_context("spawn"), initializer=_start_worker, initargs=(writer,)
        )
    try:
        with _safe_path():
            futures = {pool.submit(_run_in_worker, chunk): len(chunk) for chunk in chunks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool:
        raise SertransferError(
            "a worker process died while computing features (out of memory?); try fewer workers, or 0"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Let new Python processes look for no module in the current folder, where a corpus may be.

    They are started with ``-c``: a file ``random.py`` there would be run in the place of Python's own.
    """
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


def _start_worker(writer: _Writer) -> None:
    global _writer
    _writer = writer
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent is gone: a killed parent cannot tell it to."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_in_worker(jobs: list[Job]) -> ExtractionResult:
    if _writer is None:
        raise SertransferError("a worker process was not started properly")
    return _writer(jobs)
