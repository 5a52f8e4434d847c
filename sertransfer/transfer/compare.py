"""Runs of stage 2 on the same subjects: is the difference between two more than chance?

The exact McNemar test asks whether the subjects on which two runs disagree lean to one side. Where subjects
form clusters (the sessions of a person), the exact sign-flip test asks the same of whole clusters. Intervals
are of paired differences, so that what makes a subject hard for both runs cancels. Among several runs one
difference in twenty is "significant" where there is none: p is given after Holm's correction too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sertransfer.evaluation import metrics
from sertransfer.evaluation.significance import FEWEST_CLUSTERS, holm, paired_interval, sign_flip_test
from sertransfer.reporting.tables import align
from sertransfer.transfer.paired import Decisions, read_decisions

MOST_PAIRED = 5
"""Of more runs than these not every pair is compared, but each with the first."""


MCNEMAR, SIGN_FLIP = "exact McNemar test", "exact sign-flip test over clusters"
"""The test of WA: of subjects that are clusters of their own, and of others."""

NO_RESAMPLING = "--resamples and --seed have no effect: intervals and tests are computed without resampling"


def compare(
    run_a: Path, run_b: Path, *, resamples: int | None = None, seed: int | None = None
) -> dict[str, Any]:
    """Compare the subject decisions of two finished runs.

    Args:
        run_a: Run folder.
        run_b: Run folder whose gain over *run_a* is asked for.
        resamples: Has no effect; kept for code that bootstrapped.
        seed: Likewise.

    Returns:
        ``n``, ``classes``, ``clusters`` (``n``, their ``name`` where known, whether they are
        ``independent_subjects``, and the ``test`` and ``interval`` used), ``a`` and ``b`` (``run, encoder,
        mode, split, wa, ua``), ``mcnemar`` (``only_a, only_b, p``, by that test), and ``difference``: ``wa``
        and ``ua`` of B less those of A, with paired 95 % intervals (``None`` with fewer than six clusters).

    Raises:
        BadInput: If a folder holds no finished run, or the subjects or their labels differ; each
            difference is named.
    """
    decisions = read_decisions([run_a, run_b])
    runs = [_run(decisions, index) for index in (0, 1)]
    return {
        "n": len(decisions.truth),
        "classes": decisions.classes,
        "a": runs[0],
        "b": runs[1],
        "clusters": _clusters(decisions),
        **_pair(decisions, 0, 1),
        "generated": decisions.generated,
        "generated_remark": decisions.generated_remark,
    }


def compare_all(
    folders: Sequence[Path], *, resamples: int | None = None, seed: int | None = None
) -> dict[str, Any]:
    """Compare several finished runs, every pair of them, or of more than five each with the first.

    Args:
        folders: Run folders, two or more.
        resamples: Has no effect; kept for code that bootstrapped.
        seed: Likewise.

    Returns:
        ``n``, ``classes``, ``clusters``, ``majority``, ``runs`` as :func:`compare` gives them, with the
        intervals and the AUROC of their own ``metrics.json``, ``pairs`` (``a`` and ``b``, numbers of runs
        from 0, ``mcnemar`` with ``p_holm``, and ``difference``), and ``subjects`` (``subject, label``, and
        for each run ``predictions`` and ``scores``, ``None`` where the run's table has none).

    Raises:
        BadInput: As :func:`compare`.
    """
    decisions = read_decisions(folders)
    runs = []
    for index, values in enumerate(decisions.metrics):
        known = {key: values["subject"].get(key) for key in ("wa_ci95", "ua_ci95", "auroc", "auroc_ci95")}
        runs.append({**_run(decisions, index), **known})
    every = combinations(range(len(runs)), 2)
    chosen = list(every) if len(runs) <= MOST_PAIRED else [(0, index) for index in range(1, len(runs))]
    pairs = [{"a": a, "b": b, **_pair(decisions, a, b)} for a, b in chosen]
    for pair, p in zip(pairs, holm([pair["mcnemar"]["p"] for pair in pairs]), strict=True):
        pair["mcnemar"]["p_holm"] = p
    truth = decisions.truth
    common = metrics.majority_row(metrics.confusion_matrix(truth, truth, decisions.classes))
    return {
        "n": len(truth),
        "classes": decisions.classes,
        "clusters": _clusters(decisions),
        "majority": common,
        "runs": runs,
        "pairs": pairs,
        "subjects": _subjects(decisions),
        "generated": decisions.generated,
        "generated_remark": decisions.generated_remark,
    }


def _run(decisions: Decisions, index: int) -> dict[str, Any]:
    values, guess = decisions.metrics[index], decisions.tables[index]["prediction"].tolist()
    return {
        "run": str(decisions.folders[index]),
        **{key: values.get(key) for key in ("encoder", "mode", "split")},
        **_scores(decisions.truth, guess, decisions.classes),
    }


def _clusters(decisions: Decisions) -> dict[str, Any]:
    count = len(set(decisions.clusters))
    independent = count == len(decisions.truth)
    return {
        "n": count,
        "name": decisions.cluster_name,
        "independent_subjects": independent,
        "test": MCNEMAR if independent else SIGN_FLIP,
        "interval": "paired: Bonett-Price by class, combined by MOVER"
        + ("" if independent else ", with the design effect of the clusters"),
    }


def _pair(decisions: Decisions, a: int, b: int) -> dict[str, Any]:
    truth = decisions.truth
    guesses = [decisions.tables[index]["prediction"].tolist() for index in (a, b)]
    right = [np.array(guess) == np.array(truth) for guess in guesses]
    return {
        "mcnemar": asdict(sign_flip_test(right[0], right[1], decisions.clusters)),
        "difference": _difference(truth, right, decisions.classes, decisions.clusters),
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
    truth: list[str], right: list[NDArray[np.bool_]], classes: list[str], clusters: list[str]
) -> dict[str, Any]:
    """Return B less A in WA and UA, with paired intervals; ``None`` where a class is absent."""
    gain = right[1].astype(float) - right[0].astype(float)  # -1, 0 or 1 a subject
    by_class = [gain[np.array(truth) == name] for name in classes]
    whole = all(len(part) for part in by_class)
    result: dict[str, Any] = {}
    for name, strata, value in (
        ("wa", [""] * len(gain), float(gain.mean())),
        ("ua", truth, float(np.mean([part.mean() for part in by_class])) if whole else None),
    ):
        bounds = None if value is None else paired_interval(gain, strata, clusters)
        result[name] = value
        result[f"{name}_ci95"] = None if bounds is None else list(bounds)
    return result


def comparison_text(result: dict[str, Any]) -> str:
    """Return the result of :func:`compare` as a table and two sentences."""
    lines = [_table([result["a"], result["b"]]), f"{result['n']} subjects, the same in both runs"]
    lines += [_difference_text(result, name, "B less A") for name in ("wa", "ua")]
    test = result["mcnemar"]
    lines.append(
        f"right in A alone: {test['only_a']}, in B alone: {test['only_b']}; "
        f"{_short(result)} p = {test['p']:.3g}"
    )
    return "\n".join([*lines, clusters_text(result), *_generated(result)])


def comparisons_text(result: dict[str, Any]) -> str:
    """Return the result of :func:`compare_all` as a table and a paragraph for each pair."""
    lines = [_table(result["runs"]), f"{result['n']} subjects, the same in all runs"]
    for pair in result["pairs"]:
        a, b = letter(pair["a"]), letter(pair["b"])
        test = pair["mcnemar"]
        lines.append(
            f"{b} less {a}: "
            + "; ".join(_difference_text(pair, name, "", note=False) for name in ("wa", "ua"))
            + f"; right in {a} alone {test['only_a']}, in {b} alone {test['only_b']}, {_short(result)} "
            + f"p = {test['p']:.3g}, {test['p_holm']:.3g} after Holm's correction"
        )
    lines.append(
        f"{len(result['pairs'])} comparison(s): Holm's correction keeps the chance of any false one at 5 %"
    )
    return "\n".join([*lines, clusters_text(result), *_generated(result)])


def clusters_text(result: dict[str, Any]) -> str:
    """Return what tests and intervals took to be independent, in a sentence."""
    clusters = result["clusters"]
    count, name = clusters["n"], clusters["name"]
    if clusters["independent_subjects"]:
        text = f"tests and intervals take the {count} subjects to be independent of each other"
    else:
        text = (
            f"tests swap, and intervals leave out, whole clusters ({count}{f' by {name}' if name else ''}): "
            f"the {result['n']} subjects are not independent"
        )
    if count < FEWEST_CLUSTERS:
        text += f"; no interval: {count} clusters, and {FEWEST_CLUSTERS} are needed"
    return text


def _short(result: dict[str, Any]) -> str:
    return "exact McNemar" if result["clusters"]["test"] == MCNEMAR else "exact sign-flip test over clusters"


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
    return f"{start} {text} {interval}" + (" (paired, 95 %)" if note else "")


def _generated(result: dict[str, Any]) -> list[str]:
    told = f"{result['generated_remark']}: the comparison shows that the software works, and nothing else"
    return [told] if result["generated"] else []


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
