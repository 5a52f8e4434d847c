"""FCN-Attention: AlexNet's convolutions, and attention over time and frequency in place of its classifier."""

from __future__ import annotations

from typing import ClassVar

import torch
import torchvision
from torch import Tensor, nn

from sertransfer.models.torchvision_nets import CHANNELS, LEAST, ImageNetwork, check_classifier

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
