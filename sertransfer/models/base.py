"""What every model over spectrograms offers, and the same network faster where it only infers.

There batch norms are folded into convolutions, and channels come last, which matters most: the first
stage's grouped 7x7 and 9x9 convolutions, a few channels a group, take 4 to 6 times as long in the default
layout on a CPU.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import pairwise
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


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
            of this class; :mod:`sertransfer.models.base` folds the second into the first.
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


M = TypeVar("M", bound=nn.Module)


def prepare_for_inference(model: M) -> M:
    """Fold batch norms and set the memory layout, **in place**; outputs stay the same to rounding.

    The model cannot be trained any more: its batch norms are gone and nothing requires a gradient.
    Folded are the pairs that a module's class names in ``conv_norm_pairs``, and neighbours in a
    ``Sequential``; a convolution whose class says ``folds_norm = False`` keeps its batch norm.

    Returns:
        *model* itself, in evaluation mode.
    """
    model.eval().requires_grad_(False)
    for module in list(model.modules()):
        for conv, norm in _pairs(module):
            if getattr(module.get_submodule(conv), "folds_norm", True):
                _fold(module.get_submodule(conv), module.get_submodule(norm))
                setattr(module, norm, nn.Identity())
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _pairs(module: nn.Module) -> Iterable[tuple[str, str]]:
    """Return the names of *module*'s convolutions with the batch norms right behind them."""
    if not isinstance(module, nn.Sequential):
        pairs: Iterable[tuple[str, str]] = getattr(module, "conv_norm_pairs", ())
        return pairs
    return [
        (first, second)
        for (first, conv), (second, norm) in pairwise(module.named_children())
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    ]


def _fold(conv: nn.Module, norm: nn.Module) -> None:
    """Fold *norm* into *conv*; a pyramid's levels take their own parts of the channels."""
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
        raise TypeError(f"{norm} has no running statistics to fold")
    start = 0
    for level in conv.modules():
        if isinstance(level, nn.Conv2d):
            part = slice(start, start + level.out_channels)
            level.weight, level.bias = fuse_conv_bn_weights(
                level.weight,
                level.bias,
                norm.running_mean[part],
                norm.running_var[part],
                norm.eps,
                norm.weight[part],
                norm.bias[part],
            )
            start += level.out_channels
