"""The files of one part of a feature store, and joining the parts' features into one file.

A part is a folder with ``features.bin`` and ``index.csv`` as a store's, offsets counted from its own
beginning, and ``part.json`` with what came of computing it. It is written under another name and renamed when
it is whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.audio.extraction import Result
from sertransfer.audio.planning import Entry, Plan
from sertransfer.audio.store_files import hash_onto_disk, write_index
from sertransfer.errors import BadInput, Fault, SertransferError, bad_input
from sertransfer.io.checksums import check_record, with_hash
from sertransfer.io.files import hash_file, write_json
from sertransfer.io.plain_values import parse_json

_BLOCK = 8 * 2**20
"""Bytes copied at once."""


def write_part(folder: Path, plan: Plan, result: Result) -> None:
    """Write index and record beside the features that *plan* gave."""
    write_index(folder, plan.entries(result.failures))
    record = {
        "frames": plan.frames,
        "dtype": plan.dtype,
        "sha256": hash_onto_disk(folder / "features.bin"),
        "index_sha256": hash_file(folder / "index.csv"),
        "failures": [{"item": identity, **fault.as_dict()} for identity, fault in result.failures],
        "clipped": result.clipped,
        "samples": result.samples,
    }
    write_json(folder / "part.json", with_hash(record))


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
            record, index = _read(part)
            own = hashlib.sha256()
            with (part / "features.bin").open("rb") as source:
                while block := source.read(_BLOCK):
                    own.update(block)
                    whole.update(block)
                    _write(target.fileno(), block, features)
            if own.hexdigest() != record["sha256"]:
                raise _changed(part, "a file of features")
            offsets = (index["offset"] + frames).tolist()
            entries += zip(index["id"].tolist(), offsets, index["frames"].tolist(), strict=True)
            total.failures += [(entry.pop("item"), Fault(**entry)) for entry in record["failures"]]
            total.clipped += record["clipped"]
            total.samples += record["samples"]
            frames += record["frames"]
            dtype = record["dtype"]
        os.fsync(target.fileno())
    return entries, total, frames, dtype, whole.hexdigest()


def _read(part: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return record and index of a part, as they were written."""
    try:
        record = parse_json((part / "part.json").read_text(encoding="utf-8"))
        check_record(record)
        written = record["index_sha256"]
    except (ValueError, TypeError, KeyError):
        raise _changed(part, "a record") from None
    if written != hash_file(part / "index.csv"):
        raise _changed(part, "an index")
    return record, pd.read_csv(part / "index.csv", dtype={"id": str}, keep_default_na=False)


def _changed(part: Path, what: str) -> BadInput:
    return bad_input(
        part,
        found=f"{what} that was changed since it was written",
        expected="a whole part of a feature store",
        remedy="delete this folder and build the part again",
    )


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
