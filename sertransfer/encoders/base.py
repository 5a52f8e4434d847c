"""What every encoder offers: waveforms in, a sequence of features out."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sertransfer.encoders.pooling import pool
from sertransfer.errors import Faults
from sertransfer.files import hash_value
from sertransfer.timebase import Framing
from sertransfer.training_audio import TrainingAudio


class Encoder(ABC):
    """A frozen network with its front end.

    What it gives for one waveform never depends on the others in the batch, to rounding.

    Attributes:
        name: Its name in :data:`sertransfer.encoders.registry.ENCODERS`.
        sample_rate: Rate of the waveforms it takes, in Hz.
        dim: Length of a feature vector.
        framing: Its short-time analysis.
        by_speaker: Whether its front end must know who speaks: see :meth:`of_speaker`.
        training_audio: Fingerprint of the audio that it was trained on; ``None`` if it does not say.
    """

    name: str
    sample_rate: int
    dim: int
    framing: Framing
    by_speaker: bool = False
    training_audio: TrainingAudio | None = None

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

    def of_speaker(self, speaker: tuple[str, str]) -> Encoder:
        """Return the encoder for the audio of one speaker, given as corpus and name."""
        return self

    def embed(self, waveforms: Sequence[Tensor], pooling: str = "mean") -> Tensor:
        """Return one vector for each waveform, pooled over its frames.

        Args:
            waveforms: Each of shape ``(samples,)``.
            pooling: ``mean`` or ``mean_std``, see :func:`sertransfer.encoders.pooling.pool`.

        Returns:
            Shape ``(len(waveforms), dim)``, or twice as wide for ``mean_std``.
        """
        if not waveforms:
            return pool(torch.zeros(0, 1, self.dim), torch.zeros(0), pooling)
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        features, frames = self.encode(pad_sequence(list(waveforms), batch_first=True), lengths)
        return pool(features, frames, pooling)


def check_waveforms(waveforms: Tensor, lengths: Tensor, *, shortest: int = 1) -> None:
    """Refuse what can not be encoded, every item at once.

    Args:
        waveforms: Shape ``(batch, samples)``.
        lengths: Samples that count, shape ``(batch,)``.
        shortest: Fewest samples that the encoder can work on.

    Raises:
        BadInput: With a fault for each waveform that is too short or not finite.
        ValueError: If the shapes are wrong, which is no fault of the audio.
    """
    if waveforms.ndim != 2 or lengths.shape != waveforms.shape[:1] or len(lengths) == 0:
        shapes = f"waveforms {tuple(waveforms.shape)} and lengths {tuple(lengths.shape)}"
        raise ValueError(f"{shapes}; expected (batch, samples) and (batch,), at least one")
    faults = Faults()
    for row, length in enumerate(lengths.tolist()):
        expected = "sound"
        if not 0 < length <= waveforms.shape[1]:
            found = f"{length} samples, of {waveforms.shape[1]} given"
        elif length < shortest:
            found, expected = f"{length} samples", f"{shortest} or more, for one frame of this encoder"
        elif not bool(torch.isfinite(waveforms[row, :length]).all()):
            found = "samples that are not finite"
        else:
            continue
        faults.add(f"waveform {row}", found=found, expected=expected, remedy="leave this utterance out")
    faults.raise_if_any()


def hash_weights(values: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of plain *values* and named tensors, for a fingerprint."""
    digest = hashlib.sha256(hash_value(dict(values)).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
