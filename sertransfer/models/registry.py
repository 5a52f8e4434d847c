"""The models by name, and their sizes. To add one: write its builder, and a line in :data:`MODELS`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from sertransfer.errors import Faults, bad_input, choose, nearest
from sertransfer.models.base import SpectrogramModel
from sertransfer.models.mts import scale_time
from sertransfer.models.pyresnet import DEPTHS, PyResNet
from sertransfer.models.torchvision_nets import DEPTHS as RESNETS
from sertransfer.models.torchvision_nets import AlexNet, FcnAttention, ImageNetwork, ResNet, Vgg

N = TypeVar("N", bound=SpectrogramModel)

Blocks = Sequence[int]

EPSILON = 0.1
"""Adversarial step: a tenth of the deviation of a normalised spectrogram (our choice; paper not known)."""


def vgg11(num_classes: int, *, dropout: float = 0.5) -> Vgg:
    """VGG of 11 layers, 128.8 M parameters."""
    return Vgg(num_classes, 11, dropout=dropout)


def vgg13(num_classes: int, *, dropout: float = 0.5) -> Vgg:
    """VGG of 13 layers, 129.0 M parameters."""
    return Vgg(num_classes, 13, dropout=dropout)


def vgg16(num_classes: int, *, dropout: float = 0.5) -> Vgg:
    """VGG of 16 layers, 134.3 M parameters."""
    return Vgg(num_classes, 16, dropout=dropout)


def vgg19(num_classes: int, *, dropout: float = 0.5) -> Vgg:
    """VGG of 19 layers, 139.6 M parameters."""
    return Vgg(num_classes, 19, dropout=dropout)


def resnet18(num_classes: int, *, blocks: Blocks = RESNETS["resnet18"], dropout: float = 0.0) -> ResNet:
    """ResNet of 18 layers, 11.2 M parameters."""
    return ResNet(num_classes, blocks, bottleneck=False, dropout=dropout)


def resnet34(num_classes: int, *, blocks: Blocks = RESNETS["resnet34"], dropout: float = 0.0) -> ResNet:
    """ResNet of 34 layers, 21.3 M parameters."""
    return ResNet(num_classes, blocks, bottleneck=False, dropout=dropout)


def resnet50(num_classes: int, *, blocks: Blocks = RESNETS["resnet50"], dropout: float = 0.0) -> ResNet:
    """ResNet of 50 layers, 23.5 M parameters."""
    return ResNet(num_classes, blocks, dropout=dropout)


def resnet101(num_classes: int, *, blocks: Blocks = RESNETS["resnet101"], dropout: float = 0.0) -> ResNet:
    """ResNet of 101 layers, 42.5 M parameters."""
    return ResNet(num_classes, blocks, dropout=dropout)


def resnet152(num_classes: int, *, blocks: Blocks = RESNETS["resnet152"], dropout: float = 0.0) -> ResNet:
    """ResNet of 152 layers, 58.1 M parameters."""
    return ResNet(num_classes, blocks, dropout=dropout)


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


def fcn_attention_alexnet(num_classes: int, *, dropout: float = 0.0) -> FcnAttention:
    """AlexNet's convolutions with attention over time and frequency, 2.5 M parameters."""
    return FcnAttention(num_classes, dropout=dropout)


def mts3_alexnet(num_classes: int, *, dropout: float = 0.5) -> AlexNet:
    """AlexNet with every kernel at 3 time scales, 57.0 M parameters."""
    return scale_time(AlexNet(num_classes, dropout=dropout), 3)


def mts5_alexnet(num_classes: int, *, dropout: float = 0.5) -> AlexNet:
    """AlexNet with every kernel at 5 time scales, 57.0 M parameters."""
    return scale_time(AlexNet(num_classes, dropout=dropout), 5)


def mts3_resnet152(
    num_classes: int, *, blocks: Blocks = RESNETS["resnet152"], dropout: float = 0.0
) -> ResNet:
    """ResNet152 with every kernel wider than 1 at 3 time scales, 58.1 M parameters."""
    return scale_time(ResNet(num_classes, blocks, dropout=dropout), 3)


def mts5_resnet152(
    num_classes: int, *, blocks: Blocks = RESNETS["resnet152"], dropout: float = 0.0
) -> ResNet:
    """ResNet152 with every kernel wider than 1 at 5 time scales, 58.1 M parameters."""
    return scale_time(ResNet(num_classes, blocks, dropout=dropout), 5)


def adv_vgg16(num_classes: int, *, dropout: float = 0.5, epsilon: float = EPSILON) -> Vgg:
    """VGG16 trained and scored on clean and on adversarial inputs (FGSM), 134.3 M parameters."""
    return _attacked(Vgg(num_classes, 16, dropout=dropout), epsilon)


def adv_resnet152(
    num_classes: int,
    *,
    blocks: Blocks = RESNETS["resnet152"],
    dropout: float = 0.0,
    epsilon: float = EPSILON,
) -> ResNet:
    """ResNet152 trained and scored on clean and on adversarial inputs (FGSM), 58.1 M parameters."""
    return _attacked(ResNet(num_classes, blocks, dropout=dropout), epsilon)


def _attacked(network: N, epsilon: float) -> N:
    """Mark *network* for adversarial training; see :mod:`sertransfer.pretraining.classifier`."""
    if not 0 < epsilon < math.inf:
        raise bad_input(
            "adversarial training",
            found=f"epsilon {epsilon}",
            expected="a number above 0, in units of the features",
            remedy="correct 'epsilon'",
        )
    network.adversarial_epsilon = epsilon
    return network


def pyresnet_tiny(
    num_classes: int, *, blocks: Blocks = (1, 1, 1, 1), width: float = 0.25, dropout: float = 0.0
) -> PyResNet:
    """PyResNet of one narrow block a stage, 0.5 M parameters; ours, for the demo and tests."""
    return PyResNet(num_classes, blocks, width=width, dropout=dropout)


MODELS: dict[str, Callable[..., SpectrogramModel]] = {
    "vgg11": vgg11,
    "vgg13": vgg13,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
    "pyresnet50": pyresnet50,
    "pyresnet101": pyresnet101,
    "pyresnet152": pyresnet152,
    "fcn_attention_alexnet": fcn_attention_alexnet,
    "mts3_alexnet": mts3_alexnet,
    "mts5_alexnet": mts5_alexnet,
    "mts3_resnet152": mts3_resnet152,
    "mts5_resnet152": mts5_resnet152,
    "adv_vgg16": adv_vgg16,
    "adv_resnet152": adv_resnet152,
    "pyresnet_tiny": pyresnet_tiny,
}
"""All models, in the order of the benchmark's table; ``pyresnet_tiny`` is ours."""


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


@dataclass(frozen=True)
class Summary:
    """A network with the paper's four classes, at its default options.

    Attributes:
        name: In :data:`sertransfer.models.registry.MODELS`.
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
