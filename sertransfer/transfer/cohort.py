"""Description of a run's subjects: how many, of which gender and age, and how ill by questionnaire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from scipy import stats

from sertransfer.corpora.statistics import age_band
from sertransfer.manifest import Manifest

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
