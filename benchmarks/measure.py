"""Measuring two ways of doing one piece of work, by turns, and the row that tells the outcome."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Options:
    """What a row may use: the folder of real speech, if there is one, and a folder for its own files."""

    emodb: Path | None
    work: Path


@dataclass(frozen=True)
class Turns:
    """Seconds of each turn, ours and the peer's, one after the other."""

    ours: list[float]
    peer: list[float]

    @property
    def ratios(self) -> list[float]:
        """How many times faster we were, pair by pair, sorted."""
        return sorted(peer / ours for ours, peer in zip(self.ours, self.peer, strict=True))


def by_turns(ours: Callable[[], Any], peer: Callable[[], Any], *, pairs: int = 15) -> Turns:
    """Time *ours* and *peer* strictly by turns, after one turn of each that does not count."""
    ours()
    peer()
    turns = Turns([], [])
    for _ in range(pairs):
        turns.ours.append(seconds(ours))
        turns.peer.append(seconds(peer))
    return turns


def seconds(work: Callable[[], Any]) -> float:
    """Return how long *work* takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def timed_row(
    work: str,
    peer_name: str,
    turns: Turns,
    *,
    items: int,
    unit: str,
    goal: float | None,
    limit_fraction: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    """Return the row of two timings: medians in milliseconds an item, and the median of the paired ratios.

    Args:
        work: What was done.
        peer_name: What it is compared with.
        turns: The timings.
        items: Number of items in one turn.
        unit: What an item is.
        goal: Ratio to reach; ``None`` if none is set, and *note* says why.
        limit_fraction: Fraction of what the machine can do at best, where that is known.
        note: What else a reader must know.
    """
    ratios = turns.ratios
    return {
        "work": work,
        "ours": 1000 * statistics.median(turns.ours) / items,
        "peer": 1000 * statistics.median(turns.peer) / items,
        "peer_name": peer_name,
        "ratio": statistics.median(ratios),
        "goal": goal,
        "limit_fraction": limit_fraction,
        "spread": [ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]],
        "unit": f"ms a {unit}",
        "note": note,
    }


def skipped_row(work: str, peer_name: str, goal: float | None, reason: str) -> dict[str, Any]:
    """Return the row of something that could not be measured here, with the reason."""
    nothing = dict.fromkeys(("ours", "peer", "ratio", "limit_fraction", "spread", "unit"))
    return {
        "work": work,
        "peer_name": peer_name,
        "goal": goal,
        **nothing,
        "note": f"SKIPPED: {reason}",
    }


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, whatever the libraries' threads, on one core."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {max(cores)})
    torch.set_num_threads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
