"""What the system says of a disk or folder that does not take a file, as an error that says what to do.

A full disk, a read-only folder or a network disk that went away is no failure of the program. Python says
so by an ``OSError`` with a number; libraries of native code say so in words, or raise an error of their own
while the first is being handled, so the whole chain is looked at.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sertransfer.errors import SertransferError

_AGAIN = "then give the same command again: it goes on from what is whole"
_KINDS: dict[int, tuple[str, str, int]] = {
    errno.ENOSPC: ("no space is left on the disk", f"free some, {_AGAIN}", 1),
    errno.EDQUOT: ("the quota of the disk is used up", f"free some, {_AGAIN}", 1),
    errno.EFBIG: (
        "the file would be larger than is allowed here",
        "raise the limit, or name another disk",
        1,
    ),
    errno.EROFS: ("the disk is read-only", "name another place, or mount it for writing", 2),
    errno.EACCES: ("no permission", "correct the permissions, or name another place", 2),
    errno.EPERM: ("no permission", "correct the permissions, or name another place", 2),
    errno.ENOTDIR: ("a file stands where a folder is expected", "correct the path, or name another place", 2),
    errno.ELOOP: ("links that lead to each other", "remove one of them, or name another place", 2),
    errno.ENAMETOOLONG: ("the name is too long for this disk", "name a shorter one", 2),
    errno.EIO: ("the disk fails (input/output error)", f"check it, {_AGAIN}", 1),
    errno.ESTALE: ("the network disk lost the file", f"mount it anew, {_AGAIN}", 1),
    errno.ENOTCONN: ("the network disk is not connected", f"mount it anew, {_AGAIN}", 1),
    errno.EMFILE: ("too many files are open", "raise the limit with 'ulimit -n', or take fewer workers", 1),
    errno.ENFILE: ("too many files are open on this machine", "close some programs", 1),
    errno.ENOLCK: ("the disk gives no locks", "name a disk that can lock files", 1),
}
"""By the system's number: what is wrong, what to do, and the exit status (2 for a place badly chosen)."""

_WORDS = {
    "database or disk is full": errno.ENOSPC,
    "attempt to write a readonly database": errno.EACCES,
    "unable to open database file": errno.EACCES,
    "disk I/O error": errno.EIO,
}
"""SQLite's own words."""

_MEMORY_WORDS = (
    "Cannot allocate memory",
    "failed to map segment from shared object",
    "not enough memory: you tried to allocate",
    "can't allocate memory",
    "CUDA out of memory",
    "std::bad_alloc",
)
"""What the system, PyTorch and C++ say."""

_MOST_LINKS = 30

TEMPORARY_NAME = re.compile(r"\.(.+)\.\d+\.[0-9a-f]{8}\.tmp")
"""Names of temporary files: what the file is to be called, the process, and chance."""


class StorageError(SertransferError):
    """A disk or folder did not take, or not give, a file; what was there before is as it was."""

    def __init__(self, number: int, place: object) -> None:
        found, remedy, self.exit_status = _KINDS[number]
        self.number = number
        super().__init__(f"{place}: {found}; {remedy}")


def memory_error(error: BaseException) -> SertransferError | None:
    """Return what *error*, or one that led to it, says of too little memory; ``None`` if nothing.

    NumPy raises a ``MemoryError``, PyTorch a ``RuntimeError``, the loader of libraries an ``ImportError``.
    """
    for link in _chain(error):
        text = str(link)
        if isinstance(link, MemoryError) or any(words in text for words in _MEMORY_WORDS):
            return SertransferError(
                "not enough memory: close other programs, raise the limit ('ulimit -v'), or take smaller "
                "batches or fewer workers; then give the same command again"
            )
    return None


def storage_error(error: BaseException, place: object = None) -> StorageError | None:
    """Return what *error*, or one that led to it, says of a disk or folder; ``None`` if nothing.

    Args:
        error: As it was caught.
        place: What was being written, for an error that names no file.
    """
    number, named = None, None
    for link in _chain(error):
        if isinstance(link, StorageError):
            return link
        if isinstance(link, OSError) and link.errno in _KINDS:
            number = number or link.errno
            named = named or link.filename
        elif number is None:
            number = _in_words(str(link))
    if number is None:
        return None
    name = os.fsdecode(named) if isinstance(named, (str, bytes, Path)) else None
    return StorageError(number, _without_suffix(name) if name else place or Path.cwd())


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(_MOST_LINKS):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _without_suffix(name: str | Path) -> Path:
    """Return what a temporary name of :func:`sertransfer.files.atomic_path` stands for."""
    path = Path(name)
    temporary = TEMPORARY_NAME.fullmatch(path.name)
    return path if temporary is None else path.with_name(temporary[1])


def _in_words(text: str) -> int | None:
    """Return the system's number out of a message of Rust ("os error 28"), C++ or SQLite."""
    found = re.search(r"os error (\d+)", text)
    if found is not None and int(found[1]) in _KINDS:
        return int(found[1])
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG):
        if os.strerror(number) in text:
            return number
    return next((number for words, number in _WORDS.items() if words in text), None)


@contextmanager
def writing(place: object) -> Iterator[None]:
    """Turn what a disk or folder has against writing *place* into a :class:`StorageError`."""
    try:
        yield
    except SertransferError:
        raise
    except Exception as error:
        trouble = storage_error(error, place)
        if trouble is None:
            raise
        raise trouble from error
