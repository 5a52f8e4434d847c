"""The demo's emotion corpus, in LSSED's layout: ``metadata_english_all.csv`` and ``wav_all/<name>.wav``.

Every speaker acts the four classes of the main task in turn, and a few of the other seven. Duration,
recording level and noise floor are drawn without looking at the class, and file names are shuffled, so
that nothing but the way of speaking gives a label away. Labels are spelt in several ways, as in LSSED.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from sertransfer.demo import synthesis
from sertransfer.io.files import write_text
from sertransfer.timebase import SAMPLE_RATE, seconds_to_samples

METADATA = "metadata_english_all.csv"
CLASSES = ("angry", "neutral", "happy", "sad")
RARE = ("disappointed", "excited", "bored", "disgusted", "surprised", "fearful", "other")
ROUND = (*CLASSES * 5, "neutral", "rare", "neutral", "rare")
"""The classes of a speaker's utterances, from the first to the 24th, and again."""
SPELLINGS = {
    "angry": ("Angry", "anger"),
    "neutral": ("Neutral", "normal"),
    "happy": ("Happy", "happiness"),
    "sad": ("Sad", "sadness"),
}
AGES = ("young", "middle-aged", "young", "old")


def plan_lssed(folder: Path, speakers: int, utterances: int, seed: int) -> list[Callable[[], None]]:
    """Return the jobs that write the corpus into *folder*, each independent of the others."""
    numbers = np.random.default_rng([seed, 1]).permutation(speakers * utterances)
    rows, jobs = [], []
    for speaker in range(speakers):
        for turn in range(utterances):
            label = ROUND[turn % len(ROUND)]
            if label == "rare":
                label = RARE[(2 * speaker + turn // 2) % len(RARE)]
            name = f"utt_{numbers[speaker * utterances + turn] + 1:05d}"
            spelling = SPELLINGS.get(label, (label.capitalize(),))
            rows.append(
                {
                    "name": name,
                    "faces": spelling[(speaker + turn) % len(spelling)],
                    "gender": "female" if speaker % 2 else "male",
                    "age": AGES[speaker // 2 % len(AGES)],
                    "speaker": f"spk{speaker + 1:03d}",
                }
            )
            jobs.append(
                partial(_write_utterance, folder / "wav_all" / f"{name}.wav", label, seed, speaker, turn)
            )
    rows.sort(key=lambda row: row["name"])
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return [partial(write_text, folder / METADATA, stream.getvalue()), *jobs]


def _write_utterance(path: Path, label: str, seed: int, speaker: int, turn: int) -> None:
    voice = synthesis.draw_voice(bool(speaker % 2), np.random.default_rng([seed, 2, speaker]))
    generator = np.random.default_rng([seed, 3, speaker, turn])
    sound = speak(voice, label, generator.uniform(1.5, 3.0), generator)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, SAMPLE_RATE, subtype="PCM_16")


def speak(
    voice: synthesis.Voice, label: str, seconds: float, generator: np.random.Generator
) -> NDArray[np.int16]:
    """Return an utterance of about *seconds*: short silences around it, a noise floor, a level of its own."""
    lead, tail = (np.zeros(seconds_to_samples(generator.uniform(0.05, 0.15), SAMPLE_RATE)) for _ in range(2))
    prosody = synthesis.act(synthesis.PROSODIES[label], generator)
    speech = synthesis.synthesise(voice, prosody, seconds - 0.2, generator)
    sound = np.concatenate([lead, speech, tail])
    sound += synthesis.decibels(generator.uniform(-40, -30)) * synthesis.room_noise(len(sound), generator)
    return synthesis.to_pcm16(sound * synthesis.decibels(generator.uniform(-36, -24)))
