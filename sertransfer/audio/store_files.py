"""The files of a feature store beside the features themselves: index and metadata."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.audio.extraction import Result
from sertransfer.audio.keys import FORMAT_VERSION
from sertransfer.audio.planning import Entry
from sertransfer.audio.resting import Resting, uses_rest
from sertransfer.errors import BadInput
from sertransfer.front_end import FrontEnd
from sertransfer.io.checksums import with_hash
from sertransfer.io.files import (
    PRIVATE_FOLDER,
    hash_file,
    make_folder,
    regular_file,
    write_json,
    write_text,
    writing,
)


def refuse_faults(result: Result, resting: Resting, utterances: int, *, skip_bad: bool) -> None:
    """Refuse a store whose utterances are faulty, unless these may be left out and some are left.

    Raises:
        BadInput: With every fault.
    """
    faults = _faults(result, resting)
    if (faults and not skip_bad) or len(result.failures) == utterances:
        raise BadInput(faults)


@contextmanager
def renamed_when_whole(place: Path, beside: Path) -> Iterator[Path]:
    """Yield a new folder in *beside* that becomes *place*, unless another process was first.

    Its name is nobody else's on any machine: no lock is needed. A process that is killed leaves it behind.
    """
    make_folder(beside)
    temporary = beside / f".{place.name}.{machine()}.{os.getpid()}.{secrets.token_hex(8)}.tmp"
    with writing(place):
        temporary.mkdir(mode=PRIVATE_FOLDER)
    try:
        yield temporary
        try:
            temporary.rename(place)
        except OSError:
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def machine() -> str:
    """Return this machine's name, without points."""
    return socket.gethostname().replace(".", "-")


def hash_onto_disk(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal, and meanwhile see them onto the disk."""
    with regular_file(path).open("rb") as stream, ThreadPoolExecutor(1) as other:
        written = other.submit(os.fsync, stream.fileno())
        digest = hash_file(path)
        written.result()
    return digest


def write_index(folder: Path, entries: Sequence[Entry]) -> None:
    """Write ``index.csv``."""
    index = pd.DataFrame(entries, columns=["id", "offset", "frames"])
    write_text(folder / "index.csv", index.to_csv(index=False, lineterminator="\n"))


def write_meta(
    folder: Path,
    *,
    key: str,
    front_end: FrontEnd,
    dtype: str,
    frames: int,
    utterances: int,
    sha256: str,
    result: Result,
    resting: Resting,
) -> None:
    """Write ``meta.json``, after the index, whose hash it holds.

    Args:
        folder: The store's.
        key: Of the store.
        front_end: What the features were computed with.
        dtype: Of a value.
        frames: Number of frames in the file, those of failed utterances included.
        utterances: Number of utterances in the index.
        sha256: Of the features.
        result: What came of computing them.
        resting: The resting states that were used.
    """
    failed = {identity for identity, _ in result.failures}
    meta: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "key": key,
        "front_end": front_end.as_dict(),
        "dtype": dtype,
        "mels": front_end.mels,
        "frames": frames,
        "utterances": utterances,
        "clipped_share": result.clipped_share,
        "sha256": sha256,
        "index_sha256": hash_file(folder / "index.csv"),
        "left_out": [
            {"item": identity, "reason": f"{fault.where}: found {fault.found}"}
            for identity, fault in result.failures
        ]
        + [entry for entry in resting.left_out if entry["item"] not in failed],
        "faults": [fault.as_dict() for fault in _faults(result, resting)],
    }
    if uses_rest(front_end):
        meta["resting"] = {"speakers": len(resting.states), "recordings": resting.rows}
    write_json(folder / "meta.json", with_hash(meta))


def _faults(result: Result, resting: Resting) -> list[Any]:
    return list(dict.fromkeys([*resting.faults, *result.faults]))
