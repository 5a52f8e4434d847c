"""Files written whole or not at all, for their owner alone; locks; errors of the disk.

What is derived from clinical recordings is clinical data, so no file is born readable by others, whatever
the umask. A file that is written again keeps the mode it had: who opened it to a group meant it.

Folders may come from someone else. Nothing is written through a symbolic link, a hard link or a device that
stands where a file of ours would.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import socket
import stat
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sertransfer.errors import BadInput, Faults, SertransferError, bad_input

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
def atomic_path(path: str | Path, *, top: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside *path*; on success it is synced and renamed to *path*.

    The temporary file is there already, empty and readable by its owner alone; *path* gets that mode, or
    keeps its own. On an exception the temporary file is removed and *path* is left as it was.

    Args:
        path: The file.
        top: Folder that the user named: it may be a link, those between it and *path* may not.

    Raises:
        BadInput: If *path* is a folder, a symbolic link, a device or a pipe, or the folder that is to hold it
            is a link below *top* or cannot be made.
        StorageError: If the disk or folder does not take the file.
    """
    target = Path(path)
    for parent in target.parents if top is not None else ():
        if parent == top:
            break
        if parent.is_symlink():
            raise _linked(parent, _link(parent))
    make_folder(target.parent)
    if target.is_dir():
        raise bad_input(target, found="a folder", expected="a file to write", remedy="name a file in it")
    if target.is_symlink():
        raise _linked(target, _link(target))
    if target.exists() and not target.is_file():  # a rename would put a file in the place of /dev/null
        raise _linked(target, "a device or pipe")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with writing(target), contextlib.ExitStack() as stack:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else PRIVATE_FILE
        if top is None:  # folders of extracted audio are too large to be looked through for each file
            _remove_left(target)
        try:
            lock = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE)
            stack.callback(os.close, lock)
            with contextlib.suppress(OSError):  # some disks have no locks
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield temporary
            with temporary.open("rb") as written:
                os.fchmod(written.fileno(), mode)
                os.fsync(written.fileno())
            temporary.replace(target)
        finally:
            with contextlib.suppress(OSError):  # the first error is the one to say
                temporary.unlink(missing_ok=True)


def _remove_left(target: Path) -> None:
    """Remove temporary files of *target* that killed processes left: they may hold scores of recordings."""
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            found = TEMPORARY_NAME.fullmatch(entry.name)
            if found is not None and found[1] == target.name and _is_left(entry.path, int(found[2])):
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()


def _is_left(path: str, process: int) -> bool:
    """Return whether nobody is writing the temporary file at *path* of *process*, here or elsewhere."""
    return (process == os.getpid() or not Path(f"/proc/{process}").exists()) and is_unheld(path)


def is_unheld(path: str | Path) -> bool:
    """Return whether the file at *path* is there and nobody holds its lock."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def remove_abandoned(folder: Path, names: Collection[str] | None = None) -> None:
    """Remove the temporary files that killed processes left in *folder*; the caller holds the lock on them.

    Args:
        folder: Where :func:`atomic_path` was at work.
        names: Of the files that they were to become; any if not given.
    """
    for path in folder.glob(".*tmp*"):
        temporary = TEMPORARY_NAME.fullmatch(path.name)
        wanted = temporary is not None and (names is None or temporary[1] in names)
        if wanted or (names is None and _SAFETENSORS_NAME.fullmatch(path.name) is not None):
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
            if place.is_symlink():  # os.walk would follow this one
                continue
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


def regular_file(path: str | Path) -> Path:
    """Return *path* if it is safe to open for reading.

    To open a pipe is to wait for whoever writes into it, maybe for ever, and some devices never end.

    Raises:
        BadInput: If it is a pipe, a device or a socket. A missing file and a folder pass: whoever opens them
            says so.
    """
    path = Path(path)
    with contextlib.suppress(OSError):
        refuse_special(path, path.stat().st_mode)
    _looked_at[:] = [path]
    return path


_looked_at: list[Path] = []
"""The file that was to be read last; an input/output error of reading does not name it."""


def refuse_special(where: object, mode: int) -> None:
    """Refuse what is neither a file nor a folder by its *mode*.

    Raises:
        BadInput: If it is a pipe, a device or a socket.
    """
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise bad_input(where, found="a device or pipe", expected="a file", remedy="name a file")


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal."""
    with regular_file(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_archive(file: str | Path | BinaryIO) -> None:
    """Compare each member of a file of ``torch.save``, which is a ZIP archive, with its checksum (CRC-32).

    ``torch.load`` does not look at it. What is no ZIP archive passes.

    Raises:
        ValueError: If one differs, or is packed, which PyTorch never does.
        zipfile.BadZipFile: If the archive is damaged.
    """
    if isinstance(file, str | Path):
        file = regular_file(file)
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        refuse_packed(archive)
        if archive.testzip() is not None:
            raise ValueError("bytes that were changed since they were written (a checksum differs)")


def refuse_packed(archive: zipfile.ZipFile) -> None:
    """Refuse an *archive* with packed members where PyTorch and NumPy write none: it may be a bomb.

    Raises:
        ValueError: If one is packed.
    """
    if any(member.file_size > member.compress_size for member in archive.infolist()):
        raise ValueError("packed members, which are not written here")


def refuse_twins(archive: zipfile.ZipFile) -> None:
    """Refuse names that come twice in *archive*, in whatever case: nobody can tell which was meant.

    Raises:
        zipfile.BadZipFile: With the first of them.
    """
    seen: dict[str, str] = {}
    for name in archive.namelist():
        plain = name.replace("\\", "/").lower()
        if plain in seen:
            raise zipfile.BadZipFile(f"two members of one name, {seen[plain]} and {name}")
        seen[plain] = name


def hash_value(value: Any) -> str:
    """Return the SHA-256 of *value*'s canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


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

TEMPORARY_NAME = re.compile(r"\.(.+)\.(\d+)\.[0-9a-f]{8}\.tmp")
"""Names of temporary files: what the file is to be called, the process, and chance."""

_SAFETENSORS_NAME = re.compile(r"\.tmp[0-9A-Za-z]{6}")
"""Names of temporary files of safetensors' own, which it renames to ours."""


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
    if isinstance(named, (str, bytes, Path)) and named:
        place = _without_suffix(os.fsdecode(named))
    elif place is None and number == errno.EIO and _looked_at:
        place = f"{_looked_at[0]} (the file that was read last)"  # an error of reading names none
    return StorageError(number, place or Path.cwd())


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(_MOST_LINKS):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _without_suffix(name: str | Path) -> Path:
    """Return what a temporary name of :func:`sertransfer.io.files.atomic_path` stands for."""
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
