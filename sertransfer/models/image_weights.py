"""ImageNet weights from a local file of torchvision, for the networks that come from there.

The file is what torchvision publishes for the architecture: a state dict of ``torch.save``, or the same
as safetensors. It is read as weights only. The first convolution is summed over the three colours
(see :class:`~sertransfer.models.torchvision_nets.ImageNetwork`), and the layer that scores ImageNet's classes
is left out; all else is taken over or the file is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.io.files import check_archive, regular_file
from sertransfer.models.checkpoint import check_state
from sertransfer.models.safe_pickle import LIGHTNING, WEIGHTS_ALONE, is_lightning, without_wrappers
from sertransfer.models.torchvision_nets import ImageNetwork

COLOURS = 3
COUNTER = ".num_batches_tracked"
"""Files from before PyTorch 0.4.1 lack these counters, which nothing here depends on."""


def load_image_weights(model: nn.Module, path: str | Path) -> list[str]:
    """Load ImageNet weights into *model*, **in place**.

    Args:
        model: A network built by name, of torchvision's architecture (all but PyResNet).
        path: The file; nothing is downloaded.

    Returns:
        The parameters and buffers that keep their fresh values, by name.

    Raises:
        BadInput: If the model has no counterpart in torchvision, or the file cannot be read or is of
            another architecture, which is named where it is known; every key that differs is listed.
    """
    path = Path(path)
    if not isinstance(model, ImageNetwork):
        raise bad_input(
            "image weights",
            found=f"a model of class {type(model).__name__}",
            expected="a network of torchvision (vgg, resnet, alexnet and what is built on them)",
            remedy="leave 'model.image_weights' out, or take another model",
        )
    found = _read(path)
    own = model.state_dict()
    names = {name: model.image_name(name) for name in own}
    wanted = {
        theirs: _in_colour(own[name]) if name == _stem(model) else own[name]
        for name, theirs in names.items()
        if theirs is not None and (theirs in found or not theirs.endswith(COUNTER))
    }
    offered = {name: tensor for name, tensor in found.items() if not name.startswith(model.image_head)}
    _check(path, wanted, offered, found)
    taken = {name: found[theirs] for name, theirs in names.items() if theirs is not None and theirs in wanted}
    taken[_stem(model)] = taken[_stem(model)].sum(1, keepdim=True)
    model.load_state_dict(taken, strict=False)
    return [name for name in own if name not in taken]


def _stem(model: ImageNetwork) -> str:
    """Return the name of the first convolution's kernels."""
    return f"features.{next(name for name, _ in model.features.named_children())}.weight"


def _in_colour(weight: Tensor) -> Tensor:
    """Return the shape that the first convolution's kernels have in the file."""
    return weight.expand(-1, COLOURS, -1, -1)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise bad_input(path, found=found, expected="a file of ImageNet weights", remedy="correct the path")
    if is_lightning(path):
        raise bad_input(path, found=LIGHTNING, expected="a state dict of torchvision", remedy=WEIGHTS_ALONE)
    try:
        if path.suffix == ".safetensors":
            return without_wrappers(load_file(regular_file(path)))
        check_archive(path)
        content = torch.load(regular_file(path), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        text = " ".join(str(error).split())[:200]
        raise bad_input(
            path,
            found=f"a file that holds more than weights, or is damaged ({text})",
            expected="a state dict of torchvision",
            remedy="fetch it again; nothing in it was run",
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise bad_input(
            path,
            found=f"a {type(content).__name__} of other things than tensors",
            expected="a state dict of torchvision",
            remedy="save the model's state_dict() alone",
        )
    return without_wrappers({str(name): tensor for name, tensor in content.items()})


def _check(
    path: Path, wanted: Mapping[str, Tensor], offered: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    """Compare what the file offers with what the model wants.

    Raises:
        BadInput: Naming first the file's architecture, then every key that differs.
    """
    try:
        check_state(wanted, offered, path)
    except BadInput as error:
        faults = Faults()
        name = identify(found)
        faults.add(
            path,
            found=f"weights of {name}" if name else f"{len(found)} tensors of no architecture that is known",
            expected="weights of this model's architecture",
            remedy="take torchvision's file for it; the keys that differ follow",
        )
        faults.extend(error.faults)
        raise BadInput(faults) from None


def identify(state: Mapping[str, Tensor]) -> str | None:
    """Return torchvision's name of the architecture that *state* belongs to; ``None`` if it is none."""
    shapes = _shapes(state)
    include = ["alexnet", "vgg*", "*resnet*", "resnext*", "densenet*", "squeezenet*", "mobilenet*"]
    for name in torchvision.models.list_models(module=torchvision.models, include=include):
        with torch.device("meta"):
            network = torchvision.models.get_model(name, weights=None)
        if _shapes(network.state_dict()) == shapes:
            return str(name)
    return None


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith(COUNTER)}
