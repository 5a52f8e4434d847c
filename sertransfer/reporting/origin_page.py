"""Where a run comes from: its command, machine, time and versions, as far as the folder says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sertransfer.errors import mask_secrets
from sertransfer.reporting.page import Numbers
from sertransfer.reporting.run_files import read_json
from sertransfer.reporting.values import NO_VALUE, as_text, flat
from sertransfer.sessions import read_sessions


def origin_of(folder: Path) -> dict[str, Any]:
    """Return ``command``, ``facts`` (name to text) and ``sessions`` (a table, or ``None``) of the run."""
    sessions = read_sessions(folder)
    if not sessions:
        return {"command": "", "facts": {}, "sessions": None}
    last = sessions[-1]
    seconds = [float(entry["seconds"]) for entry in sessions if "seconds" in entry]
    killed = sum("seconds" not in entry for entry in sessions)
    more = f", and {killed} session(s) that were killed, whose time is not known" if killed else ""
    facts = {
        "time": f"{_duration(sum(seconds))} in {len(seconds)} session(s){more}",
        "machine": as_text(last.get("machine", {})).replace("_", " "),
        "versions": as_text(last.get("versions", {})),
        "inputs": _inputs(folder),
    }
    rows = [
        [
            str(entry.get("started", NO_VALUE)),
            _duration(float(entry["seconds"])) if "seconds" in entry else NO_VALUE,
            str(entry.get("peak_memory_mb", NO_VALUE)),
            str(entry.get("state", "killed")),
            mask_secrets(str(entry.get("command", ""))) or "(from Python)",
        ]
        for entry in sessions
    ]
    columns = ["started (UTC)", "time", "peak memory, MiB", "end", "command"]
    return {
        # an older version recorded commands as they were typed
        "command": mask_secrets(str(last.get("command", ""))),
        "facts": flat(facts),
        "sessions": Numbers(columns, rows, "Sessions that worked on this run"),
    }


def _inputs(folder: Path) -> str:
    path = folder / "inputs.json"
    if not path.is_file():
        return ""
    hashes = read_json(path, "the inputs of a run")
    return ", ".join(f"{name} {str(value)[:12]}" for name, value in hashes.items())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
