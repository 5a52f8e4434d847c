"""Batches out of a feature store: the order, the crop, and where a killed epoch goes on.

Everything random is keyed by ``(seed, epoch)`` and drawn in the main process, so that a batch holds the
same values whatever the number of workers, and an epoch can be taken up at any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sertransfer.errors import bad_input
from sertransfer.fitting.plans import Integers, Plan, divide_step, even_sizes, plan_epoch
from sertransfer.io.files import hash_value


class Features(Protocol):
    """What is needed of any store of features or waveforms."""

    @property
    def frames(self) -> Integers:
        """Frames of each utterance, shape ``(utterances,)``."""

    def read(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.floating[Any]]:
        """Return frames ``start`` to ``stop`` of an utterance, shape ``(mels, frames)``, in any precision."""


@runtime_checkable
class WindowFeatures(Features, Protocol):
    """What :class:`sertransfer.audio.store.FeatureStore` has besides: many windows at once."""

    def windows(self, indices: Integers, starts: Integers, wanted: int) -> NDArray[Any]:
        """Return a copy of a window inside each utterance, shape ``(batch, wanted, mels)``."""


@runtime_checkable
class DeviceFeatures(Features, Protocol):
    """What is needed of a :class:`sertransfer.fitting.resident.ResidentFeatures`."""

    def cut(self, positions: Integers, starts: Integers, wanted: int) -> Tensor:
        """Return a window of each utterance, shape ``(batch, mels, wanted)``, on the device."""


class Batch(NamedTuple):
    """Features ``(batch, 1, mels, frames)``, targets and items ``(batch,)``, and a factor on the mean loss.

    Features are in the precision of their store, half of the bytes to bring to a device, until
    :meth:`in_single_precision`. The factor makes unequal parts of a step count as their items do: the
    mean over the parts of their scaled gradients is the gradient of the mean loss of the step.
    """

    features: Tensor
    targets: Tensor
    items: Tensor
    scale: float = 1.0

    def in_single_precision(self) -> Batch:
        """Return the batch as networks take it."""
        return self._replace(features=self.features.float().contiguous())


@dataclass(frozen=True)
class Utterances(Dataset[Batch]):
    """The utterances of one part of the data; a :class:`Plan` indexes it, a :class:`Batch` comes out.

    Attributes:
        store: Their features.
        positions: Where each item lies in the store, shape ``(items,)``.
        targets: Class of each item, shape ``(items,)``.
        ids: Name of each item.
    """

    store: Features
    positions: Integers
    targets: Integers
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def frames(self) -> Integers:
        """Frames of each item, shape ``(items,)``."""
        return np.asarray(self.store.frames, dtype=np.int64)[self.positions]

    def subset(self, items: Integers) -> Utterances:
        """Return the utterances *items* alone."""
        return Utterances(
            self.store, self.positions[items], self.targets[items], [self.ids[i] for i in items]
        )

    def __getitem__(self, plan: Plan) -> Batch:
        store, positions = self.store, self.positions[plan.items]
        if isinstance(store, DeviceFeatures):
            return self._batch(plan, store.cut(positions, plan.starts, plan.frames))
        # copied as they lie, frame by frame; other layouts and precision are made where the network is
        inside = bool((np.asarray(store.frames)[positions] - plan.starts >= plan.frames).all())
        if inside and isinstance(store, WindowFeatures):
            features = store.windows(positions, plan.starts, plan.frames)
        else:
            features = _one_by_one(store, positions, plan.starts, plan.frames)
        return self._batch(plan, torch.from_numpy(features).transpose(1, 2))

    def _batch(self, plan: Plan, features: Tensor) -> Batch:
        targets = torch.from_numpy(self.targets[plan.items])
        return Batch(features[:, None], targets, torch.from_numpy(plan.items), plan.scale)


def _one_by_one(store: Features, positions: Integers, starts: Integers, wanted: int) -> NDArray[Any]:
    """Return a window of each utterance, shape ``(batch, wanted, mels)``, zeros behind what is short."""
    parts = [
        store.read(position, start, start + wanted).T
        for position, start in zip(positions.tolist(), starts.tolist(), strict=True)
    ]
    features = np.zeros((len(parts), wanted, parts[0].shape[1]), dtype=parts[0].dtype)
    for row, part in enumerate(parts):
        features[row, : len(part)] = part
    return features


def load_batches(
    utterances: Utterances, plans: Sequence[Plan], *, workers: int, pin: bool
) -> DataLoader[Batch]:
    """Return a loader that reads *plans* in order, ahead of their use where *workers* allows.

    Features on a device are cut there by this process: neither workers nor pinned memory would help.
    """
    if isinstance(utterances.store, DeviceFeatures):
        workers, pin = 0, False
    return DataLoader(
        utterances,
        batch_size=None,
        sampler=plans,
        collate_fn=_as_it_is,  # batches come whole out of the data set
        num_workers=workers,
        pin_memory=pin,
        multiprocessing_context="fork" if workers else None,
    )


def _as_it_is(batch: Any) -> Any:
    return batch


class TrainingBatches:
    """The training batches of epoch after epoch; knows where it stands and can be set there.

    Each ``iter`` goes on from ``(epoch, position)``, counting batches as they are handed out and not as
    they are read ahead. With several processes each has its share of every batch.

    Args:
        utterances: What to train on.
        batch_size: Most items of a batch, over all processes.
        longest: Frames of the crop.
        pad: As in :func:`plan_epoch`.
        seed: Of the run.
        workers: Processes that read ahead.
        pin: Whether the batches go to a GPU.
        draw: Gives the items of an epoch, as many as there are utterances, some of them several times and
            some not at all; without it each occurs once.
        accumulate: Batches that a step is divided into. With 1 nothing is known of steps: if they take
            several batches, the last of an epoch may have fewer, and all batches count the same.
        rank: Which share is taken.
        shares: How many each batch is divided into.
        weights: What the loss weighs each item with, shape ``(items,)``; ``None`` = all the same.

    Raises:
        BadInput: If there are too few items for a share of each batch.
    """

    def __init__(
        self,
        utterances: Utterances,
        *,
        batch_size: int,
        longest: int,
        pad: bool,
        seed: int,
        workers: int = 0,
        pin: bool = False,
        draw: Callable[[int], Integers] | None = None,
        accumulate: int = 1,
        rank: int = 0,
        shares: int = 1,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self.utterances = utterances
        self.epoch = 0
        self.position = 0
        self._frames = utterances.frames
        self._batch_size, self._longest, self._pad, self._seed = batch_size, longest, pad, seed
        self._workers, self._pin = workers, pin
        self._draw = draw
        self._accumulate, self._rank, self._shares = accumulate, rank, shares
        self._weights = np.ones(len(utterances)) if weights is None else weights
        smallest = int(even_sizes(len(utterances), batch_size * accumulate).min())
        if smallest < accumulate * shares:
            raise bad_input(
                "the training part",
                found=f"a step of {smallest} utterances in {accumulate} batches for {shares} processes",
                expected="an utterance in each batch for each process",
                remedy="accumulate less, take fewer processes, or a larger batch_size",
            )

    def __len__(self) -> int:
        return len(even_sizes(len(self.utterances), self._batch_size * self._accumulate)) * self._accumulate

    def __iter__(self) -> Iterator[Batch]:
        if self.position >= len(self):
            self.epoch, self.position = self.epoch + 1, 0
        drawn = None if self._draw is None else self._draw(self.epoch)
        plans = plan_epoch(
            self._frames if drawn is None else self._frames[drawn],
            batch_size=self._batch_size * self._accumulate,
            longest=self._longest,
            pad=self._pad,
            seed=self._seed,
            epoch=self.epoch,
        )
        if drawn is not None:
            plans = [plan._replace(items=drawn[plan.items]) for plan in plans]
        own = [
            share
            for plan in plans
            for share in divide_step(
                plan, self._weights, accumulate=self._accumulate, rank=self._rank, shares=self._shares
            )
        ]
        rest = own[self.position :]
        for batch in load_batches(self.utterances, rest, workers=self._workers, pin=self._pin):
            self.position += 1
            yield batch

    def fingerprint(self) -> str:
        """Return the hash of what the batches are made of: names, classes and lengths."""
        content = [list(self.utterances.ids), self.utterances.targets.tolist(), self._frames.tolist()]
        return hash_value(content)

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands."""
        return {"epoch": self.epoch, "position": self.position, "utterances": self.fingerprint()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where a stream stood.

        Raises:
            BadInput: If it was a stream of other utterances.
        """
        if state["utterances"] != self.fingerprint():
            raise bad_input(
                "the run's resume point",
                found="training utterances that differ from those the run began with",
                expected="the same audio and labels",
                remedy="start over in another --run-dir",
            )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
