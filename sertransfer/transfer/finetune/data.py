"""What fine-tuning works on: its task, the sentences that it learns from and stops on, and their order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sertransfer.audio.reading import inspect
from sertransfer.audio.store import FeatureStore, build_store
from sertransfer.front_end import FrontEnd
from sertransfer.io.files import make_folder
from sertransfer.manifest import Manifest
from sertransfer.training.batches import FeatureSource, Utterances
from sertransfer.training_audio import TrainingAudio
from sertransfer.transfer.data import SubjectSplit
from sertransfer.transfer.decide import TrainingSet, inner_folds, usable_part
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
