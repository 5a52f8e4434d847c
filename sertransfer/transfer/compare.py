"""Runs of stage 2 on the same subjects: is the difference between two more than chance?

The exact McNemar test asks whether the subjects on which two runs disagree lean to one side. The bootstrap
draws the same subjects for both runs, so that what makes a subject hard for both cancels. Among several runs
one difference in twenty is "significant" where there is none: p is given after Holm's correction too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from sertransfer import metrics
from sertransfer.errors import bad_input
from sertransfer.reporting.tables import align
from sertransfer.transfer.paired import Decisions, read_decisions

MOST_PAIRED = 5
"""Of more runs than these not every pair is compared, but each with the first."""


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
    _check_resamples(resamples)
    decisions = read_decisions([run_a, run_b])
    runs = [_run(decisions, index) for index in (0, 1)]
    return {
        "n": len(decisions.truth),
        "classes": decisions.classes,
        "a": runs[0],
        "b": runs[1],
        **_pair(decisions, 0, 1, resamples, seed),
        "resamples": resamples,
        "seed": seed,
        "generated": decisions.generated,
    }


def compare_all(folders: Sequence[Path], *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Compare several finished runs, every pair of them, or of more than five each with the first.

    Args:
        folders: Run folders, two or more.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        ``n``, ``classes``, ``majority``, ``runs`` as :func:`compare` gives them, with the intervals and the
        AUROC of their own ``metrics.json``, ``pairs`` (``a`` and ``b``, numbers of runs from 0, ``mcnemar``
        with ``p_holm``, and ``difference``), and ``subjects`` (``subject, label``, and for each run
        ``predictions`` and ``scores``, ``None`` where the run's table has none).

    Raises:
        BadInput: As :func:`compare`.
    """
    _check_resamples(resamples)
    decisions = read_decisions(folders)
    runs = []
    for index, values in enumerate(decisions.metrics):
        known = {key: values["subject"].get(key) for key in ("wa_ci95", "ua_ci95", "auroc", "auroc_ci95")}
        runs.append({**_run(decisions, index), **known})
    every = combinations(range(len(runs)), 2)
    chosen = list(every) if len(runs) <= MOST_PAIRED else [(0, index) for index in range(1, len(runs))]
    pairs = [{"a": a, "b": b, **_pair(decisions, a, b, resamples, seed)} for a, b in chosen]
    for pair, p in zip(pairs, holm([pair["mcnemar"]["p"] for pair in pairs]), strict=True):
        pair["mcnemar"]["p_holm"] = p
    truth = decisions.truth
    common = metrics.majority_row(metrics.confusion_matrix(truth, truth, decisions.classes))
    return {
        "n": len(truth),
        "classes": decisions.classes,
        "majority": common,
        "runs": runs,
        "pairs": pairs,
        "subjects": _subjects(decisions),
        "resamples": resamples,
        "seed": seed,
        "generated": decisions.generated,
    }


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method, in the order given.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(values)
    least = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        least = max(least, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = least
    return corrected


def _check_resamples(resamples: int) -> None:
    if resamples < 1:
        raise bad_input("compare", found=f"{resamples} resamples", expected="1 or more", remedy="correct it")


def _run(decisions: Decisions, index: int) -> dict[str, Any]:
    values, guess = decisions.metrics[index], decisions.tables[index]["prediction"].tolist()
    return {
        "run": str(decisions.folders[index]),
        **{key: values.get(key) for key in ("encoder", "mode", "split")},
        **_scores(decisions.truth, guess, decisions.classes),
    }


def _pair(decisions: Decisions, a: int, b: int, resamples: int, seed: int) -> dict[str, Any]:
    truth = decisions.truth
    guesses = [decisions.tables[index]["prediction"].tolist() for index in (a, b)]
    right = [np.array(guess) == np.array(truth) for guess in guesses]
    return {
        "mcnemar": metrics.exact_mcnemar(*right),
        "difference": _difference(truth, guesses, decisions.classes, decisions.clusters, resamples, seed),
    }


def _subjects(decisions: Decisions) -> list[dict[str, Any]]:
    predictions = [table["prediction"].tolist() for table in decisions.tables]
    scores = [
        table["score"].astype(float).tolist() if "score" in table else [None] * len(table)
        for table in decisions.tables
    ]
    names = decisions.tables[0]["subject"]
    return [
        {
            "subject": name,
            "label": label,
            "predictions": [guess[place] for guess in predictions],
            "scores": [values[place] for values in scores],
        }
        for place, (name, label) in enumerate(zip(names, decisions.truth, strict=True))
    ]


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
    lines = [_table([result["a"], result["b"]]), f"{result['n']} subjects, the same in both runs"]
    lines += [_difference_text(result, name, "B less A") for name in ("wa", "ua")]
    test = result["mcnemar"]
    lines.append(
        f"right in A alone: {test['only_a']}, in B alone: {test['only_b']}; exact McNemar p = {test['p']:.3g}"
    )
    return "\n".join(lines + _generated(result))


def comparisons_text(result: dict[str, Any]) -> str:
    """Return the result of :func:`compare_all` as a table and a paragraph for each pair."""
    lines = [_table(result["runs"]), f"{result['n']} subjects, the same in all runs"]
    for pair in result["pairs"]:
        a, b = letter(pair["a"]), letter(pair["b"])
        test = pair["mcnemar"]
        lines.append(
            f"{b} less {a}: "
            + "; ".join(_difference_text(pair, name, "", note=False) for name in ("wa", "ua"))
            + f"; right in {a} alone {test['only_a']}, in {b} alone {test['only_b']}, exact McNemar "
            + f"p = {test['p']:.3g}, {test['p_holm']:.3g} after Holm's correction"
        )
    lines.append(
        f"{len(result['pairs'])} comparison(s): Holm's correction keeps the chance of any false one at 5 %"
    )
    return "\n".join(lines + _generated(result))


def letter(index: int) -> str:
    """Return the name of the run of this number: A, B, ... Z, then R27 and so on."""
    return chr(ord("A") + index) if index < 26 else f"R{index + 1}"


def _table(runs: Sequence[dict[str, Any]]) -> str:
    rows: list[list[str]] = [["", "run", "encoder", "mode", "WA", "UA"]]
    for index, run in enumerate(runs):
        words = [str(run[key]) for key in ("run", "encoder", "mode")]
        rows.append([letter(index), *words, _number(run["wa"]), _number(run["ua"])])
    return align(rows, left=4)


def _difference_text(pair: dict[str, Any], name: str, of: str, *, note: bool = True) -> str:
    value, bounds = pair["difference"][name], pair["difference"][f"{name}_ci95"]
    interval = f"[{bounds[0]:+.3f}, {bounds[1]:+.3f}]" if bounds else "[no interval]"
    text = "undefined" if value is None else f"{value:+.3f}"
    start = f"{name.upper()} of {of}:" if of else name.upper()
    return f"{start} {text} {interval}" + (" (paired bootstrap over subjects, 95 %)" if note else "")


def _generated(result: dict[str, Any]) -> list[str]:
    told = "generated data: the comparison shows that the software works, and nothing else"
    return [told] if result["generated"] else []


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
