"""The demo's two emotion corpora, in the layouts of LSSED and of IEMOCAP.

LSSED: ``metadata_english_all.csv`` and ``wav_all/<name>.wav``. Every speaker acts the four classes of the
main task in turn, and a few of the other seven. Duration, recording level and noise floor are drawn without
looking at the class, and file names are shuffled, so that nothing but the way of speaking gives a label
away. Labels are spelt in several ways, as in LSSED.

IEMOCAP: five sessions of two speakers in dialogue. ``Session{1-5}/dialog/EmoEvaluation/<dialog>.txt`` names
the turns with times and emotions, as IEMOCAP's files do, annotators' lines included;
``Session{1-5}/sentences/wav/<dialog>/<turn>.wav`` holds them. The two speakers take turns, and a turn's
speaker is the letter of its own suffix. Some turns are of emotions outside the four-class task, and on some
the annotators did not agree.
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
