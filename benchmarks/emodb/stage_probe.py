"""Features of an utterance from inside a PyResNet: statistics over time of its last two stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sertransfer.audio.store import FeatureStore
from sertransfer.encoders.base import pool
from sertransfer.models.checkpoint import build_from, read_checkpoint
from sertransfer.models.pyresnet import PyResNet
from sertransfer.pretraining.classifier import band_centres, stretch

STAGES = ("layer3", "layer4")
SPEEDS = (0.9, 1.1)
"""Training recordings also teach the probe as if played slower and faster."""


def embed(
    checkpoint: Path, store: FeatureStore, ids: Sequence[str], *, speed: float = 1.0
) -> NDArray[np.float64]:
    """Return mean and deviation over time of each channel and row of :data:`STAGES`, shape ``(ids, dim)``.

    Args:
        checkpoint: A PyResNet.
        store: Log-mels, made with the checkpoint's front end.
        ids: Utterances, each whole and by itself.
        speed: Factor by which they are played faster, on the log-mel.

    Raises:
        TypeError: If the checkpoint is no PyResNet.
        ValueError: If the store was made with another front end.
    """
    known = read_checkpoint(checkpoint)
    if known.front_end is None or known.front_end != store.front_end:
        raise ValueError(f"{checkpoint} and the features have different front ends")
    network = build_from(known, where=checkpoint).eval()
    if not isinstance(network, PyResNet):
        raise TypeError(f"{checkpoint} is a {type(network).__name__}")
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    maps: list[Tensor] = []
    for stage in STAGES:
        network.get_submodule(stage).register_forward_hook(
            lambda _module, _input, output: maps.append(output)
        )
    centres, rows = band_centres(store.front_end), []
    with torch.no_grad():
        for identity in ids:
            features = torch.from_numpy(store.read(store.position(identity)).astype(np.float32))[None, None]
            if speed != 1:
                features = stretch(features, centres, rate=speed, factors=np.array([speed]))
            maps.clear()
            network.forward_features(features.contiguous(memory_format=torch.channels_last))
            rows.append(torch.cat([_statistics(network, each) for each in maps]).double().numpy())
    return np.stack(rows)


def _statistics(network: PyResNet, features: Tensor) -> Tensor:
    frames = network.pool_frames(features)  # (1, frames', 4 * channels)
    return pool(frames, torch.tensor([frames.shape[1]]), "mean_std")[0]
