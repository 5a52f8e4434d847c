"""Class probabilities of utterances by a network, in batches that change no score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sertransfer.io.progress import tracked
from sertransfer.training.batches import Utterances, load_batches, plan_evaluation, watched_workers

Probabilities = NDArray[np.float64]

Perturb = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""From a network, features and targets to the features that are scored."""


def choose_device() -> torch.device:
    """Return this process' CUDA device, the first by default, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def predict_probabilities(
    network: nn.Module,
    utterances: Utterances,
    *,
    longest: int,
    pad: bool,
    batch_size: int,
    workers: int = 0,
    progress: bool = False,
    perturb: Perturb | None = None,
) -> Probabilities:
    """Return the class probabilities of each utterance, shape ``(items, classes)``, in single precision.

    The network runs where its weights lie, in evaluation mode, and is left in the mode it was in.
    Batches hold equal frame counts only, so that no score depends on the neighbours.

    Args:
        network: ``(batch, 1, mels, frames) -> (batch, classes)``.
        utterances: What to score.
        longest: Frames of the crop.
        pad: Whether every utterance is cut or filled up to *longest*; otherwise it is taken whole.
        batch_size: Most utterances at once.
        workers: Processes that read ahead.
        progress: Whether a bar is shown, on standard error.
        perturb: What is done to the features of a batch before it is scored.
    """
    device = next(network.parameters()).device
    plans = plan_evaluation(utterances.frames, batch_size=batch_size, longest=longest, pad=pad)
    batches = load_batches(utterances, plans, workers=workers, pin=device.type == "cuda")
    training = network.training
    network.eval()
    rows: list[NDArray[np.float64]] = []
    try:
        with watched_workers(), torch.inference_mode():
            for batch in tracked(batches, "scoring", unit="batches", total=len(plans), shown=progress):
                features = batch.features.to(device, non_blocking=True)
                features = features.float().contiguous(memory_format=torch.channels_last)
                if perturb is not None:
                    features = perturb(network, features, batch.targets.to(device))
                scores = network(features)
                rows.append(scores.double().softmax(1).cpu().numpy())
    finally:
        network.train(training)
    order = np.concatenate([plan.items for plan in plans])
    probabilities = np.concatenate(rows)
    probabilities[order] = probabilities.copy()
    return probabilities
