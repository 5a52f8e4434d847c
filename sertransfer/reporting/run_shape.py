"""Whether ``metrics.json`` of a run has the shape that tables count on; a damaged one may hold anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

BLOCKS = ("majority", "utterance", "sentence", "subject")
TEXTS = ("model", "corpus", "encoder", "mode", "split")


def misshapen(metrics: Mapping[str, Any]) -> str | None:
    """Return what in *metrics* is not of its kind, with its name; ``None`` if nothing is."""
    for name in TEXTS:
        if not (metrics.get(name) is None or isinstance(metrics[name], str)):
            return f"{name} = {metrics[name]!r}"
    attacked = metrics.get("adversarial")
    if not (attacked is None or isinstance(attacked, dict)):
        return f"adversarial = {attacked!r}"
    blocks = {name: metrics[name] for name in BLOCKS if name in metrics}
    if attacked is not None:
        blocks["adversarial.utterance"] = attacked.get("utterance")
    for name, block in blocks.items():
        if not isinstance(block, dict):
            return f"{name} = {block!r}"
        for key, right in _KINDS.items():
            if block.get(key) is not None and not right(block[key]):
                return f"{name}.{key} = {block[key]!r}"
        sizes = {len(block[key]) for key in ("classes", "confusion") if block.get(key) is not None}
        if len(sizes) > 1:
            return f"{name}.confusion of another size than its classes"
    return None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_number(end) for end in value)


def _square(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, list) and len(row) == len(value) and all(_number(count) for count in row)
        for row in value
    )


_KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("n", "wa", "ua", "macro_f1", "sensitivity", "specificity", "auroc"), _number),
    **dict.fromkeys(("wa_ci95", "ua_ci95"), _interval),
    **dict.fromkeys(("classes", "absent"), _names),
    "confusion": _square,
}
