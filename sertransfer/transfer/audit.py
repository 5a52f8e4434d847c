"""Who is decided rightly: scores by gender, age, and how much a subject said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sertransfer.corpora.statistics import age_band
from sertransfer.evaluation import metrics
from sertransfer.evaluation.intervals import Clusters, decision_intervals
from sertransfer.manifest import Manifest
from sertransfer.transfer.settings import TransferConfig

FEW = 10
"""Under so many subjects a group's scores say nothing about the group."""


def audit_groups(
    manifest: Manifest, subjects: pd.DataFrame, sentences: pd.DataFrame, config: TransferConfig
) -> list[dict[str, Any]]:
    """Return the scores of each group of the reported subjects.

    Args:
        manifest: Gender and age of the subjects; the first row of a subject counts.
        subjects: Columns ``subject, label, prediction, cluster``.
        sentences: Their usable sentences, columns ``subject, duration``.
        config: Classes, and what a cluster is.

    Returns:
        Of each group ``by, group, n, positive`` (subjects of the positive class), ``wa, wa_ci95, ua,
        ua_ci95`` (``None`` where undefined) and ``warning``, empty where there is nothing to warn of.
        Sentences are counted in thirds of the subjects, by number and by mean length.
    """
    people = manifest.table.drop_duplicates("speaker").set_index("speaker")
    names = subjects["subject"]
    spoken = sentences.groupby("subject")["duration"].agg(["size", "mean"])
    groups = {
        "gender": names.map(people["gender"]).fillna("").replace("", "unknown"),
        "age": names.map(people["age"]).fillna("").map(age_band),
        "number of sentences": _thirds(names.map(spoken["size"]).fillna(0), ".0f", ""),
        "mean length of sentences": _thirds(names.map(spoken["mean"]), ".2f", " s"),
    }
    rows = []
    for by, group in groups.items():
        if by == "age" and set(group) == {"unknown"}:
            continue  # the corpus does not tell
        for name, members in subjects.groupby(group.to_numpy(), sort=False):
            rows.append({"by": by, "group": str(name), **_scores(members, config)})
    order = {by: position for position, by in enumerate(groups)}
    return sorted(rows, key=lambda row: (order[row["by"]], _key(row["group"])))


def _key(group: str) -> tuple[bool, float, str]:
    """Sort groups of numbers by their first one, others by name, ``unknown`` and ``none`` last."""
    try:
        return False, float(group.split(" ")[0]), ""
    except ValueError:
        return group in ("unknown", "none"), 0.0, group


def _thirds(values: pd.Series[float], form: str, unit: str) -> pd.Series[str]:
    """Name the third of the subjects that each value is in, by its own lowest and highest value."""
    known = values.dropna()
    if known.empty:
        return pd.Series("none", index=values.index)
    edges = np.unique(np.quantile(known, [1 / 3, 2 / 3], method="lower"))
    place = pd.Series(np.searchsorted(edges, known), index=known.index)
    names = {
        number: f"{known[place == number].min():{form}} to {known[place == number].max():{form}}{unit}"
        for number in place.unique()
    }
    return place.map(names).reindex(values.index).fillna("none")


def _scores(members: pd.DataFrame, config: TransferConfig) -> dict[str, Any]:
    truth, guess = members["label"].tolist(), members["prediction"].tolist()
    confusion = metrics.confusion_matrix(truth, guess, config.classes)
    whole = bool(confusion.sum(axis=1).all())
    named = "subjects" if config.cluster == "speaker" else f"{config.cluster}s"
    clusters = Clusters(members["cluster"].astype(str).tolist(), named)
    number = {name: index for index, name in enumerate(config.classes)}
    rows, columns = (np.array([number[name] for name in names]) for names in (truth, guess))
    found = decision_intervals(rows, columns, config.classes, clusters)
    warnings = []
    if len(members) < FEW:
        warnings.append(f"under {FEW} subjects: says nothing about the group")
    if not whole:
        warnings.append("one class only: UA is undefined")
    if clusters.reason:
        warnings.append(clusters.reason)
    return {
        "n": len(members),
        "positive": truth.count(config.positive),
        "wa": metrics.weighted_accuracy(confusion),
        "wa_ci95": found["wa"].bounds,
        "ua": metrics.unweighted_accuracy(confusion) if whole else None,
        "ua_ci95": found["ua"].bounds if whole else None,
        "warning": "; ".join(warnings),
    }
