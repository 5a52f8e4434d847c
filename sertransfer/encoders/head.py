"""From an encoder's features to class scores of an utterance: layer weights, pooling, classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sertransfer.encoders.layers import LayerMix
from sertransfer.encoders.pooling import AttentivePooling, pool


class UtteranceHead(nn.Module):
    """A learned mix of blocks if there are several, pooling over frames, and a linear classifier.

    Only utterances of equal numbers of frames share a batch, so all frames count.

    Args:
        dim: Length of a feature vector.
        classes: Number of classes.
        pooling: One of :data:`sertransfer.encoders.pooling.LEARNED_POOLINGS`.
        layers: Number of blocks to mix; ``None`` where features are of one block.
    """

    def __init__(self, dim: int, classes: int, *, pooling: str, layers: int | None) -> None:
        super().__init__()
        self.pooling = pooling
        self.mix = None if layers is None else LayerMix(layers)
        self.attention = AttentivePooling(dim) if pooling == "attention" else None
        self.classifier = nn.Linear(2 * dim if pooling == "mean_std" else dim, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return scores before the softmax, ``(batch, classes)``.

        Args:
            features: Shape ``(batch, frames, dim)``, or ``(batch, frames, layers, dim)`` to mix.
        """
        mixed = features if self.mix is None else self.mix(features)
        frames = torch.full((mixed.shape[0],), mixed.shape[1], device=mixed.device)
        if self.attention is None:
            pooled = pool(mixed, frames, self.pooling)
        else:
            pooled = self.attention(mixed, frames)
        scores: Tensor = self.classifier(pooled)
        return scores
