"""Locks of the system's: their holder is named in the lock's file, and a dead holder's lock is free."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sertransfer.io.files import open_own, writing


@contextmanager
def hold(path: Path, *, waiting: Callable[[str], None] | None = None) -> Iterator[str | None]:
    """Hold the lock at *path*, a file that stays.

    Args:
        path: The lock.
        waiting: Told who holds it, if somebody does, before waiting for that process; without it, nobody
            waits.

    Yields:
        ``None`` where the lock is held now; else who holds it, as ``process 12 on host``.

    Raises:
        BadInput: If the lock is a link, a device or a pipe.
        StorageError: If the file cannot be made or locked.
    """
    with contextlib.ExitStack() as stack:
        with writing(path):
            descriptor = open_own(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            lock = stack.enter_context(os.fdopen(descriptor, "a+", encoding="utf-8"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                holder = None
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "another process"
                if waiting is not None:
                    waiting(holder)
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    holder = None
        if holder is None:
            with contextlib.suppress(OSError):  # the name is for others to read; the lock holds without it
                os.ftruncate(lock.fileno(), 0)
                os.write(lock.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield holder
