"""One uneven corpus for all workflows of stage 2, on which shortcuts of an implementation show.

A person has two sessions, and a session is a subject: what must stay together is the column ``person``. A
subject is called by two digits, too few to be looked for in texts, and says one to nine sentences. Rows come
in no order of time or name, half of the sessions carry a gain of 2, recordings hold other sound between the
sentences, and the classes overlap, so that scores lie on both sides of every threshold. Nothing stands at
its default: seed 3, threshold 0.37, three folds.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from sertransfer.encoders.base import Encoder
from sertransfer.front_end import Cropping, Denoise, FrontEnd
from sertransfer.io.files import hash_file
from sertransfer.manifest import Manifest, make_table
from sertransfer.models.checkpoint import Checkpoint, write_checkpoint
from sertransfer.models.registry import build_model
from sertransfer.timebase import PRESETS
from sertransfer.transfer.settings import FinetuneConfig, ProbeConfig, ThresholdConfig, TransferConfig

RATE = 16_000
FRAME = 160
NEGATIVE, POSITIVE = "not depressed", "depressed"
SEED, THRESHOLD, PERSON = 3, 0.37, "person"
PEOPLE = {"train": (6, 5), "dev": (4, 4)}
"""Persons of the negative and the positive class; each has two sessions."""

PROBE = TransferConfig(
    cluster=PERSON,
    seed=SEED,
    threshold=ThresholdConfig(value=THRESHOLD),
    folds=3,
    aggregation="mean",
    resamples=50,
    shortcuts=False,
    probe=ProbeConfig(c_grid=(0.001, 0.01, 0.1)),
)
FINETUNE = replace(
    PROBE,
    mode="finetune",
    threshold=ThresholdConfig("out_of_fold", THRESHOLD),
    finetune=FinetuneConfig(
        depth="all",
        lr=0.003,
        epochs=3,
        patience=3,
        batch_size=16,
        inner_share=0.34,
        batch_norm="train",
    ),
)
"""Its best epoch is not the last, which the tests that use it assert."""


class UnevenEncoder(Encoder):
    """Frames of 160 samples; the first feature is the level, the others change with everything else.

    Args:
        fingerprint: Of its weights.
        dim: Of its features.
    """

    name = "uneven"
    sample_rate = RATE
    framing = PRESETS["65ms"]

    def __init__(self, fingerprint: str, dim: int = 8) -> None:
        self.identity, self.dim = fingerprint, dim
        generator = torch.Generator().manual_seed(11)
        self.directions = torch.randn(FRAME, dim - 1, generator=generator, dtype=torch.float64)

    def output(self, inputs: Tensor) -> Tensor:
        count = max(1, inputs.shape[1] // FRAME)
        # double precision, so that sums do not depend on the batch
        parts = torch.nn.functional.pad(inputs.double(), (0, FRAME))[:, : count * FRAME].unflatten(
            1, (count, FRAME)
        )
        power = parts.square().mean(dim=2, keepdim=True) + 1e-9
        shape = (parts / power.sqrt()) @ self.directions / FRAME**0.5
        return torch.cat([power.log(), shape], dim=2).float()

    def describe(self) -> dict[str, Any]:
        return {"model": "uneven", "dim": self.dim}

    def fingerprint(self) -> str:
        return self.identity


def open_uneven(checkpoint: Path, **options: Any) -> UnevenEncoder:
    """Open the encoder of a file, which says nothing but what tells it from another."""
    return UnevenEncoder(hash_file(Path(checkpoint)))


def make_uneven(root: Path, *, people: dict[str, tuple[int, int]] | None = None, seed: int = 5) -> Manifest:
    """Write the recordings; return their manifest, with the columns ``person`` and ``gain``."""
    generator = np.random.default_rng(seed)
    sessions = []
    numbers = iter(generator.permutation(90) + 10)
    names = itertools.count()
    for split, sizes in (people or PEOPLE).items():
        for label, size in zip((NEGATIVE, POSITIVE), sizes, strict=True):
            for _ in range(size):
                person = f"p{next(names)}"
                level = 0.1 * np.exp(generator.normal(-0.35 * (label == POSITIVE), 0.3))
                sessions += [(next(numbers), person, split, label, level) for _ in range(2)]
    rows = []
    for place in generator.permutation(len(sessions)):
        number, person, split, label, level = sessions[place]
        gain = float(1 + place % 2)
        rows += _write_session(root, str(number), level / gain, generator)
        for row in rows:
            row.setdefault("speaker", str(number))
            row.setdefault("person", person)
            row.setdefault("split", split)
            row.setdefault("label", label)
            row.setdefault("gain", gain)
            row.setdefault("gender", "female" if number % 3 else "male")
            row.setdefault("corpus", "daic-woz")
    mixed = [rows[place] for place in generator.permutation(len(rows))]
    return Manifest(make_table(mixed), root, {"generated": True})


def _write_session(
    root: Path, name: str, level: float, generator: np.random.Generator
) -> list[dict[str, Any]]:
    count = int(generator.integers(1, 10))
    pieces, rows, place = [], [], 0
    order = generator.permutation(count)  # names say nothing of the order in time
    for number in order:
        gap, length = (int(value) for value in generator.integers((320, 1600), (960, 4000)))
        pieces += [0.3 * generator.normal(size=gap), _speech(length, level, generator)]
        start, place = place + gap, place + gap + length
        rows.append({"id": f"{name}-{number}", "start": start / RATE, "end": place / RATE})
    audio = f"{name}_AUDIO.wav"
    root.mkdir(parents=True, exist_ok=True)
    soundfile.write(root / audio, np.concatenate(pieces).clip(-0.49, 0.49), RATE, subtype="PCM_16")
    return [{**row, "audio": audio} for row in rows]


def _speech(length: int, level: float, generator: np.random.Generator) -> np.ndarray:
    loudness = level * np.exp(generator.normal(0, 0.3))
    return loudness * generator.normal(size=length).clip(-3, 3)


def write_transcripts(manifest: Manifest, subjects: list[str]) -> list[Path]:
    """Write a transcript in DAIC-WOZ's form for each of *subjects* beside its audio."""
    written = []
    for name in subjects:
        rows = manifest.table[manifest.table["speaker"] == name].sort_values("start")
        lines = ["start_time\tstop_time\tspeaker\tvalue"]
        lines += [
            f"{start!r}\t{end!r}\tParticipant\tsome words"
            for start, end in zip(rows["start"].tolist(), rows["end"].tolist(), strict=True)
        ]
        written.append(manifest.root / f"{name}_TRANSCRIPT.csv")
        written[-1].write_text("\n".join(lines) + "\n")
    return written


def make_recogniser(path: Path) -> Path:
    """Write a small recogniser of stage 1 that hears levels, with random weights and dropout."""
    torch.manual_seed(0)
    options = {"width": 0.0625, "dropout": 0.2}
    model = build_model("pyresnet_tiny", 4, **options)
    front_end = FrontEnd(mels=32, denoise=Denoise(method="none"), normalise="none")
    classes = ("angry", "neutral", "happy", "sad")
    state = model.state_dict()
    write_checkpoint(
        Checkpoint("pyresnet_tiny", options, classes, front_end, Cropping(0.2), state, {"corpus": "x"}), path
    )
    return path
