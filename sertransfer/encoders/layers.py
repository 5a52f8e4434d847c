"""Encoders of stacked blocks: which block's output is the feature, or a learned mix of all."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sertransfer.encoders.base import Encoder, check_waveforms
from sertransfer.errors import bad_input


class LayeredEncoder(Encoder):
    """An encoder whose blocks' outputs can be had as well as its last.

    Only utterances of the same number of samples share a batch: these networks' outputs depend on padding,
    by a little (through convolutions and masks) or by a lot (normalisation), and without padding on nothing.

    Attributes:
        layers: Number of blocks whose output can be had; 0 where only the encoder's own output can.
        layer: Block whose output :meth:`encode` returns, counted from 1, as it leaves the block: without
            the norm that may follow the last one. ``None`` is the encoder's own output.
        shortest: Fewest samples it can work on.
        network: Its weights, in evaluation mode and frozen; fine-tuning opens what it trains.
    """

    layers: int
    layer: int | None
    shortest: int
    network: nn.Module
    _device: torch.device
    _record: dict[str, Any]
    _fingerprint: str

    @abstractmethod
    def _output(self, waveforms: Tensor) -> Tensor:
        """Return the encoder's own output for ``(batch, samples)``, shape ``(batch, frames, dim)``."""

    @abstractmethod
    def _blocks(self, waveforms: Tensor, count: int) -> list[Tensor]:
        """Return the outputs of the first *count* blocks, each of shape ``(batch, frames, dim)``."""

    def encode(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch; see :meth:`sertransfer.encoders.base.Encoder.encode`."""
        return self._by_length(waveforms, lengths, lambda same: self.features(same, mix=False))

    def encode_layers(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch and return every block's output, for a learned mix (:class:`LayerMix`).

        Args:
            waveforms: As for :meth:`encode`.
            lengths: As for :meth:`encode`.

        Returns:
            Features of shape ``(batch, frames, layers, dim)``, zero beyond an utterance's own frames, and
            the number of those, shape ``(batch,)``.

        Raises:
            BadInput: If a waveform can not be encoded, or the encoder gives its last output only.
        """
        self.check_layer(self.layers or 1)
        return self._by_length(waveforms, lengths, lambda same: self.features(same, mix=True))

    def features(self, waveforms: Tensor, *, mix: bool) -> Tensor:
        """Return the features of waveforms of equal length, with gradients where weights ask for them.

        Args:
            waveforms: Shape ``(batch, samples)``, on the network's device; may be overwritten.
            mix: Whether every block's output is returned, for a learned mix.

        Returns:
            Shape ``(batch, frames, dim)``, or ``(batch, frames, layers, dim)`` for *mix*.
        """
        if mix:
            return torch.stack(self._blocks(waveforms, self.layers), dim=2)
        if self.layer is None:
            return self._output(waveforms)
        return self._blocks(waveforms, self.layer)[self.layer - 1]

    @abstractmethod
    def stages(self, *, mix: bool) -> list[tuple[str, list[nn.Module]]]:
        """Return the parts that can be trained, from the input on: what comes before the blocks, each block.

        Parts that :meth:`features` does not use, and a front end that is no network, are in none.
        """

    @abstractmethod
    def blueprint(self) -> dict[str, Any]:
        """Return plain values from which the opener's ``rebuild`` makes this encoder, given its weights."""

    def describe(self) -> dict[str, Any]:
        """Return architecture, layer and what else decides the features, with the fingerprint."""
        return {**self._record, "dim": self.dim, "fingerprint": self._fingerprint}

    def fingerprint(self) -> str:
        """Return a hash of the weights in use, the settings that decide the features, and the layer."""
        return self._fingerprint

    def check_layer(self, layer: int | None) -> None:
        """Raise :class:`BadInput` if there is no such block."""
        if layer is None or 1 <= layer <= self.layers:
            return
        raise bad_input(
            f"encoder {self.name}",
            found=f"layer {layer}",
            expected=f"1 to {self.layers}"
            if self.layers
            else "no layer: this one gives its last output only",
            remedy="choose another layer, or leave the setting out",
        )

    def _by_length(
        self, waveforms: Tensor, lengths: Tensor, compute: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Apply *compute* to utterances of equal length and put the results together again."""
        check_waveforms(waveforms, lengths, shortest=self.shortest)
        rows: dict[int, list[int]] = defaultdict(list)
        for row, length in enumerate(lengths.tolist()):
            rows[length].append(row)
        encoded: dict[int, Tensor] = {}
        with torch.no_grad():
            for length, same in rows.items():
                # a copy: ESPnet normalises in place
                features = compute(waveforms[same, :length].to(self._device, torch.float32, copy=True))
                encoded.update(zip(same, features, strict=True))
        frames = torch.tensor([len(encoded[row]) for row in range(len(lengths))], dtype=torch.long)
        shape = (len(frames), int(frames.amax()), *encoded[0].shape[1:])
        padded = torch.zeros(shape, device=self._device)
        for row, features in encoded.items():
            padded[row, : len(features)] = features
        return padded, frames


class LayerMix(nn.Module):
    """Learned weighted sum over an encoder's blocks (Peters et al., 2018; SUPERB, Yang et al., 2021).

    Starts as the plain mean over blocks.

    Args:
        layers: Number of blocks.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))

    @property
    def weights(self) -> Tensor:
        """Weight of each block, shape ``(layers,)``; they add up to 1."""
        return self.scores.softmax(dim=0)

    def forward(self, features: Tensor) -> Tensor:
        """Mix ``(batch, frames, layers, dim)`` into ``(batch, frames, dim)``."""
        return torch.einsum("bfld,l->bfd", features, self.weights)
