"""Waveforms of sentences, and a frozen encoder's frames of them, kept in memory-mapped files."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from sertransfer.encoders.base import LayeredEncoder
from sertransfer.errors import BadInput, Fault, bad_input
from sertransfer.io.checksums import check_record, is_as_written, stamp_of, with_hash
from sertransfer.io.files import (
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
from sertransfer.io.progress import tracked
from sertransfer.manifest import Manifest, check_recordings
from sertransfer.timebase import samples_to_seconds
from sertransfer.transfer.data import Sentence, content_key, in_chunks, take_sentences
from sertransfer.transfer.embed import ChunkReader, Waveform
from sertransfer.transfer.embedding_store import raise_faults

Floats = NDArray[np.float32]
Item = tuple[str, float, Floats | Fault]
"""An utterance's id, its seconds, and its values ``(frames, width)`` or what is wrong with it."""

FORMAT = 1

_log = logging.getLogger(__name__)


class FrameStore:
    """An opened store; can be sent to other processes, which map the file anew.

    Attributes:
        ids: Utterances that have values.
        frames: Frames of each, shape ``(utterances,)``.
        seconds: Duration of each, by id.
        width: Values of a frame.
        faults: Utterance and fault of each of the others.

    Raises:
        BadInput: If *path* holds no whole store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            meta = parse_json(regular_file(path / "meta.json").read_text(encoding="utf-8"))
            check_record(meta)
            if meta.get("index_sha256") not in (None, hash_file(path / "index.csv")):
                raise ValueError("an index that was changed since it was written")
            index = pd.read_csv(regular_file(path / "index.csv"), dtype={"id": str}, keep_default_na=False)
            if meta["format"] != FORMAT:
                raise ValueError(f"format {meta['format']}")
            self.width = int(meta["width"])
            self.ids: list[str] = index["id"].tolist()
            self.frames: NDArray[np.int64] = index["frames"].to_numpy(np.int64)
            self._offsets: NDArray[np.int64] = index["offset"].to_numpy(np.int64)
            self.seconds = pd.Series(index["seconds"].to_numpy(float), index=self.ids)
            self._checksum: str | None = meta.get("sha256")
            self.faults = [(str(item), Fault(**fault)) for item, fault in meta["faults"]]
            shape = (int(self.frames.sum()), self.width)
            self._values = np.memmap(path / "values.bin", np.float32, mode="r", shape=shape)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            trouble = storage_error(error, path)
            if trouble is not None:
                raise trouble from error
            raise self._broken(f"no store of values that can be read ({type(error).__name__})") from None
        self._positions = {name: place for place, name in enumerate(self.ids)}

    def __reduce__(self) -> tuple[type[FrameStore], tuple[Path]]:
        return FrameStore, (self.path,)

    @property
    def left_out(self) -> list[dict[str, str]]:
        """The utterances without values, and why."""
        return [{"item": item, "reason": str(fault)} for item, fault in self.faults]

    def position(self, identity: str) -> int:
        """Return the place of an utterance; a ``KeyError`` says that it has none."""
        return self._positions[identity]

    def read(self, index: int, start: int = 0, stop: int | None = None) -> Floats:
        """Return frames ``start`` to ``stop`` of an utterance, shape ``(width, frames)``, read-only."""
        first, last, _ = slice(start, stop).indices(int(self.frames[index]))
        offset = int(self._offsets[index])
        return self._values[offset + first : offset + last].T

    def verify(self) -> None:
        """Compare the values with the hash that was written, unless that was done since the machine started.

        Raises:
            BadInput: If they differ.
        """
        path = self.path / "values.bin"
        if self._checksum is not None and not is_as_written(path, self._checksum, stamp_of(self.path)):
            raise self._broken("values that were changed since they were written")

    def _broken(self, found: str) -> BadInput:
        return bad_input(
            self.path,
            found=found,
            expected="one that this version wrote",
            remedy="delete this folder; it is made again when needed",
        )

    def check(self) -> None:
        """Raise `BadInput` with what kept utterances from having values."""
        raise_faults(self.faults, f"or remove {self.path} to try again")


def take_store(folder: Path, key: str, width: int, items: Iterable[Item], *, skip_bad: bool) -> FrameStore:
    """Open the store *key* of *folder*, after making it from *items* if it is not there.

    Args:
        folder: The cache.
        key: Hash of all that the values depend on.
        width: Values of a frame.
        items: What to store; looked at only if there is something to make.
        skip_bad: Leave out faulty utterances, and record them, instead of raising.

    Raises:
        BadInput: With the fault of every utterance, unless *skip_bad*; always if none is good.
        StorageError: If the disk or folder does not take the store.
    """
    make_folder(folder, mode=0o700)
    target = folder / key
    refuse_links(target)

    def say(holder: str) -> None:
        _log.warning("%s is being made by %s; waiting for it", target, holder)

    with hold(folder / f".{key}.lock", waiting=say):
        if not (target / "meta.json").exists():
            temporary = folder / f".{key}.tmp"
            shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
            try:
                with writing(target):
                    temporary.mkdir(mode=0o700)
                    _write(temporary, width, items, skip_bad=skip_bad)
                    temporary.rename(target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    store = FrameStore(target)
    store.verify()
    if not skip_bad:
        store.check()
    return store


def _write(folder: Path, width: int, items: Iterable[Item], *, skip_bad: bool) -> None:
    rows: list[tuple[str, int, int, float]] = []
    faults: list[tuple[str, Fault]] = []
    offset, digest = 0, hashlib.sha256()
    with (folder / "values.bin").open("wb") as stream:
        for name, seconds, values in items:
            if isinstance(values, Fault):
                faults.append((name, values))
                continue
            content = np.ascontiguousarray(values, dtype=np.float32).tobytes()
            stream.write(content)
            digest.update(content)
            rows.append((name, offset, len(values), seconds))
            offset += len(values)
        stream.flush()
        os.fsync(stream.fileno())
    if not (skip_bad and rows):
        raise_faults(faults)
    if not rows:
        raise BadInput(Fault("utterances", "none", "one or more", "check the manifest"))
    index = pd.DataFrame(rows, columns=["id", "offset", "frames", "seconds"])
    write_text(folder / "index.csv", index.to_csv(index=False, lineterminator="\n"))
    stored = [[item, fault.as_dict()] for item, fault in faults]
    meta = {
        "format": FORMAT,
        "width": width,
        "faults": stored,
        "sha256": digest.hexdigest(),
        "index_sha256": hash_file(folder / "index.csv"),
    }
    write_json(folder / "meta.json", with_hash(meta))


GIGABYTE = 1_000_000_000


def take_waveforms(
    manifest: Manifest,
    encoder: LayeredEncoder,
    folder: Path,
    *,
    workers: int,
    skip_bad: bool,
    progress: bool,
) -> FrameStore:
    """Return the waveforms of all sentences of *manifest*; a frame is a sample at the encoder's rate.

    Four bytes a sample: an hour at 16 kHz takes 230 megabytes in *folder*.

    Raises:
        BadInput: With the fault of every sentence that can not be read or is too short for the encoder,
            unless *skip_bad*.
    """
    check_recordings(manifest)
    sentences = take_sentences(manifest)
    items = _read(sentences, encoder, workers, progress)
    return take_store(folder, content_key(sentences, encoder, "waveform"), 1, items, skip_bad=skip_bad)


def _as_it_is(chunk: list[Waveform]) -> list[Waveform]:
    return chunk


def _read(sentences: list[Sentence], encoder: LayeredEncoder, workers: int, progress: bool) -> Iterator[Item]:
    chunks = in_chunks(sentences)
    rate, shortest = encoder.sample_rate, encoder.shortest
    loader = DataLoader(
        ChunkReader(chunks, rate),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=min(workers, len(chunks)),
        prefetch_factor=1 if workers and chunks else None,
    )
    waiting = tracked(
        zip(chunks, loader, strict=True),
        "reading audio",
        unit="chunks",
        total=len(chunks),
        shown=progress,
    )
    for chunk, waveforms in waiting:
        for sentence, found in zip(chunk, waveforms, strict=True):
            if isinstance(found, Fault):
                yield sentence.id, 0.0, found
            elif len(found) < shortest:
                expected = f"{shortest} or more, for one frame of this encoder"
                fault = Fault(sentence.place, f"{len(found)} samples", expected, "leave this sentence out")
                yield sentence.id, 0.0, fault
            else:
                yield sentence.id, samples_to_seconds(len(found), rate), found[:, None]


def frames_of(encoder: LayeredEncoder, samples: int) -> int:
    """Return how many frames the encoder gives for so many samples."""
    samples = max(samples, encoder.shortest)
    _, frames = encoder.encode(0.01 * torch.ones(1, samples), torch.tensor([samples]))
    return int(frames[0])


def take_frozen(
    waveforms: FrameStore,
    encoder: LayeredEncoder,
    folder: Path,
    *,
    mix: bool,
    whole: bool,
    batch_size: int,
    skip_bad: bool,
    progress: bool,
) -> FrameStore:
    """Return what the encoder gives for each waveform, computed once; blocks lie side by side in a frame.

    Args:
        waveforms: Of the sentences.
        encoder: All of it frozen.
        folder: The cache.
        mix: Whether every block's output is kept, ``layers * dim`` values a frame; else ``dim``.
        whole: Whether every frame is kept; else their mean, as one frame.
        batch_size: Most sentences at once; only equal lengths share a batch.
        skip_bad: Leave out sentences whose features are not finite, and record them.
        progress: Whether a bar is shown.

    Raises:
        BadInput: If features are not finite, unless *skip_bad*.
    """
    key = f"{waveforms.path.name}-{'mix' if mix else 'output'}-{'frames' if whole else 'mean'}"
    width = encoder.dim * (encoder.layers if mix else 1)
    items = _encode(waveforms, encoder, mix, whole, batch_size, progress)
    return take_store(folder, key, width, items, skip_bad=skip_bad)


def _encode(
    waveforms: FrameStore, encoder: LayeredEncoder, mix: bool, whole: bool, batch_size: int, progress: bool
) -> Iterator[Item]:
    for name, fault in waveforms.faults:
        yield name, 0.0, fault
    device = next(encoder.network.parameters()).device
    encoder.network.eval()
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, length in enumerate(waveforms.frames.tolist()):
        by_length[length].append(place)
    batches = [
        same[first : first + batch_size]
        for _, same in sorted(by_length.items())
        for first in range(0, len(same), batch_size)
    ]
    for rows in tracked(batches, "encoding", unit="batches", shown=progress):
        batch = torch.from_numpy(np.concatenate([waveforms.read(row) for row in rows])).to(device)
        with torch.inference_mode():
            features: Tensor = encoder.features(batch, mix=mix).flatten(2)
            kept = features if whole else features.mean(dim=1, keepdim=True)
        for row, values in zip(rows, kept.float().cpu().numpy(), strict=True):
            name = waveforms.ids[row]
            fault = Fault(
                f"sentence {name}",
                "features that are not finite",
                "numbers",
                "check its audio, and the encoder's weights",
            )
            good = bool(np.isfinite(values).all())
            yield name, float(waveforms.seconds[name]), values if good else fault
