"""Pipes in the place of files, and whether anybody waits at them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

OPENER = """
import os, sys, time
for line in iter(sys.stdin.readline, ""):
    path, waited = line.rstrip(), False
    while os.path.exists(path):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            waited = True
        except OSError:
            pass
        time.sleep(0.002)
    print(waited, flush=True)
"""
"""Lets go whoever waits at a pipe, from another process: a loader of native code may stop all threads."""


class Pipes:
    """Puts pipes in the place of files, and knows whether one was waited at."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._opener = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", OPENER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def replace(self, path: Path, use: Callable[[], object]) -> bool:
        """Run *use* with a pipe in the place of *path*; whether it was waited at."""
        aside = path.with_name(f"{path.name}.aside")
        path.rename(aside)
        self._count += 1
        watched = self._folder / str(self._count)
        os.mkfifo(watched)
        os.link(watched, path)
        print(watched, file=self._opener.stdin, flush=True)
        try:
            use()
        finally:
            watched.unlink()
            path.unlink()
            aside.rename(path)
            waited = self._opener.stdout.readline() == "True\n"
        return waited

    def close(self) -> None:
        """End the other process."""
        self._opener.communicate()
