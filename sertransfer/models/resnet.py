"""ResNet, five depths, from torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import nn
from torchvision.models import resnet

from sertransfer.errors import Faults
from sertransfer.models.image_network import ImageNetwork, check_classifier

DEPTHS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
"""Blocks in each of the four stages."""


class BasicBlock(resnet.BasicBlock):  # type: ignore[misc]  # torchvision has no types
    """torchvision's block of two 3x3 convolutions, with what inference may fold."""

    conv_norm_pairs = (("conv1", "bn1"), ("conv2", "bn2"))


class Bottleneck(resnet.Bottleneck):  # type: ignore[misc]
    """torchvision's block of 1x1, 3x3 and 1x1 convolutions, with what inference may fold."""

    conv_norm_pairs = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))


class ResNet(ImageNetwork):
    """ResNet (He et al., CVPR 2016, arXiv 1512.03385).

    Our choices where the benchmark is silent: torchvision's network (stride in the 3x3 convolution of a
    bottleneck, "v1.5"), with its max-pool in the stem and its mean over the whole map; PyResNet differs in
    both. Every size passes, from one mel and one frame on, since all its windows are padded.

    Args:
        num_classes: Outputs of the classifier.
        blocks: Blocks in each of the four stages.
        bottleneck: Three convolutions a block (50 layers and more) or two.
        dropout: Probability of dropping a feature before the classifier (paper: none).

    Raises:
        BadInput: If an option is out of range.
    """

    image_prefixes: ClassVar[Mapping[str, str]] = {"features.": "", "classifier.": ""}
    image_head: ClassVar[str] = "fc."

    def __init__(
        self, num_classes: int, blocks: Sequence[int], *, bottleneck: bool = True, dropout: float = 0.0
    ) -> None:
        _check_blocks(blocks)
        check_classifier("ResNet", num_classes, dropout)
        block = Bottleneck if bottleneck else BasicBlock
        network = resnet.ResNet(block, list(blocks), num_classes=num_classes)
        # torchvision's modules in their own order; its pooling and its classifier are the last two.
        features, classifier = nn.Sequential(), nn.Sequential()
        for name, module in list(network.named_children())[:-2]:
            features.add_module(name, module)
        classifier.add_module("dropout", nn.Dropout(dropout))
        classifier.add_module("fc", network.fc)
        super().__init__(features, classifier, channels=512 * block.expansion)


def _check_blocks(blocks: Sequence[int]) -> None:
    faults = Faults()
    if len(blocks) != 4 or not all(1 <= count <= 100 for count in blocks):
        faults.add("ResNet", found=f"blocks {blocks}", expected="4 numbers of 1 to 100", remedy="correct it")
    faults.raise_if_any()
