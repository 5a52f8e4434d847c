"""Small things to train on: features in memory, a network of a few weights, and tones as a corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from torch import nn

from sertransfer.front_end import Cropping, Denoise, FrontEnd
from sertransfer.manifest import Manifest, make_table
from sertransfer.pretraining.settings import ModelSettings, Optimiser, PretrainConfig

PITCHES = {"angry": 1600, "neutral": 400, "happy": 900, "sad": 150, "bored": 250}


class MemoryStore:
    """Stands in for a feature store."""

    def __init__(self, frames, mels=8):
        generator = np.random.default_rng(0)
        self.frames = np.asarray(frames, dtype=np.int64)
        self.features = [generator.normal(size=(mels, count)).astype(np.float32) for count in self.frames]

    def read(self, index, start=0, stop=None):
        return self.features[index][:, start:stop]


class Probe(nn.Module):
    """A network that takes spectrograms of any size, with batch norm and dropout to be resumed."""

    def __init__(self, num_classes, dropout):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(6, num_classes),
        )

    def forward(self, x):
        return self.layers(x)


def tone_config() -> PretrainConfig:
    return PretrainConfig(
        model=ModelSettings("pyresnet_tiny", width=0.0625),
        front_end=FrontEnd(mels=32, denoise=Denoise(method="none")),
        cropping=Cropping(0.5),
        optimiser=Optimiser(lr=0.1, step=3),
        epochs=3,
        batch_size=8,
        checkpoint_every=1,
    )


def make_tones(root: Path, *, train=24, test=12, labels=tuple(PITCHES)[:4], speakers=6) -> Manifest:
    """Write tones whose pitch is the label, of 0.3 to 0.6 s, and return their manifest."""
    root.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(5)
    rows = []
    for number in range(train + test):
        label = labels[number % len(labels)]
        seconds = 0.3 + 0.1 * (number % 4)
        time = np.arange(int(seconds * 16000)) / 16000
        tone = 0.3 * np.sin(2 * np.pi * PITCHES[label] * time) + 0.01 * generator.normal(size=len(time))
        soundfile.write(root / f"{number}.wav", tone, 16000)
        in_test = number >= train
        speaker = f"{'t' if in_test else 's'}{number // len(labels) % speakers}"
        split = "test" if in_test else "train"
        row = {"id": f"u{number}", "audio": f"{number}.wav", "speaker": speaker, "label": label}
        rows.append(row | {"split": split, "corpus": "tones"})
    return Manifest(make_table(rows), root, {"corpus": "tones", "assumptions": ["tones are speech"]})
