"""Run the benchmarks: ``python benchmarks/run.py [--emodb DIR] [--only NAME]``.

Writes ``benchmarks/results/latest.json`` (a list of rows) and ``latest.md`` (a table); with ``--only``,
files of that name instead. A row is a function ``(Options) -> dict`` in the ``ROWS`` of a module that
:data:`TOPICS` names; :mod:`measure` makes such dictionaries. A larger ratio is always better for us.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import os
import platform
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch
from measure import Options, skipped_row

from sertransfer.io.files import write_json, write_text

TOPICS = ("front_end", "batching", "models", "encoders", "start", "tuning")
"""Modules beside this one, each with a list ``ROWS``."""

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run the rows that were asked for; exit status 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emodb", type=Path, help="folder with EmoDB's wav/, for rows that need real speech")
    parser.add_argument("--only", metavar="NAME", help="run this row only")
    arguments = parser.parse_args()
    if arguments.emodb is not None and not any(arguments.emodb.glob("wav/*.wav")):
        parser.error(f"{arguments.emodb}: no wav/*.wav in it; give the folder that holds wav/")
    functions = {row.__name__: row for topic in TOPICS for row in importlib.import_module(topic).ROWS}
    if arguments.only is not None and arguments.only not in functions:
        parser.error(f"--only {arguments.only}: no such row; there are {', '.join(functions)}")
    rows = []
    with tempfile.TemporaryDirectory() as work:
        options = Options(arguments.emodb, Path(work))
        for name in [arguments.only] if arguments.only else functions:
            try:
                row = {"name": name, **functions[name](options)}
            except Exception as error:
                traceback.print_exc()
                failed = skipped_row(name, "", None, "")
                row = {"name": name, **failed, "note": f"FAILED: {type(error).__name__}: {error}"}
            print(_line(row), flush=True)
            rows.append(row)
    command = "python benchmarks/run.py" + (" --emodb DIR" if arguments.emodb else "")
    command += f" --only {arguments.only}" if arguments.only else ""
    name = arguments.only or "latest"
    write_json(RESULTS / f"{name}.json", rows)
    write_text(RESULTS / f"{name}.md", _markdown(rows, command))
    return int(any(row["note"].startswith("FAILED") for row in rows))


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def _line(row: dict[str, Any]) -> str:
    if row["ratio"] is None:
        return f"{row['name']}: {row['note']}"
    low, high = row["spread"] or (row["ratio"], row["ratio"])
    goal = f", goal {_number(row['goal'])}" if row["goal"] is not None else ""
    spread = f"{_number(low)} to {_number(high)}"
    return f"{row['name']}: {_number(row['ratio'])} x {row['peer_name']} ({spread}{goal})"


def _markdown(rows: list[dict[str, Any]], command: str) -> str:
    lines = [
        "# Benchmarks",
        "",
        f"{_machine()}. {datetime.date.today().isoformat()}. `{command}`",
        "",
        "Ratio = how many times better we are: median of strictly alternating runs, with the 10th to 90th",
        "percentile of the pairs. Limit = fraction of what the machine can do at best, as the note says.",
        "",
        "| work | ours | peer | unit | peer is | ratio | spread | goal | limit | note |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = "" if row["spread"] is None else " to ".join(_number(value) for value in row["spread"])
        cells = [
            row["work"],
            _number(row["ours"]),
            _number(row["peer"]),
            row["unit"] or "",
            row["peer_name"],
            _number(row["ratio"]),
            spread,
            _number(row["goal"]),
            _number(row["limit_fraction"], 2),
            row["note"],
        ]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


if __name__ == "__main__":
    sys.exit(main())
