"""AlexNet from torchvision, the backbone of FCN-Attention and MTS."""

from __future__ import annotations

from typing import ClassVar

import torchvision

from sertransfer.models.image_network import ImageNetwork, check_classifier

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
