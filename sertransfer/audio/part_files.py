"""The files of one part of a feature store, and joining the parts' features into one file.

A part is a folder with ``features.bin`` and ``index.csv`` as a store's, offsets counted from its own
beginning, and ``part.json`` with what came of computing it. It is written under another name and renamed when
it is whole.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from sertransfer.audio.extraction import Result
from sertransfer.audio.planning import Entry, Plan
from sertransfer.audio.store_files import hash_onto_disk, write_index
from sertransfer.errors import Fault, SertransferError, bad_input
from sertransfer.files import PRIVATE_FOLDER, make_folder, write_json

_BLOCK = 8 * 2**20
"""Bytes copied at once."""


def write_part(folder: Path, plan: Plan, result: Result) -> None:
    """Write index and record beside the features that *plan* gave."""
    write_index(folder, plan.entries(result.failures))
    record = {
        "frames": plan.frames,
        "dtype": plan.dtype,
        "sha256": hash_onto_disk(folder / "features.bin"),
        "failures": [{"item": identity, **fault.as_dict()} for identity, fault in result.failures],
        "clipped": result.clipped,
        "samples": result.samples,
    }
    write_json(folder / "part.json", record)


def join_parts(parts: Sequence[Path], features: Path) -> tuple[list[Entry], Result, int, str, str]:
    """Write the features of *parts*, one after the other, to the new file *features*.

    Returns:
        The index, what came of computing, the frames, the type of a value, and the SHA-256 of all features.

    Raises:
        BadInput: If a part is not what was written.
        SertransferError: If the disk is full.
    """
    entries: list[Entry] = []
    total, frames, dtype, whole = Result(), 0, "", hashlib.sha256()
    with features.open("xb") as target:
        for part in parts:
            record = json.loads((part / "part.json").read_text(encoding="utf-8"))
            index = pd.read_csv(part / "index.csv", dtype={"id": str}, keep_default_na=False)
            own = hashlib.sha256()
            with (part / "features.bin").open("rb") as source:
                while block := source.read(_BLOCK):
                    own.update(block)
                    whole.update(block)
                    _write(target.fileno(), block, features)
            if own.hexdigest() != record["sha256"]:
                raise bad_input(
                    part,
                    found="features that were changed since they were written",
                    expected="a whole part of a feature store",
                    remedy="delete this folder and build the part again",
                )
            offsets = (index["offset"] + frames).tolist()
            entries += zip(index["id"].tolist(), offsets, index["frames"].tolist(), strict=True)
            total.failures += [(entry.pop("item"), Fault(**entry)) for entry in record["failures"]]
            total.clipped += record["clipped"]
            total.samples += record["samples"]
            frames += record["frames"]
            dtype = record["dtype"]
        os.fsync(target.fileno())
    return entries, total, frames, dtype, whole.hexdigest()


def _write(target: int, block: bytes, features: Path) -> None:
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[os.write(target, rest) :]
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SertransferError(
            f"{features.parent}: no room to join the parts ({error.strerror}); it takes as much again as"
            " they do; free some, and join with 'sertransfer features ... --merge'"
        ) from None


@contextmanager
def renamed_when_whole(place: Path, beside: Path) -> Iterator[Path]:
    """Yield a new folder in *beside* that becomes *place*, unless another process was first.

    Its name is nobody else's on any machine: no lock is needed. A process that is killed leaves it behind.
    """
    make_folder(beside)
    temporary = beside / f".{place.name}.{os.getpid()}.{secrets.token_hex(8)}.tmp"
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
