"""How long one waits before anything happens, each time in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import soundfile
import torch
from measure import Options, by_turns, timed_row

from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.models.checkpoint import Checkpoint, write_checkpoint
from sertransfer.models.registry import build_model

MODEL = "pyresnet152"
EMBED = (
    "import sys, torch; from pathlib import Path; from sertransfer.audio.reading import read_segment;"
    "from sertransfer.encoders.registry import open_encoder; from sertransfer.manifest import AudioSource;"
    "encoder = open_encoder('ser', Path(sys.argv[1]));"
    "encoder.embed([torch.from_numpy(read_segment(AudioSource(Path(sys.argv[2]))))])"
)
LIBRARIES = f"import torch; from sertransfer.models.registry import build_model; build_model('{MODEL}', 4)"


def _process(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


def help_text(options: Options) -> dict[str, Any]:
    """``sertransfer --help``, against an interpreter that does nothing."""
    turns = by_turns(
        lambda: _process("-m", "sertransfer.cli", "--help"), lambda: _process("-c", "pass"), pairs=15
    )
    return timed_row(
        "sertransfer --help", "bare interpreter", turns, items=1, unit="start", goal=0.1,
        note="a ratio of 1 is the most there can be",
    )  # fmt: skip


def first_sentence(options: Options) -> dict[str, Any]:
    """From nothing to the first embedded sentence, against importing torch and building the network."""
    checkpoint, sound = options.work / "first.safetensors", options.work / "first.wav"
    state, classes = build_model(MODEL, 4).state_dict(), ("angry", "neutral", "happy", "sad")
    write_checkpoint(Checkpoint(MODEL, {}, classes, FrontEnd(), Cropping(), state, {}), checkpoint)
    soundfile.write(sound, 0.1 * np.random.default_rng(0).standard_normal(80_000), 16_000)
    turns = by_turns(
        lambda: _process("-c", EMBED, str(checkpoint), str(sound)), lambda: _process("-c", LIBRARIES), pairs=5
    )
    return timed_row(
        "from start to the first embedded sentence of 5 s",
        "importing torch and building the model",
        turns,
        items=1,
        unit="start",
        goal=0.67,
        note=f"{MODEL}, {torch.get_num_threads()} threads; ours reads the weights, the sound, and computes",
    )


ROWS = [help_text, first_sentence]
