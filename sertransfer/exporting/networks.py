"""Each kind of trained model as one network, from what its front end gives to scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sertransfer.encoders.layers import LayeredEncoder
from sertransfer.encoders.pooling import pool
from sertransfer.models.base import SpectrogramModel
from sertransfer.transfer.machines import KernelMachine, LinearMachine, NetworkMachine
from sertransfer.transfer.probe import Probe


class ProbeHead(nn.Module):
    """A probe in double precision, as :mod:`sertransfer.transfer.probe` computes it.

    Attention between sentences is not a sentence's own and stays out.
    """

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        prepared, machine = probe.preparation, probe.machine
        arrays = {"mean": prepared.mean, "scale": prepared.scale, **machine.arrays()}
        if prepared.basis is not None:
            arrays["basis"] = prepared.basis
        for name, values in arrays.items():
            self.register_buffer(name, torch.from_numpy(values).double())
        self._machine = type(machine)
        self._rotates = prepared.basis is not None
        self._slope = float(probe.slope)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map ``(batch, dim)`` to scores in [0, 1] of the positive class, ``(batch,)``."""
        columns = (embedding.double() - self.get_buffer("mean")) / self.get_buffer("scale")
        if self._rotates:
            columns = columns @ self.get_buffer("basis")
        decision = self._decision(columns) + self.get_buffer("intercept")
        return torch.sigmoid(self._slope * decision).float()

    def _decision(self, columns: Tensor) -> Tensor:
        if self._machine is LinearMachine:
            return columns @ self.get_buffer("weights")
        if self._machine is NetworkMachine:
            active = torch.relu(columns @ self.get_buffer("hidden") + self.get_buffer("shift"))
            return active @ self.get_buffer("out")
        if self._machine is not KernelMachine:
            raise TypeError(f"a probe of {self._machine.__name__}")
        support = self.get_buffer("support")
        squares = (columns**2).sum(1, keepdim=True) + (support**2).sum(1)
        distances = torch.relu(squares - 2 * columns @ support.T)
        return torch.exp(-self.get_buffer("gamma") * distances) @ self.get_buffer("dual")


class SpectrogramProbe(nn.Module):
    """A model of stage 1 without its classifier, pooled over frames, and a probe."""

    def __init__(self, model: SpectrogramModel, head: nn.Module, pooling: str) -> None:
        super().__init__()
        self.encoder, self.head, self._pooling = model, head, pooling

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, 1, mels, frames)`` to scores ``(batch,)``."""
        frames = self.encoder.pool_frames(self.encoder.forward_features(x))
        scores: Tensor = self.head(_pooled(frames, self._pooling))
        return scores


class WaveformProbe(nn.Module):
    """An encoder of waveforms, pooled over frames, and a probe."""

    def __init__(self, encoder: LayeredEncoder, head: nn.Module, pooling: str) -> None:
        super().__init__()
        self.encoder, self.head, self._pooling = encoder.network, head, pooling
        self._features = encoder.features

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, samples)`` to scores ``(batch,)``."""
        scores: Tensor = self.head(_pooled(self._features(x.clone(), mix=False), self._pooling))
        return scores


class FromWaveforms(nn.Module):
    """A fine-tuned network that is given waveforms as they are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, samples)`` to scores before the softmax, ``(batch, classes)``."""
        scores: Tensor = self.network(x[:, None, None])
        return scores


def _pooled(frames: Tensor, pooling: str) -> Tensor:
    """Pool ``(batch, frames, dim)``, all frames counting."""
    if pooling == "mean":
        return frames.mean(1)
    return pool(frames, torch.full((frames.shape[0],), frames.shape[1], device=frames.device), pooling)
