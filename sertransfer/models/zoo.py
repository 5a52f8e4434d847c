"""The models by name. To add one: write its builder, and a line in :data:`MODELS`.

A builder takes ``num_classes`` and keyword-only options with defaults, all plain values: a checkpoint
stores the name and the options, and builds the same network from them. The first line of its docstring
is what ``sertransfer models`` prints.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from sertransfer.errors import Faults, bad_input, choose, nearest
from sertransfer.models.base import SpectrogramModel
from sertransfer.models.pyresnet import DEPTHS, PyResNet

Blocks = Sequence[int]


def pyresnet50(
    num_classes: int, *, blocks: Blocks = DEPTHS["pyresnet50"], width: float = 1.0, dropout: float = 0.0
) -> PyResNet:
    """PyResNet of 50 layers, 22.8 M parameters."""
    return PyResNet(num_classes, blocks, width=width, dropout=dropout)


def pyresnet101(
    num_classes: int, *, blocks: Blocks = DEPTHS["pyresnet101"], width: float = 1.0, dropout: float = 0.0
) -> PyResNet:
    """PyResNet of 101 layers, 40.3 M parameters."""
    return PyResNet(num_classes, blocks, width=width, dropout=dropout)


def pyresnet152(
    num_classes: int, *, blocks: Blocks = DEPTHS["pyresnet152"], width: float = 1.0, dropout: float = 0.0
) -> PyResNet:
    """PyResNet of 152 layers, 54.6 M parameters; the paper's best model."""
    return PyResNet(num_classes, blocks, width=width, dropout=dropout)


def pyresnet_tiny(
    num_classes: int, *, blocks: Blocks = (1, 1, 1, 1), width: float = 0.25, dropout: float = 0.0
) -> PyResNet:
    """PyResNet of one narrow block a stage, 0.4 M parameters; ours, for the demo and tests."""
    return PyResNet(num_classes, blocks, width=width, dropout=dropout)


MODELS: dict[str, Callable[..., SpectrogramModel]] = {
    "pyresnet50": pyresnet50,
    "pyresnet101": pyresnet101,
    "pyresnet152": pyresnet152,
    "pyresnet_tiny": pyresnet_tiny,
}


def build_model(name: str, num_classes: int, **options: Any) -> SpectrogramModel:
    """Build the model *name* with fresh weights.

    Args:
        name: Key of :data:`MODELS`.
        num_classes: Outputs of the classifier.
        **options: The builder's own, such as ``width``, ``blocks`` and ``dropout``.

    Raises:
        BadInput: If the name or an option is unknown (the nearest one is named), or a value is out of range.

    Examples:
        >>> build_model("pyresnet_tiny", 4).num_features
        2048
    """
    builder = MODELS[choose("model", name, MODELS)]
    known = [key for key in inspect.signature(builder).parameters if key != "num_classes"]
    faults = Faults()
    for option in options:
        if option not in known:
            faults.add(
                f"model {name}",
                found=f"option '{option}'",
                expected="an option of this model",
                remedy=nearest(option, known),
            )
    faults.raise_if_any()
    try:
        return builder(num_classes, **options)
    except TypeError as error:  # a value of another type, such as a text where a number belongs
        raise bad_input(
            f"model {name}", found=f"{options} ({error})", expected="numbers", remedy="correct the options"
        ) from error
