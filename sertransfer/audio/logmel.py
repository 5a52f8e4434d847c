"""From a waveform to its denoised log-mel spectrogram, as a :class:`~sertransfer.front_end.FrontEnd` says."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from sertransfer.audio.speaker_norm import RestingState
from sertransfer.errors import Faults, bad_input, choose
from sertransfer.front_end import Denoise, FrontEnd
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


_BANDS_AT_ONCE = 16
"""Mel bands per matrix product. Neighbouring triangles need few bins, so a few narrow products cost a
fifth of one with the whole filter bank, which is nearly all zeros."""

_FRAMES_AT_ONCE = 8192
"""Frames that are transformed at once; those of most utterances. The spectra of an hour take gigabytes."""


class MelFrontEnd:
    """Computes mel spectrograms on the CPU, in single precision (paper, section 2.3).

    Denoising, gain, centred STFT (Hann, periodic; zeros beyond the ends), power, triangular mel
    filters, logarithm, normalisation. The gain is a factor on the power unless it is to clip: then it
    comes before the transform, and before a subtraction that acts on the transform.

    Work space is kept from call to call, since fresh memory costs as much as the transform itself:
    one instance serves one thread.

    Attributes:
        front_end: The settings.
        empty_filters: Number of mel filters between two neighbouring bins of the transform; their
            bands hold nothing but the floor.

    Raises:
        BadInput: If the settings contradict each other; every fault is listed.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        _validate(front_end)
        self.front_end = front_end
        framing = front_end.framing
        bins = framing.n_fft // 2 + 1
        left = (framing.n_fft - framing.window) // 2
        right = framing.n_fft - framing.window - left
        self._window = torch.nn.functional.pad(torch.hann_window(framing.window), (left, right))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # empty filters are counted instead
            bank = melscale_fbanks(
                bins,
                front_end.f_min,
                front_end.f_max,
                front_end.mels,
                framing.sample_rate,
                None if front_end.mel_norm == "none" else front_end.mel_norm,
                front_end.mel_scale,
            )  # (bins, mels)
        self.empty_filters = int((bank.sum(dim=0) == 0).sum())
        if not front_end.clip:
            bank = bank * front_end.gain**2
        self._bank = [
            (slice(first, first + _BANDS_AT_ONCE), *_narrow(bank[:, first : first + _BANDS_AT_ONCE].numpy()))
            for first in range(0, front_end.mels, _BANDS_AT_ONCE)
        ]
        self._space: dict[str, Tensor] = {}

    def __call__(self, waveform: Tensor, state: RestingState | None = None) -> Tensor:
        """Return the mel spectrogram of one utterance.

        Args:
            waveform: Samples at the framing's rate, shape ``(samples,)``, at least one.
            state: The speaker's, for ``normalise="resting"``; not looked at otherwise.

        Returns:
            Shape ``(mels, frames)``, ``frames = framing.frames(samples)``; a tensor of its own.

        Raises:
            BadInput: If a resting state is needed and none is given.
            ValueError: If *waveform* has another shape.
        """
        if waveform.ndim != 1 or len(waveform) == 0:
            raise ValueError(
                f"a waveform of shape {tuple(waveform.shape)}; expected (samples,), at least one"
            )
        denoise, framing = self.front_end.denoise, self.front_end.framing
        subtracting = denoise.method != "none"
        waveform = waveform.detach().to("cpu", torch.float32)
        if subtracting and denoise.resynthesis:
            waveform = restore(waveform, self._window, framing, denoise)
        if self.front_end.clip:
            waveform = (waveform * self.front_end.gain).clamp_(-1, 1)
        power = self._power(waveform)
        if subtracting and not denoise.resynthesis:
            inside = power[whole_frames(framing, len(waveform))]
            subtract(power, noise_power(inside, denoise.noise_fraction), denoise)
        return self._normalised(self._logarithm(self._mel(power.numpy())), state).T

    def clipped(self, waveform: Tensor) -> int:
        """Return how many samples of *waveform* the gain drives beyond full scale."""
        return int((waveform.abs() * self.front_end.gain > 1).sum())

    def _power(self, waveform: Tensor) -> Tensor:
        """Return the power of every frame in work space, shape ``(frames, bins)``."""
        framing, samples = self.front_end.framing, len(waveform)
        count, half = framing.frames(samples), framing.n_fft // 2
        padded = self._buffer("padded", (count - 1) * framing.hop + framing.n_fft)
        reach = min(samples, len(padded) - half)
        padded[:half] = 0
        padded[half : half + reach] = waveform[:reach]
        padded[half + reach :] = 0
        power = self._buffer("power", count, half + 1)
        unfolded = padded.unfold(0, framing.n_fft, framing.hop)
        for first in range(0, count, _FRAMES_AT_ONCE):
            rows = slice(first, min(count, first + _FRAMES_AT_ONCE))
            frames = self._buffer("frames", rows.stop - first, framing.n_fft)
            torch.mul(unfolded[rows], self._window, out=frames)
            spectrum = torch.fft.rfft(frames).numpy()
            np.abs(spectrum, out=power[rows].numpy())  # numpy's takes a tenth of the time of torch's
        return power.square_()

    def _mel(self, power: NDArray[np.float32]) -> Tensor:
        """Return the filtered power, shape ``(frames, mels)``, new; *power* is ``(frames, bins)``."""
        mel = np.empty((len(power), self.front_end.mels), dtype=np.float32)
        for bands, bins, part in self._bank:
            np.matmul(power[:, bins], part, out=mel[:, bands])
        return torch.from_numpy(mel)

    def _buffer(self, name: str, rows: int, *width: int) -> Tensor:
        if name not in self._space or len(self._space[name]) < rows:
            self._space[name] = torch.empty(rows, *width)
        return self._space[name][:rows]

    def _logarithm(self, mel: Tensor) -> Tensor:
        if self.front_end.log == "none":
            return mel
        mel = mel.clamp_min_(self.front_end.log_floor)
        if self.front_end.log == "db":
            return mel.log10_().mul_(10)
        np.log(mel.numpy(), out=mel.numpy())  # in half of the time of torch's
        return mel

    def _normalised(self, mel: Tensor, state: RestingState | None) -> Tensor:
        """Scale *mel*, shape ``(frames, mels)``, to mean 0 and deviation 1; a constant becomes 0."""
        if self.front_end.normalise == "none":
            return mel
        values = mel.numpy()
        if self.front_end.normalise == "resting":
            if state is None:
                raise bad_input(
                    "front end, normalise 'resting'",
                    found="audio without its speaker's resting state",
                    expected="a manifest that names each speaker and has resting recordings of each",
                    remedy="take a model that was trained with another normalisation for audio alone",
                )
            state.normalise(values)
            return mel
        band = self.front_end.normalise == "band"
        mean = values.mean(axis=0 if band else None)
        values -= mean
        squares = np.einsum("fm,fm->m", values, values) if band else np.vdot(values, values)
        deviation = np.sqrt(squares / np.float32(len(values) if band else values.size))
        # What is left of a constant after subtracting its mean is rounding, not signal.
        constant = deviation <= 1e-6 * np.abs(mean)
        values /= np.where(constant, np.float32(np.inf), deviation)
        return mel


def _narrow(part: NDArray[np.float32]) -> tuple[slice, NDArray[np.float32]]:
    """Cut a part of the filter bank, shape ``(bins, bands)``, to the bins that it uses."""
    used = np.flatnonzero(part.any(axis=1))
    bins = slice(used[0], used[-1] + 1) if len(used) else slice(0, 1)
    return bins, np.ascontiguousarray(part[bins])


def _validate(front_end: FrontEnd) -> None:
    denoise, framing = front_end.denoise, front_end.framing
    choose("denoise method", denoise.method, ("spectral_subtraction", "none"))
    choose("mel scale", front_end.mel_scale, ("slaney", "htk"))
    choose("mel norm", front_end.mel_norm, ("slaney", "none"))
    choose("log", front_end.log, ("natural", "db", "none"))
    choose("normalise", front_end.normalise, ("utterance", "band", "resting", "none"))
    nyquist = framing.sample_rate / 2
    rules = (
        (
            0 <= front_end.f_min < front_end.f_max <= nyquist,
            "f_min and f_max",
            f"0 <= f_min < f_max <= {nyquist}",
        ),
        (front_end.mels >= 1, "mels", "at least 1"),
        (front_end.gain > 0, "gain", "more than 0"),
        (front_end.log_floor > 0, "log_floor", "more than 0"),
        (0 < denoise.noise_fraction <= 1, "denoise.noise_fraction", "more than 0, up to 1"),
        (denoise.over_subtraction >= 0 and denoise.floor >= 0, "denoise factors", "0 or more"),
        (
            not denoise.resynthesis or 2 * framing.hop <= framing.window,
            "denoise.resynthesis",
            "windows that overlap by half or more",
        ),
    )
    faults = Faults()
    for holds, name, expected in rules:
        if not holds:
            faults.add(
                f"front end, {name}", found=str(front_end), expected=expected, remedy="correct the setting"
            )
    faults.raise_if_any()
