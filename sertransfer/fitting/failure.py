"""How the processes of a run fail together: the first to fail speaks, the others end with its status.

A process may be waiting for the others inside a collective operation that will never end. So each has a
thread that looks every half second whether another has failed, and ends the process if it has.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from datetime import timedelta

from torch.distributed.distributed_c10d import Store

from sertransfer.errors import SertransferError

FAILED = "failed"
POLL = 0.5
"""Seconds between two looks."""

GRACE = 2.0
"""Seconds that a process leaves to the one that failed, to say why; torchrun ends all as soon as one ends."""

PATIENCE = 6.0
"""Seconds that a process waits for another's word before it takes its own failure for the first: what
fails on all of them is said by process 0, and a lost connection by the one that lost its process."""


def status_of(error: BaseException) -> int:
    """Return the exit status that the command line gives *error*."""
    if isinstance(error, SertransferError):
        return error.exit_status
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 0 if isinstance(error, BrokenPipeError) else 1


class FailureBoard:
    """Where the first process that fails says so.

    Args:
        store: Shared by the processes.
        rank: Of this process.
        count: All processes.
    """

    def __init__(self, store: Store, rank: int, count: int) -> None:
        self._store, self._rank, self._count = store, rank, count
        self._ended = threading.Event()
        self._heard: int | None = None  # the status of another, as soon as the thread knows it
        self._thread = threading.Thread(target=self._watch, name="failures", daemon=True)

    def watch(self) -> None:
        """Start to look for failures of others."""
        self._thread.start()

    def stop(self) -> None:
        """Look no longer."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def fail(self, error: BaseException) -> int | None:
        """Say that this process failed, unless another did before.

        Returns:
            ``None`` if this is the first, which then waits for the others to know; else the exit status of
            the first, after the time it has to say why.
        """
        self.stop()
        if self._heard is not None:  # process 0 may be gone since, and the store with it
            time.sleep(GRACE)
            return self._heard
        try:
            return self._fail(status_of(error))
        except RuntimeError:  # process 0 is gone, and the store with it
            return None if self._rank == 0 else 1

    def _fail(self, status: int) -> int | None:
        until = time.monotonic() + (PATIENCE if self._rank else 0)
        while not self._store.check([FAILED]) and time.monotonic() < until:
            time.sleep(0.1)
        # set by the first alone, whatever happens at the same time
        claim = self._store.compare_set(FAILED, "", f"{self._rank} {status}").decode()
        if claim.split()[0] != str(self._rank):
            self._leave()
            return int(claim.split()[1])
        others = [f"left {rank}" for rank in range(self._count) if rank != self._rank]
        with contextlib.suppress(RuntimeError):  # one is gone already: nothing can be done for it
            self._store.wait(others, timedelta(seconds=PATIENCE + GRACE))
        return None

    def _leave(self) -> None:
        """Let the first know that this process knows, and give it time to speak."""
        self._store.set(f"left {self._rank}", "")
        time.sleep(GRACE)

    def _watch(self) -> None:
        store: Store = self._store.clone()  # type: ignore[attr-defined]  # a connection of its own: waiting on one blocks its other users
        while not self._ended.wait(POLL):
            try:
                if not store.check([FAILED]):
                    continue
                status = self._heard = int(store.get(FAILED).decode().split()[1])
                store.set(f"left {self._rank}", "")
            except RuntimeError:
                status = 1  # process 0 is gone without a word
            # the main thread may notice by itself, and ends then in its own way
            if not self._ended.wait(GRACE):
                os._exit(status)
