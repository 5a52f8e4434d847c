"""The learning rate of each epoch: the paper's steps, or warm-up and cosine."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, StepLR

from sertransfer.training.settings import PretrainConfig, Schedule


def relative_rate(config: PretrainConfig, epoch: int) -> float:
    """Return the rate of *epoch*, counted from 0, as a share of ``optimiser.lr``.

    Warm-up rises in equal steps and ends one step below the full rate; the steps of the ``step`` rule are
    counted from the first epoch, with or without it.
    """
    warmup = config.schedule.warmup
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    if config.schedule.rule == "step":
        return float(config.optimiser.factor ** (epoch // config.optimiser.step))
    return 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (config.epochs - warmup)))


def make_schedule(optimiser: Optimizer, config: PretrainConfig) -> LRScheduler:
    """Return the schedule of *optimiser*, stepped at each epoch's end; its state is plain values."""
    if config.schedule == Schedule():
        return StepLR(optimiser, step_size=config.optimiser.step, gamma=config.optimiser.factor)
    return LambdaLR(optimiser, lambda epoch: relative_rate(config, epoch))
