"""Processes that read ahead may die: by the system's hand where memory runs out, or by somebody's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sertransfer.errors import SertransferError

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
