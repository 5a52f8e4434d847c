"""Runs many inputs against the targets, in processes with bounded time and memory, and keeps what goes wrong.

    python tests/fuzz/campaign.py --inputs 100000 --seed 1        # make fuzz

An input is right if its reader returns, or raises an error of :mod:`sertransfer.errors`. Any other
exception, more than :data:`SECONDS` for one input, more than :data:`MEMORY`, or a process that dies, is a
finding.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from mutation import mutate
from targets import Target, make_targets, place_input

import sertransfer
from sertransfer.errors import SertransferError

PACKAGE = str(Path(sertransfer.__file__).parent)

SECONDS = 5.0
"""For one input, of the processor."""

MEMORY = 2**30
"""Bytes that an input may take beyond what the process had."""

BATCH = 500
"""Inputs of a process; a new one has no memory of the old."""


class TooLongError(Exception):
    """An input took more than its time."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Bound the memory of this process for good; let a timer raise."""
    with Path("/proc/self/statm").open() as stream:
        pages = int(stream.read().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))

    def ring(*_: object) -> None:
        raise TooLongError

    signal.signal(signal.SIGVTALRM, ring)
    yield


def try_input(target: Target, data: bytes, folder: Path) -> str | None:
    """Return what goes wrong when *target* reads *data*; ``None`` if nothing does."""
    path = place_input(target, data, folder)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(path)
    except SertransferError as error:
        text = str(error)
        return f"a message of {len(text)} characters" if len(text) > 100_000 else None
    except BaseException as error:
        lines = traceback.extract_tb(error.__traceback__)
        ours = [
            f"{Path(line.filename).name}:{line.lineno}" for line in lines if "sertransfer/" in line.filename
        ]
        return f"{type(error).__name__} at {' '.join(ours[-3:])}: {' '.join(str(error).split())[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return None


def input_of(target: Target, seed: int, number: int) -> bytes:
    """Return input *number* of a campaign."""
    return mutate(target.seeds, random.Random(f"{seed} {target.name} {number}"))


def run_batch(target: Target, seed: int, numbers: Sequence[int], work: Path) -> list[tuple[int, str]]:
    """Try inputs in a process of its own; return the numbers of those that went wrong, and how."""
    report = work / "report.txt"
    report.write_bytes(b"")
    faulthandler.cancel_dump_traceback_later()  # pytest's, whose lock would never be free in the child
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _in_child(target, seed, numbers, work, report)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    found = [(number, text) for number, text in lines if text]
    if ended:  # the input at which it died is the one that was begun and not ended
        begun = lines[-1][0] if lines else numbers[0]
        found.append((begun, f"the process ended with {os.waitstatus_to_exitcode(ended)}"))
        rest = [number for number in numbers if number > begun]
        if rest:
            found += run_batch(target, seed, rest, work)
    return found


def _in_child(target: Target, seed: int, numbers: Sequence[int], work: Path, report: Path) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    torch.set_num_threads(1)  # the threads of the process that this one was forked from are not in it
    with bounded(), report.open("a", buffering=1) as stream:
        for number in numbers:
            stream.write(json.dumps([number, ""]) + "\n")
            faulthandler.dump_traceback_later(10 * SECONDS, exit=True)  # native code hears no timer
            wrong = try_input(target, input_of(target, seed, number), work / "input")
            faulthandler.cancel_dump_traceback_later()
            if wrong is not None:
                stream.write(json.dumps([number, wrong]) + "\n")


def fuzz(
    targets: Sequence[Target], inputs: int, seed: int, work: Path, *, first: int = 0
) -> dict[str, dict[str, Any]]:
    """Try *inputs* inputs, the same number for each target; return counts and findings by target."""
    counts: dict[str, dict[str, Any]] = {}
    share = -(-inputs // len(targets))
    for target in targets:
        start = time.monotonic()
        found: list[tuple[int, str]] = []
        for begin in range(first, first + share, BATCH):
            numbers = range(begin, min(begin + BATCH, first + share))
            found += run_batch(target, seed, list(numbers), work)
        counts[target.name] = {
            "inputs": share,
            "findings": len(found),
            "seconds": round(time.monotonic() - start, 1),
            "first": [{"input": number, "what": text} for number, text in found[:5]],
        }
    return counts


def main() -> int:
    """Run a campaign and print its counts; the exit status is 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each target")
    parser.add_argument("--only", nargs="*", help="names of targets")
    parser.add_argument("--results", type=Path, help="JSON file whose section 'fuzz' takes the counts")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        work = Path(folder)
        (work / "seeds").mkdir()
        made = make_targets(work / "seeds")
        chosen = [made[name] for name in args.only or made]
        counts = fuzz(chosen, args.inputs, args.seed, work, first=args.first)
    for name, found in counts.items():
        print(
            f"{name:<24} {found['inputs']:>7} inputs {found['findings']:>4} findings {found['seconds']:>7} s"
        )
        for one in found["first"]:
            print(f"    input {one['input']}: {one['what']}")
    total = sum(found["inputs"] for found in counts.values())
    wrong = sum(found["findings"] for found in counts.values())
    print(f"{total} inputs for {len(counts)} targets, seed {args.seed}: {wrong} findings")
    if args.results is not None:
        _keep(args.results, args.seed, counts)
    return int(wrong > 0)


def _keep(path: Path, seed: int, counts: dict[str, dict[str, Any]]) -> None:
    from sertransfer.io.files import write_json

    held = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_json(
        path,
        {**held, "fuzz": {"seed": seed, "targets": {**held.get("fuzz", {}).get("targets", {}), **counts}}},
    )


if __name__ == "__main__":
    sys.exit(main())
