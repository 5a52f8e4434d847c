"""A feature store in the memory of a GPU, so that a training step waits neither for a disk nor for a copy.

LSSED's four classes, training and test, take 4.3 GB in half precision, a fraction of what a data-centre GPU
has. A batch is then cut out of the store on the device itself: all that goes there for it are the places of
its first frames.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sertransfer.audio.store import FeatureStore
from sertransfer.training.batches import Integers, Utterances

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
