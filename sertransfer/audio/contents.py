"""What the file of a recording holds: read in place, or unpacked from a zip archive in memory.

The last file or member that was used is kept, for the next segment of the same session.
"""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from pathlib import Path

from sertransfer.audio.wav import Contents, IncompleteWav, Pcm16, find_pcm16
from sertransfer.errors import BadInput, bad_input, nearest
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


def find_contents(source: AudioSource) -> tuple[Contents, Pcm16 | None]:
    """Return what the recording's file holds, and where 16-bit samples lie in it, if it has such."""
    try:
        status = source.path.stat()
        # another number, size or time of change: the file was replaced or rewritten
        key = (source.path, source.member, status.st_ino, status.st_size, status.st_mtime_ns)
        found = _last.get(key)
        if found is None:
            _last.clear()  # before the next is read: a session may take a gigabyte
            found = _last[key] = _open(source.path, source.member, status.st_size)
        return found
    except IncompleteWav as error:
        raise damaged(source, str(error)) from None
    except FileNotFoundError:
        raise bad_input(
            source, found="no such file", expected="a recording", remedy="check the root and the path"
        ) from None
    except OSError as error:
        raise bad_input(
            source,
            found=f"a file that can not be read ({error.strerror or error})",
            expected="a recording",
            remedy="check the path and its permissions",
        ) from None


class _File:
    """A file's bytes, read where they lie, without a place of its own that processes would share."""

    def __init__(self, path: Path, size: int) -> None:
        self._file = path.open("rb", buffering=0)
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
        if hasattr(self, "_file"):
            self._file.close()


_last: dict[tuple[Path, str | None, int, int, int], tuple[Contents, Pcm16 | None]] = {}
"""The one file or member that is kept."""


def _open(path: Path, member: str | None, size: int) -> tuple[Contents, Pcm16 | None]:
    contents = _File(path, size) if member is None else _member(path, member)
    return contents, find_pcm16(contents)


def _member(path: Path, member: str) -> bytes:
    """Return a member's bytes."""
    try:
        with zipfile.ZipFile(path) as archive:
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
            return archive.read(member)
    except _DAMAGE as error:
        raise damaged(AudioSource(path, member), f"an archive that can not be read ({error})") from None


def damaged(source: AudioSource, found: str) -> BadInput:
    """Return the error of a recording that is not whole."""
    return bad_input(
        source, found=found, expected="a whole recording", remedy="copy or download the file again"
    )
