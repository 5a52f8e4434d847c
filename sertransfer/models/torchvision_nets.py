"""AlexNet, VGG, ResNet and FCN-Attention from torchvision's parts, over spectrograms of one channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models import resnet

from sertransfer.errors import Faults
from sertransfer.models.base import SpectrogramModel


class ImageNetwork(SpectrogramModel):
    """A torchvision network as it stands, except for its first convolution and its last layer.

    Input channel: the first convolution's kernels are summed over red, green and blue, with fresh weights
    and with ImageNet's alike. A spectrogram so gives what a grey image of the same values would give, all
    three channels being equal.

    Short inputs: torchvision's networks fail on maps smaller than :attr:`least`. Mels and frames are
    filled up with zeros to that size, after the last ones, inside the model and utterance by utterance;
    so the rule is the same in training, in evaluation, alone and in a batch of equal lengths.

    Args:
        features: The convolutional part; its first module is the first convolution.
        classifier: The layers behind the pooling; the last one gives the scores.
        channels: Channels of the feature map.

    Attributes:
        rows: Rows of frequency that pooling keeps.
        image_prefixes: Beginnings of our parameters' names and torchvision's in their place; a name that
            begins with none of them has no counterpart in an ImageNet file.
        image_head: Beginning of the names that an ImageNet file has and we leave out.
    """

    rows: ClassVar[int] = 1
    image_prefixes: ClassVar[Mapping[str, str]] = {"features.": "features.", "classifier.": "classifier."}
    image_head: ClassVar[str] = "classifier.6."

    def __init__(self, features: nn.Sequential, classifier: nn.Sequential, channels: int) -> None:
        super().__init__()
        self.features = features
        self.features[0] = sum_over_colours(features[0])
        self.classifier = classifier
        self.num_features = channels * self.rows

    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``(batch, 1, mels, frames)`` to ``(batch, channels, rows, frames')``."""
        features: Tensor = self.features(fill_up(x, self.least))
        return features

    def pool_frames(self, features: Tensor) -> Tensor:
        """Map a feature map to ``(batch, frames', num_features)``; see :attr:`time_bins`."""
        rows = F.adaptive_avg_pool2d(features, (self.rows, features.shape[-1]))
        return rows.flatten(1, 2).transpose(1, 2)

    def forward_head(self, features: Tensor) -> Tensor:
        """Map a feature map to scores before the softmax, ``(batch, classes)``."""
        pooled = F.adaptive_avg_pool2d(features, (self.rows, self.time_bins))
        scores: Tensor = self.classifier(pooled.flatten(1))
        return scores

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer, where the old one was; hidden layers of the classifier stay."""
        old = self.classifier[-1]
        if not isinstance(old, nn.Linear):
            raise TypeError(f"{old} is no linear classifier")
        self.classifier[-1] = nn.Linear(
            old.in_features, num_classes, device=old.weight.device, dtype=old.weight.dtype
        )

    def image_name(self, name: str) -> str | None:
        """Return what torchvision calls our parameter *name*; ``None`` if it has no such parameter."""
        for ours, theirs in self.image_prefixes.items():
            if name.startswith(ours):
                found = theirs + name.removeprefix(ours)
                return None if found.startswith(self.image_head) else found
        return None


def sum_over_colours(conv: nn.Module) -> nn.Conv2d:
    """Return *conv* for a single input channel, its kernels summed over the channels that it had."""
    if not isinstance(conv, nn.Conv2d):
        raise TypeError(f"{conv} is no convolution")
    weight = conv.weight.detach().sum(1, keepdim=True)
    conv.in_channels = 1
    conv.weight = nn.Parameter(weight)
    return conv


def fill_up(x: Tensor, least: int) -> Tensor:
    """Append zeros to ``(..., mels, frames)`` until both are at least *least*."""
    short = [max(0, least - size) for size in x.shape[-2:]]
    return F.pad(x, (0, short[1], 0, short[0])) if any(short) else x


def check_classifier(where: str, num_classes: int, dropout: float) -> None:
    """Refuse a classifier that cannot be built; a checkpoint file can bring any options.

    Raises:
        BadInput: With every value that is out of range.
    """
    faults = Faults()
    if num_classes < 1:
        faults.add(where, found=f"{num_classes} classes", expected="at least 1", remedy="correct the classes")
    if not 0 <= dropout < 1:
        faults.add(
            where,
            found=f"dropout {dropout}",
            expected="a probability of at least 0, below 1",
            remedy="correct 'dropout'",
        )
    faults.raise_if_any()


CHANNELS = 256
"""Channels of AlexNet's last feature map."""

LEAST = 63
"""Mels and frames below which AlexNet's poolings leave nothing; 63 frames are 2 s at a hop of 32 ms."""


class AlexNet(ImageNetwork):
    """AlexNet (Krizhevsky et al. 2012), in torchvision's form (Krizhevsky 2014, arXiv 1404.5997).

    Our choices where the benchmark is silent: torchvision's whole classifier (two hidden layers of 4096,
    dropout 0.5) behind adaptive average pooling to 6 x 6. What is shorter than 63 is filled up with zeros.

    The classifier sees six spans of time and not their mean: :meth:`pool_frames` gives the frames,
    256 channels x 6 rows each, whose averages over six spans are its input (:attr:`time_bins`).

    Args:
        num_classes: Outputs of the classifier.
        dropout: Probability of dropping a value before each hidden layer of the classifier.

    Raises:
        BadInput: If an option is out of range.
    """

    least: ClassVar[int] = LEAST
    rows: ClassVar[int] = 6
    time_bins: ClassVar[int] = 6

    def __init__(self, num_classes: int, *, dropout: float = 0.5) -> None:
        check_classifier("alexnet", num_classes, dropout)
        network = torchvision.models.alexnet(weights=None, num_classes=num_classes, dropout=dropout)
        super().__init__(network.features, network.classifier, CHANNELS)


class Vgg(ImageNetwork):
    """VGG without batch norm (Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556).

    The benchmark names the depths and nothing else. Our choices: torchvision's network with its whole
    classifier (two hidden layers of 4096, dropout 0.5), behind adaptive average pooling to 7 x 7, so that
    any number of mels and frames will do. What is shorter than 32 (five halvings) is filled up with zeros.

    The classifier sees seven spans of time and not their mean: :meth:`pool_frames` gives the frames,
    512 channels x 7 rows each, whose averages over seven spans are its input (:attr:`time_bins`).

    Args:
        num_classes: Outputs of the classifier.
        layers: 11, 13, 16 or 19.
        dropout: Probability of dropping a value behind each hidden layer of the classifier.

    Raises:
        BadInput: If an option is out of range.
    """

    least: ClassVar[int] = 32
    rows: ClassVar[int] = 7
    time_bins: ClassVar[int] = 7

    def __init__(self, num_classes: int, layers: int, *, dropout: float = 0.5) -> None:
        name = f"vgg{layers}"
        check_classifier(name, num_classes, dropout)
        network = torchvision.models.get_model(name, weights=None, num_classes=num_classes, dropout=dropout)
        super().__init__(network.features, network.classifier, channels=512)


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


class FoldableBottleneck(resnet.Bottleneck):  # type: ignore[misc]
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
        block = FoldableBottleneck if bottleneck else BasicBlock
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


SHARPNESS = 0.3
"""The factor called lambda in the paper, between 0 (all positions alike) and 1 (a plain softmax)."""


class FcnAttention(ImageNetwork):
    """Attention-based fully convolutional network (Zhang et al. 2018, arXiv 1806.01506).

    Every position ``x`` of AlexNet's last map, over time and frequency, gets the weight
    ``softmax(lambda * u^T tanh(W x + b))`` with lambda 0.3; the weighted sum of the positions goes to a
    linear classifier. Our choices where the paper is silent: torchvision's AlexNet with its last
    max-pool, ``W`` square (256 x 256), no dropout. What is shorter than 63 mels or frames is filled up
    with zeros, and attention sees no mark of what was filled up.

    The frames of :meth:`pool_frames` are the weighted positions summed over frequency, times the number
    of frames, so that their mean is what the classifier sees.

    Args:
        num_classes: Outputs of the classifier.
        dropout: Probability of dropping a value before the classifier.

    Raises:
        BadInput: If an option is out of range.
    """

    least: ClassVar[int] = LEAST
    image_prefixes = {"features.": "features."}  # noqa: RUF012 (declared as a class variable in the base)
    image_head: ClassVar[str] = "classifier."

    def __init__(self, num_classes: int, *, dropout: float = 0.0) -> None:
        check_classifier("FCN-Attention", num_classes, dropout)
        classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(CHANNELS, num_classes))
        super().__init__(torchvision.models.alexnet(weights=None).features, classifier, CHANNELS)
        self.attention = nn.Sequential(
            nn.Linear(CHANNELS, CHANNELS), nn.Tanh(), nn.Linear(CHANNELS, 1, bias=False)
        )

    def weigh(self, features: Tensor) -> Tensor:
        """Return the weight of each position of a feature map, ``(batch, rows, frames')``, of sum 1."""
        energies = self.attention(features.movedim(1, -1)).squeeze(-1)  # (batch, rows, frames')
        return torch.softmax(SHARPNESS * energies.flatten(1), dim=1).view_as(energies)

    def pool_frames(self, features: Tensor) -> Tensor:
        """Map a feature map to ``(batch, frames', num_features)``."""
        frames = torch.einsum("bcrt,brt->btc", features, self.weigh(features))
        return frames * features.shape[-1]

    def forward_head(self, features: Tensor) -> Tensor:
        """Map a feature map to scores before the softmax, ``(batch, classes)``."""
        scores: Tensor = self.classifier(torch.einsum("bcrt,brt->bc", features, self.weigh(features)))
        return scores
