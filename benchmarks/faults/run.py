"""Faults put into running commands, counted: ``python benchmarks/faults/run.py`` (``make faults``).

Needs Linux and a C compiler. The counts of each job are kept in ``benchmarks/results/faults.json``, where
those of other jobs stay, so that the program can be run in pieces with ``--only``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

from faults import disk, kills  # noqa: E402 (the path first)
from faults.forks import SHIM, with_shim  # noqa: E402
from faults.jobs import JOBS, make_corpora  # noqa: E402

RESULTS = HERE.parents[1] / "results" / "faults.json"


def main() -> int:
    """Run what is asked for; the exit status is 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs, over all jobs together")
    parser.add_argument("--disk", type=int, default=20, help="changes at which each error begins, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        work = Path(folder)
        with_shim(work)
        (work / "corpora").mkdir()
        kills.in_fork(lambda: make_corpora(work / "corpora"), work)
        sections: dict[str, dict[str, dict[str, Any]]] = {}
        wrong = False
        if args.kills:
            sections["kills"] = kills.kill_all(work, args.kills, args.seed, args.only)
            wrong |= any(kills.faulty(counts) for counts in sections["kills"].values())
        if args.disk:
            sections["disk"] = disk.fail_all(work, args.disk, args.only)
            wrong |= any(disk.faulty(counts) for counts in sections["disk"].values())
    shutil.rmtree(Path(os.environ[SHIM]).parent, ignore_errors=True)
    keep(args.results, sections)
    for section, jobs in sections.items():
        for name, counts in jobs.items():
            print(f"{section}, {name}: {json.dumps(counts)}")
    return int(wrong)


def keep(path: Path, sections: dict[str, dict[str, Any]]) -> None:
    """Put the counts of *sections* among those that *path* holds already."""
    from sertransfer.io.files import write_json

    held = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for section, found in sections.items():
        held[section] = {**held.get(section, {}), **found}
    write_json(path, held)


if __name__ == "__main__":
    sys.exit(main())
