"""Batches out of a feature store: the order, the crop, and where a killed epoch goes on.

An epoch is planned step by step. A step is divided into the batches that it accumulates, and those into the
shares of the processes: neither changes which utterances a step takes, nor their windows. Everything random
is keyed by ``(seed, epoch)`` and drawn in the main process, so that a batch holds the same values whatever
the number of workers, and an epoch can be taken up at any batch.

A store that fits is kept in the memory of a GPU, so that a step waits neither for a disk nor for a copy:
LSSED's four classes, training and test, take 4.3 GB in half precision, a fraction of what a data-centre GPU
has. A batch is then cut out of it on the device: all that goes there are the places of its first frames.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sertransfer.audio.store import FeatureStore
from sertransfer.errors import SertransferError, bad_input
from sertransfer.io.files import hash_value

Integers = NDArray[np.int64]

POOL = 8
"""Batches that are sorted by length together: enough that little is cut, few enough to stay random."""


class BatchPlan(NamedTuple):
    """What one batch is to hold: items, the first frame of each, and the frames of all.

    The mean loss is multiplied by the scale, so that unequal parts of a step count as their items do: the
    mean of the parts' scaled gradients is the gradient of the mean loss of the step.
    """

    items: Integers
    starts: Integers
    frames: int
    scale: float = 1.0


def plan_epoch(
    frames: Integers, *, batch_size: int, longest: int, pad: bool, seed: int, epoch: int
) -> list[BatchPlan]:
    """Plan the batches of one training epoch; each item occurs once.

    The items are spread evenly over ``ceil(items / batch_size)`` batches, so that none is left with a
    handful. See :class:`~sertransfer.front_end.Cropping` for the two rules of length.

    Args:
        frames: Frames of each item, shape ``(items,)``.
        batch_size: Most items of a batch.
        longest: Frames of the crop.
        pad: Whether every batch has *longest* frames, shorter items being filled up with zeros.
        seed: Of the run.
        epoch: Counted from 0.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(frames))
    place = generator.random(len(frames))
    kept = np.minimum(frames, longest)
    sizes = even_sizes(len(frames), batch_size)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    if not pad:
        for first in range(0, len(sizes), POOL):
            pool = slice(bounds[first], bounds[min(first + POOL, len(sizes))])
            order[pool] = order[pool][np.argsort(kept[order[pool]], kind="stable")]
    plans = []
    for number in generator.permutation(len(sizes)):
        items = order[bounds[number] : bounds[number + 1]]
        width = longest if pad else int(kept[items].min())
        spare = np.maximum(frames[items] - width, 0)
        plans.append(BatchPlan(items, np.floor(place[items] * (spare + 1)).astype(np.int64), width))
    return plans


def even_sizes(items: int, batch_size: int) -> Integers:
    """Return the sizes of the fewest batches of at most *batch_size* that differ by one item at most."""
    count = -(-items // batch_size)
    sizes = np.full(count, items // count, dtype=np.int64)
    sizes[: items % count] += 1
    return sizes


def plan_evaluation(frames: Integers, *, batch_size: int, longest: int, pad: bool) -> list[BatchPlan]:
    """Plan the batches of an evaluation: equal frame counts only, so that neighbours change no score.

    With *pad* each item gives its first *longest* frames, filled up with zeros; without, all its frames.
    A batch holds no more frames than *batch_size* items of *longest* frames do.
    """
    widths = np.full_like(frames, longest) if pad else frames
    plans = []
    for width in np.unique(widths).tolist():
        items = np.flatnonzero(widths == width)
        most = max(1, min(batch_size, batch_size * longest // max(1, width)))
        for part in np.array_split(items, -(-len(items) // most)):
            plans.append(BatchPlan(part, np.zeros(len(part), dtype=np.int64), width))
    return plans


def divide_step(
    step: BatchPlan, weights: NDArray[np.float64], *, accumulate: int, rank: int, shares: int
) -> list[BatchPlan]:
    """Return one process' shares of the batches of *step*; their sizes differ by one item at most.

    Args:
        step: The plan of the whole step.
        weights: What the loss weighs each item with, shape ``(items,)``: of all items, not of the step's.
        accumulate: Batches of the step.
        rank: Which share is taken.
        shares: How many each batch has.
    """
    total = weights[step.items].sum()
    divided = []
    for number in range(accumulate):
        own = np.arange(len(step.items))[number::accumulate][rank::shares]
        items = step.items[own]
        scale = float(accumulate * shares * weights[items].sum() / total)
        divided.append(BatchPlan(items, step.starts[own], step.frames, scale))
    return divided


class FeatureSource(Protocol):
    """What is needed of any store of features or waveforms."""

    @property
    def frames(self) -> Integers:
        """Frames of each utterance, shape ``(utterances,)``."""

    def read(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.floating[Any]]:
        """Return frames ``start`` to ``stop`` of an utterance, shape ``(mels, frames)``, in any precision."""


@runtime_checkable
class WindowFeatures(FeatureSource, Protocol):
    """What :class:`sertransfer.audio.store.FeatureStore` has besides: many windows at once."""

    def windows(self, indices: Integers, starts: Integers, wanted: int) -> NDArray[Any]:
        """Return a copy of a window inside each utterance, shape ``(batch, wanted, mels)``."""


@runtime_checkable
class DeviceFeatures(FeatureSource, Protocol):
    """What is needed of a :class:`sertransfer.training.batches.ResidentFeatures`."""

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
    """The utterances of one part of the data; a :class:`BatchPlan` indexes it, a :class:`Batch` comes out.

    Attributes:
        store: Their features.
        positions: Where each item lies in the store, shape ``(items,)``.
        targets: Class of each item, shape ``(items,)``.
        ids: Name of each item.
    """

    store: FeatureSource
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

    def __getitem__(self, plan: BatchPlan) -> Batch:
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

    def _batch(self, plan: BatchPlan, features: Tensor) -> Batch:
        targets = torch.from_numpy(self.targets[plan.items])
        return Batch(features[:, None], targets, torch.from_numpy(plan.items), plan.scale)


def _one_by_one(store: FeatureSource, positions: Integers, starts: Integers, wanted: int) -> NDArray[Any]:
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
    utterances: Utterances, plans: Sequence[BatchPlan], *, workers: int, pin: bool
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


_DEAD = re.compile(r"DataLoader worker \(pid.*\) (?:is killed|exited unexpectedly)")


@contextmanager
def watched_workers() -> Iterator[None]:
    """Turn PyTorch's word for a dead worker, which may come at any line, into one that says what to do.

    Raises:
        SertransferError: If a process that reads ahead died.
    """
    try:
        yield
    except RuntimeError as error:
        if _DEAD.search(str(error)) is None:
            raise
        raise SertransferError(
            "a worker process that reads ahead died (out of memory?); the same command goes on where it "
            "stood: try fewer workers, or 0"
        ) from error


_log = logging.getLogger(__name__)

LARGEST_SHARE = 0.25
"""Most of a device's memory that a store may take; the rest is for the activations of training."""

_BLOCK = 1 << 19
"""Frames that are copied at once: 128 MB of 128 mels in half precision."""


class ResidentFeatures:
    """The features of a store on *device*, frame by frame as they lie in its file.

    Attributes:
        frames: Frames of each utterance, shape ``(utterances,)``.
    """

    def __init__(self, store: FeatureStore, device: torch.device) -> None:
        self.frames: Integers = store.frames
        self._store, self._device = store, device
        array, self._offsets = store.array, store.offsets
        dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        self._features = torch.empty(array.shape, dtype=dtype, device=device)  # (frames of all, mels)
        for start in range(0, len(array), _BLOCK):
            block = np.array(array[start : start + _BLOCK])  # the mapped file cannot be written
            self._features[start : start + len(block)].copy_(torch.from_numpy(block))

    def read(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.floating[Any]]:
        """Return frames ``start`` to ``stop`` of an utterance from the file, shape ``(mels, frames)``."""
        return self._store.read(index, start, stop)

    def cut(self, positions: Integers, starts: Integers, wanted: int) -> Tensor:
        """Return a window of each utterance, on the device.

        Args:
            positions: Utterances, shape ``(batch,)``.
            starts: First frame of each window, shape ``(batch,)``.
            wanted: Frames of a window; beyond an utterance's last frame it holds zeros.

        Returns:
            Shape ``(batch, mels, wanted)``, in the precision of the store.
        """
        first = torch.from_numpy(self._offsets[positions] + starts).to(self._device)
        held = self.frames[positions] - starts
        steps = torch.arange(wanted, device=self._device)
        rows = first[:, None] + steps  # (batch, wanted)
        if bool((held >= wanted).all()):  # known here: nothing is asked of the device
            return self._features[rows].transpose(1, 2)
        inside = steps < torch.from_numpy(held).to(self._device)[:, None]
        cut = self._features[torch.where(inside, rows, 0)]  # (batch, wanted, mels)
        return torch.where(inside[..., None], cut, 0).transpose(1, 2)


def keep_on_device(utterances: Utterances, device: torch.device) -> Utterances:
    """Return *utterances* with features in the memory of *device*, if it is a GPU with room for them."""
    store, room = utterances.store, _room(device)
    if not isinstance(store, FeatureStore) or not room:
        return utterances
    size = store.array.nbytes
    if size > room:
        _log.info(
            "features of %.1f GB stay on the disk: %.1f GB of the device are theirs", size / 1e9, room / 1e9
        )
        return utterances
    _log.info("features of %.1f GB are kept in the device's memory", size / 1e9)
    held = ResidentFeatures(store, device)
    return Utterances(held, utterances.positions, utterances.targets, utterances.ids)


def _room(device: torch.device) -> int:
    """Return the bytes that a store may take on *device*; none on the CPU, which maps the file instead."""
    if device.type != "cuda":
        return 0
    free, whole = torch.cuda.mem_get_info(device)
    return min(free, int(LARGEST_SHARE * whole))
