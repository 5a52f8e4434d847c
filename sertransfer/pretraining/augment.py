"""Augmentation: spectrograms as if spoken faster or slower, higher or lower, and masks (SpecAugment)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks
from torchaudio.transforms import FrequencyMasking, TimeMasking

from sertransfer.front_end import FrontEnd
from sertransfer.pretraining.settings import Augment, PretrainConfig

_BINS = 8001
"""Points at which the filters are looked at to find their peaks: 1 Hz apart at 16 kHz."""


class Warp(nn.Module):
    """Stretches time and frequency of mel spectrograms at random.

    Time is stretched by one factor a batch, so that its utterances keep a common number of frames, and
    frequency by one factor an utterance (vocal tract length perturbation, Jaitly and Hinton 2013). Equal
    factors for both would be a change of playing speed (Ko et al. 2015). Values between frames and bands
    are interpolated; what lies beyond the highest band repeats it.

    Args:
        front_end: What the spectrograms were computed with; says where the mel bands lie.
        tempo: Factors of time are drawn evenly from ``1 - tempo`` to ``1 + tempo``; 0 = off.
        pitch: The same for frequency.
    """

    def __init__(self, front_end: FrontEnd, *, tempo: float, pitch: float) -> None:
        super().__init__()
        self.tempo, self.pitch = tempo, pitch
        self._centres = band_centres(front_end)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(batch, 1, mels, frames)`` to ``(batch, 1, mels, frames / rate)``, at least one frame."""
        rate = 1 + self.tempo * (2 * float(torch.rand(())) - 1)
        factors = 1 + self.pitch * (2 * torch.rand(len(features), dtype=torch.float64).numpy() - 1)
        return stretch(features, self._centres, rate=rate, factors=factors)


def stretch(
    features: Tensor, centres: NDArray[np.float64], *, rate: float, factors: NDArray[np.float64]
) -> Tensor:
    """Return *features* spoken *rate* times faster, all frequencies times *factors*.

    Args:
        features: Shape ``(batch, 1, mels, frames)``.
        centres: Frequency of each band, shape ``(mels,)``.
        rate: Of all utterances.
        factors: One an utterance, shape ``(batch,)``.

    Returns:
        Shape ``(batch, 1, mels, frames / rate)``, at least one frame.
    """
    batch, _, mels, frames = features.shape
    bands = np.arange(mels)
    # where each band of the result lies among the bands of the input
    origins = np.stack([np.interp(centres / factor, centres, bands) for factor in factors])
    rows = torch.from_numpy(origins * (2 / max(1, mels - 1)) - 1).float()  # (batch, mels), from -1 to 1
    columns = torch.linspace(-1, 1, max(1, round(frames / rate)))
    shape = (batch, mels, len(columns))
    grid = torch.stack([columns.expand(shape), rows[..., None].expand(shape)], dim=-1)
    return F.grid_sample(features, grid.to(features), padding_mode="border", align_corners=True)


def band_centres(front_end: FrontEnd) -> NDArray[np.float64]:
    """Return the frequency in Hz where each mel filter peaks, shape ``(mels,)``."""
    rate = front_end.framing.sample_rate
    bank = melscale_fbanks(
        _BINS, front_end.f_min, front_end.f_max, front_end.mels, rate, None, front_end.mel_scale
    )  # (bins, mels)
    frequencies = np.linspace(0, rate // 2, _BINS)
    centres: NDArray[np.float64] = frequencies[bank.argmax(dim=0).numpy()]
    return centres


def make_warp(config: PretrainConfig) -> list[nn.Module]:
    """Return the stretching of time and frequency, if the settings ask for it."""
    tempo, pitch = config.augment.tempo, config.augment.pitch
    return [Warp(config.front_end, tempo=tempo, pitch=pitch)] if tempo or pitch else []


def make_masks(augment: Augment) -> nn.Module:
    """Return the masks, drawn for each utterance of a batch ``(batch, 1, mels, frames)`` anew."""
    masks: list[nn.Module] = []
    if augment.freq_mask:
        masks.append(FrequencyMasking(augment.freq_mask, iid_masks=True))
    if augment.time_mask:
        masks.append(TimeMasking(augment.time_mask, iid_masks=True))
    return nn.Sequential(*masks)
