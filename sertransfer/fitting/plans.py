"""What each batch is to hold: the order of an epoch, the crops, and the shares of several processes.

An epoch is planned step by step. A step is divided into the batches that it accumulates, and those into the
shares of the processes: neither changes which utterances a step takes, nor their windows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

POOL = 8
"""Batches that are sorted by length together: enough that little is cut, few enough to stay random."""


class Plan(NamedTuple):
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
) -> list[Plan]:
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
        plans.append(Plan(items, np.floor(place[items] * (spare + 1)).astype(np.int64), width))
    return plans


def even_sizes(items: int, batch_size: int) -> Integers:
    """Return the sizes of the fewest batches of at most *batch_size* that differ by one item at most."""
    count = -(-items // batch_size)
    sizes = np.full(count, items // count, dtype=np.int64)
    sizes[: items % count] += 1
    return sizes


def plan_evaluation(frames: Integers, *, batch_size: int, longest: int, pad: bool) -> list[Plan]:
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
            plans.append(Plan(part, np.zeros(len(part), dtype=np.int64), width))
    return plans


def divide_step(
    step: Plan, weights: NDArray[np.float64], *, accumulate: int, rank: int, shares: int
) -> list[Plan]:
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
        divided.append(Plan(items, step.starts[own], step.frames, scale))
    return divided
