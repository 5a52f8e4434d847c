"""Files written whole or not at all, for their owner alone, and the hashes that recognise their content.

What is derived from clinical recordings is clinical data, so no file is born readable by others, whatever the
umask. A file that is written again keeps the mode it had: who opened it to a group meant it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sertransfer.errors import bad_input

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
"""Modes of what is new."""


def make_folder(path: Path, *, mode: int = PRIVATE_FOLDER) -> None:
    """Make the folder *path*, readable by its owner alone, and those above it, unless it is there.

    Raises:
        BadInput: If a file is in the way, or the place may not be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=mode)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        found = "no permission to write" if isinstance(error, PermissionError) else "a file in the way"
        raise bad_input(
            path, found=found, expected="a folder to write into", remedy="name another place"
        ) from None


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside *path*; on success it is synced and renamed to *path*.

    The temporary file is there already, empty and readable by its owner alone; *path* gets that mode, or
    keeps its own. On an exception the temporary file is removed and *path* is left as it was.

    Raises:
        BadInput: If *path* is a folder, or the folder that is to hold it can not be made.
    """
    target = Path(path)
    make_folder(target.parent)
    if target.is_dir():
        raise bad_input(target, found="a folder", expected="a file to write", remedy="name a file in it")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else PRIVATE_FILE
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE))
        yield temporary
        with temporary.open("rb") as written:
            os.fchmod(written.fileno(), mode)
            os.fsync(written.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


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


def hash_value(value: Any) -> str:
    """Return the SHA-256 of *value*'s canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
