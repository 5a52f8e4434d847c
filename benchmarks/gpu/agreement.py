"""Whether half precision and compiling change what a network learns and decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sertransfer.pretraining.settings import PretrainConfig
from sertransfer.pretraining.workflow import build_network

BATCH, FRAMES, TEST = 64, 64, 256
SIGNAL = 0.35


def patterns(count: int, frames: int, device: torch.device, seed: int) -> tuple[Tensor, Tensor]:
    """Return noise in which a quarter of the bands is a little louder, and which: four classes."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(count) % 4
    x = torch.randn(count, 1, 128, frames, generator=generator)
    for row, number in enumerate(classes.tolist()):
        x[row, :, 32 * number : 32 * number + 32] += SIGNAL
    return x.to(device), classes.to(device)


def agreement(config: PretrainConfig, device: torch.device, *, steps: int) -> dict[str, Any]:
    """Train twice from the same weights on the same batches, in fp32 and in bf16, and compare.

    Returns:
        Accuracy of either on other patterns; and of the network trained in bf16 how many of its decisions
        in bf16, in batches, are those in fp32 one at a time, and the largest difference of a score as a
        share of the largest score.
    """
    x, targets = patterns(TEST, FRAMES, device, seed=10_000)
    reference = _train(replace(config, compile=False), device, steps, mixed=False)
    ours = _train(config, device, steps, mixed=True)
    with torch.inference_mode():
        alone = torch.cat([ours(one[None]) for one in x])
        with torch.autocast(device.type, torch.bfloat16):
            batched = torch.cat([ours(part) for part in _last(x).split(BATCH)]).float()
        other = torch.cat([reference(part) for part in x.split(BATCH)])
    return {
        "steps": steps,
        "test_patterns": TEST,
        "right_trained_in_fp32": int((other.argmax(1) == targets).sum()),
        "right_trained_in_bf16": int((batched.argmax(1) == targets).sum()),
        "decisions_equal": int((batched.argmax(1) == alone.argmax(1)).sum()),
        "largest_difference": float((batched - alone).abs().max() / alone.abs().max()),
    }


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _train(config: PretrainConfig, device: torch.device, steps: int, *, mixed: bool) -> nn.Module:
    """Return the network after *steps* of SGD, in evaluation mode."""
    network = build_network(config).to(device)
    forward = torch.compile(network.forward) if config.compile else network
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=0.001)
    network.train()
    for step in range(steps):
        x, targets = patterns(BATCH, FRAMES, device, seed=step)
        optimiser.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            scores = forward(_last(x))
        F.cross_entropy(scores.float(), targets).backward()
        optimiser.step()
    return network.eval()
