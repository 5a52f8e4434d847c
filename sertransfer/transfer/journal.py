"""The file in which a study keeps its trials, safe against a process that is killed or a disk that fills up.

Optuna appends a line an event. Its own lock is a file that a killed process leaves behind, and the half of a
line that it leaves makes the next line, and with it the whole study, unreadable. Here the lock is one of the
system's, which ends with the process, and a half line is taken away by whoever has the lock next: what it was
to say had not happened yet.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from sertransfer.io.files import writing

_BLOCK = 1 << 16


class JournalLock(JournalFileOpenLock):  # Optuna's base of locks has no public name
    """The right to append to the journal at *path*."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), None)
        self._path = path
        self._held: BinaryIO | None = None

    def acquire(self) -> bool:
        """Wait for the right, then take away half a line at the end, if there is one."""
        stream = self._path.open("r+b")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
            end = stream.seek(0, os.SEEK_END)
            whole = _end_of_lines(stream, end)
            if whole < end:
                stream.truncate(whole)
        except BaseException:
            stream.close()
            raise
        self._held = stream
        return True

    def release(self) -> None:
        """Give it back."""
        if self._held is not None:
            self._held.close()
            self._held = None


def _end_of_lines(stream: BinaryIO, end: int) -> int:
    """Return where the last whole line of *stream*, which is *end* bytes long, ends."""
    while end > 0:
        start = max(0, end - _BLOCK)
        stream.seek(start)
        newline = stream.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


class _Journal(JournalFileBackend):
    """Optuna's journal, which names its file where the disk does not take a line."""

    def __init__(self, path: Path, lock: JournalLock) -> None:
        super().__init__(str(path), lock)
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with writing(self._path):
            super().append_logs(logs)


def open_journal(path: Path) -> JournalStorage:
    """Open the journal at *path*, or begin one.

    Raises:
        OSError: If the file can not be opened.
        ValueError: If a line in it is none of a journal.
    """
    path.open("ab").close()
    lock = JournalLock(path)
    lock.acquire()  # a half line goes before anything is read
    lock.release()
    return JournalStorage(_Journal(path, lock))
