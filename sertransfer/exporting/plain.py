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
    "audio_shared",
    "encoder_audio_shared",
    "generated",
    "assumptions",
    "reported_split_use",
    "sertransfer",
)
"""Of ``metrics.json``, what names nobody."""


def without_people(value: Any, key: str = "") -> Any:
    """Return nested plain values, lists of people counted and paths cut to their last part.

    Args:
        value: Of mappings, lists and scalars.
        key: What the value is called; see :func:`~sertransfer.reporting.pseudonyms.without_folders`.
    """
    if isinstance(value, dict):
        kept = {}
        for name, below in value.items():
            if name in PEOPLE and isinstance(below, list):
                kept[f"number_of_{name}"] = len(below)
            else:
                kept[name] = without_people(below, str(name))
        return kept
    if isinstance(value, list):
        return [without_people(one, key) for one in value]
    return without_folders(value, key) if isinstance(value, str) else value


def figures(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of ``metrics.json``."""
    kept: dict[str, Any] = without_people({key: metrics[key] for key in FIGURES if key in metrics})
    return kept
