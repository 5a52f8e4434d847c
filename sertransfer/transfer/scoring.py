"""The figures of a run: sentences and subjects with intervals, the cohort, and what ``metrics.json`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from sertransfer import __version__
from sertransfer.corpora.recordings import silence_remarks
from sertransfer.corpora.statistics import age_band
from sertransfer.evaluation import metrics
from sertransfer.evaluation.aggregation import ATTENTION
from sertransfer.evaluation.chance import against_constant
from sertransfer.evaluation.folds import auroc_within, auroc_within_interval
from sertransfer.evaluation.intervals import Clusters, Interval, auroc_interval, decision_intervals
from sertransfer.manifest import Manifest
from sertransfer.transfer.decide import UNDECIDED_RULE, DecidedRun, Outcome
from sertransfer.transfer.settings import TransferConfig

SENTENCE_THRESHOLD = 0.5
"""From this score on a sentence counts as positive."""

PAIRS_WITHIN = "within folds: scores of different fits are not compared"
"""What an AUROC over several fits counts."""


class _Scored:
    """Items with truth, decision, score and cluster, and their figures."""

    def __init__(
        self, table: pd.DataFrame, predicted: NDArray[np.bool_], config: TransferConfig, unit: str
    ) -> None:
        self.truth = (table["label"] == config.positive).to_numpy(bool)
        self.predicted = predicted
        self.scores = table["score"].to_numpy(float)
        named = unit if config.cluster == "speaker" else f"{config.cluster}s"
        self.clusters = Clusters(table["cluster"].astype(str).tolist(), named)
        self.config = config

    def confusion(self) -> metrics.Matrix:
        """Count (truth, prediction), negative class first."""
        cells = 2 * self.truth + self.predicted
        return np.bincount(cells.astype(np.int64), minlength=4).reshape(2, 2)

    def intervals(self) -> dict[str, Interval]:
        """Return the intervals of decisions and of the AUROC, by the names of ``metrics.json``."""
        truth, predicted = self.truth.astype(np.int64), self.predicted.astype(np.int64)
        found = decision_intervals(truth, predicted, ("negative", "positive"), self.clusters)
        whole = 0 < self.truth.sum() < len(self.truth)
        absent = Interval(reason="no interval: a class has no item")
        return {
            "wa": found["wa"],
            "ua": found["ua"] if whole else absent,
            "macro_f1": found["macro_f1"],
            "sensitivity": found["recall positive"],
            "specificity": found["recall negative"],
            "f1 negative": found["f1 negative"],
            "f1 positive": found["f1 positive"],
            "auroc": auroc_interval(self.truth, self.scores, self.clusters) if whole else absent,
        }

    def against_majority(self) -> dict[str, Any]:
        """Return the comparison with the most frequent class, for the headline."""
        truth, predicted = self.truth.astype(np.int64), self.predicted.astype(np.int64)
        return against_constant(truth, predicted, 2, self.clusters)


def _reasons(found: dict[str, Interval]) -> dict[str, str]:
    return {name: interval.reason for name, interval in found.items() if interval.reason}


def _recall(confusion: metrics.Matrix, row: int) -> float | None:
    value = float(metrics.recalls(confusion)[row])
    return None if np.isnan(value) else value


def _unweighted(confusion: metrics.Matrix) -> float | None:
    return metrics.unweighted_accuracy(confusion) if confusion.sum(axis=1).all() else None


def _f1(confusion: metrics.Matrix, row: int) -> float | None:
    return float(metrics.f1_scores(confusion)[row]) if confusion[row].any() else None


def _macro_f1(confusion: metrics.Matrix) -> float | None:
    return float(metrics.f1_scores(confusion).mean()) if confusion.sum(axis=1).all() else None


def sentence_figures(sentences: pd.DataFrame, config: TransferConfig) -> dict[str, Any]:
    """Return the ``sentence`` block; *sentences* has ``label``, ``score`` and ``cluster``."""
    predicted = (sentences["score"] >= SENTENCE_THRESHOLD).to_numpy(bool)
    items = _Scored(sentences, predicted, config, "subjects")
    confusion, found = items.confusion(), items.intervals()
    shown = {name: found[name] for name in ("wa", "ua", "auroc")}
    return {
        "n": len(sentences),
        "wa": metrics.weighted_accuracy(confusion),
        "ua": _unweighted(confusion),
        "auroc": metrics.auroc(items.truth, items.scores),
        **{f"{name}_ci95": interval.bounds for name, interval in shown.items()},
        "no_interval": _reasons(shown),
        "confusion": confusion.tolist(),
        "threshold": SENTENCE_THRESHOLD,
        "majority": metrics.majority_row(confusion),
    }


def subject_figures(subjects: pd.DataFrame, config: TransferConfig) -> dict[str, Any]:
    """Return the ``subject`` block; *subjects* has ``label``, ``score``, ``prediction`` and ``cluster``."""
    predicted = (subjects["prediction"] == config.positive).to_numpy(bool)
    items = _Scored(subjects, predicted, config, "subjects")
    confusion, found = items.confusion(), items.intervals()
    names, rows = config.classes, ("f1 negative", "f1 positive")
    independent = items.clusters.independent
    return {
        "n": len(subjects),
        "wa": metrics.weighted_accuracy(confusion),
        "ua": _unweighted(confusion),
        "wa_ci95": found["wa"].bounds,
        "ua_ci95": found["ua"].bounds,
        "f1": {name: _f1(confusion, row) for row, name in enumerate(names)},
        "f1_ci95": {name: found[key].bounds for name, key in zip(names, rows, strict=True)},
        "macro_f1": _macro_f1(confusion),
        "macro_f1_ci95": found["macro_f1"].bounds,
        "sensitivity": _recall(confusion, 1),
        "sensitivity_ci95": found["sensitivity"].bounds,
        "specificity": _recall(confusion, 0),
        "specificity_ci95": found["specificity"].bounds,
        "auroc": metrics.auroc(items.truth, items.scores),
        "auroc_ci95": found["auroc"].bounds,
        "no_interval": _reasons(found),
        "against_majority": items.against_majority(),
        "confusion": confusion.tolist(),
        "classes": list(names),
        "intervals": {
            "wa, sensitivity, specificity, f1": "Clopper-Pearson" if independent else "Korn-Graubard",
            "ua": "MOVER of Wilson intervals",
            "macro_f1": "MOVER",
            "auroc": "score interval with DeLong's variance",
            "sizes": "number of subjects" if independent else f"effective, by {config.cluster}",
            "cluster": config.cluster,
        },
    }


def bare_figures(subjects: pd.DataFrame, config: TransferConfig) -> dict[str, Any]:
    """Return WA, UA, AUROC and confusion of subjects, without intervals.

    With a column ``fold`` the scores are of several fits: the AUROC counts pairs within folds.
    """
    predicted = (subjects["prediction"] == config.positive).to_numpy(bool)
    items = _Scored(subjects, predicted, config, "subjects")
    confusion = items.confusion()
    within = "fold" in subjects
    return {
        "n": len(subjects),
        "wa": metrics.weighted_accuracy(confusion),
        "ua": _unweighted(confusion),
        "auroc": auroc_within(items.truth, items.scores, subjects["fold"])
        if within
        else metrics.auroc(items.truth, items.scores),
        **({"auroc_pairs": PAIRS_WITHIN} if within else {}),
        "confusion": confusion.tolist(),
    }


def within_folds(subjects: pd.DataFrame, config: TransferConfig) -> dict[str, Any]:
    """Return what replaces the AUROC of :func:`subject_figures` where each ``fold`` is scored by its own fit.

    Returns:
        ``auroc``, ``auroc_ci95``, and how they were found: ``auroc_pairs`` and ``auroc_interval``.
    """
    truth, folds = (subjects["label"] == config.positive).to_numpy(bool), subjects["fold"]
    clusters = subjects["cluster"].astype(str).tolist()
    bounds = auroc_within_interval(truth, subjects["score"], folds, clusters)
    return {
        "auroc": auroc_within(truth, subjects["score"], folds),
        "auroc_ci95": None if bounds is None else list(bounds),
        "auroc_pairs": PAIRS_WITHIN,
        "auroc_interval": f"clusters ({config.cluster}) left out one at a time within folds",
    }


def majority(items: pd.DataFrame) -> dict[str, float]:
    """Return WA and UA of always answering the most frequent ``label`` of *items*."""
    return metrics.majority_row(np.diag(items["label"].value_counts().to_numpy(np.int64)))


SEVERITIES = (
    "phq8_score",
    "phq_score",
    "phq9_score",
    "phq8",
    "phq9",
    "phq",
    "hamd_score",
    "hamd",
    "bdi_score",
    "bdi2_score",
    "bdi",
)
"""Columns of a manifest that hold a questionnaire's score; the first one that is there counts."""

FEWEST = 3
"""Subjects that a rank correlation takes."""


def describe_cohort(manifest: Manifest, parts: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return who is in each part.

    Args:
        manifest: Gender, age (years) and questionnaire of the subjects; the first row of a subject counts.
        parts: Name of a split to its subjects, columns ``subject, label``.

    Returns:
        Of each split ``n, by_label, by_gender`` (counts) and, where known, ``age`` (of ages that are words or
        ranges ``by_age``, counts by band) and the questionnaire's
        score under ``severity`` as ``n, mean, sd, low, high``; ``sd`` is ``None`` for one subject.
    """
    people = manifest.table.drop_duplicates("speaker").set_index("speaker")
    column = severity_column(manifest)
    found: dict[str, Any] = {}
    for split, subjects in parts.items():
        names = subjects["subject"]
        genders = names.map(people["gender"]).fillna("").replace("", "unknown")
        described: dict[str, Any] = {
            "n": len(subjects),
            "by_label": _counts(subjects["label"]),
            "by_gender": _counts(genders),
        }
        if ages := _spread(names.map(people["age"])):
            described["age"] = ages
        else:
            bands = names.map(people["age"]).fillna("").map(age_band)
            if set(bands) != {"unknown"}:
                described["by_age"] = _counts(bands)
        if column is not None and (scores := _spread(names.map(people[column]))):
            described["severity"] = {"column": column, **scores}
        found[split] = described
    return found


def severity_column(manifest: Manifest) -> str | None:
    """Return the column of the questionnaire's score; ``None`` if there is none."""
    return next((name for name in SEVERITIES if name in manifest.table), None)


def severity_scores(manifest: Manifest, subjects: pd.DataFrame) -> dict[str, Any] | None:
    """Return each subject's questionnaire beside its model score, without its name.

    Args:
        manifest: As for :func:`describe_cohort`.
        subjects: Columns ``subject, score, label``.

    Returns:
        ``column``, ``points`` (lists of questionnaire, model score, label; sorted) and ``spearman``, the
        rank correlation, ``None`` where one of both is constant; ``None`` where no subject has a score.
    """
    column = severity_column(manifest)
    if column is None:
        return None
    people = manifest.table.drop_duplicates("speaker").set_index("speaker")
    table = subjects.assign(severity=pd.to_numeric(subjects["subject"].map(people[column]), errors="coerce"))
    table = table.dropna(subset=["severity", "score"])
    if table.empty:
        return None
    varied = len(table) >= FEWEST and table["severity"].nunique() > 1 and table["score"].nunique() > 1
    rank = float(stats.spearmanr(table["severity"], table["score"]).statistic) if varied else None
    columns = (table["severity"].tolist(), table["score"].tolist(), table["label"].tolist())
    points = sorted(
        [float(value), float(score), str(label)] for value, score, label in zip(*columns, strict=True)
    )
    return {"column": column, "points": points, "spearman": rank}


def _counts(values: pd.Series[Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in values.value_counts().items()}


def _spread(values: pd.Series[Any]) -> dict[str, float | int | None]:
    known = pd.to_numeric(values, errors="coerce").dropna()
    if known.empty:
        return {}
    return {
        "n": len(known),
        "mean": float(known.mean()),
        "sd": float(known.std()) if len(known) > 1 else None,
        "low": float(known.min()),
        "high": float(known.max()),
    }


PROBE = "probe.safetensors"
"""Name of the fitted probe in the run's ``checkpoints`` folder."""


def build_metrics(
    config: TransferConfig,
    manifest: Manifest,
    outcome: DecidedRun,
    *,
    encoder: dict[str, Any],
    left_out: list[dict[str, str]],
) -> dict[str, Any]:
    """Return the content of ``metrics.json``.

    Args:
        config: Settings of the run.
        manifest: Its notes are quoted.
        outcome: What was found; the choices of anything but a probe are the caller's to add.
        encoder: ``name`` and what else describes the encoder.
        left_out: Sentences that could not be embedded.
    """
    notes, subjects = manifest.notes, outcome.subjects
    severity = severity_scores(manifest, subjects)
    parts = {"train": outcome.train.subjects, config.split: outcome.reported.subjects}
    return {
        "sentence": sentence_figures(outcome.sentences, config),
        "subject": subject_figures(subjects, config),
        "majority": majority(subjects),
        "split": config.split,
        "encoder": encoder["name"],
        "mode": config.mode,
        "errata": notes.get("errata", []),
        "classes": list(config.classes),
        "counts": {"train": outcome.train.counts(), config.split: outcome.reported.counts()},
        "cohort": describe_cohort(manifest, parts),
        **({} if severity is None else {"severity": severity}),
        "threshold": {"rule": config.threshold.rule, "value": outcome.threshold},
        "aggregation": config.method,
        **({"top_k": config.top_k} if config.aggregation == "top_k" else {}),
        **(_choices(config, outcome) if isinstance(outcome, Outcome) else {}),
        "encoder_details": encoder,
        "corpus": ", ".join(sorted(manifest.table["corpus"].unique())),
        "assumptions": [
            *notes.get("assumptions", []),
            *silence_remarks(manifest, outcome.sentences["id"].tolist(), "sentences"),
        ],
        "left_out": {
            "manifest": len(notes.get("left_out", [])),
            "embedding": left_out,
            "train_subjects": sorted(
                set(outcome.train.subjects["subject"]) - set(outcome.train.sentences["subject"])
            ),
            "undecided_subjects": subjects.loc[subjects["undecided"], "subject"].tolist(),
        },
        "undecided_rule": UNDECIDED_RULE,
        "reported_split_use": "scored once, with what was chosen on the training subjects",
        "generated": manifest.generated,
        "generated_data": manifest.generated,
        "generated_model": bool((encoder.get("provenance") or {}).get("generated")),
        "sertransfer": __version__,
    }


def _choices(config: TransferConfig, outcome: Outcome) -> dict[str, Any]:
    """Return what was chosen for the probe, and by what."""
    selection = outcome.selection
    learnt = config.method == ATTENTION
    return {
        "probe": {
            "kind": config.probe.head,
            "c": selection.c,
            "chosen_by": "subject AUROC out of fold, pairs within folds"
            if learnt
            else "sentence AUROC out of fold, pairs within folds, each subject weighing the same",
            "c_grid": selection.table,
            "folds": selection.folds,
            "warnings": selection.warnings,
            "dim": outcome.probe.dim,
            "file": f"checkpoints/{PROBE}",
        },
        "out_of_fold": {
            "note": "each training subject by a probe that has not seen it; "
            + (
                "C and the threshold were chosen on these scores, so WA and UA are optimistic"
                if config.threshold.rule == "out_of_fold"
                else "C was chosen on these scores"
            ),
            **({} if learnt else {"sentence_auroc": max(row["auroc"] for row in selection.table)}),
            "subject": bare_figures(outcome.train_subjects, config),
        },
    }
