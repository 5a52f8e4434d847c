"""What every encoder offers: waveforms in, a sequence of features out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sertransfer.timebase import Framing


class Encoder(ABC):
    """A frozen network with its front end.

    What it gives for one waveform never depends on the others in the batch, to rounding.

    Attributes:
        name: Its name in :data:`sertransfer.encoders.registry.ENCODERS`.
        sample_rate: Rate of the waveforms it takes, in Hz.
        dim: Length of a feature vector.
        framing: Its short-time analysis.
    """

    name: str
    sample_rate: int
    dim: int
    framing: Framing

    @abstractmethod
    def encode(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Args:
            waveforms: Shape ``(batch, samples)``, full scale 1, padded at the end with anything.
            lengths: Samples that count, shape ``(batch,)``.

        Returns:
            Features of shape ``(batch, frames, dim)``, zero beyond an utterance's own frames, and the
            number of those, shape ``(batch,)``.

        Raises:
            BadInput: If a waveform is empty or not finite.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what a run should record of the encoder, as plain values."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of all that decides the features: weights and preprocessing."""

    def embed(self, waveforms: Sequence[Tensor]) -> Tensor:
        """Return one vector for each waveform, the mean over its frames.

        Args:
            waveforms: Each of shape ``(samples,)``.

        Returns:
            Shape ``(len(waveforms), dim)``.
        """
        if not waveforms:
            return torch.zeros(0, self.dim)
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        features, frames = self.encode(pad_sequence(list(waveforms), batch_first=True), lengths)
        return features.sum(dim=1) / frames[:, None].to(features)
