"""Checksums of files: a seal inside a safetensors file, and hashes of stores compared once per boot."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
from pathlib import Path
from typing import Any

from sertransfer.errors import bad_input
from sertransfer.io.files import PRIVATE_FOLDER, hash_file, hash_value, open_own, refuse_links, regular_file

SEAL = "seal_sha256"
"""Key of the metadata, or of a JSON object that is one of its values."""

UNSEALED = "0" * 64
"""Value to write under that key before :func:`seal`."""

_METADATA = "__metadata__"
_LARGEST_HEADER = 100_000_000
"""Bytes, as safetensors has it."""
_PATTERN = re.compile(rb'seal_sha256\W{2,8}([^"\\]{64})\\?"')  # as a key of its own, or of JSON within
_BLOCK = 1 << 20


def seal(path: Path) -> None:
    """Put the hash of the file at *path* into it, where ``{SEAL: UNSEALED}`` stands in its metadata.

    safetensors writes the metadata in an order of chance; here they are sorted, so that the same content is
    the same file.

    Raises:
        ValueError: If nothing stands there.
    """
    _sort_metadata(path)
    place, _ = _find(path)
    if place is None:
        raise ValueError(f"{path} has no place for its hash")
    digest = _hash(path, place)
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(digest.encode())


def _sort_metadata(path: Path) -> None:
    with path.open("r+b") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
        if _METADATA in header:
            header[_METADATA] = dict(sorted(header[_METADATA].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:  # else it was escaped in another way; its order stays
            stream.seek(8)
            stream.write(text.ljust(size))  # blanks at its end are how safetensors itself fills it up


def check_seal(path: Path) -> None:
    """Compare the file at *path* with the hash in it, if there is one.

    Raises:
        BadInput: If they differ.
    """
    place, recorded = _find(path)
    if place is not None and _hash(path, place) != recorded:
        raise bad_input(
            path,
            found="bytes that were changed since the file was written (its checksum differs)",
            expected="the file as it was written",
            remedy="copy it again from where it is whole, or make it again; check this disk",
        )


def _find(path: Path) -> tuple[int | None, str]:
    """Return where in the file the hash stands, and the hash; ``None`` where there is none."""
    with regular_file(path).open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > min(_LARGEST_HEADER, os.fstat(stream.fileno()).st_size):
            return None, ""  # no header of safetensors: the reader says so
        found = _PATTERN.search(stream.read(size))
    return (None, "") if found is None else (8 + found.start(1), found[1].decode("latin-1"))


def _hash(path: Path, place: int) -> str:
    """Return the SHA-256 of the file's bytes with the place holder at *place*."""
    digest = hashlib.sha256()
    with regular_file(path).open("rb") as stream:
        digest.update(stream.read(place))
        stream.seek(len(UNSEALED), os.SEEK_CUR)
        digest.update(UNSEALED.encode())
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


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
            refuse_links(stamp.parent)
            stamp.parent.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
            with os.fdopen(open_own(stamp, os.O_WRONLY | os.O_CREAT), "w", encoding="utf-8") as stream:
                stream.truncate()
                json.dump(record, stream)


def _record(path: Path, sha256: str) -> dict[str, Any] | None:
    """Return what a stamp says of the file; ``None`` where it cannot be told when the machine started."""
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
        return json.loads(regular_file(stamp).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
