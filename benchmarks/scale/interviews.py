"""A generated corpus of DAIC-WOZ's true size and layout: 189 sessions, some 50 hours, some 16,000 sentences.

What is said does not matter for speed: every session is laid out of the same few generated sentences, cut or
repeated to the wanted length. Durations are lognormal, median 2.5 s.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from sertransfer.demo import synthesis
from sertransfer.demo.daic_woz import ANSWERS, QUESTIONS, DemoSession, draw_sessions, split_files
from sertransfer.io.files import write_text

RATE = 16_000
COUNTS = {"train": 107, "dev": 35, "test": 47}
SENTENCES = 85
"""The participant's in one session; after every third the interviewer asks."""

Sound = NDArray[np.float64]


def write_corpus(folder: Path, counts: dict[str, int]) -> float:
    """Write the corpus into *folder* and return its hours of sound."""
    generator = np.random.default_rng(0)
    voice = synthesis.draw_voice(True, generator)
    bank = [
        synthesis.synthesise(voice, synthesis.act(synthesis.NEUTRAL, generator), 2.0, generator)
        for _ in range(20)
    ]
    sessions = draw_sessions(counts, seed=0)
    for name, text in split_files(sessions).items():
        write_text(folder / name, text)
    return sum(_write_session(folder, session, bank) for session in sessions)


def _write_session(folder: Path, session: DemoSession, bank: list[Sound]) -> float:
    generator = np.random.default_rng([1, session.number])
    sound: list[Sound] = [np.zeros(RATE // 2)]
    lines = ["start_time\tstop_time\tspeaker\tvalue"]
    now = len(sound[0])

    def say(speaker: str, text: str, seconds: float, level: float) -> None:
        nonlocal now
        length = int(seconds * RATE)
        lines.append(f"{now / RATE:.3f}\t{(now + length) / RATE:.3f}\t{speaker}\t{text}")
        spoken = level * np.resize(bank[generator.integers(len(bank))], length)
        sound.extend((spoken, np.zeros(int(generator.uniform(2, 7) * RATE))))
        now += sum(len(part) for part in sound[-2:])

    for number in range(SENTENCES):
        if number % 3 == 0:
            say("Ellie", QUESTIONS[number % len(QUESTIONS)], generator.uniform(1, 3), 0.05)
        seconds = float(np.clip(np.exp(generator.normal(np.log(2.5), 0.9)), 0.3, 30))
        say("Participant", ANSWERS[number % len(ANSWERS)], seconds, 0.3)
    whole = np.concatenate(sound)
    whole += 0.001 * generator.standard_normal(len(whole))
    home = folder / f"{session.number}_P"
    home.mkdir(parents=True)
    soundfile.write(home / f"{session.number}_AUDIO.wav", whole, RATE, subtype="PCM_16")
    write_text(home / f"{session.number}_TRANSCRIPT.csv", "\n".join(lines) + "\n")
    return len(whole) / RATE / 3600
