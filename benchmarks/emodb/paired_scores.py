"""The figures of PROTOCOL.md from tables of predictions: ``id, speaker, label, predicted``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sertransfer.evaluation import metrics

RESAMPLES = 5000

Tables = Mapping[str, pd.DataFrame]


def summarise(tables: Tables, classes: Sequence[str], *, peer: str) -> dict[str, Any]:
    """Return all figures as plain values.

    Args:
        tables: Predictions of each system, of the same recordings.
        classes: Order of the confusion matrices.
        peer: The system that the others are compared with.

    Raises:
        ValueError: If the systems did not score the same recordings, each once.
    """
    ordered = {name: table.sort_values("id", ignore_index=True) for name, table in tables.items()}
    first = ordered[peer]
    for name, table in ordered.items():
        if table["id"].duplicated().any() or not table[_KEYS].equals(first[_KEYS]):
            raise ValueError(f"{name} and {peer} scored different recordings")
    truth = metrics.confusion_matrix(first["label"].tolist(), first["label"].tolist(), classes)
    return {
        "n": len(first),
        "speakers": int(first["speaker"].nunique()),
        "majority": metrics.majority_row(truth),
        "systems": {name: _figures(table, classes) for name, table in ordered.items()},
        "against_peer": {
            name: _against(table, first, classes) for name, table in ordered.items() if name != peer
        },
        "by_speaker": _by_speaker(ordered, classes),
    }


_KEYS = ["id", "speaker", "label"]


def _figures(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    truth, predicted, speakers = (table[name].tolist() for name in ("label", "predicted", "speaker"))
    confusion = metrics.confusion_matrix(truth, predicted, classes)
    intervals = metrics.accuracy_intervals(truth, predicted, classes, speakers, resamples=RESAMPLES)
    return {
        "wa": metrics.weighted_accuracy(confusion),
        "ua": metrics.unweighted_accuracy(confusion),
        **intervals,
        "recalls": dict(zip(classes, metrics.recalls(confusion).tolist(), strict=True)),
        "confusion": confusion.tolist(),
    }


def _against(ours: pd.DataFrame, peer: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """Return ours minus the peer's, whole speakers resampled, the same for both; and McNemar's test."""
    speakers = peer["speaker"].tolist()
    found: dict[str, Any] = {}
    for name, measure in _MEASURES.items():
        difference = _difference(measure, ours, peer, classes)
        found[name] = difference(np.arange(len(peer)))
        found[f"{name}_ci95"] = metrics.cluster_bootstrap(difference, speakers, resamples=RESAMPLES)
    return found | {
        "mcnemar": metrics.exact_mcnemar(
            ours["predicted"] == ours["label"], peer["predicted"] == peer["label"]
        )
    }


def _difference(
    measure: Callable[[metrics.Matrix], float],
    ours: pd.DataFrame,
    peer: pd.DataFrame,
    classes: Sequence[str],
) -> Callable[[NDArray[np.int64]], float]:
    code = {name: number for number, name in enumerate(classes)}
    truth = ours["label"].map(code).to_numpy()
    answers = [table["predicted"].map(code).to_numpy() for table in (ours, peer)]
    size = len(classes)

    def statistic(rows: NDArray[np.int64]) -> float:
        first, second = (
            measure(np.bincount(truth[rows] * size + given[rows], minlength=size**2).reshape(size, size))
            for given in answers
        )
        return first - second

    return statistic


def _unweighted(confusion: metrics.Matrix) -> float:
    return metrics.unweighted_accuracy(confusion, absent="skip")


_MEASURES: dict[str, Callable[[metrics.Matrix], float]] = {
    "wa": metrics.weighted_accuracy,
    "ua": _unweighted,
}


def _by_speaker(tables: Tables, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        for speaker, part in table.groupby("speaker"):
            confusion = metrics.confusion_matrix(part["label"].tolist(), part["predicted"].tolist(), classes)
            row = rows.setdefault(str(speaker), {"n": len(part)})
            row[name] = {"wa": metrics.weighted_accuracy(confusion), "ua": _unweighted(confusion)}
    return rows


def report(results: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    lines = ["| | WA | 95 % | UA | 95 % |", "|---|---|---|---|---|"]
    for name, row in results["systems"].items():
        lines.append(
            f"| {name} | {row['wa']:.3f} | {_interval(row['wa_ci95'])} "
            f"| {row['ua']:.3f} | {_interval(row['ua_ci95'])} |"
        )
    majority = results["majority"]
    lines += [f"| majority class | {majority['wa']:.3f} | | {majority['ua']:.3f} | |", ""]
    for name, row in results["against_peer"].items():
        lines.append(
            f"{name} minus peer: WA {row['wa']:+.3f} {_interval(row['wa_ci95'])}, "
            f"UA {row['ua']:+.3f} {_interval(row['ua_ci95'])}; right alone: {row['mcnemar']['only_a']} and "
            f"{row['mcnemar']['only_b']}, p = {row['mcnemar']['p']:.3f}"
        )
    names = list(results["systems"])
    lines += ["", "| speaker | n | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for speaker, row in results["by_speaker"].items():
        cells = " | ".join(f"{row[name]['wa']:.3f}" for name in names)
        lines.append(f"| {speaker} | {row['n']} | {cells} |")
    return "\n".join(lines)


def _interval(bounds: Sequence[float] | None) -> str:
    return "undefined" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
