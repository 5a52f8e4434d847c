"""The file of a recording: named by a user, found in a folder, or unpacked from a zip archive."""

from __future__ import annotations

import lzma
import os
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sertransfer.audio.containers import (
    BrokenSound,
    ContainerPart,
    Contents,
    Pcm16,
    find_pcm16,
    find_unstated_length,
    look_at_structure,
    other_format,
)
from sertransfer.errors import BadInput, Faults, bad_input, nearest
from sertransfer.io.files import refuse_special, regular_file, writing
from sertransfer.io.spelling import printable
from sertransfer.manifest import AudioSource

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
)
"""Raised by a damaged archive; ``RuntimeError``: encrypted; ``NotImplementedError``: unknown compression."""

LARGEST_MEMBER = 4 * 2**30
"""Bytes of a recording in an archive; an archive may claim to unpack to anything."""

KEPT_BYTES = 128 * 2**20
"""What is unpacked or decoded is kept in memory up to this size; more goes to a temporary file."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How the small text begins that Git leaves in the place of a file that Git LFS keeps elsewhere."""

Key = tuple[Path, str | None, int, int, int]
"""What recognises a file or member as it is now."""


class Found(NamedTuple):
    """What a recording's file holds.

    Attributes:
        key: Recognises this very content.
        contents: The bytes.
        pcm16: Where 16-bit samples lie, if it has such and its header is canonical.
        parts: What a decoder reads one after the other; empty where it reads the file as it is.
        notes: What is odd in its structure but read all the same.
    """

    key: Key
    contents: Contents
    pcm16: Pcm16 | None
    parts: tuple[ContainerPart, ...] = ()
    notes: tuple[str, ...] = ()


def find_contents(source: AudioSource) -> Found:
    """Return what the recording's file holds.

    Raises:
        BadInput: If there is no such file, it cannot be read, or it is not whole by its own structure.
    """
    try:
        status = source.path.stat()
        refuse_special(source, status.st_mode)
        # another number, size or time of change: the file was replaced or rewritten
        key = (source.path, source.member, status.st_ino, status.st_size, status.st_mtime_ns)
        found = _last.get(key)
        if found is None:
            _last.clear()  # before the next is read: a session may take a gigabyte
            found = _last[key] = _open(key, source)
        return found
    except BrokenSound as error:
        raise damaged(source, str(error)) from None
    except FileNotFoundError:
        raise bad_input(
            source, found="no such file", expected="a recording", remedy="check the root and the path"
        ) from None
    except OSError as error:
        raise bad_input(
            source,
            found=f"a file that cannot be read ({error.strerror or error})",
            expected="a recording",
            remedy="check the path and its permissions",
        ) from None


class Patched:
    """A file's bytes, a few of them replaced."""

    def __init__(self, contents: Contents, place: int, patch: bytes) -> None:
        self._contents, self._place, self._patch = contents, place, patch

    def __len__(self) -> int:
        return len(self._contents)

    def __getitem__(self, span: slice) -> bytes:
        data = self._contents[span]
        first, last = max(span.start, self._place), min(span.stop, self._place + len(self._patch))
        if first >= last:
            return data
        patch = self._patch[first - self._place : last - self._place]
        return data[: first - span.start] + patch + data[last - span.start :]


class _File:
    """A file's bytes, read where they lie, without a place of its own that processes would share."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, span: slice) -> bytes:
        pieces, place = [], span.start
        while place < span.stop:  # the system gives 2 GiB at a time
            piece = os.pread(self._file.fileno(), span.stop - place, place)
            if not piece:
                break
            pieces.append(piece)
            place += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __del__(self) -> None:
        self._file.close()


def spool(pieces: Iterable[bytes]) -> BinaryIO:
    """Return a temporary file without a name that holds *pieces* one after the other.

    Raises:
        StorageError: If the disk does not take them.
    """
    folder = Path(tempfile.gettempdir())
    with writing(folder):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (the caller's)
        try:
            for piece in pieces:
                file.write(piece)
            file.flush()
        except BaseException:
            file.close()
            raise
    return file


_last: dict[Key, Found] = {}
"""The one file or member that is kept."""


def _open(key: Key, source: AudioSource) -> Found:
    path, member, _, size, _ = key
    if member is None:
        contents: Contents = _File(regular_file(path).open("rb", buffering=0), size)
    else:
        contents = _member(path, member)
    pcm16, note = find_pcm16(contents)
    if pcm16 is not None:
        return Found(key, contents, pcm16)
    if note is not None:
        return Found(key, contents, None, notes=(note,))
    unstated = find_unstated_length(contents)
    if unstated is not None:
        return Found(key, Patched(contents, *unstated), None)
    if contents[0 : len(LFS_POINTER)] == LFS_POINTER:
        raise lfs_pointer(source)
    if len(contents) and (name := other_format(contents)) is not None:
        raise unreadable(source, name)
    return Found(key, contents, None, *look_at_structure(contents))


LFS_FOUND = "pointers of Git LFS in the place of files"


def lfs_pointer(source: AudioSource) -> BadInput:
    """Return the error of a file that was never downloaded: the same for all of a folder or repository."""
    folder = source.path.absolute().parent
    root = next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), folder)
    return bad_input(
        root,
        found=LFS_FOUND,
        expected="the files themselves",
        remedy="run 'git lfs pull' there to download them",
    )


def _member(path: Path, member: str) -> bytes | _File:
    """Return a member's bytes."""
    try:
        with zipfile.ZipFile(regular_file(path)) as archive:
            if member not in archive.namelist():
                raise bad_input(
                    path,
                    found=f"no member '{member}'",
                    expected="the recording in the archive",
                    remedy=nearest(member, archive.namelist()),
                )
            unpacked = archive.getinfo(member).file_size
            if unpacked > LARGEST_MEMBER:
                raise damaged(AudioSource(path, member), f"a recording of {unpacked} bytes in an archive")
            if unpacked <= KEPT_BYTES:
                return archive.read(member)
            with archive.open(member) as stream:
                file = spool(iter(partial(stream.read, 2**20), b""))
            return _File(file, file.tell())
    except _DAMAGE as error:
        raise damaged(AudioSource(path, member), f"an archive that cannot be read ({error})") from None


def unreadable(source: AudioSource, reason: str) -> BadInput:
    """Return the error of a file that no decoder is given, or that none can read."""
    return bad_input(
        source,
        found=f"no audio that can be read ({reason})",
        expected="WAV, FLAC, OGG, MP3, AIFF, AU, W64, RF64, CAF, SPHERE or VOC",
        remedy="convert it with ffmpeg or sox, or replace the file",
    )


def damaged(source: AudioSource, found: str) -> BadInput:
    """Return the error of a recording that is not whole."""
    return bad_input(
        source, found=found, expected="a whole recording", remedy="copy or download the file again"
    )


ENDINGS = (
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd",
    ".caf", ".w64", ".rf64", ".sph", ".nist", ".voc",
)  # fmt: skip
"""What counts as a recording in a folder: the endings of the formats that can be read."""

BESIDE = ("_transcript.csv",)
"""Ends of names, in small letters, that belong to a recording beside them."""


def find_audio(given: Sequence[Path]) -> dict[str, Path]:
    """Return recordings by name; those of a folder are found in it and below it, through links too.

    A name that is not UTF-8 is escaped. Hidden files, such as macOS's ``._x.wav``, and folders are passed
    over.

    Raises:
        BadInput: If a path is not there, a folder holds none, or two would have one name.
    """
    faults = Faults()
    found: dict[str, Path] = {}
    for path in given:
        files = [path]
        if path.is_dir():
            files = [file for file in _files_below(path) if _is_recording(file)]
        if not files or not files[0].exists():
            lacking = f"no audio in the folder{_others(path)}" if path.is_dir() else "no such file"
            remedy = f"check the path; endings that are read: {' '.join(ENDINGS)}"
            faults.add(path, found=lacking, expected="a recording", remedy=remedy)
            continue
        for file in files:
            name = printable(file.stem)
            if name in found:
                faults.add(
                    file,
                    found=f"the name of {found[name]} again",
                    expected="recordings of different names",
                    remedy="rename one, or score them one by one",
                )
            found[name] = file
    faults.raise_if_any()
    return found


def readable_path(path: Path, folder: Path, name: str) -> str:
    """Return *path*, or a link to it in *folder*, called *name*, where tables cannot hold its own name."""
    resolved = path.resolve()
    if printable(str(resolved)) == str(resolved):
        return str(resolved)
    link = folder / f"{name.replace(os.sep, '_')}{resolved.suffix}"
    link.symlink_to(resolved)
    return str(link)


def name_others(given: Sequence[Path]) -> list[str]:
    """Return a line for each folder of *given* that says what in it is no recording, and is not scored."""
    lines = []
    for path in given:
        others = _others(path) if path.is_dir() else ""
        lines += [printable(f"{path}{others}")] if others else []
    return lines


def _others(folder: Path) -> str:
    """Return which files of *folder* are no recordings, and how many of each ending; maybe nothing."""
    others = [
        file
        for file in _files_below(folder)
        if not _is_recording(file) and not file.name.lower().endswith(BESIDE)
    ]
    if not others:
        return ""
    counts = Counter(file.suffix.lower() or "no ending" for file in others)
    kinds = ", ".join(f"{count} {ending}" for ending, count in counts.most_common())
    first = ", ".join(str(file.relative_to(folder)) for file in others[:5])
    more = ", ..." if len(others) > 5 else ""
    return f": no recordings ({kinds}): {first}{more}"


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in and below *folder*, sorted; a folder that links lead to again is read once."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(place, name)


def _is_recording(file: Path) -> bool:
    return file.suffix.lower() in ENDINGS and file.is_file()
