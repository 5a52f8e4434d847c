"""Files written whole or not at all, for their owner alone, and the hashes that recognise their content.

What is derived from clinical recordings is clinical data, so no file is born readable by others, whatever the
umask. A file that is written again keeps the mode it had: who opened it to a group meant it.

Folders may come from someone else. Nothing is written through a symbolic link, a hard link or a device that
stands where a file of ours would.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
import zipfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.storage import TEMPORARY_NAME, writing

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
"""Modes of what is new."""


def make_folder(path: Path, *, mode: int = PRIVATE_FOLDER) -> None:
    """Make the folder *path*, readable by its owner alone, and those above it, unless it is there.

    Raises:
        BadInput: If a file is in the way, or the place may not be written to.
        StorageError: If the disk is full or read-only.
    """
    with writing(path):
        try:
            for folder in reversed([one for one in (path, *path.parents) if not one.exists()]):
                folder.mkdir(exist_ok=True, mode=mode)
            path.mkdir(exist_ok=True)  # what is there already has to be a folder
        except (FileExistsError, NotADirectoryError):
            raise bad_input(
                path,
                found="a file in the way",
                expected="a folder to write into",
                remedy="name another place",
            ) from None


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside *path*; on success it is synced and renamed to *path*.

    The temporary file is there already, empty and readable by its owner alone; *path* gets that mode, or
    keeps its own. On an exception the temporary file is removed and *path* is left as it was.

    Raises:
        BadInput: If *path* is a folder or a symbolic link, or the folder that is to hold it cannot be made.
        StorageError: If the disk or folder does not take the file.
    """
    target = Path(path)
    make_folder(target.parent)
    if target.is_dir():
        raise bad_input(target, found="a folder", expected="a file to write", remedy="name a file in it")
    if target.is_symlink():
        raise _linked(target, _link(target))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with writing(target):
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else PRIVATE_FILE
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE))
            yield temporary
            with temporary.open("rb") as written:
                os.fchmod(written.fileno(), mode)
                os.fsync(written.fileno())
            temporary.replace(target)
        finally:
            with contextlib.suppress(OSError):  # the first error is the one to say
                temporary.unlink(missing_ok=True)


def remove_abandoned(folder: Path, names: Collection[str] | None = None) -> None:
    """Remove the temporary files that killed processes left in *folder*; the caller holds the lock on them.

    Args:
        folder: Where :func:`atomic_path` was at work.
        names: Of the files that they were to become; any if not given.
    """
    for path in folder.glob(".*.tmp"):
        temporary = TEMPORARY_NAME.fullmatch(path.name)
        if temporary is not None and (names is None or temporary[1] in names):
            with writing(path):
                path.unlink()


def open_own(path: Path, flags: int) -> int:
    """Open a file of ours that is changed in place, such as a log, and return its descriptor.

    Args:
        path: The file; made if *flags* say so, readable by its owner alone.
        flags: As of :func:`os.open`.

    Raises:
        BadInput: If it is a symbolic link, has a second name, or is not a regular file.
    """
    try:
        # without O_NONBLOCK, a named pipe would be waited for
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _linked(path, _link(path)) from None
        if error.errno == errno.ENXIO:  # a named pipe that nobody reads
            raise _linked(path, "a device or pipe") from None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise _linked(path, "a hard link" if stat.S_ISREG(status.st_mode) else "a device or pipe")
    os.set_blocking(descriptor, True)
    return descriptor


def refuse_links(*places: Path) -> None:
    """Refuse files and folders of ours that are, or hold, symbolic links, devices or pipes.

    A folder received from someone else could lead what is written into it anywhere.

    Args:
        places: Paths that need not exist. A folder that the user named may well be a link and is not one of
            them, but what stands in it is.

    Raises:
        BadInput: With each of them.
    """
    faults = Faults()
    for path in _walk(places):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            faults.extend(_linked(path, _link(path)).faults)
        elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            faults.extend(_linked(path, "a device or pipe").faults)
    faults.raise_if_any()


def _walk(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if os.path.lexists(place):
            yield place
            for folder, folders, names in os.walk(place):  # does not follow links
                yield from (Path(folder, name) for name in (*folders, *names))


def _link(path: Path) -> str:
    return f"a symbolic link to '{path.readlink()}'"


def _linked(path: Path, found: str) -> BadInput:
    return bad_input(
        path,
        found=found,
        expected="a file or folder that is written in place",
        remedy="remove it, or name another place; nothing is written through links",
    )


def reserve(path: Path) -> None:
    """Take the space on the disk that the file *path*, which may be sparse, is long.

    Who writes to a mapped file beyond what the disk holds is killed by the system; here it is an ``OSError``.
    """
    with path.open("r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, os.fstat(stream.fileno()).st_size)


def write_text(path: str | Path, text: str) -> None:
    """Write *text* to *path* atomically, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write *value* to *path* atomically as indented JSON (a NaN or infinity is an error)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_archive(file: str | Path | BinaryIO) -> None:
    """Compare each member of a file of ``torch.save``, which is a ZIP archive, with its checksum (CRC-32).

    ``torch.load`` does not look at it. What is no ZIP archive passes.

    Raises:
        ValueError: If one differs, or is packed, which PyTorch never does.
        zipfile.BadZipFile: If the archive is damaged.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        if any(member.file_size > member.compress_size for member in archive.infolist()):
            raise ValueError("packed members, which PyTorch does not write")  # it may be a bomb
        if archive.testzip() is not None:
            raise ValueError("bytes that were changed since they were written (a checksum differs)")


def hash_value(value: Any) -> str:
    """Return the SHA-256 of *value*'s canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
