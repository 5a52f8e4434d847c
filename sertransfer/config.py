"""Settings: frozen dataclasses with defaults, values from YAML, overrides from the command line.

YAML holds values only: it is read by the safe loader, and no class or function can be named in it. A field's
type says what it may hold, choices and ranges included, and pydantic compares; unknown keys are named with
the nearest valid one.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import glob
import inspect
import json
import logging
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen, Predicate

from sertransfer.errors import BadInput, Fault, Faults, bad_input, nearest, swapped
from sertransfer.io.files import regular_file
from sertransfer.io.plain_values import parse_yaml
from sertransfer.timebase import parse_framing

T = TypeVar("T")


def each_once(values: tuple[Any, ...]) -> bool:
    """Whether *values* are all different."""
    return len(set(values)) == len(values)


def low_and_high(values: tuple[float, ...]) -> bool:
    """Whether *values* are the two ends of a range."""
    return len(values) == 2 and values[0] < values[1]


def without_slash(name: str) -> bool:
    """Whether *name* can be a part of a longer name, which slashes part."""
    return "/" not in name


_RULES = {
    each_once: "values that differ",
    low_and_high: "two numbers, the lower first",
    without_slash: "a name without '/'",
}
"""What is expected where one of these is the rule of a field."""

Count = Annotated[int, Ge(1)]
AtLeast0 = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
NotNegative = Annotated[float, Ge(0), Lt(math.inf)]
BelowOne = Annotated[float, Ge(0), Lt(1)]
Factor = Annotated[float, Gt(0), Le(1)]
Share = Annotated[float, Gt(0), Le(0.5)]
Name = Annotated[str, MinLen(1)]
PartName = Annotated[str, MinLen(1), Predicate(without_slash)]
Range = Annotated[tuple[Positive, ...], Predicate(low_and_high)]
Different = Predicate(each_once)
Choices = Annotated[tuple[T, ...], MinLen(1), Different]


_log = logging.getLogger(__name__)


def load_config(
    kind: type[T], path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> T:
    """Build the settings *kind* from its defaults, a YAML file, and overrides, each over the last.

    Args:
        kind: A frozen dataclass, possibly of frozen dataclasses.
        path: YAML file of nested values; keys may be left out. Names in the class's ``BEFORE`` are read as
            those that took their place, and its ``take_over`` changes values that mean something else now.
        overrides: Dotted key to value, as in ``{"optimiser.lr": "0.1"}``. Text is read as YAML where the
            setting is not text itself; a list of texts may be written ``a,b``.

    Raises:
        BadInput: With every unknown key and every value of a wrong type.
    """
    sources: list[tuple[str, dict[str, Any]]] = []
    valid = _keys(kind)
    before: Mapping[str, str] = getattr(kind, "BEFORE", {})
    known = {**valid, **{old: valid[new] for old, new in before.items()}}
    if path is not None:
        sources.append((str(path), _leaves(_read(Path(path)), kind)))
    if overrides:
        named = {_full_name(key, known, overrides): text for key, text in overrides.items()}
        read = {key: _value(text, known.get(key)) for key, text in named.items()}
        given: dict[str, Any] = {}
        for key, value in read.items():
            given.update(_leaves(_nest({key: value}), kind))
        sources.append(("command line", given))
    faults = Faults()
    merged: dict[str, Any] = {}
    places: dict[str, str] = {}
    for where, leaves in sources:
        for name, value in leaves.items():
            key = before.get(name, name)
            if key != name:
                _log.warning("%s: '%s' is read as '%s', which is its name now", where, name, key)
            if key in valid:
                merged[key], places[key] = _number(value, valid[key]), where
            else:
                remedy = nearest_setting(key, valid)
                faults.add(where, found=f"setting '{key}'", expected="a known setting", remedy=remedy)
    if (take_over := getattr(kind, "take_over", None)) is not None:
        take_over(merged)
        places = {key: places.get(key, "settings") for key in merged}
    built = _build(kind, merged, places, faults)
    if built is None or faults:
        raise BadInput(faults)
    return built


def check_fields(config: Any, where: str = "settings") -> Faults:
    """Return the faults of the values of *config*, one that was built in Python: each field by its type."""
    values = _leaves(config_dict(config), type(config))
    faults = Faults()
    _build(type(config), values, dict.fromkeys(values, where), faults)
    return faults


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
        lines.append(f"  --{name} {json.dumps(defaults.get(name))}  ({_kind_text(hint)})")
    bases = [base for base in reversed(kind.__mro__) if dataclasses.is_dataclass(base)]
    notes = "\n".join(inspect.cleandoc(base.__doc__ or "") for base in bases)
    return "\n".join([notes, "settings and their defaults:", *lines])


def _kind_text(hint: Any) -> str:
    """Return what a setting takes, in words."""
    inner = get_args(hint)
    if get_origin(hint) is Literal:
        return " | ".join(map(str, inner))
    if get_origin(hint) is tuple:
        return f"list of {_kind_text(inner[0])}"
    if type(None) in inner:
        return " or ".join(_kind_text(one) for one in inner if one is not type(None)) + " or none"
    return _KINDS.get(hint, getattr(hint, "__name__", str(hint)))


_KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}


def _read(path: Path) -> dict[str, Any]:
    try:
        values = parse_yaml(regular_file(path).read_bytes())
    except FileNotFoundError:
        raise bad_input(
            path, found="no file", expected="a YAML config", remedy=_shipped_remedy(path)
        ) from None
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


def _shipped_remedy(path: Path) -> str:
    """Return what to do where *path* is no file: a config of the project is found by its name alone."""
    shipped = sorted(Path(__file__).parents[1].glob(f"configs/*/{glob.escape(path.stem)}.yaml"))
    here = "check the path, which starts from the current folder"
    return f"{here}; did you mean {' or '.join(map(str, shipped))}?" if shipped else here


def _value(text: Any, hint: Any) -> Any:
    if not isinstance(text, str) or hint is str or get_origin(hint) is Literal:
        return text  # YAML would read the text "no" as a boolean and "03" as a number
    if hint == tuple[str, ...]:
        return [part.strip().strip("'\"") for part in text.strip("[]()").split(",") if part.strip()]
    try:
        return parse_yaml(text)
    except ValueError:
        return text


def _number(value: Any, hint: Any) -> Any:
    """Return *value* whose ``1e-4`` is a number, where *hint* is one: YAML takes it for text."""
    if isinstance(value, list):
        return [_number(entry, hint) for entry in value]
    written = isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+\.?[0-9]*[eE][-+]?[0-9]+", value)
    return float(value) if written and "float" in str(hint) else value


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


@functools.cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter  # slow to import, and needed only where settings are read

    return TypeAdapter(kind)


def _build(kind: type[T], leaves: Mapping[str, Any], places: Mapping[str, str], faults: Faults) -> T | None:
    """Return the settings of *leaves*, which were read at *places*; or none, and why in *faults*.

    In JSON's strict mode a list is a tuple, but the text "3" is no number, and 1 is not "true".
    """
    from pydantic import ValidationError

    text = json.dumps(_nest(leaves), default=str)
    try:
        adapter = _adapter(kind)  # type: ignore[arg-type]  # mypy takes type[T] for unhashable
        built: T = adapter.validate_json(text, strict=True)
    except ValidationError as error:
        found: dict[str, Fault] = {}
        for entry in error.errors(include_url=False):
            path = [str(part) for part in entry["loc"]]
            ends = (".".join(path[:end]) for end in range(len(path), 0, -1))
            key = next(name for name in ends if name in leaves)
            expected, remedy = _said_plainly(entry)
            fault = Fault(places[key], f"{key} = {entry['input']!r}", expected, remedy)
            found.setdefault(key, fault)
        faults.extend(found.values())
        return None
    return built


def _said_plainly(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return what one of pydantic's errors expects, and what to do."""
    about, kind, remedy = entry.get("ctx", {}), entry["type"], "correct the value"
    if kind == "literal_error":
        choices = [text.strip("'") for text in re.split(", | or ", about["expected"])]
        meant = nearest(str(entry["input"]), choices).partition("valid: ")[0].strip()
        return f"one of {', '.join(choices)}", meant or "choose one of them"
    if kind == "predicate_failed":
        return next(text for rule, text in _RULES.items() if rule.__name__ in entry["msg"]), remedy
    if kind == "too_short":
        return f"{about['min_length']} value{'s' * (about['min_length'] > 1)} or more", remedy
    for name, text in _BOUNDS.items():
        if name in about:
            return ("a finite number" if about[name] == math.inf else text.format(about[name])), remedy
    return _TYPES.get(kind) or entry["msg"].removeprefix("Input should be "), remedy


_BOUNDS = {"gt": "more than {:g}", "ge": "{:g} or more", "lt": "less than {:g}", "le": "{:g} or less"}
_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "tuple_type": "a list",
    "dict_type": "names and values",
}
