"""Checksums of stores: large files are compared once in a machine's uptime, not at each start.

Reading a store of 6 GB takes seconds, and whoever trains reads it anyway. What the memory holds of a file
does not change by itself; what the disk gives after a restart may. So a file counts as verified while the
machine runs and size, time of change and number of the file are what they were; a stamp beside the store
says so. Where no stamp can be written (a read-only disk), each start verifies.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from sertransfer.files import PRIVATE_FOLDER, hash_file, hash_value, open_own, refuse_links

HASH = "record_sha256"
"""Key of a record's hash of itself."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def is_as_written(path: Path, sha256: str, stamp: Path) -> bool:
    """Return whether the file at *path* has the hash *sha256*.

    Args:
        path: The file.
        sha256: Hash that was recorded when it was written.
        stamp: File that remembers a verification.
    """
    known = _record(path, sha256)
    if known is not None and _read(stamp) == known:
        return True
    if hash_file(path) != sha256:
        return False
    remember(path, sha256, stamp)
    return True


def remember(path: Path, sha256: str, stamp: Path) -> None:
    """Write down that the file at *path* has just been found to have the hash *sha256*.

    It is done as it comes: without a stamp, or with half of one, the next start verifies again.
    """
    record = _record(path, sha256)
    if record is not None:
        with contextlib.suppress(OSError):
            stamp.parent.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
            refuse_links(stamp)
            with os.fdopen(open_own(stamp, os.O_WRONLY | os.O_CREAT), "w", encoding="utf-8") as stream:
                stream.truncate()
                json.dump(record, stream)


def _record(path: Path, sha256: str) -> dict[str, Any] | None:
    """Return what a stamp says of the file; ``None`` where it can not be told when the machine started."""
    machine = _machine()
    return {"machine": machine, "file": _state(path), "sha256": sha256} if machine else None


def stamp_of(store: Path) -> Path:
    """Return where the verification of the folder *store* is remembered."""
    return store.parent / ".locks" / f"{store.name}.verified"


def with_hash(record: dict[str, Any]) -> dict[str, Any]:
    """Return *record*, plain values, with a hash of itself."""
    return {**record, HASH: hash_value(record)}


def check_record(record: dict[str, Any]) -> None:
    """Compare *record* with the hash that :func:`with_hash` put into it, if there is one.

    Raises:
        ValueError: If they differ.
    """
    if HASH in record and record[HASH] != hash_value({k: v for k, v in record.items() if k != HASH}):
        raise ValueError("a record that was changed since it was written")


def _machine() -> str:
    """Return what is another after each start of a machine; nothing where the system does not tell."""
    try:
        return f"{socket.gethostname()} {_BOOT.read_text(encoding='utf-8').strip()}"
    except OSError:
        return ""


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _read(stamp: Path) -> object:
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
