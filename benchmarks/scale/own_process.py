"""Time and peak memory of one piece of work, in a process of its own that does nothing else."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def peak_mb() -> float:
    """Return the most memory that this process has held, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measure_here(run: Callable[[], Any]) -> None:
    """Run *run*, whose imports and inputs are there already, and print what it took as JSON.

    What it returns, a dictionary or nothing, is added.
    """
    before = peak_mb()
    start = time.perf_counter()
    more = run() or {}
    seconds = time.perf_counter() - start
    peak = peak_mb()
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "added_mb": peak - before, **more}))


def measure(script: Path, *words: object) -> dict[str, Any]:
    """Return what ``script WORDS``, which ends with :func:`measure_here`, took."""
    command = [sys.executable, str(script), *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
