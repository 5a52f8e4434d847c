"""A tiny ESPnet recogniser for the demo: its speech is generated vowels, strung together.

It proves that the path from ESPnet's trainer to an encoder works. What it scores is no evidence that speech
recognition transfers worse or better than emotion recognition.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from sertransfer.demo.recogniser import RATE, Size, Utterance, train, write_data
from sertransfer.demo.synthesis import BANDWIDTHS, VOWELS
from sertransfer.io.files import write_json

LETTERS = "aiuo"
SIZE = Size(blocks=2, width=64, mels=80, highest=8000, batch=16, rate=0.004, warm_up=40)
NOTE = "generated vowels, not real speech: shows that the path works and no more"


def speak(text: str, generator: np.random.Generator) -> NDArray[np.float32]:
    """Return generated vowels: a pulse train through the resonators of each letter, in one random voice."""
    pitch, tract = generator.uniform(90, 230), generator.uniform(0.9, 1.2)
    parts = []
    for letter in text:
        samples = int(generator.uniform(0.12, 0.2) * RATE)
        phase = np.cumsum(pitch * generator.uniform(0.9, 1.1) * np.ones(samples)) / RATE
        sound = np.diff(np.floor(phase), prepend=0.0) + 0.02 * generator.normal(size=samples)
        for formant, width in zip(VOWELS[LETTERS.index(letter)], BANDWIDTHS, strict=True):
            radius = np.exp(-np.pi * width / RATE)
            angle = 2 * np.pi * tract * formant / RATE
            poles = [1, -2 * radius * np.cos(angle), radius**2]
            sound = signal.lfilter([sum(poles)], poles, sound)
        parts.append(sound * signal.windows.tukey(samples, 0.3) / (np.abs(sound).max() + 1e-9))
    rest = np.zeros(RATE // 20)
    whole = np.concatenate([rest, *parts, rest])
    return (0.3 * whole + 0.001 * generator.normal(size=len(whole))).astype(np.float32)


def generate(count: int, name: str, seed: int) -> list[Utterance]:
    """Return *count* generated utterances of 2 to 6 vowels, each in a voice of its own."""
    generator = np.random.default_rng(seed)
    utterances = []
    for number in range(count):
        text = "".join(generator.choice(list(LETTERS), size=generator.integers(2, 7)))
        utterances.append(Utterance(f"{name}-{number:04d}", text, speak(text, generator)))
    return utterances


def train_demo_recogniser(
    folder: Path,
    *,
    count: int = 400,
    epochs: int = 12,
    seconds: float = 80,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train a tiny recogniser on generated vowels; with the start of ESPnet, less than two minutes.

    Args:
        folder: A new folder, or one to go on in.
        count: Utterances to train on.
        epochs: Most epochs.
        seconds: No round of three epochs is begun that would end later.
        say: Told each score.

    Returns:
        What :func:`sertransfer.demo.recogniser.train` does, as written to ``folder/result.json``.
    """
    home = Path(folder).resolve()  # ESPnet notes paths as it is given them
    test = generate(40, "test", seed=2)
    write_data(home, "train", generate(count, "train", seed=1))
    write_data(home, "valid", test)
    result = train(
        home,
        characters=LETTERS,
        size=SIZE,
        unseen=test,
        seconds=seconds,
        goal=0.1,
        epochs_at_once=3,
        most_epochs=epochs,
        say=say,
    )
    result["note"] = NOTE
    write_json(home / "result.json", result)
    return result
