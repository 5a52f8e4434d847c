"""The report's tables of fine-tuning: what tuning compared, and the learned layer weights."""

from __future__ import annotations

from typing import Any

from sertransfer.reporting.page import Row, Section, Table
from sertransfer.reporting.values import as_text, number

WEIGHTS = (
    "Weights of the blocks' outputs in the mix that was learned with the classifier; they add up to 1 and "
    "began alike. Blocks differ in scale, so that a weight alone does not say how much a block tells."
)


def finetune_sections(metrics: dict[str, Any]) -> list[Section]:
    """Return the sections that a fine-tuned run has of its own, those that *metrics* has something for."""
    sections = []
    tuning = metrics.get("tuning", {})
    if "inner_loss" in tuning:
        names = {"best": "best trial", "median": "median trial", "worst": "worst trial"}
        rows = [Row(names[key], [number(tuning["inner_loss"][key])]) for key in names]
        note = (
            f"Chosen among trials ({as_text(tuning['trials'])}): {as_text(tuning['best'])}. Trials by the "
            f"{tuning['objective']}. Note: {tuning['note']}."
        )
        table = Table(["inner loss"], rows, corner="trial")
        sections.append(Section("tuning", "Tuning of the fine-tuning", table, note))
    weights = metrics.get("finetune", {}).get("layer_weights", [])
    if weights:
        rows = [Row(f"block {place}", [number(value)]) for place, value in enumerate(weights, start=1)]
        table = Table(["weight"], rows, leads=False, corner="layer")
        sections.append(Section("layers", "Learned layer weights", table, WEIGHTS))
    return sections
