"""VGG, four depths, from torchvision."""

from __future__ import annotations

from typing import ClassVar

import torchvision

from sertransfer.models.image_network import ImageNetwork, check_classifier


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
