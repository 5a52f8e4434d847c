"""Settings of the front end, from waveform to mel spectrogram (paper, section 2.3).

Only values live here; :mod:`sertransfer.audio` computes them. A checkpoint and a feature store carry
a :class:`FrontEnd`, so that a model is never fed other features than those it was trained on.

The paper names no logarithm, normalisation or mel variant. Our defaults: Slaney mels with area
normalisation (librosa's default, and no filter is empty at 25 ms), natural logarithm, and each
utterance scaled to mean 0 and deviation 1 over its whole log-mel, which takes the recording level
out. ``log="none", normalise="none"`` is the paper taken literally.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sertransfer.config import BelowOne, Count, Factor, NotNegative, Positive
from sertransfer.errors import bad_input, nearest
from sertransfer.timebase import Framing, parse_framing, seconds_to_samples


@dataclass(frozen=True)
class Denoise:
    """Power spectral subtraction (Berouti's form; Upadhyay and Karmakar 2015, the paper's [19]).

    ``max(|Y|^2 - over_subtraction * N, floor * N)``, the noise power ``N`` of each frequency being the
    mean over the ``noise_fraction`` frames of lowest energy, frames of digital silence and those that
    reach past an end left out: a tightly cut utterance has no leading pause. With ``resynthesis`` the
    audio is restored by inverse transform and analysed again, as the paper's text has it; without, the
    subtraction acts on the very transform that the features are made of, which is several times faster.
    """

    method: Literal["spectral_subtraction", "none"] = "spectral_subtraction"
    over_subtraction: NotNegative = 2.0
    floor: BelowOne = 0.02
    noise_fraction: Factor = 0.1
    resynthesis: bool = False


@dataclass(frozen=True)
class FrontEnd:
    """Everything that decides what a mel spectrogram holds. Frequencies in Hz.

    Attributes:
        gain: Factor on the amplitude, in floating point (paper: 2).
        clip: Whether samples beyond full scale are clipped after the gain (paper: not said).
        mels: Number of triangular filters (paper: 128).
        log: ``natural``, ``db`` (10 log10) or ``none`` (linear power).
        log_floor: Power below which the logarithm is not followed.
        normalise: ``utterance`` (one mean and deviation an utterance), ``band`` (one per mel band),
            ``resting`` (those of each mel band over the speaker's own resting recordings, see
            :mod:`sertransfer.audio.speaker_norm`), or ``none``.
    """

    framing: Framing = field(default_factory=Framing)
    mels: Count = 128
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney", "none"] = "slaney"
    f_min: NotNegative = 0.0
    f_max: Positive = 8000.0
    denoise: Denoise = field(default_factory=Denoise)
    gain: Positive = 2.0
    clip: bool = False
    log: Literal["natural", "db", "none"] = "natural"
    log_floor: Positive = 1e-10
    normalise: Literal["utterance", "band", "resting", "none"] = "utterance"

    def as_dict(self) -> dict[str, Any]:
        """Return plain nested values, for YAML, JSON and checkpoints."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FrontEnd:
        """Rebuild from :meth:`as_dict`.

        Raises:
            BadInput: If a key is unknown.
        """
        known = cls.__dataclass_fields__
        for key in values:
            if key not in known:
                raise bad_input(
                    "front end", found=f"key '{key}'", expected="a setting", remedy=nearest(key, known)
                )
        rest = {key: value for key, value in values.items() if key not in ("framing", "denoise")}
        framing = values.get("framing", {})
        return cls(
            framing=parse_framing(framing) if isinstance(framing, str) else Framing(**framing),
            denoise=Denoise(**values.get("denoise", {})),
            **rest,
        )


@dataclass(frozen=True)
class Cropping:
    """How much of an utterance a model sees; part of the preprocessing that a checkpoint carries.

    Training cuts what is longer than ``seconds`` to a window at a random place. With ``pad`` what is
    shorter is filled up with zeros, and evaluation takes the first ``seconds``, filled up likewise
    (the rule of the paper's group in later public code). Without ``pad``, training batches are made of
    utterances of like length, cut to the shortest of the batch, and evaluation takes every utterance whole.
    """

    seconds: Positive = 5.0
    pad: bool = False

    def frames(self, framing: Framing) -> int:
        """Return the number of frames that ``seconds`` make."""
        return framing.frames(seconds_to_samples(self.seconds, framing.sample_rate))


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "power": {"log": "none", "normalise": "none"},
    "log": {"normalise": "none"},
    "db": {"log": "db", "normalise": "none"},
}
"""Front ends by name, as settings over the defaults; ``power`` is the paper's text taken literally."""
