"""Computing the features of many utterances straight into one file.

Frame counts are known from the headers of the recordings, so every utterance has its place before the
first one is read, and worker processes write side by side.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
import torch

from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.audio.planning import Failure, Job, Plan, failure_of
from sertransfer.audio.reading import read_segment
from sertransfer.errors import BadInput, Fault, SertransferError, bad_input
from sertransfer.io.progress import bar

_JOBS_AT_ONCE = 32


@dataclass
class Result:
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


def extract(plan: Plan, path: Path, *, workers: int, progress: bool) -> Result:
    """Compute the features of *plan* into the new file *path*; whoever hashes it sees it onto the disk.

    Args:
        plan: The jobs; the failures that it knows already head the result's.
        path: The file.
        workers: Processes of one thread each; 0 = this process.
        progress: Show a progress bar on standard error.

    Raises:
        SertransferError: If the disk is full or a worker process dies.
    """
    total = Result(failures=list(plan.failures))
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

    def __init__(self, plan: Plan, path: Path) -> None:
        self._front_end, self._path = plan.front_end, path
        self._dtype, self._mels = np.dtype(plan.dtype), plan.front_end.mels
        self._mel: MelFrontEnd | None = None

    def __call__(self, jobs: list[Job]) -> Result:
        if self._mel is None:
            self._mel = MelFrontEnd(self._front_end)
        result = Result()
        with self._path.open("r+b", buffering=0) as features:
            for job in jobs:
                try:
                    self._write(job, self._mel, features.fileno(), result)
                except BadInput as error:
                    result.failures.append(failure_of(job.id, error))
        return result

    def _write(self, job: Job, mel: MelFrontEnd, features: int, result: Result) -> None:
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


def _in_processes(writer: _Writer, chunks: list[list[Job]], workers: int) -> Iterator[tuple[int, Result]]:
    """Yield ``(jobs, result)`` of the chunks as worker processes finish them.

    Processes are spawned: forking after torch has started threads can hang.
    """
    pool = ProcessPoolExecutor(
        min(workers, len(chunks)), get_context("spawn"), initializer=_start_worker, initargs=(writer,)
    )
    try:
        futures = {pool.submit(_run_in_worker, chunk): len(chunk) for chunk in chunks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool:
        raise SertransferError(
            "a worker process died while computing features (out of memory?); try fewer workers, or 0"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(writer: _Writer) -> None:
    global _writer
    _writer = writer
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent is gone: a killed parent can not tell it to."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_in_worker(jobs: list[Job]) -> Result:
    if _writer is None:
        raise SertransferError("a worker process was not started properly")
    return _writer(jobs)
