"""What a run's scores are worth: calibration, scores by group, and the shortcuts they must beat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sertransfer.corpora.statistics import age_band
from sertransfer.evaluation import metrics
from sertransfer.evaluation.calibration import (
    brier,
    correct_prevalence,
    expected_calibration_error,
    reliability,
)
from sertransfer.evaluation.intervals import Clusters, decision_intervals
from sertransfer.manifest import Manifest
from sertransfer.transfer.checks.shortcuts import Listen, shortcut_rows
from sertransfer.transfer.data import SubjectSplit
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


BINS = {"subject": 5, "sentence": 10}
"""Parts of [0, 1] that scores are sorted into; fewer where there are fewer items."""


def judge(
    config: TransferConfig,
    manifest: Manifest,
    train: SubjectSplit,
    reported: SubjectSplit,
    *,
    sentences: pd.DataFrame,
    subjects: pd.DataFrame,
    cache: Path,
    progress: bool = True,
    listen: Listen | None = None,
) -> dict[str, Any]:
    """Return the blocks ``calibration``, ``audit`` and, unless switched off, ``shortcuts``.

    Args:
        config: Settings.
        manifest: Sentences, with gender and age where known.
        train: Training part, with the ``duration`` of its usable sentences.
        reported: Reported part, likewise.
        sentences: Reported sentences with ``label, score, duration``.
        subjects: Reported subjects with ``label, score, prediction, cluster``.
        cache: Folder that keeps the sentences' loudness.
        progress: Whether a bar is shown.
        listen: See :func:`sertransfer.transfer.checks.shortcuts.shortcut_rows`.

    Raises:
        BadInput: If a sentence cannot be read for its loudness.
    """
    assumed = assumed_share(config, train)
    blocks: dict[str, Any] = {
        "calibration": {
            "subject": calibration(
                subjects, config.positive, BINS["subject"], assumed, _share(train.subjects, config)
            ),
            "sentence": calibration(
                sentences, config.positive, BINS["sentence"], assumed, _share(train.sentences, config)
            ),
            "corrected_to": "share of positives in the training part: of its subjects, and of its sentences",
            "note": "a subject's score is what its aggregation gives; under a majority vote it is a share of "
            "sentences, and no probability was meant",
        },
        "audit": audit_groups(manifest, subjects, sentences, config),
    }
    if config.shortcuts:
        blocks |= shortcut_rows(
            config, manifest, train, reported, cache=cache, progress=progress, listen=listen
        )
    return blocks


def assumed_share(config: TransferConfig, train: SubjectSplit) -> float:
    """Return the share of positives, by weight, that scores were trained with.

    Args:
        config: Settings of the run.
        train: Training part, usable sentences only.
    """
    if config.mode == "finetune" or config.probe.balance_classes:
        return 0.5  # fine-tuning samples both classes alike
    if config.probe.balance_subjects:
        return _share(train.sentences.drop_duplicates("subject"), config)
    return _share(train.sentences, config)


def _share(items: pd.DataFrame, config: TransferConfig) -> float:
    return float((items["label"] == config.positive).mean())


def calibration(
    items: pd.DataFrame, positive: str, bins: int, assumed: float, prevalence: float
) -> dict[str, Any]:
    """Return how far the ``score`` of *items* can be read as the probability of *positive*.

    Args:
        items: Columns ``label`` and ``score``; where ``undecided`` is true, the score is a prevalence.
        positive: The positive label.
        bins: Number of bins.
        assumed: Share of positives that the scores were trained with.
        prevalence: Share that they are corrected to first, see
            :func:`sertransfer.evaluation.calibration.correct_prevalence`.

    Returns:
        ``assumed`` and ``prevalence``; of the corrected scores ``brier``, ``ece``, the expected calibration
        error, and ``bins``, see :func:`sertransfer.evaluation.calibration.reliability`; ``brier_of_share``,
        that of answering the items' own share of positives to all; and ``uncorrected``, ``brier`` and
        ``ece`` of the scores as they are.
    """
    truth = (items["label"] == positive).to_numpy(bool)
    scores = items["score"].to_numpy(float)
    corrected = correct_prevalence(scores, assumed, prevalence)
    if "undecided" in items:
        corrected = np.where(items["undecided"].to_numpy(bool), scores, corrected)
    share = float(truth.mean())
    return {
        "assumed": assumed,
        "prevalence": prevalence,
        "brier": brier(truth, corrected),
        "brier_of_share": share * (1 - share),
        "ece": expected_calibration_error(truth, corrected, bins=bins),
        "bins": reliability(truth, corrected, bins=bins),
        "uncorrected": {
            "brier": brier(truth, scores),
            "ece": expected_calibration_error(truth, scores, bins=bins),
        },
    }
