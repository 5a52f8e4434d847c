"""Power spectral subtraction (Berouti's form; Upadhyay and Karmakar 2015, the paper's [19]).

The noise of an utterance is estimated from the utterance itself: from the frames of lowest energy,
wherever they lie, since a tightly cut utterance has no leading pause. Frames of digital silence are no
sample of the noise, and frames that reach past an end of the utterance hold too little of it; both are
left out, the latter unless there are no others.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sertransfer.front_end import Denoise
from sertransfer.timebase import Framing


def whole_frames(framing: Framing, samples: int) -> slice:
    """Return which of the centred frames of *samples* samples lie wholly inside the signal."""
    half = framing.n_fft // 2
    first = -(-half // framing.hop)
    last = (samples - half) // framing.hop
    return slice(first, last + 1) if first <= last else slice(None)


def noise_power(power: Tensor, fraction: float) -> Tensor:
    """Estimate the noise as the mean of the frames of lowest energy.

    Args:
        power: Power of whole frames, shape ``(frames, bins)``.
        fraction: Share of the frames that are not digital silence to take (rounded up, at least one).

    Returns:
        Noise power, shape ``(bins,)``; zeros if every frame is silent.
    """
    energy = power.sum(dim=1).numpy()
    silent = int(np.count_nonzero(energy == 0))
    sounding = len(energy) - silent
    if sounding == 0:
        return power.new_zeros(power.shape[1])
    count = max(1, math.ceil(fraction * sounding))
    lowest = np.argsort(energy)[silent : silent + count]
    return torch.from_numpy(power.numpy()[lowest].mean(axis=0))


def subtract(power: Tensor, noise: Tensor, settings: Denoise) -> Tensor:
    """Subtract the noise in place: ``max(power - over_subtraction * noise, floor * noise)``.

    Args:
        power: Power, shape ``(frames, bins)``; overwritten.
        noise: Noise power, shape ``(bins,)``.
        settings: The two factors.
    """
    power.sub_(settings.over_subtraction * noise)
    return torch.maximum(power, settings.floor * noise, out=power)


def restore(waveform: Tensor, window: Tensor, framing: Framing, settings: Denoise) -> Tensor:
    """Return the denoised waveform: subtraction with the phase kept, and inverse transform.

    The signal is surrounded by silence so that its ends lie under as many windows as its middle.

    Args:
        waveform: Samples, shape ``(samples,)``.
        window: Analysis and synthesis window, shape ``(n_fft,)``.
        framing: Framing; windows must overlap by half or more.
        settings: The subtraction's settings.

    Returns:
        Samples, shape ``(samples,)``.
    """
    hop, n_fft = framing.hop, framing.n_fft
    samples = len(waveform)
    margin = -(-n_fft // hop)  # in frames, so that frames stand where they would without it
    tail = -(-samples // hop) * hop - samples
    padded = torch.nn.functional.pad(waveform, (margin * hop, tail + margin * hop))
    spectrum = torch.stft(
        padded, n_fft, hop, window=window, center=True, pad_mode="constant", return_complex=True
    ).T  # (frames, bins)
    power = spectrum.abs().square()
    inside = power[margin : margin + framing.frames(samples)][whole_frames(framing, samples)]
    noise = noise_power(inside, settings.noise_fraction)
    kept = subtract(power.clone(), noise, settings)
    # No power, no phase: where there was nothing, nothing is put.
    scale = torch.where(power > 0, (kept / power.clamp_min(torch.finfo(power.dtype).tiny)).sqrt(), 0.0)
    restored = torch.istft((spectrum * scale).T, n_fft, hop, window=window, center=True, length=len(padded))
    return restored[margin * hop : margin * hop + samples]
