"""Runs that differ by their seed alone: mean, deviation, and every value."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sertransfer.errors import Faults, bad_input
from sertransfer.reporting.runs import read_json, read_yaml
from sertransfer.reporting.tables import align, flat

FIGURES = ("wa", "ua", "auroc")

SAME_SUBJECTS = (
    "the deviation is over seeds, on the same subjects: no test and no interval; what other subjects would "
    "give is in each run's own interval"
)
"""What the deviation does not say, however many subjects or clusters of them there are."""

_SEEDS = ("seed", "transfer seed")
"""The seed's name in the settings of ``transfer`` and of ``tune``."""


def seed_summary(runs: Sequence[Path]) -> dict[str, Any]:
    """Summarise finished runs of stage 2 that differ by their seed alone.

    Args:
        runs: Two run folders or more.

    Returns:
        ``seeds``, ``runs``, ``note``, and for each of :data:`FIGURES` of the subjects ``mean``, ``deviation``
        (of a sample, n - 1; ``None`` where a value is undefined, as the mean is then) and ``values``.

    Raises:
        BadInput: If a run is not finished, a seed comes twice, or the settings or inputs differ by more;
            each difference is named. The encoder may differ: it may be pretrained with another seed.
    """
    folders = [Path(run) for run in runs]
    if len(folders) < 2:
        raise bad_input(
            "seeds", found=f"{len(folders)} run(s)", expected="two or more", remedy="run with another --seed"
        )
    found = [read_json(folder / "metrics.json", "the metrics of a finished run") for folder in folders]
    settings = [flat(read_yaml(folder / "config.yaml")) for folder in folders]
    inputs = [flat(read_json(folder / "inputs.json", "the inputs of a run")) for folder in folders]
    faults = Faults()
    for folder, values, theirs, given in zip(folders, found, settings, inputs, strict=True):
        if "subject" not in values:
            faults.add(
                folder / "metrics.json",
                found="no scores of subjects",
                expected="a finished run of stage 2",
                remedy="run 'sertransfer transfer' to its end",
            )
        for key in sorted({*theirs, *settings[0]}):
            if key not in _SEEDS and theirs.get(key) != settings[0].get(key):
                faults.add(
                    folder / "config.yaml",
                    found=f"{key} = {theirs.get(key)}",
                    expected=f"{settings[0].get(key)}, as in {folders[0]}",
                    remedy="summarise runs that differ by their seed alone",
                )
        if given.get("manifest") != inputs[0].get("manifest"):
            faults.add(
                folder / "inputs.json",
                found="another manifest",
                expected=f"that of {folders[0]}",
                remedy="run all seeds on one manifest",
            )
    seeds = [next((values[key] for key in _SEEDS if key in values), "") for values in settings]
    seen: set[tuple[str, str | None]] = set()
    for folder, seed, given in zip(folders, seeds, inputs, strict=True):
        if (pair := (seed, given.get("encoder"))) in seen:
            faults.add(
                folder,
                found=f"seed {seed} and the encoder of a run before it",
                expected="another seed, or an encoder trained with another",
                remedy="leave this run out",
            )
        seen.add(pair)
    faults.raise_if_any()
    summary: dict[str, Any] = {
        "runs": [str(folder) for folder in folders],
        "seeds": seeds,
        "note": SAME_SUBJECTS,
    }
    for name in FIGURES:
        figures = [values["subject"].get(name) for values in found]
        whole = None not in figures
        summary[name] = {
            "mean": statistics.fmean(figures) if whole else None,
            "deviation": statistics.stdev(figures) if whole else None,
            "values": figures,
        }
    return summary


def seeds_text(summary: dict[str, Any]) -> str:
    """Return the result of :func:`seed_summary` as a table."""

    def number(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.3f}"

    rows = [["seed", "run", *(name.upper() for name in FIGURES)]]
    for index, (seed, run) in enumerate(zip(summary["seeds"], summary["runs"], strict=True)):
        rows.append([seed, run, *(number(summary[name]["values"][index]) for name in FIGURES)])
    for what in ("mean", "deviation"):
        rows.append([what, "", *(number(summary[name][what]) for name in FIGURES)])
    text = f"{align(rows, left=2)}\n{summary['note']}"
    values = [summary[name]["values"] for name in FIGURES]
    if len(set(summary["seeds"])) > 1 and all(len(set(one)) == 1 for one in values):
        return f"{text}\nthe seed has no effect: all runs have the same figures"
    return text
