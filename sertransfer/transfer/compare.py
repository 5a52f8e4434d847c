"""Runs of stage 2 on the same subjects, compared: pairwise differences, and seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sertransfer.errors import Faults, bad_input
from sertransfer.evaluation import metrics
from sertransfer.evaluation.significance import (
    FEWEST_CLUSTERS,
    holm,
    joined_clusters,
    paired_interval,
    sign_flip_test,
)
from sertransfer.io.run_folder import GENERATED_BOTH, check_evidence, generated_remark
from sertransfer.reporting.runs import read_json, read_table, read_yaml
from sertransfer.reporting.tables import align, flat

COLUMNS = ["subject", "label", "prediction"]
_NAMED = 8


@dataclass(frozen=True)
class Decisions:
    """What each of *folders* decided.

    Attributes:
        folders: Of the runs.
        metrics: The content of each run's ``metrics.json``.
        tables: Each run's ``subjects.csv``, in the order of the first run's subjects.
        classes: Names, the same in all runs.
    """

    folders: list[Path]
    metrics: list[dict[str, Any]]
    tables: list[pd.DataFrame]
    classes: list[str]

    @property
    def truth(self) -> list[str]:
        """Label of each subject."""
        return list(self.tables[0]["label"])

    @property
    def clusters(self) -> list[str]:
        """What is not independent of each other: subjects that any run's table puts into one cluster."""
        namings = [
            list(table["cluster" if "cluster" in table else "subject"].astype(str)) for table in self.tables
        ]
        return joined_clusters(namings)

    @property
    def cluster_name(self) -> str | None:
        """The columns of the manifest that name the clusters, where the runs say it."""
        found = [values["subject"].get("intervals", {}).get("cluster") for values in self.metrics]
        return ", ".join(dict.fromkeys(str(name) for name in found if name)) or None

    @property
    def generated(self) -> bool:
        """Whether the data are generated, or what a run's encoder was trained on."""
        return any(map(generated_remark, self.metrics))

    @property
    def generated_remark(self) -> str:
        """What is generated: the data, a model of the runs, or both; empty if nothing is."""
        remarks = {generated_remark(values) for values in self.metrics} - {""}
        return remarks.pop() if len(remarks) == 1 else GENERATED_BOTH if remarks else ""


def read_decisions(folders: Sequence[Path]) -> Decisions:
    """Read the finished runs in *folders*.

    Raises:
        BadInput: If there are fewer than two, one holds no finished run, or its subjects, labels or classes
            are not those of the first; each difference is named.
    """
    if len(folders) < 2:
        raise bad_input(
            "compare", found=f"{len(folders)} run", expected="two or more", remedy="name another run folder"
        )
    folders = [Path(folder) for folder in folders]
    found = [read_json(folder / "metrics.json", "the metrics of a finished run") for folder in folders]
    for folder, values in zip(folders, found, strict=True):
        if "subject" not in values:
            raise bad_input(
                folder / "metrics.json",
                found="no scores of subjects",
                expected="a finished run of 'sertransfer transfer' or 'tune'",
                remedy="give runs of stage 2",
            )
    for folder, values in zip(folders, found, strict=True):
        check_evidence(folder, values, ["subjects.csv"])
    tables = [read_table(folder / "subjects.csv", COLUMNS) for folder in folders]
    classes = [[str(name) for name in values["subject"]["classes"]] for values in found]
    faults = Faults()
    for index in range(1, len(folders)):
        _check_same((tables[0], tables[index]), [folders[0], folders[index]], faults)
        if classes[index] != classes[0]:
            faults.add(
                folders[index] / "metrics.json",
                found=f"classes {', '.join(classes[index])}",
                expected=", ".join(classes[0]),
                remedy="compare runs of the same classes",
            )
    faults.raise_if_any()
    for folder, table, names in zip(folders, tables, classes, strict=True):
        if unknown := sorted({*table["label"], *table["prediction"]} - set(names)):
            faults.add(
                folder / "subjects.csv",
                found=f"label {unknown[0]}",
                expected=f"one of {', '.join(names)}, as metrics.json has it",
                remedy="copy the run folder again from where it is whole, or run it again",
            )
    faults.raise_if_any()
    order = tables[0]["subject"]
    aligned = [table.set_index("subject").loc[order].reset_index() for table in tables]
    return Decisions(folders, found, aligned, classes[0])


def _check_same(tables: tuple[pd.DataFrame, pd.DataFrame], folders: list[Path], faults: Faults) -> None:
    first, second = tables
    names = [set(table["subject"]) for table in tables]
    for mine, other in ((0, 1), (1, 0)):
        if extra := sorted(names[mine] - names[other]):
            faults.add(
                folders[mine] / "subjects.csv",
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


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


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
    """Return B - A in WA and UA, with paired intervals; ``None`` where a class is absent."""
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
    lines += [_difference_text(result, name, "B - A") for name in ("wa", "ua")]
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
            f"{b} - {a}: "
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
    start = f"{name.upper()} difference ({of}):" if of else name.upper()
    return f"{start} {text} {interval}" + (" (paired, 95 %)" if note else "")


def _generated(result: dict[str, Any]) -> list[str]:
    told = f"{result['generated_remark']}: the comparison shows that the software works, and nothing else"
    return [told] if result["generated"] else []


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


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
