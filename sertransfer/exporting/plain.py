"""What is said of a model's origin, without people and without this machine's folders."""

from __future__ import annotations

from typing import Any

from sertransfer.reporting.pseudonyms import without_folders

PEOPLE = ("speakers", "train_subjects", "undecided_subjects", "inner_subjects", "subjects_left_out")
"""Keys whose lists name people; a model that leaves the machine says how many there are."""

FIGURES = (
    "utterance",
    "sentence",
    "subject",
    "majority",
    "adversarial",
    "split",
    "encoder",
    "mode",
    "model",
    "classes",
    "counts",
    "train",
    "threshold",
    "aggregation",
    "calibration",
    "corpus",
    "generated",
    "assumptions",
    "reported_split_use",
    "sertransfer",
)
"""Of ``metrics.json``, what names nobody."""


def without_people(value: Any) -> Any:
    """Return nested plain values, lists of people counted and absolute paths cut to their last part."""
    if isinstance(value, dict):
        kept = {}
        for key, below in value.items():
            if key in PEOPLE and isinstance(below, list):
                kept[f"number_of_{key}"] = len(below)
            else:
                kept[key] = without_people(below)
        return kept
    if isinstance(value, list):
        return [without_people(one) for one in value]
    return without_folders(value) if isinstance(value, str) else value


def figures(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of ``metrics.json``."""
    kept: dict[str, Any] = without_people({key: metrics[key] for key in FIGURES if key in metrics})
    return kept
