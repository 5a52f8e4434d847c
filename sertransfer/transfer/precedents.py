"""What came true of such scores in the run: the share of subjects with a like score who were positive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.evaluation.aggregation import ATTENTION, TOP_K, aggregate
from sertransfer.evaluation.calibration import bin_edges, bins_of, reliability
from sertransfer.evaluation.metrics import clopper_pearson
from sertransfer.reporting.runs import read_table
from sertransfer.transfer.judging import BINS

FEWEST = 5
"""Under so many subjects of a like score nothing is said about it."""

Bins = dict[str, list[dict[str, float | int]]]


def read_precedents(run_dir: Path, metrics: dict[str, Any]) -> Bins:
    """Return what came true of subjects' scores, in equal parts of [0, 1].

    Args:
        run_dir: Of a finished run of stage 2.
        metrics: Its metrics.

    Returns:
        Bins, see :func:`sertransfer.evaluation.calibration.reliability`, of the reported subjects
        (``SPLIT subjects``) and of those of the training subjects that were scored out of fold.

    Raises:
        BadInput: If a table of the run can not be read.
    """
    positive = metrics["classes"][1]
    found: Bins = {}
    for whose, subjects in (
        (f"{metrics['split']} subjects", read_table(run_dir / "subjects.csv", ["label", "score"])),
        ("training subjects (scored out of fold)", _out_of_fold(run_dir, metrics)),
    ):
        truth = (subjects["label"] == positive).to_numpy(bool)
        scores = pd.to_numeric(subjects["score"]).to_numpy(float)
        found[whose] = reliability(truth, scores, bins=BINS["subject"])
    return found


def _out_of_fold(run_dir: Path, metrics: dict[str, Any]) -> pd.DataFrame:
    columns = ["subject", "split", "label", "score", "duration"]
    method = metrics["aggregation"]
    columns += [ATTENTION] * (method == ATTENTION)
    sentences = read_table(run_dir / "out_of_fold.csv", columns)
    for name in {"score", "duration", ATTENTION} & set(columns):
        sentences[name] = pd.to_numeric(sentences[name])
    return aggregate(sentences, method, top_k=metrics.get("top_k", TOP_K))


def precedents_of(score: float, bins: Bins) -> list[dict[str, Any]]:
    """Return, of each group of subjects, how many with a score like *score* were positive.

    Returns:
        ``group``, ``low``, ``high`` (of the bin), ``n``, ``positive`` (their share), ``ci95`` (exact, of
        that share) and ``text``. With fewer than :data:`FEWEST` subjects the share and its interval are
        ``None``: not calibrated there.
    """
    rows = []
    for group, entries in bins.items():
        edges = bin_edges(BINS["subject"])
        place = int(bins_of([score], BINS["subject"])[0])
        low, high = float(edges[place]), float(edges[place + 1])
        entry = next((row for row in entries if row["low"] == low), None)
        n = 0 if entry is None else int(entry["n"])
        row: dict[str, Any] = {
            "group": group,
            "low": low,
            "high": high,
            "n": n,
            "positive": None,
            "ci95": None,
        }
        span = f"a score from {low:.1f} to {high:.1f}"
        if entry is None or n < FEWEST:
            row["text"] = f"not calibrated: {n} {group} had {span}, under the {FEWEST} that it takes"
        else:
            share = float(entry["positive"])
            bounds = clopper_pearson(round(share * n), n)
            row |= {"positive": share, "ci95": None if bounds is None else list(bounds)}
            interval = "" if bounds is None else f", 95 % interval {bounds[0]:.0%} to {bounds[1]:.0%}"
            row["text"] = f"of {n} {group} with {span}, {share:.0%} were positive{interval}"
        rows.append(row)
    return rows
