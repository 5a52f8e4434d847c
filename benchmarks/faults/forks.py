"""A ``sertransfer`` command in a process of its own, with faults armed; forked, to spare it the imports.

The process that forks has been started with the shim (``shim.c``) loaded, see :func:`with_shim`. It imports
what commands need and computes nothing itself, so that a fork starts as the console script would.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HEAVY = (
    "pretraining.workflow",
    "transfer.finetune.workflow",
    "transfer.tuning.workflow",
    "reporting.report",
)
KILL_BEFORE, KILL_AFTER = -1, -2
"""Faults of the shim's that end the process group, before or after the operation."""

SHIM = "SERTRANSFER_FAULT_SHIM"
"""Variable of the environment that names the loaded shim."""


def compile_shim(folder: Path) -> Path:
    """Compile the shim into *folder*."""
    source, target = Path(__file__).with_name("shim.c"), folder / "shim.so"
    compiler = os.environ.get("CC", "gcc")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", target, source, "-ldl"], check=True)
    return target


def with_shim(folder: Path) -> None:
    """Start this program again with the shim loaded, unless it is; then import what commands need."""
    if SHIM not in os.environ:
        shim = str(compile_shim(folder))
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment = {**os.environ, **threads, "LD_PRELOAD": shim, SHIM: shim}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    for name in HEAVY:
        importlib.import_module(f"sertransfer.{name}")


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (negative = a signal), what it said, seconds, changes it made."""

    status: int
    text: str
    seconds: float
    operations: int

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.status == -signal.SIGKILL


def fork(call: Callable[[], int], log: Path) -> int:
    """Run *call* in a fork that leads a process group and prints into *log*; return its number."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for number in (1, 2):
                os.dup2(target, number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            status = call()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    return child


def run_command(
    words: list[str],
    folder: Path,
    log: Path,
    *,
    fault: tuple[int, int] | None = None,
    kill_after: float | None = None,
    prepare: Callable[[], None] | None = None,
) -> Ended:
    """Run ``sertransfer WORDS`` and wait for its end.

    Args:
        words: The command line.
        folder: Where changes are counted, and faults happen.
        log: File that takes what it prints.
        fault: Number of the change, and the error or kind of kill.
        kill_after: Seconds until the process group is killed.
        prepare: Called in the process first.
    """
    from sertransfer.cli.main import main

    shim = ctypes.CDLL(os.environ[SHIM])
    shim.fault_count.restype = ctypes.c_long
    shim.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]
    shim.fault_arm(f"{folder.resolve()}/".encode(), *(fault or (0, 0)))

    def call() -> int:
        if prepare is not None:
            prepare()
        return main(words)

    start = time.monotonic()
    child = fork(call, log)
    try:
        if kill_after is not None:
            while time.monotonic() < start + kill_after:
                if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    break
                time.sleep(0.002)
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # what it left running
    seconds, count = time.monotonic() - start, shim.fault_count()
    shim.fault_arm(b"", 0, 0)
    text = log.read_text(encoding="utf-8", errors="replace")
    return Ended(os.waitstatus_to_exitcode(status), text, seconds, count)
