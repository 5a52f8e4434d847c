"""Time and peak memory of one piece of work, in a process of its own that does nothing else.

Memory is what the kernel counts as resident, mapped files included; its peak is set back before the work
begins, so that imports and the making of inputs do not hide what the work takes (Linux; elsewhere they do).
Processor time is told besides the clock's, since it depends less on what else the machine does.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def memory_mb(what: str) -> float:
    """Return ``VmRSS`` (resident now) or ``VmHWM`` (its peak), in megabytes."""
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    lines = [line.split() for line in STATUS.read_text().splitlines() if line.startswith(f"{what}:")]
    return int(lines[0][1]) * 1024 / 1e6


def measure_here(run: Callable[[], Any]) -> None:
    """Run *run*, whose imports and inputs are there already, and print what it took as JSON.

    What it returns, a dictionary or nothing, is added.
    """
    gc.collect()
    if CLEAR.exists():
        CLEAR.write_text("5")  # sets the peak back to what is resident now
    before = memory_mb("VmRSS")
    start, used = time.perf_counter(), time.process_time()
    more = run() or {}
    seconds, used = time.perf_counter() - start, time.process_time() - used
    peak = memory_mb("VmHWM")
    spent = {"seconds": seconds, "processor_seconds": used}
    print(json.dumps({**spent, "peak_mb": peak, "added_mb": peak - before, **more}))


def measure(script: Path, *words: object) -> dict[str, Any]:
    """Return what ``script WORDS``, which ends with :func:`measure_here`, took."""
    command = [sys.executable, str(script), *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
