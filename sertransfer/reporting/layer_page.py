"""The report's table of what weight each block of an encoder has in a learned mix."""

from __future__ import annotations

from typing import Any

from sertransfer.reporting.page import Row, Section, Table, number

NOTE = (
    "Weights of the blocks' outputs in the mix that was learned with the classifier; they add up to 1 and "
    "began alike. Blocks differ in scale, so that a weight alone does not say how much a block tells."
)


def layer_sections(metrics: dict[str, Any]) -> list[Section]:
    """Return the section of the learned layer weights, from the input on; none without a mix."""
    weights = metrics.get("finetune", {}).get("layer_weights", [])
    rows = [Row(f"block {place}", [number(value)]) for place, value in enumerate(weights, start=1)]
    return [Section("Learned layer weights", Table(["weight"], rows, leads=False), NOTE)] if rows else []
