"""Small things for the tests of encoders: a self-supervised model's options, and noises of given lengths."""

from __future__ import annotations

from typing import Any

import torch
import torchaudio
from torch import Tensor

SMALL: dict[str, Any] = {
    **torchaudio.pipelines.HUBERT_BASE._params,
    "extractor_conv_layer_config": [[4, 10, 5], *[[4, 3, 2]] * 4, *[[4, 2, 2]] * 2],
    "encoder_embed_dim": 16,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 16,
}


def sounds(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(length, generator=generator) * 0.1 for length in lengths]


def padded(waveforms: list[Tensor], fill: float = 0.0) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    return torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True, padding_value=fill), lengths
