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

LONGEST_NUMBER = 400
"""Characters of a number in YAML: to read one in base 60 (``59:59:59``) takes the square of its length."""

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
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
        value = _construct(content)
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


def _construct(content: str | bytes) -> Any:
    """Make the values, after counting: a chain of merge keys writes itself out while they are made."""
    loader = _LOADER(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int], within: set[int]) -> int:
    """Return how many values *node* stands for, each as often as it is referred to."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
            raise ValueError(f"a number of {len(node.value)} characters")
        return 1
    if id(node) in within:
        raise ValueError("values that hold themselves")
    if id(node) not in known:
        within.add(id(node))
        parts = node.value  # of a mapping, pairs of key and value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_count(part, known, within) for part in parts)
        within.discard(id(node))
        if known[id(node)] > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values")
    return known[id(node)]
