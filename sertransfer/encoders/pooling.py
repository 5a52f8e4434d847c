"""From the frames of an utterance to one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

POOLINGS = ("mean", "mean_std")
"""``mean`` over frames, or ``mean_std``: the mean, then the standard deviation (statistics pooling)."""
LEARNED_POOLINGS = (*POOLINGS, "attention")
"""Ways from frames to one vector where something is trained on it."""


def frame_mask(features: Tensor, frames: Tensor) -> Tensor:
    """Return which frames of *features* ``(batch, frames, dim)`` count, shape ``(batch, frames, 1)``."""
    positions = torch.arange(features.shape[1], device=features.device)
    return (positions < frames.to(features.device)[:, None])[..., None]


def pool(features: Tensor, frames: Tensor, pooling: str) -> Tensor:
    """Return one vector per utterance; frames beyond its own are not looked at.

    Args:
        features: Shape ``(batch, frames, dim)``.
        frames: How many of them count, 1 or more, shape ``(batch,)``.
        pooling: One of :data:`POOLINGS`.

    Returns:
        Shape ``(batch, dim)``, or ``(batch, 2 * dim)`` for ``mean_std``, where the deviation is that of the
        frames at hand (divided by their number), 0 for a single one.

    Raises:
        ValueError: If *pooling* is none of :data:`POOLINGS`.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling '{pooling}'; there are {', '.join(POOLINGS)}")
    mask = frame_mask(features, frames)
    count = frames.to(features)[:, None]
    mean = features.masked_fill(~mask, 0).sum(dim=1) / count
    if pooling == "mean":
        return mean
    centred = (features - mean[:, None]).masked_fill(~mask, 0)
    variance = centred.square().sum(dim=1) / count
    moves = variance > 0  # the root has no slope at 0, and a gradient must not become NaN there
    return torch.cat([mean, torch.where(moves, variance, 1).sqrt() * moves], dim=1)


class AttentivePooling(nn.Module):
    """Learned mean over frames: attention from a small network (Okabe et al., 2018, without the deviation).

    Starts as the plain mean.

    Args:
        dim: Length of a feature vector.
        hidden: Width of the attention network.
    """

    def __init__(self, dim: int, hidden: int = 128) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        """Return the vectors of *features* ``(batch, frames, dim)``, of which *frames* ``(batch,)`` count."""
        scores = self.score(torch.tanh(self.hidden(features)))  # (batch, frames, 1)
        mask = frame_mask(features, frames)
        weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=1)
        pooled: Tensor = (weights * features.masked_fill(~mask, 0)).sum(dim=1)
        return pooled
