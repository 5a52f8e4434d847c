"""A checksum inside a safetensors file, over every byte of it: a flipped bit is found when the file is read.

The file is written with a place holder for the hash among its metadata, hashed as it is, and the hash is
put in the place holder's stead. Programs that know nothing of it read the file like any other; a file
without it is taken as it comes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

from sertransfer.errors import bad_input

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
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > min(_LARGEST_HEADER, os.fstat(stream.fileno()).st_size):
            return None, ""  # no header of safetensors: the reader says so
        found = _PATTERN.search(stream.read(size))
    return (None, "") if found is None else (8 + found.start(1), found[1].decode("latin-1"))


def _hash(path: Path, place: int) -> str:
    """Return the SHA-256 of the file's bytes with the place holder at *place*."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        digest.update(stream.read(place))
        stream.seek(len(UNSEALED), os.SEEK_CUR)
        digest.update(UNSEALED.encode())
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
