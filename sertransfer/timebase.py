"""The one rule that turns seconds into samples and samples into frames.

Every crop, duration and frame count in the package goes through here, so that two readers cannot
disagree by a sample. Seconds are rounded half up to the nearest sample; frames are centred, as in
``torch.stft(center=True)``: frame ``i`` is centred on sample ``i * hop``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from sertransfer.errors import bad_input

SAMPLE_RATE = 16_000
"""Working sample rate in Hz (paper, section 2.3)."""


def seconds_to_samples(seconds: float, sample_rate: int) -> int:
    """Round *seconds* half up to a whole number of samples.

    The product is first rounded to a millionth of a sample, so that binary noise in a decimal time
    (0.1 s is not exact) cannot move a half sample to the wrong side.

    Examples:
        >>> seconds_to_samples(0.5 / 16000, 16000)
        1
        >>> seconds_to_samples(1.1, 16000)
        17600

    Raises:
        ValueError: If *seconds* is not finite.
    """
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} s is no time")
    return math.floor(round(seconds * sample_rate, 6) + 0.5)


def samples_to_seconds(samples: int, sample_rate: int) -> float:
    """Return the duration of *samples* in seconds."""
    return samples / sample_rate


@dataclass(frozen=True)
class Framing:
    """Window, hop and transform length of a short-time analysis, in samples at ``sample_rate``."""

    window: int = 1024
    hop: int = 512
    n_fft: int = 1024
    sample_rate: int = SAMPLE_RATE

    def __post_init__(self) -> None:
        if not (0 < self.hop <= self.window <= self.n_fft and self.sample_rate > 0):
            raise bad_input(
                "framing",
                found=f"window {self.window}, hop {self.hop}, n_fft {self.n_fft} at {self.sample_rate} Hz",
                expected="0 < hop <= window <= n_fft in samples",
                remedy="correct the framing",
            )

    def frames(self, samples: int) -> int:
        """Return the number of centred frames of a signal of *samples* samples (at least 1)."""
        return 1 + samples // self.hop

    @property
    def name(self) -> str:
        """The preset's name, or ``window/hop`` in milliseconds."""
        for name, preset in PRESETS.items():
            if preset == self:
                return name
        return f"{1000 * self.window / self.sample_rate:g}/{1000 * self.hop / self.sample_rate:g}ms"


PRESETS = {"65ms": Framing(1024, 512, 1024), "25ms": Framing(400, 160, 512)}
"""``65ms`` is the paper's SER framing (64 ms, "about 65 ms"), ``25ms`` the usual one of ASR."""

_MILLISECONDS = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)ms")


def parse_framing(text: str) -> Framing:
    """Return the framing named *text*: a preset, or ``WINDOW/HOPms`` as in ``40/10ms``.

    The transform length of a free framing is the window's next power of two.

    Examples:
        >>> parse_framing("40/10ms")
        Framing(window=640, hop=160, n_fft=1024, sample_rate=16000)

    Raises:
        BadInput: If *text* is neither.
    """
    if text in PRESETS:
        return PRESETS[text]
    match = _MILLISECONDS.fullmatch(text)
    if match is None:
        raise bad_input(
            "framing",
            found=f"'{text}'",
            expected=f"one of {', '.join(PRESETS)}, or WINDOW/HOPms such as 40/10ms",
            remedy="name a framing of this form",
        )
    window, hop = (seconds_to_samples(float(part) / 1000, SAMPLE_RATE) for part in match.groups())
    return Framing(window, hop, 1 << max(0, window - 1).bit_length())
