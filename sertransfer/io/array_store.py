"""Arrays of many utterances in one memory-mapped file, read by frames, checked by hashes, and built once.

A store is a folder of a cache:

- a file of values: the frames of all utterances, one after the other, so many values a frame;
- ``index.csv``: ``id, offset, frames``, the offset in frames, and perhaps further columns;
- ``meta.json``: format, SHA-256 of values and index, what could not be stored and why, and a hash of all
  this. The values are compared with theirs once in the machine's uptime (:mod:`sertransfer.io.checksums`).

Several processes may build one store at a time: the first does, the others wait and open what it made.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sertransfer.errors import BadInput, bad_input
from sertransfer.io.checksums import check_record, is_as_written, remember, stamp_of, with_hash
from sertransfer.io.files import (
    PRIVATE_FOLDER,
    hash_file,
    hold,
    make_folder,
    refuse_links,
    regular_file,
    storage_error,
    write_json,
    write_text,
    writing,
)
from sertransfer.io.plain_values import parse_json

META, INDEX = "meta.json", "index.csv"

_log = logging.getLogger(__name__)


class ArrayStore:
    """An opened store; can be sent to other processes, which map the file anew.

    Attributes:
        path: The store's folder.
        ids: Utterances that have values, in the order of the index.
        frames: Number of frames of each, shape ``(utterances,)``.
        offsets: Place of each one's first frame in :attr:`array`, shape ``(utterances,)``.
        array: The frames of all utterances, mapped from the file and not to be written, shape
            ``(frames, width)``.

    Raises:
        BadInput: If *path* holds no whole store of this format.
    """

    VALUES: ClassVar[str] = "values.bin"
    FORMAT: ClassVar[int] = 1
    WHAT: ClassVar[str] = "values"
    """What the values are, in messages."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            meta = parse_json(regular_file(self.path / META).read_text(encoding="utf-8"))
            check_record(meta)
            if meta["format"] != self.FORMAT:
                raise ValueError(f"format {meta['format']}")
            if meta.get("index_sha256") not in (None, hash_file(self.path / INDEX)):
                raise ValueError("an index that was changed since it was written")
            index = pd.read_csv(regular_file(self.path / INDEX), dtype={"id": str}, keep_default_na=False)
            self.ids: list[str] = index["id"].tolist()
            self.frames: NDArray[np.int64] = index["frames"].to_numpy(np.int64)
            self.offsets: NDArray[np.int64] = index["offset"].to_numpy(np.int64)
            self._checksum: str | None = meta.get("sha256")
            shape, dtype = self._shape(meta), meta.get("dtype", "float32")
            size = (self.path / self.VALUES).stat().st_size
            if size != shape[0] * shape[1] * np.dtype(dtype).itemsize:
                raise ValueError(f"{size} bytes of {self.WHAT} for {shape[0]} frames of {shape[1]}")
            if len(self.ids) and int((self.offsets + self.frames).max()) > shape[0]:
                raise ValueError(f"an index that reaches past the {self.WHAT}")
            self._take(meta, index)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, BadInput) as error:
            trouble = storage_error(error, self.path)
            if trouble is not None:
                raise trouble from error
            raise self._broken(f"{type(error).__name__}: {error}") from None
        mapped = np.memmap(self.path / self.VALUES, dtype, mode="r", shape=shape)
        self.array: NDArray[np.floating[Any]] = mapped.view(np.ndarray)  # slices of a memmap are slow
        self._positions = {identity: place for place, identity in enumerate(self.ids)}

    def _shape(self, meta: dict[str, Any]) -> tuple[int, int]:
        """Return how many frames the file has, and how many values a frame."""
        return int(self.frames.sum()), int(meta["width"])

    def _take(self, meta: dict[str, Any], index: pd.DataFrame) -> None:
        """Take what a kind of store keeps besides; any error says that the store is not whole."""

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.path,)

    def position(self, identity: str) -> int:
        """Return the place of the utterance *identity* in the store.

        Raises:
            KeyError: If it is not there.
        """
        return self._positions[identity]

    def read(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.floating[Any]]:
        """Return frames ``start`` to ``stop`` (exclusive; ``None`` = the last) of an utterance.

        Returns:
            Shape ``(width, frames)``, in the precision of the file and mapped from it: nothing is read
            before it is used, and nothing can be written. Frame by frame in memory.
        """
        first, last, _ = slice(start, stop).indices(int(self.frames[index]))
        offset = int(self.offsets[index])
        return self.array[offset + first : offset + last].T

    def windows(self, indices: NDArray[np.int64], starts: NDArray[np.int64], wanted: int) -> NDArray[Any]:
        """Return a copy of a window of each utterance at once, shape ``(batch, wanted, width)``.

        Args:
            indices: Utterances, shape ``(batch,)``.
            starts: First frame of each window, which lies inside its utterance, shape ``(batch,)``.
            wanted: Frames of a window.
        """
        # every window of the file as a view; one indexing copies those that are asked for
        every = sliding_window_view(self.array, wanted, axis=0).transpose(0, 2, 1)
        chosen: NDArray[Any] = every[self.offsets[indices] + starts]
        return chosen

    def verify(self) -> None:
        """Compare all values with the hash that was written, if not yet done since the machine started.

        Raises:
            BadInput: If they differ.
        """
        path = self.path / self.VALUES
        if self._checksum is not None and not is_as_written(path, self._checksum, stamp_of(self.path)):
            raise self._broken(f"{self.WHAT} that were changed since they were written")

    def _broken(self, found: str) -> BadInput:
        return bad_input(
            self.path,
            found=found,
            expected=f"a whole store of {self.WHAT}, format {self.FORMAT}",
            remedy="delete this folder; it is built again when needed",
        )


@contextmanager
def building(target: Path) -> Iterator[Path | None]:
    """Hold the right to build the store *target*, and yield the folder to build it in.

    The folder becomes *target* at the end. ``None`` is yielded where the store is there, perhaps because
    another process built it while this one waited.

    Raises:
        BadInput: If the store or its lock is a link, a device or a pipe.
        StorageError: If the disk or folder does not take it.
    """
    with _lock(target, wait=True):
        if target.exists():
            yield None
            return
        _clear_abandoned(target)
        # a name that is nobody else's on any machine; a process that is killed leaves it behind
        name = f".{target.name}.{machine()}.{os.getpid()}.{secrets.token_hex(8)}.tmp"
        temporary = target.with_name(name)
        with writing(target):
            temporary.mkdir(mode=PRIVATE_FOLDER)
        try:
            yield temporary
            try:
                temporary.rename(target)
            except OSError:  # a process that the lock did not hold, on another machine, was first
                if not target.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _lock(target: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the right to build *target*; the system gives it back when its holder dies, however it dies.

    Yields:
        Whether it was got (without *wait*, it is not while another process holds it).
    """
    locks = target.parent / ".locks"
    make_folder(locks)
    refuse_links(locks, target)

    def say(holder: str) -> None:
        _log.info("%s is being built by %s; waiting for it", target, holder)

    with hold(locks / target.name, waiting=say if wait else None) as holder:
        yield holder is None


def _clear_abandoned(target: Path) -> None:
    """Remove what killed builders left: temporary folders whose lock nobody holds.

    Only this machine's: where the file system keeps locks to one machine, another's may be at work.
    """
    for left in target.parent.glob(f".*.{machine()}.*.tmp"):
        name = left.name.split(".")[1]
        if name == target.name:  # its lock is ours
            shutil.rmtree(left, ignore_errors=True)
            continue
        with _lock(target.with_name(name), wait=False) as free:
            if free:
                shutil.rmtree(left, ignore_errors=True)


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


def write_index(folder: Path, entries: Sequence[tuple[Any, ...]], *more: str) -> None:
    """Write ``index.csv``: of each utterance its id, offset and frames, and columns *more*."""
    index = pd.DataFrame(entries, columns=["id", "offset", "frames", *more])
    write_text(folder / INDEX, index.to_csv(index=False, lineterminator="\n"))


def write_meta(folder: Path, meta: dict[str, Any]) -> None:
    """Write ``meta.json``, with a hash of itself, after the index, whose hash it holds."""
    write_json(folder / META, with_hash({**meta, "index_sha256": hash_file(folder / INDEX)}))


def remember_hash(target: Path, values: str, sha256: str) -> None:
    """Note that the file *values* of the store *target* was read for its hash just now."""
    remember(target / values, sha256, stamp_of(target))
