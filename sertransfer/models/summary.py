"""What a network is in numbers, without making its weights."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch

from sertransfer.errors import choose
from sertransfer.models.image_network import ImageNetwork
from sertransfer.models.zoo import MODELS, build_model


@dataclass(frozen=True)
class Summary:
    """A network with the paper's four classes, at its default options.

    Attributes:
        name: In :data:`sertransfer.models.zoo.MODELS`.
        text: First line of its builder's docstring.
        parameters: Number of trained parameters.
        least: Mels and frames below which the network fills its input up with zeros.
        num_features: Length of the vector of a frame.
        image_weights: Whether it can begin with torchvision's ImageNet weights.
        options: The builder's options with their defaults.
    """

    name: str
    text: str
    parameters: int
    least: int
    num_features: int
    image_weights: bool
    options: dict[str, Any]


def summarise(name: str, *, num_classes: int = 4) -> Summary:
    """Return the summary of the model *name*.

    Raises:
        BadInput: If there is no such model.

    Examples:
        >>> summarise("fcn_attention_alexnet").least
        63
    """
    builder = MODELS[choose("model", name, MODELS)]
    with torch.device("meta"):
        network = build_model(name, num_classes)
    options = {
        key: parameter.default
        for key, parameter in inspect.signature(builder).parameters.items()
        if key != "num_classes"
    }
    return Summary(
        name=name,
        text=(builder.__doc__ or "").strip().splitlines()[0],
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        least=network.least,
        num_features=network.num_features,
        image_weights=isinstance(network, ImageNetwork),
        options=options,
    )
