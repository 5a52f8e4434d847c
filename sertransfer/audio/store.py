"""Features computed once, into a memory-mapped file that is keyed by all that they depend on.

A store is the folder ``<key>`` of a cache folder:

- ``features.bin``: the frames of all utterances, one after the other, ``mels`` values a frame; half
  precision for logarithmic features, single for linear power, which overflows half.
- ``index.csv``: ``id, offset, frames``, the offset in frames.
- ``meta.json``: format, key, front end, dtype, SHA-256 of features and index, what was left out and why, and
  a hash of all this. The features are compared with theirs once in the machine's uptime
  (:mod:`sertransfer.io.checksums`).

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
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sertransfer.audio.features import (
    FORMAT_VERSION,
    Entry,
    ExtractionPlan,
    ExtractionResult,
    extract,
    make_plan,
    plain,
    store_key,
)
from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.audio.speaker_norm import Resting, measure_states, resting_manifest, speakers_of, uses_rest
from sertransfer.errors import BadInput, Fault, bad_input
from sertransfer.front_end import FrontEnd
from sertransfer.io.checksums import check_record, is_as_written, remember, stamp_of, with_hash
from sertransfer.io.files import (
    PRIVATE_FOLDER,
    hash_file,
    make_folder,
    refuse_links,
    regular_file,
    storage_error,
    write_json,
    write_text,
    writing,
)
from sertransfer.io.locks import hold
from sertransfer.io.plain_values import parse_json
from sertransfer.manifest import Manifest, check_recordings


def refuse_faults(result: ExtractionResult, resting: Resting, utterances: int, *, skip_bad: bool) -> None:
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
    result: ExtractionResult,
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


def _faults(result: ExtractionResult, resting: Resting) -> list[Any]:
    return list(dict.fromkeys([*resting.faults, *result.faults]))


_log = logging.getLogger(__name__)


class FeatureStore:
    """An opened store; can be sent to other processes, which map the file anew.

    Attributes:
        ids: Utterances in the order of the manifest, those that were left out missing.
        frames: Number of frames of each, shape ``(utterances,)``.
        front_end: What the features were computed with.
        left_out: ``{"item", "reason"}`` of every utterance that ``skip_bad`` left out.
        resting: Number of ``speakers`` whose resting state was measured, on how many ``recordings``; ``None``
            where the front end does not ask for it.

    Raises:
        BadInput: If *path* holds no whole store of this format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            meta = parse_json(regular_file(self.path / "meta.json").read_text(encoding="utf-8"))
            check_record(meta)
            path = self.path / "index.csv"
            if meta.get("index_sha256") not in (None, hash_file(path)):
                raise ValueError("an index that was changed since it was written")
            index = pd.read_csv(regular_file(path), dtype={"id": str}, keep_default_na=False)
            self.front_end = FrontEnd.from_dict(meta["front_end"])
            self.left_out: list[dict[str, str]] = meta["left_out"]
            self.faults = [Fault(**fault) for fault in meta["faults"]]
            self.resting: dict[str, int] | None = meta.get("resting")
            self.ids: list[str] = index["id"].tolist()
            self.frames: NDArray[np.int64] = index["frames"].to_numpy(np.int64)
            self._offsets: NDArray[np.int64] = index["offset"].to_numpy(np.int64)
            self._checksum: str = meta["sha256"]
            shape = (int(meta["frames"]), int(meta["mels"]))
            size = (self.path / "features.bin").stat().st_size
            if meta["format"] != FORMAT_VERSION:
                raise ValueError(f"format {meta['format']}")
            if size != shape[0] * shape[1] * np.dtype(meta["dtype"]).itemsize:
                raise ValueError(f"{size} bytes of features for {shape[0]} frames of {shape[1]}")
            if len(self.ids) and int((self._offsets + self.frames).max()) > shape[0]:
                raise ValueError("an index that reaches past the features")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, BadInput) as error:
            trouble = storage_error(error, self.path)
            if trouble is not None:
                raise trouble from error
            raise self._broken(f"{type(error).__name__}: {error}") from None
        mapped = np.memmap(self.path / "features.bin", meta["dtype"], mode="r", shape=shape)
        self._features: NDArray[np.floating[Any]] = mapped.view(np.ndarray)  # slices of a memmap are slow
        self._positions = {identity: place for place, identity in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type[FeatureStore], tuple[Path]]:
        return FeatureStore, (self.path,)

    @property
    def array(self) -> NDArray[np.floating[Any]]:
        """The frames of all utterances, mapped from the file, shape ``(frames, mels)``; not to be written."""
        return self._features

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Place of each utterance's first frame in :attr:`array`, shape ``(utterances,)``."""
        return self._offsets

    def position(self, identity: str) -> int:
        """Return the place of the utterance *identity* in the store.

        Raises:
            KeyError: If it is not there.
        """
        return self._positions[identity]

    def read(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.floating[Any]]:
        """Return frames ``start`` to ``stop`` (exclusive; ``None`` = the last) of an utterance.

        Returns:
            Shape ``(mels, frames)``, in the precision of the file and mapped from it: nothing is read
            before it is used, and nothing can be written. Frame by frame in memory.
        """
        frames = int(self.frames[index])
        first, last, _ = slice(start, stop).indices(frames)
        offset = int(self._offsets[index])
        return self._features[offset + first : offset + last].T

    def windows(self, indices: NDArray[np.int64], starts: NDArray[np.int64], wanted: int) -> NDArray[Any]:
        """Return a copy of a window of each utterance at once, shape ``(batch, wanted, mels)``.

        Args:
            indices: Utterances, shape ``(batch,)``.
            starts: First frame of each window, which lies inside its utterance, shape ``(batch,)``.
            wanted: Frames of a window.
        """
        # every window of the file as a view; one indexing copies those that are asked for
        every = sliding_window_view(self._features, wanted, axis=0).transpose(0, 2, 1)
        chosen: NDArray[Any] = every[self._offsets[indices] + starts]
        return chosen

    def verify(self) -> None:
        """Compare all features with the hash that was written, if not yet done since the machine started.

        Raises:
            BadInput: If they differ.
        """
        if not is_as_written(self.path / "features.bin", self._checksum, stamp_of(self.path)):
            raise self._broken("features that were changed since they were written")

    def _broken(self, found: str) -> BadInput:
        return bad_input(
            self.path,
            found=found,
            expected=f"a whole feature store of format {FORMAT_VERSION}",
            remedy="delete this folder; it is built again when needed",
        )


def build_store(
    manifest: Manifest,
    front_end: FrontEnd,
    folder: Path,
    *,
    rest: Manifest | None = None,
    workers: int = 0,
    skip_bad: bool = False,
    progress: bool = True,
) -> FeatureStore:
    """Open the store of *manifest* in the cache *folder*, after building it if it is not there.

    Args:
        manifest: The utterances.
        front_end: How their features are computed.
        folder: The cache; the store is its sub-folder ``<key>``.
        rest: Where the speakers' resting recordings are, if the front end asks for resting states: the whole
            corpus that *manifest* is a part of; ``None`` = *manifest* itself.
        workers: Processes to compute with; 0 = this one.
        skip_bad: Leave faulty utterances out, and record them, instead of raising.
        progress: Show a progress bar.

    Raises:
        BadInput: If there are no utterances, or utterances are faulty (unreadable, with samples that
            are no numbers, reaching past their recording, of a speaker without a resting state where
            the front end asks for it): all faults at once, one alone if
            no recording is there at all. Also if the store that is there is damaged.
    """
    check_recordings(manifest)
    key = store_key(manifest, front_end, rest)
    target = Path(folder) / key
    if not target.exists():
        resting = Resting()
        if uses_rest(front_end):
            source = manifest if rest is None else rest
            resting = measure_resting(manifest, front_end, folder, source, workers=workers, progress=progress)
        plan = make_plan(manifest, front_end, resting.states)
        with _lock(target, wait=True):
            if not target.exists():
                _clear_abandoned(target)
                _build(plan, target, resting, workers=workers, skip_bad=skip_bad, progress=progress)
    store = FeatureStore(target)
    store.verify()
    if store.faults and not skip_bad:
        raise BadInput(store.faults)
    return store


def measure_resting(
    manifest: Manifest, front_end: FrontEnd, folder: Path, rest: Manifest, *, workers: int, progress: bool
) -> Resting:
    """Return the resting states of the speakers of *manifest*, from their recordings in *rest*.

    These are stored beside the others in *folder*, in the precision of any store. A speaker whose recordings
    are all faulty has no state; the faults are told in the result.
    """
    recordings = resting_manifest(manifest, rest)
    if not len(recordings):
        return Resting()
    store = build_store(
        recordings, plain(front_end), folder, workers=workers, skip_bad=True, progress=progress
    )
    whose = dict(zip(recordings.table["id"], speakers_of(recordings.table), strict=True))
    states = measure_states(store, range(len(store)), [whose[identity] for identity in store.ids])
    _log.info("resting states of %d speakers measured on %d recordings", len(states), len(store))
    return Resting(states, len(store), store.left_out, store.faults)


def _build(
    plan: ExtractionPlan, target: Path, resting: Resting, *, workers: int, skip_bad: bool, progress: bool
) -> None:
    empty = MelFrontEnd(plan.front_end).empty_filters
    if empty:
        _log.warning("%d of %d mel filters are empty at this framing", empty, plan.front_end.mels)
    with renamed_when_whole(target, target.parent) as temporary:
        result = extract(plan, temporary / "features.bin", workers=workers, progress=progress)
        refuse_faults(result, resting, len(plan.ids), skip_bad=skip_bad)
        entries = plan.entries(result.failures)
        sha256 = hash_onto_disk(temporary / "features.bin")
        write_index(temporary, entries)
        write_meta(
            temporary,
            key=target.name,
            front_end=plan.front_end,
            dtype=plan.dtype,
            frames=plan.frames,
            utterances=len(entries),
            sha256=sha256,
            result=result,
            resting=resting,
        )
    remember(target / "features.bin", sha256, stamp_of(target))  # it was read back for its hash just now


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
