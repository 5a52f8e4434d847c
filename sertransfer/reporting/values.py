"""Values of a run's files as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHOWN = 20
"""How many items of a list are printed; the rest is counted."""

NO_VALUE = "–"


def number(value: Any) -> str:
    """Return a figure with three decimals."""
    return "undefined" if value is None else f"{float(value):.3f}"


def scored(block: Mapping[str, Any], name: str) -> str:
    """Return a figure with its interval as text, ``0.714 [0.537, 0.854]``."""
    return with_interval(block.get(name), block.get(f"{name}_ci95"))


def with_interval(value: Any, bounds: Any) -> str:
    """Return *value*, and *bounds* in brackets if there are any."""
    return f"{number(value)} [{number(bounds[0])}, {number(bounds[1])}]" if bounds else number(value)


def left_out_lines(left_out: Mapping[str, Any]) -> list[str]:
    """Return one line per kind of what was left out, with its number, and the first items."""
    lines = []
    for kind, value in left_out.items():
        lines.append(f"{kind.replace('_', ' ')}: {_count(value)}")
        if isinstance(value, list):
            lines += [as_text(entry) for entry in value[:_SHOWN]]
            if len(value) > _SHOWN:
                lines.append(f"and {len(value) - _SHOWN} more, in metrics.json")
    return lines


def _count(value: Any) -> str:
    if isinstance(value, Mapping):
        counted = {key: _count(entry) for key, entry in value.items()}
        return ", ".join(f"{key} {count}" for key, count in counted.items() if count != "none") or "none"
    count = len(value) if isinstance(value, list) else value
    return str(count) if count else "none"


def entries(value: Any) -> list[str]:
    """Return the texts of a list, or of a mapping's pairs."""
    if isinstance(value, Mapping):
        return [f"{key}: {as_text(entry)}" for key, entry in value.items()]
    return [as_text(entry) for entry in (value if isinstance(value, list) else [value])] if value else []


def as_text(value: Any) -> str:
    """Return nested values on one line, long lists cut."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {as_text(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        more = f", and {len(value) - _SHOWN} more" if len(value) > _SHOWN else ""
        return ", ".join(_nested(entry) for entry in value[:_SHOWN]) + more or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _nested(value: Any) -> str:
    return f"({as_text(value)})" if isinstance(value, list | tuple | Mapping) else as_text(value)


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Return nested mappings as one, keys joined by spaces; what is empty is left out."""
    if not isinstance(value, Mapping):
        return {} if value is None or value == "" else {prefix: as_text(value)}
    pairs: dict[str, str] = {}
    for key, below in value.items():
        pairs.update(flat(below, f"{prefix} {str(key).replace('_', ' ')}".strip()))
    return pairs
