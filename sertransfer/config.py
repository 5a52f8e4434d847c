"""Settings: frozen dataclasses with defaults, values from YAML, overrides from the command line.

YAML holds values only: it is read by the safe loader, and no class or function can be named in it.
Types are checked by jsonargparse; unknown keys are named with the nearest valid one.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import json
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_origin, get_type_hints

from sertransfer.errors import Faults, bad_input, nearest, swapped
from sertransfer.io.files import regular_file
from sertransfer.io.plain_values import parse_yaml
from sertransfer.timebase import parse_framing

T = TypeVar("T")


def load_config(
    kind: type[T], path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> T:
    """Build the settings *kind* from its defaults, a YAML file, and overrides, each over the last.

    Args:
        kind: A frozen dataclass, possibly of frozen dataclasses.
        path: YAML file of nested values; keys may be left out.
        overrides: Dotted key to value, as in ``{"optimiser.lr": "0.1"}``. Text is read as YAML where the
            setting is not text itself; a list of texts may be written ``a,b``.

    Raises:
        BadInput: With every unknown key and every value of a wrong type.
    """
    sources: list[tuple[str, dict[str, Any]]] = []
    if path is not None:
        sources.append((str(path), _leaves(_read(Path(path)), kind)))
    if overrides:
        hints = _keys(kind)
        named = {_full_name(key, hints, overrides): text for key, text in overrides.items()}
        read = {key: _value(text, hints.get(key)) for key, text in named.items()}
        given: dict[str, Any] = {}
        for key, value in read.items():
            given.update(_leaves(_nest({key: value}), kind))
        sources.append(("command line", given))
    faults = Faults()
    merged: dict[str, Any] = {}
    valid = _keys(kind)
    for where, leaves in sources:
        known = {key: value for key, value in leaves.items() if key in valid}
        sound = _complaint(kind, known) is None  # one check of all is nearly as quick as one of each
        for key, value in leaves.items():
            if key not in valid:
                remedy = nearest_setting(key, valid)
                faults.add(where, found=f"setting '{key}'", expected="a known setting", remedy=remedy)
            elif not sound and (complaint := _complaint(kind, {key: value})) is not None:
                faults.add(where, found=f"{key} = {value!r}", expected=complaint, remedy="correct the value")
            else:
                merged[key] = value
    faults.raise_if_any()
    return _build(kind, merged)


def _full_name(key: str, valid: Collection[str], given: Collection[str]) -> str:
    """Return the only setting that ends in the last parts *key*, unless *given* names it as well."""
    if key in valid or any(name.startswith(f"{key}.") for name in valid):
        return key
    ending = [name for name in valid if name.endswith(f".{key}")]
    return ending[0] if len(ending) == 1 and ending[0] not in given else key


def nearest_setting(key: str, valid: Collection[str]) -> str:
    """Return a remedy that names the settings nearest to *key*: those with its last part go first.

    Examples:
        >>> nearest_setting("training.lr", ["framing.length", "optimiser.lr"])
        "did you mean 'optimiser.lr'? valid: framing.length, optimiser.lr"
    """
    last = key.rpartition(".")[2]
    ends: dict[str, list[str]] = {}
    for name in valid:
        ends.setdefault(name.rpartition(".")[2], []).append(name)
    found = ends.get(last) or [name for end in swapped(last, ends) for name in ends[end]]
    if not found and not difflib.get_close_matches(key, valid, n=1, cutoff=0.75):
        found = [name for end in difflib.get_close_matches(last, ends, n=3, cutoff=0.6) for name in ends[end]]
    if not found:
        return nearest(key, valid)
    meant = " or ".join(f"'{name}'" for name in found[:8])
    return f"did you mean {meant}?" + (f" valid: {', '.join(valid)}" if len(valid) <= 30 else "")


def config_dict(config: Any) -> dict[str, Any]:
    """Return the settings as plain nested values, as JSON and YAML hold them."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return values


def setting_names(kind: type) -> list[str]:
    """Return the dotted names of all settings of *kind*."""
    return list(_keys(kind))


def describe_settings(kind: type) -> str:
    """Return one line a setting of *kind*: its name, default and type."""
    defaults = _leaves(config_dict(kind()), kind)
    lines = []
    for name, hint in _keys(kind).items():
        kind_text = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        lines.append(f"  --{name} {json.dumps(defaults.get(name))}  ({kind_text})")
    bases = [base for base in reversed(kind.__mro__) if dataclasses.is_dataclass(base)]
    notes = "\n".join(inspect.cleandoc(base.__doc__ or "") for base in bases)
    return "\n".join([notes, "settings and their defaults:", *lines])


def _read(path: Path) -> dict[str, Any]:
    try:
        values = parse_yaml(regular_file(path).read_bytes())
    except FileNotFoundError:
        raise bad_input(path, found="no file", expected="a YAML config", remedy="check the path") from None
    except IsADirectoryError:
        raise bad_input(path, found="a folder", expected="a YAML config", remedy="check the path") from None
    except ValueError as error:
        text = " ".join(str(error).split())
        raise bad_input(
            path, found=text, expected="YAML of plain values", remedy="correct the file"
        ) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise bad_input(
            path,
            found=f"a {type(values).__name__}",
            expected="settings as key: value",
            remedy="correct the file",
        )
    return values


def _value(text: Any, hint: Any) -> Any:
    if not isinstance(text, str) or hint is str or get_origin(hint) is Literal:
        return text  # YAML would read the text "no" as a boolean and "03" as a number
    if hint == tuple[str, ...]:
        return [part.strip().strip("'\"") for part in text.strip("[]()").split(",") if part.strip()]
    try:
        return parse_yaml(text)
    except ValueError:
        return text


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = value
    return nested


def _leaves(values: Mapping[str, Any], kind: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten *values* down to the settings of *kind*; a named framing becomes its three numbers."""
    hints = get_type_hints(kind) if dataclasses.is_dataclass(kind) and isinstance(kind, type) else {}
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        name, below = f"{prefix}{key}", hints.get(key)
        if key == "framing" and isinstance(value, str):
            value = dataclasses.asdict(parse_framing(value))
        if isinstance(value, dict) and (below is None or dataclasses.is_dataclass(below)):
            leaves.update(_leaves(value, below, f"{name}."))
        else:
            leaves[name] = value
    return leaves


def _keys(kind: Any, prefix: str = "") -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            keys.update(_keys(hint, f"{prefix}{name}."))
        else:
            keys[f"{prefix}{name}"] = hint
    return keys


@functools.cache  # building one takes a tenth of a second
def _parser(kind: type) -> Any:
    from jsonargparse import ArgumentParser  # slow to import, and needed only where settings are read

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "settings", fail_untyped=True)
    return parser


def _complaint(kind: type, leaves: dict[str, Any]) -> str | None:
    """Return what jsonargparse says against settings, or ``None``; of several, it names the first alone."""
    try:
        _parser(kind).parse_object({"settings": _nest(leaves)})
    except Exception as error:  # jsonargparse raises what its parsers raise: argparse, type and value errors
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return _said_plainly(lines[-1]) if lines else type(error).__name__
    return None


def _said_plainly(complaint: str) -> str:
    """Return jsonargparse's "Expected a <class 'float'>. Got value: x" as "a number"."""
    wanted = complaint.split(" Got value")[0].removeprefix("Expected ").rstrip(".")
    plain = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false"}
    wanted = re.sub(r"<class '(\w+)'>", lambda match: plain.get(match[1], match[1]), wanted)
    wanted = wanted.replace("typing.", "").replace("a true", "true")
    return re.sub(r"^an? Literal\[(.*)\]$", r"one of \1", wanted)


def _build(kind: type[T], leaves: dict[str, Any]) -> T:
    parser = _parser(kind)  # type: ignore[arg-type]  # mypy takes type[T] for unhashable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        namespace = parser.parse_object({"settings": _nest(leaves)})
        built: T = parser.instantiate(namespace).settings
    return built
