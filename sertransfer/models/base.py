"""What every model in the registry offers, so that training and encoders need not know which one it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class SpectrogramModel(nn.Module, ABC):
    """A classifier of mel spectrograms, in three steps: feature map, pooled frames, classifier.

    ``forward_head`` classifies one vector an utterance; ``pool_frames`` gives the same vector frame
    by frame, so that its mean over the frames is what the classifier sees. A classifier that looks at
    several spans of time one by one sees the mean over each span instead (:attr:`time_bins`).

    Attributes:
        num_features: Length of the vector of a frame.
        time_bins: Spans of time, as adaptive average pooling makes them, whose mean vectors the
            classifier sees; 1 nearly always.
        least: Mels and frames below which the model fills its input up with zeros; 1 where any size passes.
        adversarial_epsilon: Size of the adversarial step that the model is trained and scored with, in
            units of its input; ``None`` for all models but those of adversarial training.
        conv_norm_pairs: Names of a convolution and the batch norm right behind it, for the modules
            of this class; :mod:`sertransfer.models.inference` folds the second into the first.
    """

    num_features: int
    time_bins: ClassVar[int] = 1
    least: ClassVar[int] = 1
    adversarial_epsilon: float | None = None

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``(batch, 1, mels, frames)`` to ``(batch, channels, rows, frames')``."""

    @abstractmethod
    def pool_frames(self, features: Tensor) -> Tensor:
        """Map a feature map to ``(batch, frames', num_features)``."""

    @abstractmethod
    def forward_head(self, features: Tensor) -> Tensor:
        """Map a feature map to scores before the softmax, ``(batch, classes)``."""

    @abstractmethod
    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a new one, initialised afresh, for *num_classes* classes."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, 1, mels, frames)`` to scores before the softmax, ``(batch, classes)``."""
        return self.forward_head(self.forward_features(x))
