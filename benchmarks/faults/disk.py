"""A disk that is full, read-only or closed from some change on: a clear word, and the earlier state whole."""

from __future__ import annotations

import errno
import re
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from faults.jobs import JOBS
from faults.kills import Trial, in_fork, look

ERRORS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "no permission": errno.EACCES}
_SAID = re.compile(r"sertransfer: error: .+", re.MULTILINE)


def complaint(text: str, status: int, place: Path) -> str | None:
    """Return what is wrong with how a command ended at a fault of the disk; ``None`` if nothing is."""
    said = _SAID.findall(text)
    if status not in (1, 2):
        return f"exit status {status}: {text[-400:]}"
    if "Traceback" in text or "Logging error" in text:
        return f"a traceback: {text[-1500:]}"
    if len(said) != 1:
        return f"{len(said)} messages: {text[-400:]}"
    if "a failure of sertransfer" in said[0]:
        return said[0]
    if str(place) not in said[0]:
        return f"no place named: {said[0]}"
    return None


def points(operations: int, most: int) -> list[int]:
    """Return the changes at which the fault begins: every one, or *most* of them evenly."""
    if operations <= most:
        return list(range(1, operations + 1))
    return sorted({1 + round(number * (operations - 1) / (most - 1)) for number in range(most)})


def fail_all(
    work: Path,
    most: int,
    names: list[str],
    *,
    errors: dict[str, int] = ERRORS,
    say: Callable[[str], None] = print,
) -> dict[str, dict[str, Any]]:
    """Run the named jobs with each error beginning at each change, up to *most* of them, and resume."""
    found = {}
    for name in names:
        trial = Trial(JOBS[name], work, 0, say)
        whole, expected = trial.undisturbed()
        kept = work / f"{name}.earlier"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(trial.place / trial.job.run, kept)
        start = time.monotonic()
        counts: dict[str, Any] = {
            "changes": whole.operations, "faults": 0, "stopped": 0, "went_on": 0, "unclear": [],
            "unreadable": [], "lost": [], "temporaries": 0, "resumed": 0, "differing": [],
        }  # fmt: skip
        for kind, number in errors.items():
            for at in points(whole.operations, most):
                trial.begin(kept)
                ended = trial.run(fault=(at, number))
                counts["faults"] += 1
                if ended.status == 0:
                    counts["went_on"] += 1  # what failed was not needed
                    continue
                counts["stopped"] += 1
                wrong = complaint(ended.text, ended.status, trial.place)
                if wrong is not None:
                    counts["unclear"].append(f"{kind} at {at}: {wrong}")
                seen = in_fork(partial(look, trial.place, None), work)
                counts["unreadable"] += [f"{kind} at {at}: {text}" for text in seen["wrong"]]
                trial.count_files(seen, {})
                counts["temporaries"] += len(seen["temporaries"]) if kind == "full" else 0
            say(f"{name}, {kind}: {counts['faults']} faults, {time.monotonic() - start:.0f} s")
            ended = trial.run()  # what the last fault stopped goes on
            if ended.status:
                counts["unclear"].append(f"{kind}: does not go on: {ended.text[-400:]}")
                continue
            counts["resumed"] += 1
            seen = in_fork(partial(look, trial.place, trial.place / trial.job.run), work)
            counts["differing"] += [key for key in expected if expected[key] != seen["result"].get(key)]
        counts["lost"] = trial.counts["lost"]
        counts["seconds"] = round(time.monotonic() - start, 1)
        shutil.rmtree(trial.place)
        shutil.rmtree(kept)
        found[name] = counts
    return found


def faulty(counts: dict[str, Any]) -> bool:
    """Return whether anything went wrong."""
    return any(counts[name] for name in ("unclear", "unreadable", "lost", "differing", "temporaries"))
