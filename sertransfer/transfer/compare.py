"""Two runs of stage 2 on the same subjects: is the difference more than chance?

The exact McNemar test asks whether the subjects on which the runs disagree lean to one side. The bootstrap
draws the same subjects for both runs, so that what makes a subject hard for both cancels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sertransfer import metrics
from sertransfer.errors import Faults, bad_input
from sertransfer.reporting.run_files import read_json, read_table
from sertransfer.reporting.tables import align

COLUMNS = ["subject", "label", "prediction"]
_NAMED = 8


def compare(run_a: Path, run_b: Path, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Compare the subject decisions of two finished runs.

    Args:
        run_a: Run folder.
        run_b: Run folder whose gain over *run_a* is asked for.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        ``n``, ``classes``, ``a`` and ``b`` (``run, encoder, mode, split, wa, ua``), ``mcnemar`` (``only_a,
        only_b, p``), and ``difference``: ``wa`` and ``ua`` of B less those of A, with the 95 % intervals of
        the paired bootstrap over subjects (over clusters, where the runs' tables name them).

    Raises:
        BadInput: If a folder holds no finished run, or the subjects or their labels differ; each
            difference is named.
    """
    if resamples < 1:
        raise bad_input("compare", found=f"{resamples} resamples", expected="1 or more", remedy="correct it")
    folders = [Path(run_a), Path(run_b)]
    found = [read_json(folder / "metrics.json", "the metrics of a finished run") for folder in folders]
    for folder, values in zip(folders, found, strict=True):
        if "subject" not in values:
            raise bad_input(
                folder / "metrics.json",
                found="no scores of subjects",
                expected="a finished run of 'sertransfer transfer' or 'tune'",
                remedy="give two runs of stage 2",
            )
    first, second = (read_table(folder / "subjects.csv", COLUMNS) for folder in folders)
    _check_same(first, second, folders, [values["subject"]["classes"] for values in found])
    second = second.set_index("subject").loc[first["subject"]].reset_index()
    classes = [str(name) for name in found[0]["subject"]["classes"]]
    truth = first["label"].tolist()
    guesses = [table["prediction"].tolist() for table in (first, second)]
    runs = [
        {
            "run": str(folder),
            **{key: values.get(key) for key in ("encoder", "mode", "split")},
            **_scores(truth, guess, classes),
        }
        for folder, values, guess in zip(folders, found, guesses, strict=True)
    ]
    right = [np.array(guess) == np.array(truth) for guess in guesses]
    clusters = first["cluster" if "cluster" in first else "subject"].astype(str).tolist()
    return {
        "n": len(truth),
        "classes": classes,
        "a": runs[0],
        "b": runs[1],
        "mcnemar": metrics.exact_mcnemar(*right),
        "difference": _difference(truth, guesses, classes, clusters, resamples, seed),
        "resamples": resamples,
        "seed": seed,
        "generated": any(bool(values.get("generated")) for values in found),
    }


def _check_same(
    first: pd.DataFrame, second: pd.DataFrame, folders: list[Path], classes: list[list[str]]
) -> None:
    faults = Faults()
    names = [set(table["subject"]) for table in (first, second)]
    for mine, other, folder in ((0, 1, folders[0]), (1, 0, folders[1])):
        if extra := sorted(names[mine] - names[other]):
            faults.add(
                folder / "subjects.csv",
                found=f"{len(extra)} subject(s) that the other run has not scored: {_some(extra)}",
                expected="the same subjects in both runs",
                remedy="score both runs on the same split of the same manifest",
            )
    labels = first.merge(second, on="subject", suffixes=("_a", "_b"))
    if other_label := labels.loc[labels["label_a"] != labels["label_b"], "subject"].tolist():
        faults.add(
            folders[1] / "subjects.csv",
            found=f"another label than in {folders[0]} for subject(s) {_some(other_label)}",
            expected="the same labels in both runs",
            remedy="prepare both runs' manifests with the same label files and errata",
        )
    if classes[0] != classes[1]:
        faults.add(
            folders[1] / "metrics.json",
            found=f"classes {', '.join(classes[1])}",
            expected=", ".join(classes[0]),
            remedy="compare runs of the same classes",
        )
    faults.raise_if_any()


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _scores(truth: list[str], guess: list[str], classes: list[str]) -> dict[str, float | None]:
    confusion = metrics.confusion_matrix(truth, guess, classes)
    whole = bool(confusion.sum(axis=1).all())
    return {
        "wa": metrics.weighted_accuracy(confusion),
        "ua": metrics.unweighted_accuracy(confusion) if whole else None,
    }


def _difference(
    truth: list[str],
    guesses: list[list[str]],
    classes: list[str],
    clusters: list[str],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return B less A in WA and UA, with paired intervals; ``None`` where a class is absent."""
    true = np.array([classes.index(name) for name in truth])
    right = [np.array([classes.index(name) for name in guess]) == true for guess in guesses]
    gain = right[1].astype(float) - right[0].astype(float)  # -1, 0 or 1 a subject

    def weighted(rows: metrics.Matrix) -> float:
        return float(gain[rows].mean())

    def unweighted(rows: metrics.Matrix) -> float | None:
        held = [gain[rows][true[rows] == index] for index in range(len(classes))]
        return float(np.mean([part.mean() for part in held])) if all(len(part) for part in held) else None

    everyone = np.arange(len(true))
    result: dict[str, Any] = {}
    for name, statistic in (("wa", weighted), ("ua", unweighted)):
        bounds = metrics.cluster_bootstrap(statistic, clusters, resamples=resamples, seed=seed)
        result[name] = statistic(everyone)
        result[f"{name}_ci95"] = None if bounds is None else list(bounds)
    return result


def comparison_text(result: dict[str, Any]) -> str:
    """Return the result of :func:`compare` as a table and two sentences."""
    rows: list[list[str]] = [["", "run", "encoder", "mode", "WA", "UA"]]
    for name in ("a", "b"):
        run = result[name]
        rows.append(
            [
                name.upper(),
                str(run["run"]),
                str(run["encoder"]),
                str(run["mode"]),
                _number(run["wa"]),
                _number(run["ua"]),
            ]
        )
    test, difference = result["mcnemar"], result["difference"]
    lines = [align(rows, left=4), f"{result['n']} subjects, the same in both runs"]
    for name in ("wa", "ua"):
        bounds = difference[f"{name}_ci95"]
        interval = f"[{bounds[0]:+.3f}, {bounds[1]:+.3f}]" if bounds else "[no interval]"
        value = "undefined" if difference[name] is None else f"{difference[name]:+.3f}"
        lines.append(f"{name.upper()} of B less A: {value} {interval} (paired bootstrap over subjects, 95 %)")
    lines.append(
        f"right in A alone: {test['only_a']}, in B alone: {test['only_b']}; exact McNemar p = {test['p']:.3g}"
    )
    if result["generated"]:
        lines.append("generated data: the comparison shows that the software works, and nothing else")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
