"""``sessions.json``: command, machine and time of each session that worked on a run.

A run that was killed and resumed has several. They stand apart from ``metrics.json``, which is the same
whenever and wherever the run is done. Neither the machine's nor the user's name is kept,
and no password of a URL.
"""

from __future__ import annotations

import os
import platform
import resource
import shlex
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from sertransfer.errors import mask_secrets
from sertransfer.files import write_json
from sertransfer.plain_values import parse_json

FILE = "sessions.json"

_PACKAGES = ("sertransfer", "torch", "torchaudio", "pytorch-lightning", "scikit-learn", "numpy", "espnet")
_PROGRAMS = ("sertransfer", "cli.py", "__main__.py")
_CPU_MODEL = "model name"


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """Return the sessions of the run in *folder*, the oldest first; none where the file can not be read."""
    try:
        found = parse_json((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


class Session:
    """The work of this process on a run folder; one without an end was killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = read_sessions(folder)
        self._since = time.monotonic()
        self._entry: dict[str, Any] = {
            "command": _command(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": _machine(),
            "versions": _versions(),
        }
        self._write()

    def end(self, state: str) -> None:
        """Record that the session is over, and how; the first call counts."""
        if "state" not in self._entry:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux
            self._entry |= {
                "state": state,
                "seconds": round(time.monotonic() - self._since, 1),
                "peak_memory_mb": round(peak / 1024),
            }
            self._write()

    def _write(self) -> None:
        write_json(self._folder / FILE, [*self._before, self._entry])


def _command() -> str:
    program = Path(sys.argv[0]).name
    return shlex.join(["sertransfer", *map(mask_secrets, sys.argv[1:])]) if program in _PROGRAMS else ""


def _machine() -> dict[str, Any]:
    about: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }
    torch = sys.modules.get("torch")  # a run without it has no use for a GPU
    if torch is not None and torch.cuda.is_available():
        about["gpu"] = torch.cuda.get_device_name()
    return about


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(_CPU_MODEL)), "")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout, say
            continue
    return found
