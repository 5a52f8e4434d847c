"""What fine-tuning works on: its task, the sentences that it learns from and stops on, and their order.

Waveforms of sentences, and a frozen encoder's frames of them, are kept in memory-mapped files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from sertransfer.audio.reading import inspect
from sertransfer.audio.store import FeatureStore, build_store
from sertransfer.encoders.base import Encoder
from sertransfer.errors import BadInput, Fault
from sertransfer.front_end import FrontEnd
from sertransfer.io.array_store import ArrayStore, building, write_index, write_meta
from sertransfer.io.files import make_folder, writing
from sertransfer.io.progress import tracked
from sertransfer.manifest import Manifest, check_recordings
from sertransfer.timebase import samples_to_seconds
from sertransfer.training.batches import FeatureSource, Utterances
from sertransfer.training_audio import TrainingAudio
from sertransfer.transfer.data import Sentence, SubjectSplit, content_key, in_chunks, take_sentences
from sertransfer.transfer.decide import TrainingSet, inner_folds, usable_part
from sertransfer.transfer.embed import read_chunks
from sertransfer.transfer.embedding_store import raise_faults
from sertransfer.transfer.settings import TransferConfig


class SentenceStore(FeatureSource, Protocol):
    """A store of what the network takes of each sentence."""

    @property
    def left_out(self) -> list[dict[str, str]]:
        """The sentences that have nothing there, and why."""

    def position(self, identity: str) -> int:
        """Return the place of a sentence."""


@dataclass(frozen=True)
class Task:
    """What a run fine-tunes, and on what.

    Attributes:
        manifest: Sentences.
        parts: Training and reported part.
        encoder: Name of the encoder.
        checkpoint: Its weights.
        features: Parent of the stores of features or waveforms.
        skip_bad: Leave out sentences that cannot be read, and record them.
        progress: Whether bars are shown.
        training_audio: Fingerprint of the training part's audio and of all that the encoder was trained on.
    """

    manifest: Manifest
    parts: tuple[SubjectSplit, SubjectSplit]
    encoder: str
    checkpoint: Path
    features: Path
    skip_bad: bool
    progress: bool
    training_audio: TrainingAudio | None = None


Integers = NDArray[np.int64]


def take_features(
    manifest: Manifest,
    parts: tuple[SubjectSplit, SubjectSplit],
    front_end: FrontEnd,
    folder: Path,
    *,
    workers: int,
    skip_bad: bool,
    progress: bool,
) -> tuple[FeatureStore, SubjectSplit, SubjectSplit]:
    """Return the features of both parts' sentences, and the parts with the sentences that have any.

    Raises:
        BadInput: With the fault of every sentence that cannot be read, unless *skip_bad*.
    """
    wanted = pd.concat([part.sentences["id"] for part in parts])
    table = manifest.table[manifest.table["id"].isin(wanted)].reset_index(drop=True)
    make_folder(folder)
    store = build_store(
        manifest.with_table(table),
        front_end,
        folder,
        rest=manifest,
        workers=workers,
        skip_bad=skip_bad,
        progress=progress,
    )
    durations = _durations(manifest, table[table["id"].isin(store.ids)])
    train, reported = (usable_part(part, durations) for part in parts)
    return store, train, reported


def _durations(manifest: Manifest, table: pd.DataFrame) -> pd.Series[float]:
    seconds = (table["end"] - table["start"]).astype(float)
    whole = {
        audio: inspect(manifest.source(audio)).duration
        for audio in table.loc[seconds.isna(), "audio"].unique()
    }
    return pd.Series(seconds.fillna(table["audio"].map(whole)).to_numpy(float), index=table["id"])


def as_utterances(part: SubjectSplit, store: SentenceStore, positive: str) -> Utterances:
    """Return the features of *part*'s sentences; the class *positive* is 1."""
    ids = part.sentences["id"].tolist()
    return Utterances(
        store,
        np.array([store.position(identity) for identity in ids], dtype=np.int64),
        np.asarray(part.sentences["label"] == positive, dtype=np.int64),
        ids,
    )


def split_inner(part: SubjectSplit, config: TransferConfig) -> tuple[Integers, Integers]:
    """Return the sentences of *part* to train on and those held out, by whole clusters, classes kept.

    Raises:
        BadInput: If no split keeps both classes in training.
    """
    sentences = part.sentences
    rows = TrainingSet(
        np.zeros((len(sentences), 0), dtype=np.float32),
        (sentences["label"] == config.positive).to_numpy(bool),
        sentences["subject"].to_numpy(np.str_),
        sentences["cluster"].to_numpy(np.str_),
    )
    held = inner_folds(rows, config, max(2, round(1 / config.finetune.inner_share)))[0]
    return np.setdiff1d(np.arange(len(sentences), dtype=np.int64), held), held


@dataclass(frozen=True)
class BalancedDraw:
    """Draws an epoch's sentences: the classes alike, the subjects of a class alike, however much they say.

    A class's places are dealt to its subjects in turn, a subject's places to its sentences in turn, both
    in random order; counts of equals so differ by one at most.

    Attributes:
        targets: Class of each sentence, shape ``(sentences,)``.
        subjects: Subject of each sentence.
        seed: Of the run.
    """

    targets: Integers
    subjects: NDArray[np.str_]
    seed: int

    def __call__(self, epoch: int) -> Integers:
        """Return the sentences of *epoch*, as many as there are, in no meaningful order."""
        generator = np.random.default_rng([self.seed, epoch, 1])
        classes = generator.permutation(np.unique(self.targets))
        drawn: list[Integers] = []
        for number, target in enumerate(classes):
            places = (len(self.targets) + len(classes) - 1 - number) // len(classes)
            inside = self.targets == target
            names = np.unique(self.subjects[inside])
            turns = np.bincount(_deal(generator, len(names), places), minlength=len(names))
            for name, count in zip(names, turns, strict=True):
                own = np.flatnonzero(inside & (self.subjects == name))
                drawn.append(own[_deal(generator, len(own), int(count))])
        return np.concatenate(drawn).astype(np.int64)


def _deal(generator: np.random.Generator, items: int, places: int) -> Integers:
    """Return an item for each place: every item once in random order, then again, as far as places go."""
    rounds = -(-places // items)
    dealt = [generator.permutation(items) for _ in range(rounds)]
    return np.concatenate([*dealt, np.zeros(0, dtype=np.int64)])[:places].astype(np.int64)


Floats = NDArray[np.float32]
Item = tuple[str, float, Floats | Fault]
"""An utterance's id, its seconds, and its values ``(frames, width)`` or what is wrong with it."""


class FrameStore(ArrayStore):
    """An opened store of waveforms, or of an encoder's frames.

    Attributes:
        seconds: Duration of each utterance, by id.
        width: Values of a frame.
        faults: Utterance and fault of each one that has no values.

    Raises:
        BadInput: If *path* holds no whole store.
    """

    def _take(self, meta: dict[str, Any], index: pd.DataFrame) -> None:
        self.width = int(meta["width"])
        self.seconds = pd.Series(index["seconds"].to_numpy(float), index=self.ids)
        self.faults = [(str(item), Fault(**fault)) for item, fault in meta["faults"]]

    @property
    def left_out(self) -> list[dict[str, str]]:
        """The utterances without values, and why."""
        return [{"item": item, "reason": str(fault)} for item, fault in self.faults]

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
    target = folder / key
    if not target.exists():
        with building(target) as place, writing(target):
            if place is not None:
                _write(place, width, items, skip_bad=skip_bad)
    store = FrameStore(target)
    store.verify()
    if not skip_bad:
        store.check()
    return store


def _write(folder: Path, width: int, items: Iterable[Item], *, skip_bad: bool) -> None:
    rows: list[tuple[str, int, int, float]] = []
    faults: list[tuple[str, Fault]] = []
    offset, digest = 0, hashlib.sha256()
    with (folder / FrameStore.VALUES).open("wb") as stream:
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
    write_index(folder, rows, "seconds")
    write_meta(
        folder,
        {
            "format": FrameStore.FORMAT,
            "width": width,
            "faults": [[item, fault.as_dict()] for item, fault in faults],
            "sha256": digest.hexdigest(),
        },
    )


GIGABYTE = 1_000_000_000


def take_waveforms(
    manifest: Manifest,
    encoder: Encoder,
    folder: Path,
    *,
    workers: int,
    skip_bad: bool,
    progress: bool,
) -> FrameStore:
    """Return the waveforms of all sentences of *manifest*; a frame is a sample at the encoder's rate.

    Four bytes a sample: an hour at 16 kHz takes 230 megabytes in *folder*.

    Raises:
        BadInput: With the fault of every sentence that cannot be read or is too short for the encoder,
            unless *skip_bad*.
    """
    check_recordings(manifest)
    sentences = take_sentences(manifest)
    items = _read(sentences, encoder, workers, progress)
    return take_store(folder, content_key(sentences, encoder, "waveform"), 1, items, skip_bad=skip_bad)


def _read(sentences: list[Sentence], encoder: Encoder, workers: int, progress: bool) -> Iterator[Item]:
    chunks = in_chunks(sentences)
    rate, shortest = encoder.sample_rate, encoder.shortest
    waiting = tracked(
        zip(chunks, read_chunks(chunks, rate, workers), strict=True),
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
                yield sentence.id, 0.0, sentence.too_short(len(found), shortest)
            else:
                yield sentence.id, samples_to_seconds(len(found), rate), found[:, None]


def frames_of(encoder: Encoder, samples: int) -> int:
    """Return how many frames the encoder gives for so many samples."""
    samples = max(samples, encoder.shortest)
    _, frames = encoder.encode(0.01 * torch.ones(1, samples), torch.tensor([samples]))
    return int(frames[0])


def take_frozen(
    waveforms: FrameStore,
    encoder: Encoder,
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
        batch_size: Most sentences at once.
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
    waveforms: FrameStore, encoder: Encoder, mix: bool, whole: bool, batch_size: int, progress: bool
) -> Iterator[Item]:
    for name, fault in waveforms.faults:
        yield name, 0.0, fault
    encoder.network.eval()
    order = np.argsort(waveforms.frames, kind="stable").tolist()
    batches = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
    for rows in tracked(batches, "encoding", unit="batches", shown=progress):
        batch = [torch.from_numpy(waveforms.read(row)[0].copy()) for row in rows]
        lengths = torch.from_numpy(waveforms.frames[rows])
        with torch.inference_mode():
            features, frames = encoder.encode(pad_sequence(batch, batch_first=True), lengths, mix=mix)
        for row, every, count in zip(rows, features.flatten(2).float().cpu(), frames.tolist(), strict=True):
            values = (every[:count] if whole else every[:count].mean(dim=0, keepdim=True)).numpy()
            name = waveforms.ids[row]
            fault = Fault(
                f"sentence {name}",
                "features that are not finite",
                "numbers",
                "check its audio, and the encoder's weights",
            )
            good = bool(np.isfinite(values).all())
            yield name, float(waveforms.seconds[name]), values if good else fault
