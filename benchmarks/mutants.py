"""How many changed programs the tests notice: mutation testing of the modules that choose, split and score.

``make mutants`` runs mutmut on the modules of ``[tool.mutmut]`` in ``pyproject.toml``: it changes one
operator, number, argument or assignment at a time and runs the test files that touch the changed function.
Lines whose only effect is the text of a message are left out. Results go to
``benchmarks/results/mutants.json`` and ``.md``; ``mutmut show NAME`` and ``mutmut browse`` work afterwards.

mutmut notes for each function the tests that call it. A fixture that several tests of a file share counts for
the first of them alone, so the whole file is run for every function that one of its tests reaches.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
WORK = PROJECT / "mutants"
STATS = WORK / "mutmut-stats.json"
RESULTS = PROJECT / "benchmarks" / "results"

KILLED, SURVIVED, NO_TESTS = "caught", "survived", "no test"
STATUS = {0: SURVIVED, 5: NO_TESTS, 33: NO_TESTS}
"""By mutmut's exit code; every other one is a test that failed, a crash, or a test that ran out of time."""


def function_of(name: str) -> str:
    """Return the function that the mutant *name* changes, as mutmut's statistics name it."""
    return name.partition("__mutmut_")[0]


def by_file(tests: dict[str, list[str]], known: list[str]) -> dict[str, list[str]]:
    """Return, for each function, all *known* tests of the files of its *tests*."""
    files = defaultdict(list)
    for test in known:
        files[test.partition("::")[0]].append(test)
    return {
        function: sorted({test for one in own for test in files[one.partition("::")[0]]})
        for function, own in tests.items()
    }


def choose(names: list[str], wanted: int | None, seed: int) -> list[str]:
    """Return *wanted* of *names*, drawn at random; all of them without a number."""
    if wanted is None or wanted >= len(names):
        return sorted(names)
    return sorted(random.Random(seed).sample(sorted(names), wanted))


def summarise(codes: dict[str, int | None], diffs: dict[str, str]) -> dict[str, Any]:
    """Return shares by module and in all, and the mutants that nothing noticed.

    Args:
        codes: mutmut's exit code of each mutant that was run.
        diffs: What a mutant changes, of those that were not caught.
    """
    modules: dict[str, dict[str, int]] = {}
    for name, code in sorted(codes.items()):
        row = modules.setdefault(module_of(name), {"mutants": 0, KILLED: 0, SURVIVED: 0, NO_TESTS: 0})
        row["mutants"] += 1
        row[STATUS.get(-1 if code is None else code, KILLED)] += 1
    total = {
        key: sum(row[key] for row in modules.values()) for key in ("mutants", KILLED, SURVIVED, NO_TESTS)
    }
    return {
        "share": total[KILLED] / total["mutants"] if total["mutants"] else None,
        "total": total,
        "modules": modules,
        "left": [{"mutant": name, "change": diffs[name]} for name in sorted(diffs)],
    }


def module_of(name: str) -> str:
    """Return the module of the mutant *name*."""
    return name.rpartition(".")[0]


def as_markdown(result: dict[str, Any]) -> str:
    """Return the table and the list of what was not caught."""
    total = result["total"]
    how = "all of them" if result["sample"] is None else f"a random sample, seed {result['seed']}"
    lines = [
        "# Mutants",
        "",
        f"{total['mutants']} mutants of {result['known']} ({how}); caught: {total[KILLED]} "
        f"({100 * (result['share'] or 0):.0f} %). Made by `make mutants` in {result['minutes']:.0f} minutes.",
        *(["", result["note"]] if "note" in result else []),
        "",
        "| module | mutants | caught | survived | no test |",
        "|---|---|---|---|---|",
    ]
    for name, row in [*result["modules"].items(), ("all", total)]:
        lines.append(f"| {name} | {row['mutants']} | {row[KILLED]} | {row[SURVIVED]} | {row[NO_TESTS]} |")
    lines += ["", "## Not caught", ""]
    for one in result["left"]:
        lines += [f"`{one['mutant']}`", "", "```diff", one["change"], "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sample", type=int, help="run so many, drawn at random; all without")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--only", nargs="*", default=[], help="parts of names of modules to keep to")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of mutants.json and mutants.md")
    given = parser.parse_args()
    begun = time.monotonic()
    first = _mutants()[:1] if STATS.is_file() else []
    _mutmut(first or ["sertransfer.corpora.splits.x_shared_speakers__mutmut_1"], given.processes)
    _widen()
    names = [name for name in _mutants() if not given.only or any(one in name for one in given.only)]
    covered = json.loads(STATS.read_text())["tests_by_mangled_function_name"]
    chosen = choose(names, given.sample, given.seed)
    run = [name for name in chosen if covered.get(function_of(name))]
    _mutmut(run, given.processes)
    found = {name: code for path in WORK.rglob("*.py.meta") for name, code in _codes(path).items()}
    codes = {name: found[name] if name in set(run) else 33 for name in chosen}
    left = [name for name, code in codes.items() if code in STATUS]
    result = {
        "tool": "mutmut",
        "known": len(names),
        "sample": given.sample,
        "seed": given.seed,
        "minutes": (time.monotonic() - begun) / 60,
        **summarise(codes, {name: _diff(name) for name in left}),
    }
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "mutants.json").write_text(json.dumps(result, indent=1) + "\n")
    (given.output / "mutants.md").write_text(as_markdown(result))
    print(f"caught {result['total'][KILLED]} of {result['total']['mutants']}; {given.output / 'mutants.md'}")


def _mutmut(names: list[str], processes: int) -> None:
    """Let mutmut run *names*; in its own process, since it forks this one for each mutant."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(processes), *names]
    done = subprocess.run(command, cwd=PROJECT, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"mutmut ended with {done.returncode}: do the tests pass without a mutant?")


def _mutants() -> list[str]:
    return sorted(name for path in WORK.rglob("*.py.meta") for name in _codes(path))


def _codes(path: Path) -> dict[str, int | None]:
    codes: dict[str, int | None] = json.loads(path.read_text())["exit_code_by_key"]
    return codes


def _widen() -> None:
    stats = json.loads(STATS.read_text())
    known = list(stats["duration_by_test"])
    stats["tests_by_mangled_function_name"] = by_file(stats["tests_by_mangled_function_name"], known)
    STATS.write_text(json.dumps(stats, indent=4))


def _diff(name: str) -> str:
    shown = subprocess.run(
        [sys.executable, "-m", "mutmut", "show", name],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    changed = [
        line for line in shown.stdout.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    return "\n".join(changed)


if __name__ == "__main__":
    main()
