"""JSON and YAML out of files that somebody else may have written: plain values, or a ``ValueError``.

The parsers themselves fail in more ways: by recursion where values are nested without end, and PyYAML by
attribute and index errors where a tag does not fit its value. YAML's references may also write out, in a few
lines, more values than memory holds; these are counted first.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import yaml

MOST_VALUES = 1_000_000
"""Values of a YAML file, references written out; configs have hundreds, ESPnet's token lists thousands."""

DEEPEST = 100
"""Levels of nesting in YAML."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: If it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("values nested too deeply") from None


def parse_yaml(text: str | bytes | BinaryIO) -> Any:
    """Return the values of a YAML text; nothing is built from tags.

    Raises:
        ValueError: If it is no YAML of plain values, is nested too deeply, or refers to itself.
    """
    content = text if isinstance(text, (str, bytes)) else text.read()
    try:
        _check_depth(content)
        value = yaml.load(content, Loader=_LOADER)
        _count(value)
    except RecursionError:
        raise ValueError("values nested too deeply") from None
    except UnicodeDecodeError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    return value


def _check_depth(content: str | bytes) -> None:
    """Look at the brackets first: libyaml builds values by recursion, and dies with the process."""
    depth = 0
    for event in yaml.parse(content, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError("values nested too deeply")


def _count(value: Any) -> None:
    """Count the values that are reached, each as often as it is referred to, without recursion."""
    pending, count = [value], 0
    while pending:
        one = pending.pop()
        count += 1
        if count > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values, or values that hold themselves")
        if isinstance(one, dict):
            pending.extend(one.values())
        elif isinstance(one, (list, tuple, set)):
            pending.extend(one)
