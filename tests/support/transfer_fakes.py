"""Small generated interviews and an encoder without weights, for the tests of stage 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from sertransfer.encoders.base import Encoder
from sertransfer.manifest import Manifest, make_table
from sertransfer.timebase import PRESETS

RATE = 16_000
NEGATIVE, POSITIVE = "not depressed", "depressed"


class Killed(Exception):
    """Stands for the end of the process."""


class FakeEncoder(Encoder):
    """Frames of 160 samples; a feature vector holds statistics of a frame and fixed functions of them."""

    name = "ser"
    sample_rate = RATE
    framing = PRESETS["65ms"]

    def __init__(self, *, dim: int = 6, fingerprint: str = "fake", refuse_shorter: int = 0) -> None:
        self.dim = dim
        self.identity = fingerprint
        self.shortest = max(1, refuse_shorter)
        self.calls = 0
        self.encoded = 0

    def encode(self, *given: Any, **options: Any) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return super().encode(*given, **options)

    def output(self, inputs: Tensor) -> Tensor:
        self.encoded += len(inputs)
        # double precision, so that the sums do not depend on the batch
        parts = torch.tensor_split(inputs.double(), max(1, inputs.shape[1] // 160), dim=1)
        power = torch.stack([part.square().mean(1) for part in parts], dim=1)
        columns = [torch.log(power + 1e-6) * (k + 1) / self.dim + k for k in range(self.dim)]
        return torch.stack(columns, dim=2).float()

    def describe(self) -> dict[str, Any]:
        return {"model": "fake", "dim": self.dim}

    def fingerprint(self) -> str:
        return self.identity


def write_wave(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, subtype="PCM_16")


def make_interviews(
    root: Path,
    counts: dict[str, tuple[int, int]] | None = None,
    *,
    sentences: int = 4,
    seed: int = 0,
    notes: dict[str, Any] | None = None,
) -> Manifest:
    """Write sessions in which positive subjects are quieter; *counts* is split -> (negatives, positives)."""
    generator = np.random.default_rng(seed)
    rows, number = [], 300
    for split, (negatives, positives) in (counts or {"train": (5, 4), "dev": (3, 3)}).items():
        for label in [NEGATIVE] * negatives + [POSITIVE] * positives:
            level = (0.08 if label == POSITIVE else 0.2) * np.exp(generator.normal(0, 0.15))
            lengths = generator.integers(1600, 4800, size=sentences)
            ends = np.cumsum(lengths)
            loudness = np.repeat(level * np.exp(generator.normal(0, 0.3, size=sentences)), lengths)
            audio = f"{number}_P/{number}_AUDIO.wav"
            write_wave(root / audio, generator.normal(size=ends[-1]).clip(-3, 3) * loudness)
            for index, (end, length) in enumerate(zip(ends, lengths, strict=True)):
                rows.append(
                    {
                        "id": f"{number}_{index:03d}",
                        "audio": audio,
                        "start": (end - length) / RATE,
                        "end": end / RATE,
                        "speaker": str(number),
                        "label": label,
                        "split": split,
                        "corpus": "daic-woz",
                    }
                )
            number += 1
    return Manifest(make_table(rows), root, notes or {})
