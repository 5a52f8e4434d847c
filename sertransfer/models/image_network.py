"""Networks made for images, taken from torchvision, over spectrograms of one channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

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
    """Refuse a classifier that can not be built; a checkpoint file can bring any options.

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
