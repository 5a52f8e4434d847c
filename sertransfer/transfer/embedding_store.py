"""Stored sentence embeddings: a memory map beside an index, recognised by what they were made from.

A set lies in ``FOLDER/<key>``: ``vectors.npy`` (sentences, dimensions) in single precision, ``index.csv``
with each row's sentence and duration, and ``embedding.json``, written last, which marks the set as whole.
It is not an :class:`~sertransfer.io.array_store.ArrayStore`, which is built in a folder of its own and
deleted whole where it is damaged: a set is mended where it lies, beside what checks keep in its folder, and
sets of earlier versions are read, so that it would take more code on that store.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sertransfer.errors import BadInput, Fault, SertransferError
from sertransfer.io.checksums import check_record, is_as_written, stamp_of, with_hash
from sertransfer.io.files import (
    atomic_path,
    hash_file,
    refuse_packed,
    regular_file,
    reserve,
    storage_error,
    write_json,
    write_text,
)
from sertransfer.io.plain_values import parse_json

Vectors = NDArray[np.float32]

_ROWS_AT_ONCE = 1024
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddedChunk:
    """Embeddings of a run of sentences.

    Attributes:
        ids: Sentences that were embedded.
        durations: Of these, in seconds, shape ``(sentences,)``.
        vectors: Shape ``(sentences, dim)``; ``(0, 0)`` where none could be embedded.
        faults: Sentence and fault of each one that could not be.
    """

    ids: list[str]
    durations: NDArray[np.float64]
    vectors: Vectors
    faults: list[tuple[str, Fault]]

    def write(self, path: Path) -> None:
        """Write the chunk to *path* atomically."""
        faults = [{"item": item, **fault.as_dict()} for item, fault in self.faults]
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                ids=np.array(self.ids, dtype=np.str_),
                durations=self.durations,
                vectors=self.vectors,
                faults=np.array(json.dumps(faults)),
            )

    @classmethod
    def read(cls, path: Path) -> EmbeddedChunk | None:
        """Return the chunk at *path*, or ``None`` where there is none that is whole."""
        try:
            with np.load(regular_file(path), allow_pickle=False) as stored:
                refuse_packed(stored.zip)
                return cls(
                    [str(name) for name in stored["ids"]],
                    stored["durations"],
                    stored["vectors"],
                    _read_faults(parse_json(str(stored["faults"]))),
                )
        except FileNotFoundError:
            return None
        except Exception as error:  # a damaged archive raises whatever the broken bytes lead to
            _log.warning("%s cannot be read and is made again (%s)", path, type(error).__name__)
            return None


def _read_faults(stored: list[dict[str, str]]) -> list[tuple[str, Fault]]:
    return [
        (entry["item"], Fault(entry["where"], entry["found"], entry["expected"], entry["remedy"]))
        for entry in stored
    ]


@dataclass(frozen=True)
class EmbeddingSet:
    """Embeddings of the sentences of a manifest.

    Attributes:
        ids: Sentences in stored order.
        durations: In seconds, shape ``(sentences,)``.
        vectors: Memory map, shape ``(sentences, dim)``.
        faults: Sentence and fault of each one that could not be embedded.
        folder: Where the set lies.
    """

    ids: list[str]
    durations: NDArray[np.float64]
    vectors: Vectors
    faults: list[tuple[str, Fault]]
    folder: Path

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def left_out(self) -> list[dict[str, str]]:
        """The sentences that could not be embedded, as ``{"item", "reason"}``."""
        return [{"item": item, "reason": str(fault)} for item, fault in self.faults]

    def positions(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the stored row of each of *ids*; a ``KeyError`` names one that is not here."""
        place = {name: row for row, name in enumerate(self.ids)}
        return np.array([place[name] for name in ids], dtype=np.int64)

    def select(self, ids: Sequence[str]) -> Vectors:
        """Return the embeddings of *ids* in that order, in memory, shape ``(len(ids), dim)``."""
        return np.asarray(self.vectors[self.positions(ids)])


def raise_faults(faults: Sequence[tuple[str, Fault]], also: str = "") -> None:
    """Raise what kept sentences from being embedded, equal faults together, if there is anything.

    Args:
        faults: Sentence and fault.
        also: A further remedy.

    Raises:
        BadInput: If there is a fault.
    """
    items: dict[Fault, list[str]] = {}
    for item, fault in faults:
        items.setdefault(fault, []).append(item)
    if items:
        raise BadInput(_with_items(fault, names, also) for fault, names in items.items())


def _with_items(fault: Fault, items: list[str], also: str) -> Fault:
    what = f"sentence {items[0]}" if len(items) == 1 else f"{len(items)} sentences from {items[0]}"
    remedies = [fault.remedy, "or leave out what cannot be embedded with --skip-bad", also]
    remedy = ", ".join(text for text in remedies if text)
    return Fault(f"{fault.where} ({what})", fault.found, fault.expected, remedy)


def write_set(folder: Path, key: str, chunks: Sequence[Path], about: dict[str, Any]) -> None:
    """Join *chunks*, which must hold at least one embedding, into the set of *folder*.

    The chunks are read one after the other, so that the whole is never in memory.

    Raises:
        SertransferError: If a chunk has gone, or the disk or folder does not take the set.
    """
    ids: list[str] = []
    durations: list[float] = []
    faults: list[tuple[str, Fault]] = []
    dim = 0
    for path in chunks:
        chunk = _require(path)
        ids += chunk.ids
        durations += chunk.durations.tolist()
        faults += chunk.faults
        dim = max(dim, chunk.vectors.shape[1])
    with atomic_path(folder / "vectors.npy") as temporary:
        target = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(len(ids), dim))
        reserve(temporary)
        position = 0
        for path in chunks:
            chunk = _require(path)
            if chunk.ids:
                target[position : position + len(chunk.ids)] = chunk.vectors
                position += len(chunk.ids)
        target.flush()
        del target
    index = pd.DataFrame({"id": ids, "duration": durations})
    write_text(folder / "index.csv", index.to_csv(index=False, lineterminator="\n"))
    write_json(
        folder / "embedding.json",
        with_hash(
            {
                "key": key,
                "rows": len(ids),
                "dim": dim,
                "bytes": (folder / "vectors.npy").stat().st_size,
                "index": hash_file(folder / "index.csv"),
                "sha256": hash_file(folder / "vectors.npy"),
                "faults": [{"item": item, **fault.as_dict()} for item, fault in faults],
                **about,
            }
        ),
    )


def _require(path: Path) -> EmbeddedChunk:
    chunk = EmbeddedChunk.read(path)
    if chunk is None:
        raise SertransferError(f"{path} went away while its set was being written; run the command again")
    return chunk


def open_set(folder: Path, key: str) -> EmbeddingSet | None:
    """Return the whole set in *folder* made for *key*; ``None`` where there is none.

    Sizes, index and every value are checked. A set that fails is given up with a warning, to be made again.
    """
    about_path = folder / "embedding.json"
    if not about_path.is_file():
        return None
    try:
        return _open(folder, key, parse_json(regular_file(about_path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        trouble = storage_error(error, folder)
        if trouble is not None:  # nothing is wrong with the set; to make it again would not help
            raise trouble from error
        _log.warning("the embeddings in %s are damaged (%s) and are made again", folder, error)
        about_path.unlink()  # the rest is written over; what else lies here is not ours to remove
        return None


def _open(folder: Path, key: str, about: dict[str, Any]) -> EmbeddingSet:
    path = folder / "vectors.npy"
    check_record(about)
    if about["key"] != key:
        raise ValueError("made from something else than the folder's name says")
    if path.stat().st_size != about["bytes"]:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, not {about['bytes']}")
    if hash_file(folder / "index.csv") != about["index"]:
        raise ValueError("index.csv was changed")
    if "sha256" in about and not is_as_written(path, about["sha256"], stamp_of(folder)):
        raise ValueError(f"{path.name} was changed")
    index = pd.read_csv(regular_file(folder / "index.csv"), dtype={"id": str}, keep_default_na=False)
    rows, dim = int(about["rows"]), int(about["dim"])
    vectors = np.load(regular_file(path), mmap_mode="r", allow_pickle=False)
    if vectors.shape != (rows, dim) or vectors.dtype != np.float32 or len(index) != rows:
        raise ValueError(f"{path.name} holds {vectors.dtype} {vectors.shape}, not float32 {(rows, dim)}")
    for start in range(0, rows, _ROWS_AT_ONCE):
        if not np.isfinite(vectors[start : start + _ROWS_AT_ONCE]).all():
            raise ValueError(f"{path.name} holds a value that is not finite after row {start}")
    return EmbeddingSet(
        [str(name) for name in index["id"]],
        index["duration"].to_numpy(np.float64),
        vectors,
        _read_faults(about["faults"]),
        folder,
    )
