"""How far long work is: how much is done, how fast, and how long it will take, on standard error.

On a terminal this is a bar. Elsewhere, in the log of a batch job for instance, it is a line now and then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")

EVERY = 30.0
"""Seconds between lines where there is no terminal."""

LEAST = 5.0
"""Seconds of work below which no line is worth it: an error of a moment stays the one line that it is."""

_wanted: ContextVar[bool] = ContextVar("progress", default=False)


@contextmanager
def showing(shown: bool) -> Iterator[None]:
    """Show, or not, the progress of work that is not told; it is not shown by default."""
    token = _wanted.set(shown)
    try:
        yield
    finally:
        _wanted.reset(token)


class Bar(Protocol):
    """What the work tells of itself."""

    def advance(self, count: int = 1) -> None:
        """Say that *count* more items are done."""

    def reach(self, done: int, text: str | None = None) -> None:
        """Say that *done* items are done in all, and, with *text*, what is being done."""


@contextmanager
def bar(text: str, total: int, *, unit: str, shown: bool | None = None, done: int = 0) -> Iterator[Bar]:
    """Show the progress of a piece of work.

    Args:
        text: What is being done.
        total: Items in all.
        unit: What an item is, in the plural.
        shown: Whether it is shown; ``None`` leaves that to :func:`showing`.
        done: Items that were done before.
    """
    wanted = _wanted.get() if shown is None else shown
    if wanted and not sys.stderr.isatty():
        lines = Lines(text, total, unit=unit, done=done)
        yield lines
        lines.finish()
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not wanted,
    ) as progress:
        yield _Rich(progress, progress.add_task(text, total=total, completed=done))


def tracked(
    items: Iterable[T], text: str, *, unit: str, total: int | None = None, shown: bool | None = None
) -> Iterator[T]:
    """Yield *items* and show how many have been worked on.

    Args:
        items: What is worked on.
        text: What is being done.
        unit: What an item is, in the plural.
        total: Their number, where *items* does not know it.
        shown: As for :func:`bar`.
    """
    if total is None:
        if not isinstance(items, Collection):
            raise TypeError("without a length, items need a total")
        total = len(items)
    with bar(text, total, unit=unit, shown=shown) as shown_bar:
        for item in items:
            yield item
            shown_bar.advance()


class Lines:
    """A line on standard error from time to time, and one at the end of what takes long.

    Args:
        text: What is being done.
        total: Items in all.
        unit: What an item is, in the plural.
        done: Items that were done before.
        clock: Gives the time in seconds.
    """

    def __init__(
        self, text: str, total: int, *, unit: str, done: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._text, self._total, self._unit = text, total, unit
        self._done = self._first = done
        self._clock = clock
        self._begun = self._said = clock()

    def advance(self, count: int = 1) -> None:
        """Say that *count* more items are done."""
        self.reach(self._done + count)

    def reach(self, done: int, text: str | None = None) -> None:
        """Say that *done* items are done in all, and, with *text*, what is being done."""
        self._done, self._text = done, self._text if text is None else text
        now = self._clock()
        if now - self._said >= EVERY:
            self._said = now
            rate = (done - self._first) / (now - self._begun)
            left = f", {clock_time((self._total - done) / rate)} left" if rate > 0 else ""
            print(
                f"{self._text}: {done} of {self._total} {self._unit}, {pace(rate)}{left}",
                file=sys.stderr,
                flush=True,
            )

    def finish(self) -> None:
        """Say that the work is through, if it took so long that somebody may have wondered."""
        took = self._clock() - self._begun
        if took < LEAST:
            return
        done = self._done - self._first
        print(
            f"{self._text}: {done} {self._unit} in {clock_time(took)}, {pace(done / took)}",
            file=sys.stderr,
            flush=True,
        )


class _Rich:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, count: int = 1) -> None:
        self._progress.advance(self._task, count)

    def reach(self, done: int, text: str | None = None) -> None:
        self._progress.update(self._task, completed=done, description=text)


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(pace(task.speed, f" {self._unit}") if task.speed else "")


def pace(rate: float, unit: str = "") -> str:
    """Return items a second with three digits that count.

    Examples:
        >>> pace(0.12345), pace(12345.6, " files")
        ('0.123/s', '12,346 files/s')
    """
    return f"{rate:.3g}{unit}/s" if rate < 1000 else f"{rate:,.0f}{unit}/s"


def clock_time(seconds: float) -> str:
    """Return whole seconds as ``h:mm:ss``.

    Examples:
        >>> clock_time(3725.4)
        '1:02:05'
    """
    return str(timedelta(seconds=round(max(0.0, seconds))))
