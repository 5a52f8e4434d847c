"""The demo's second emotion corpus, in IEMOCAP's layout: five sessions of two speakers in dialogue.

``Session{1-5}/dialog/EmoEvaluation/<dialog>.txt`` names the turns with times and emotions, as IEMOCAP's
files do, annotators' lines included; ``Session{1-5}/sentences/wav/<dialog>/<turn>.wav`` holds them. The two
speakers take turns, and a turn's speaker is the letter of its own suffix. Some turns are of emotions
outside the four-class task, and on some the annotators did not agree.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from sertransfer.demo import synthesis
from sertransfer.demo.lssed import speak
from sertransfer.io.files import write_text
from sertransfer.timebase import SAMPLE_RATE

SESSIONS = 5
TURNS = ("neu", "ang", "hap", "sad", "exc", "neu", "sad", "ang", "fru", "neu", "xxx")
"""The emotions of a dialog's turns, and again; of odd length, so that both speakers come to each."""
ACTED = {
    "neu": "neutral",
    "ang": "angry",
    "hap": "happy",
    "sad": "sad",
    "exc": "excited",
    "fru": "disappointed",
    "xxx": "other",
}
"""The prosody behind each code."""
CODES = {
    "neu": "Neutral state",
    "ang": "Anger",
    "hap": "Happiness",
    "sad": "Sadness",
    "exc": "Excited",
    "fru": "Frustration",
}
TURN_HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


def plan_iemocap(folder: Path, dialogs: int, turns: int, seed: int) -> list[Callable[[], None]]:
    """Return the jobs that write the corpus into *folder*, one a dialog, each independent of the others."""
    return [
        partial(_write_dialog, folder / f"Session{session}", session, number, turns, seed)
        for session in range(1, SESSIONS + 1)
        for number in range(1, dialogs + 1)
    ]


def _write_dialog(folder: Path, session: int, number: int, turns: int, seed: int) -> None:
    dialog = f"Ses{session:02d}{'FM'[number % 2]}_impro{number:02d}"
    sounds = folder / "sentences" / "wav" / dialog
    sounds.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng([seed, 5, session, number])
    voices = {
        letter: synthesis.draw_voice(letter == "F", np.random.default_rng([seed, 4, session, index]))
        for index, letter in enumerate("FM")
    }
    text, now = TURN_HEADER, generator.uniform(1, 5)
    counts = dict.fromkeys(voices, 0)
    for index in range(turns):
        code, letter = TURNS[(index + session) % len(TURNS)], "FM"[index % 2]
        turn = f"{dialog}_{letter}{counts[letter]:03d}"
        counts[letter] += 1
        sound = speak(voices[letter], ACTED[code], generator.uniform(1.5, 3.0), generator)
        soundfile.write(sounds / f"{turn}.wav", sound, SAMPLE_RATE, subtype="PCM_16")
        end = now + len(sound) / SAMPLE_RATE
        text += f"[{now:.4f} - {end:.4f}]\t{turn}\t{code}\t[2.5000, 2.5000, 2.5000]\n{_annotators(code)}\n"
        now = end + generator.uniform(0.1, 0.8)
    write_text(folder / "dialog" / "EmoEvaluation" / f"{dialog}.txt", text)


def _annotators(code: str) -> str:
    """Return the lines of three annotators, who say different things where they did not agree."""
    said = [CODES[code]] * 3 if code in CODES else ["Neutral state", "Anger", "Frustration"]
    categories = "".join(f"C-E{number}:\t{name};\t()\n" for number, name in enumerate(said, 2))
    return categories + "A-E3:\tval 3; act 2; dom 3;\t()\n"
