"""Weights of somebody else's network: read without running anything, loaded without losing anything."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import BinaryIO

import torch
from torch import Tensor, nn

from sertransfer.errors import Faults, bad_input
from sertransfer.io.files import check_archive
from sertransfer.models.safe_pickle import LIGHTNING, WEIGHTS_ALONE, is_lightning, without_wrappers

SHOWN = 10
"""Names in one message; there may be hundreds."""


def read_weights(stream: BinaryIO, where: object) -> dict[str, Tensor]:
    """Read a state dict that ``torch.save`` wrote, weights only, without wrappers before its names.

    Raises:
        BadInput: If it is damaged, holds other objects than weights (none is made), or another structure.
    """
    if is_lightning(stream):
        raise bad_input(where, found=LIGHTNING, expected="a state dict of tensors", remedy=WEIGHTS_ALONE)
    try:
        check_archive(stream)
        stream.seek(0)
        content = torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        lines = [line.strip() for line in str(error).splitlines() if "GLOBAL" in line or "nsupported" in line]
        text = (lines or ["a broken pickle"])[0].removeprefix("WeightsUnpickler error: ")[:200]
        raise bad_input(
            where,
            found=f"a pickle that is not weights ({text})",
            expected="a state dict of tensors; nothing else is unpickled",
            remedy="save it again with torch.save(model.state_dict(), path), if you trust where it is from",
        ) from None
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise bad_input(
            where,
            found=f"a file that cannot be read ({type(error).__name__})",
            expected="a state dict that torch.save wrote",
            remedy="copy the file again",
        ) from None
    good = isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )
    if not good or not content:
        names = [str(name) for name in content][:SHOWN] if isinstance(content, Mapping) else []
        raise bad_input(
            where,
            found=f"a {type(content).__name__}" + (f" of {', '.join(names)}" if names else ""),
            expected="a state dict: names and tensors, nothing nested",
            remedy="name a file of model weights, not of a trainer's state",
        )
    return without_wrappers(content)


def load_weights(network: nn.Module, state: Mapping[str, Tensor], where: object, *, remedy: str) -> None:
    """Load *state* into *network*: every name must be there, in its shape, and none more.

    Raises:
        BadInput: With a fault for the missing names, the unexpected ones and those of another shape.
    """
    wanted = network.state_dict()
    differing = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    fitting = {name: tensor for name, tensor in state.items() if name not in differing}
    # torch's own comparison, since modules may know older names of their parameters
    compared = network.load_state_dict(fitting, strict=False)
    faults = Faults()
    lists = {
        "missing": [name for name in compared.missing_keys if name not in differing],
        "unexpected": compared.unexpected_keys,
        "of another shape": [
            f"{name} {_shape(state[name])} for {_shape(wanted[name])}" for name in differing
        ],
    }
    for what, names in lists.items():
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            faults.add(
                where,
                found=f"{len(names)} weights {what}: {', '.join(names[:SHOWN])}{more}",
                expected="the weights of the network that the config describes",
                remedy=remedy,
            )
    faults.raise_if_any()


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
