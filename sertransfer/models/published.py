"""Imports the authors' published PyResNet weights.

Their files are whole pickled models of class ``pyconvresnet.PyConvResNet``. Nothing of a file is run:
:mod:`sertransfer.models.safe_pickle` reads it into inert stand-ins, and the weights are collected here
from their state, by value. Plain state dicts, and such under ``state_dict`` or ``model`` beside other
entries of a training run, are read too.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.front_end import FrontEnd
from sertransfer.io.files import hash_file
from sertransfer.models.checkpoint import Checkpoint, build_from, write_checkpoint
from sertransfer.models.pyresnet import DEPTHS
from sertransfer.models.safe_pickle import (
    LIGHTNING,
    WEIGHTS_ALONE,
    Stub,
    is_lightning,
    read_pickled,
    without_wrappers,
)

CLASSES = ("angry", "neutral", "happy", "sad")
"""The classes of the authors' files, in the order of their outputs."""

WEIGHT_KEYS = ("state_dict", "model")
"""Where training programs keep the weights beside other things."""

MOST_MODULES = 10_000
"""Modules beyond which a file is not a network but a trap, such as a module that holds itself."""

_REMEDY = "this is not a PyResNet as the authors publish it"


def import_published(
    path: Path, output: Path, *, front_end: FrontEnd | None, classes: Sequence[str] = CLASSES
) -> Checkpoint:
    """Convert a published file into a checkpoint, without running anything in it.

    Args:
        path: The ``.pth`` file.
        output: Where to write the checkpoint.
        front_end: What the weights expect, if it is known.
        classes: Names of the outputs, in order.

    Returns:
        What was written. Its provenance names the file, its hash and what of it was left out.

    Raises:
        BadInput: If the file cannot be read, names anything but a PyResNet's parts, or its weights are
            not those of a PyResNet: every missing, unexpected and mis-shaped key is listed.
    """
    try:
        content = read_pickled(path)
        state, kind, ignored = _weights(content, path)
        name = _depth(state, path)
    except BadInput as error:
        if not is_lightning(path):
            raise
        raise bad_input(
            path, found=LIGHTNING, expected=f"weights of {', '.join(DEPTHS)}", remedy=WEIGHTS_ALONE
        ) from error
    _check_classes(state, classes, path)
    provenance = {"file": path.name, "sha256": hash_file(path), "kind": kind, "left_out": ignored}
    checkpoint = Checkpoint(name, {}, tuple(classes), front_end, None, state, provenance)
    build_from(checkpoint, where=path)  # lists every key that is wrong
    write_checkpoint(checkpoint, output)
    return checkpoint


def _weights(content: object, path: Path) -> tuple[dict[str, Tensor], str, list[str]]:
    """Return the weights by name, what kind of file they were in, and which entries were left out."""
    ignored: list[str] = []
    kind = "state dict"
    if type(content) in (dict, OrderedDict):
        entries = _entries(content)
        wrapper = next((key for key in WEIGHT_KEYS if key in entries), None)
        if wrapper is not None:
            content = entries.pop(wrapper)
            ignored = sorted(str(key) for key in entries)
    faults = Faults()
    state: dict[str, Tensor] = {}
    if isinstance(content, Stub):
        kind = f"whole model of class {content.name}"
        _walk(content, state, faults, path)
    else:
        _take(_entries(content), "", state, faults, path)
    faults.raise_if_any()
    return without_wrappers(state), kind, ignored


def _entries(value: object) -> dict[object, object]:
    """Return the items of a plain dictionary; nothing for any other value.

    ``dict.items`` is called on the class, because a pickle can set an ``items`` on an ``OrderedDict``.
    """
    if type(value) in (dict, OrderedDict):
        return dict(dict.items(value))  # type: ignore[arg-type]
    return {}


def _walk(network: Stub, state: dict[str, Tensor], faults: Faults, path: Path) -> None:
    """Collect parameters and buffers of a module's stand-in and of those within it."""
    pending: list[tuple[str, Stub]] = [("", network)]
    for _ in range(MOST_MODULES):
        if not pending:
            return
        prefix, stub = pending.pop()
        attributes = _entries(stub.state)
        for group in ("_parameters", "_buffers"):
            _take(_entries(attributes.get(group)), prefix, state, faults, path)
        for name, module in _entries(attributes.get("_modules")).items():
            if isinstance(module, Stub):
                pending.append((f"{prefix}{name}.", module))
            elif module is not None:
                faults.add(path, found=f"{prefix}{name}", expected="a module", remedy=_REMEDY)
    faults.add(path, found=f"more than {MOST_MODULES} modules", expected="a network", remedy=_REMEDY)


def _take(
    entries: Mapping[object, object], prefix: str, state: dict[str, Tensor], faults: Faults, path: Path
) -> None:
    """Put the tensors of *entries* into *state*."""
    for name, value in entries.items():
        if isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu":
            state[f"{prefix}{name}"] = value.detach()
        elif value is not None:
            kind = type(value).__name__
            faults.add(path, found=f"{prefix}{name}: {kind}", expected="a tensor", remedy=_REMEDY)


def _depth(state: Mapping[str, Tensor], path: Path) -> str:
    """Return the name of the PyResNet whose number of blocks is nearest to that in the weights."""
    counts = [0, 0, 0, 0]
    for key in state:
        match = re.match(r"layer([1-4])\.(\d{1,3})\.", key)
        if match is not None:
            stage = int(match.group(1)) - 1
            counts[stage] = max(counts[stage], int(match.group(2)) + 1)
    if not all(counts) or not any(".conv2.conv2_" in key for key in state):
        raise bad_input(
            path,
            found=f"{len(state)} tensors without four stages of pyramidal blocks",
            expected=f"weights of {', '.join(DEPTHS)}",
            remedy=_REMEDY,
        )
    return min(DEPTHS, key=lambda name: sum(abs(a - b) for a, b in zip(DEPTHS[name], counts, strict=True)))


def _check_classes(state: Mapping[str, Tensor], classes: Sequence[str], path: Path) -> None:
    """Check that there is one name for each output of the classifier."""
    bias = state.get("fc.bias")
    if bias is not None and bias.ndim == 1 and len(bias) != len(classes):
        raise bad_input(
            path,
            found=f"a classifier of {len(bias)} classes",
            expected=f"{len(classes)}: {', '.join(classes)}",
            remedy="name the classes of this file, in the order of its outputs",
        )
