"""Temporary folders for what is derived from recordings, removed however the process ends.

A context manager of the standard library removes its folder after an exception, but not after the signals
that end a process at once: a closed terminal (HUP) and ``kill`` (TERM). Here they become an exception. What a
process that was killed outright leaves is removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from sertransfer.io.files import PRIVATE_FILE, PRIVATE_FOLDER, is_unheld, make_folder, writing

# a folder is removed by its name and its lock: neither may be one that a user, or a run folder, could have
PREFIX = ".sertransfer-scratch-"
_LOCK = ".scratch.lock"
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []


@contextmanager
def scratch_folder(purpose: str, home: Path | None = None) -> Iterator[Path]:
    """Yield a new folder, readable by its owner alone, that is removed at the end, also after TERM and HUP.

    Args:
        purpose: A word for its name.
        home: Where it is made; in the temporary folder of the system if not given.

    Raises:
        OSError: If *home* does not take it.
    """
    sweep(home)
    with signals_raise():
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-", dir=home))
        owner = os.getpid()
        # held until the end: by it the next process sees that this one is at work
        new = folder / f"{_LOCK}.new"
        lock = os.open(new, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new.rename(folder / _LOCK)  # never seen without its holder
            yield folder
        finally:
            if os.getpid() == owner:  # not in a forked worker
                shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


@contextmanager
def replaced_folder(target: Path, purpose: str) -> Iterator[Path]:
    """Yield a new folder that takes the place of *target*, whatever is there, when it is complete.

    The caller has made sure that *target* may be replaced. After an exception, a signal or a kill *target* is
    as it was.
    """
    make_folder(target.parent)
    with scratch_folder(purpose, target.parent) as scratch:
        new = scratch / "new"
        new.mkdir(mode=PRIVATE_FOLDER)
        yield new
        with writing(target):
            if target.exists():
                target.rename(scratch / "old")
            new.rename(target)


def sweep(home: Path | None = None) -> None:
    """Remove the folders that killed processes of this user left in *home*; see :func:`scratch_folder`."""
    for folder in Path(tempfile.gettempdir() if home is None else home).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # of another user, or another process removes it now
            status = folder.lstat()
            # one without a lock is just being made, or not ours
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and is_unheld(folder / _LOCK):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def signals_raise() -> Iterator[None]:
    """Let TERM and HUP raise :class:`SystemExit` where they would end the process at once."""
    changed = []
    _received.clear()
    if threading.current_thread() is threading.main_thread():  # others may not set handlers
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _leave)
                changed.append(number)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def signal_received() -> int | None:
    """Return the signal that is ending this process, ``None`` if none is.

    An exception that a handler raises under native code, such as matplotlib's, may come out as another one.
    """
    return _received[0] if _received else None


def _leave(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    for other in _SIGNALS:
        if signal.getsignal(other) is _leave:
            signal.signal(other, signal.SIG_IGN)  # a second one would end the clearing up
    raise SystemExit(128 + number)
