"""The demo's interviews, in DAIC-WOZ's layout: sessions with sound and transcript, and the split files.

A depressed participant speaks on the sad side of neutral: lower, flatter, slower, breathier. How far is
drawn by subject, and the groups overlap. The number of sentences, their durations, the recording level
and the noise are drawn without looking at the group. The interviewer is one voice, heard faintly.

What real sessions hold is here too: sync rows, speech before the interview, laughter, a scrubbed entry
(the waveform is zero there), ``xxx``, cut-off words, overlaps, blank lines, an interviewer whose later
transcripts read ``question (question)``, one session left as a zip, and three errata: the times of 321
are early by 3.8379167 s, 451 has no interviewer rows, and 409 is scored 10 but marked not depressed.
The demo is right after the errata are applied.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from sertransfer.demo import synthesis
from sertransfer.demo.synthesis import Floats
from sertransfer.io.files import atomic_path, write_text
from sertransfer.timebase import SAMPLE_RATE, seconds_to_samples

SHIFTED, SHIFT = 321, 3.8379167
MISMARKED = 409
WITHOUT_INTERVIEWER = 451
SPECIAL = {"train": [SHIFTED, MISMARKED], "dev": [WITHOUT_INTERVIEWER], "test": []}
MISSING = {342, 394, 398, 460}
"""Ids that do not exist."""
WITH_ERRATUM = {318, 321, 341, 362, 373, 402, 409, 444, 451, 458, 480}
"""Sessions with an erratum; but for those in SPECIAL, drawn only when all 189 are asked for."""
ITEMS = ("NoInterest", "Depressed", "Sleep", "Tired", "Appetite", "Failure", "Concentrating", "Moving")
QUESTIONS = (
    "how are you doing today",
    "where are you from originally",
    "what do you do to relax",
    "how have you been sleeping lately",
    "what are you most proud of",
    "when was the last time you felt really happy",
)
ANSWERS = (
    "i've been okay i guess",
    "um it depends on the day really",
    "i like to walk and listen to music",
    "well i grew up around here",
    "sometimes it's hard to say",
    "i talk to people <peop> people i know",
    "my family mostly",
    "not as much as i used to",
    "i try to keep busy",
    "that was a while ago",
)


@dataclass(frozen=True)
class DemoSession:
    """One session: its id, split, whether the participant is depressed, PHQ-8 items, gender.

    ``zipped`` sessions stay an archive; ``level`` is the recording level in dBFS.
    """

    number: int
    split: str
    depressed: bool
    items: tuple[int, ...]
    female: bool
    zipped: bool
    level: float

    @property
    def score(self) -> int:
        """The PHQ-8 score, the sum of the items."""
        return sum(self.items)


@dataclass(frozen=True)
class ScriptRow:
    """A row of the transcript with true times in seconds, and the sound that belongs there."""

    start: float
    stop: float
    speaker: str
    value: str
    sound: Floats


def draw_sessions(counts: dict[str, int], seed: int) -> list[DemoSession]:
    """Draw the sessions of each split: two in five depressed, genders alternating within a group."""
    generator = np.random.default_rng([seed, 11])
    plain = generator.permutation([n for n in range(300, 493) if n not in MISSING | WITH_ERRATUM]).tolist()
    pool = iter([*plain, *sorted(WITH_ERRATUM.difference(*SPECIAL.values()))])
    sessions: list[DemoSession] = []
    for split, count in counts.items():
        special = SPECIAL[split][:count]
        numbers = sorted([*special, *(next(pool) for _ in range(count - len(special)))])
        positives = min(max(1, round(0.4 * count)), max(1, count - 1))
        # the mismarked session is depressed, the others are drawn
        order = [n for n in numbers if n == MISMARKED]
        order += [n for n in generator.permutation(numbers).tolist() if n != MISMARKED]
        depressed = set(order[:positives])
        zipped = max(set(numbers) - set(special), default=numbers[-1])
        levels = [
            *_spread(-36, -26, positives, generator),
            *_spread(-36, -26, count - positives, generator),
        ]
        for place, number in enumerate(order):
            score = 10 if number == MISMARKED else int(generator.integers(*_range(number in depressed)))
            sessions.append(
                DemoSession(
                    number=number,
                    split=split,
                    depressed=number in depressed,
                    items=_items(score, generator),
                    female=place % 2 == 0,
                    zipped=number == zipped,
                    level=levels[place],
                )
            )
    return sorted(sessions, key=lambda session: session.number)


def _spread(low: float, high: float, count: int, generator: np.random.Generator) -> list[float]:
    """Draw *count* values in random order, one from each of *count* equal parts of the range.

    So few draws at random would now and then differ between the groups by chance.
    """
    parts = (generator.permutation(count) + generator.random(count)) / max(1, count)
    return (low + (high - low) * parts).tolist()  # type: ignore[no-any-return]


def _range(depressed: bool) -> tuple[int, int]:
    return (10, 22) if depressed else (0, 10)


def _items(score: int, generator: np.random.Generator) -> tuple[int, ...]:
    """Spread *score* over the eight items of PHQ-8, each 0 to 3."""
    points = generator.permutation(np.repeat(np.arange(len(ITEMS)), 3))[:score]
    return tuple(np.bincount(points, minlength=len(ITEMS)).tolist())


def plan(folder: Path, counts: dict[str, int], seed: int) -> list[Callable[[], None]]:
    """Return the jobs that write the corpus into *folder*, each independent of the others."""
    sessions = draw_sessions(counts, seed)
    jobs: list[Callable[[], None]] = [
        partial(write_text, folder / name, text) for name, text in split_files(sessions).items()
    ]
    return jobs + [partial(_write_session, folder, session, seed) for session in sessions]


def split_files(sessions: Iterable[DemoSession]) -> dict[str, str]:
    """Return the text of the split files by name, with the headers of the real ones."""
    by_split: dict[str, list[DemoSession]] = {"train": [], "dev": [], "test": []}
    for session in sessions:
        by_split[session.split].append(session)
    header = ["Participant_ID", "PHQ8_Binary", "PHQ8_Score", "Gender", *(f"PHQ8_{item}" for item in ITEMS)]
    texts = {}
    for split in ("train", "dev"):
        rows = [
            [s.number, int(s.score >= 10 and s.number != MISMARKED), s.score, int(not s.female), *s.items]
            for s in by_split[split]
        ]
        texts[f"{split}_split_Depression_AVEC2017.csv"] = _table([header, *rows], ",")
    test = by_split["test"]
    texts["test_split_Depression_AVEC2017.csv"] = _table(
        [["participant_ID", "Gender"], *([s.number, int(not s.female)] for s in test)], ","
    )
    texts["full_test_split.csv"] = _table(
        [
            ["Participant_ID", "PHQ_Binary", "PHQ_Score", "Gender"],
            *([s.number, int(s.score >= 10), s.score, int(not s.female)] for s in test),
        ],
        ",",
    )
    return texts


def _table(rows: Iterable[Iterable[object]], delimiter: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return stream.getvalue()


class _Timeline:
    """Lays rows one after the other."""

    def __init__(self, start: float) -> None:
        self.now = start
        self.rows: list[ScriptRow] = []

    def add(self, speaker: str, value: str, sound: Floats, *, pause: float) -> ScriptRow:
        """Append a row after a *pause* in seconds (negative: it begins before the last one ends)."""
        start = round(self.now + pause, 3)
        stop = round(start + len(sound) / SAMPLE_RATE, 3)
        self.now = max(self.now, stop)
        self.rows.append(ScriptRow(start, stop, speaker, value, sound))
        return self.rows[-1]


def draw_rows(session: DemoSession, seed: int) -> list[ScriptRow]:
    """Draw the course of a session, in true time."""
    voices = np.random.default_rng([seed, 12, session.number])
    voice = synthesis.draw_voice(session.female, voices)
    # how far on the way from neutral to sad this participant speaks
    mood = voices.normal(1.0 if session.depressed else 0.0, 0.25)
    ellie = synthesis.draw_voice(True, np.random.default_rng([seed, 13]))
    generator = np.random.default_rng([seed, 14, session.number])
    bleed = synthesis.decibels(-16)

    def ask(seconds: float) -> Floats:
        prosody = synthesis.act(synthesis.NEUTRAL, generator)
        return bleed * synthesis.synthesise(ellie, prosody, seconds, generator)

    def answer(seconds: float) -> Floats:
        manner = synthesis.NEUTRAL.towards(synthesis.PROSODIES["sad"], mood + generator.normal(0, 0.25))
        if generator.random() < 0.15:  # anybody has a brighter moment
            manner = manner.towards(synthesis.PROSODIES["happy"], 0.6)
        prosody = synthesis.act(manner, generator, intensity=0.2)
        speech = synthesis.synthesise(voice, prosody, seconds, generator)
        return speech * synthesis.decibels(generator.normal(0, 2))

    line = _Timeline(SHIFT + 0.5 if session.number == SHIFTED else 0.3)
    line.add("Participant", "<sync>", synthesis.breath_noise(0.4, generator), pause=0.0)
    if session.number % 3 == 0:
        line.add("Participant", "is it recording now", answer(1.2), pause=0.3)
    durations = _spread(1.1, 2.1, int(generator.integers(10, 17)), generator)
    question, laugh = 0, int(generator.integers(2, 6))
    while left := len(durations):
        text = QUESTIONS[question % len(QUESTIONS)]
        text = f"{text} ({text})" if session.number > 363 else text
        line.add("Ellie", text, ask(generator.uniform(0.8, 1.4)), pause=generator.uniform(0.2, 0.5))
        for turn in range(min(left, int(generator.integers(2, 5)))):
            left = len(durations)
            text = ANSWERS[generator.integers(len(ANSWERS))]
            if left == 3 and session.number % 4 == 0:
                text = "xxx"
            line.add("Participant", text, answer(durations.pop()), pause=generator.uniform(0.2, 0.5))
            if turn == 0 and question == 1:
                line.add("Ellie", "mhm", ask(0.4), pause=-0.3)
            if left == laugh:
                line.add("Participant", "<laughter>", synthesis.breath_noise(0.5, generator), pause=0.2)
        question += 1
        if question == 2 and session.number % 3 == 1:
            line.add("Participant", "scrubbed_entry", np.zeros(SAMPLE_RATE * 4 // 5), pause=0.3)
    return line.rows


def transcript(session: DemoSession, rows: Iterable[ScriptRow]) -> str:
    """Return the session's transcript as released, errata and all."""
    early = SHIFT if session.number == SHIFTED else 0.0
    lines: list[list[object]] = [["start_time", "stop_time", "speaker", "value"]]
    for row in rows:
        if session.number == WITHOUT_INTERVIEWER and row.speaker == "Ellie":
            continue
        lines.append([f"{row.start - early:.3f}", f"{row.stop - early:.3f}", row.speaker, row.value])
        if session.number % 5 == 0 and len(lines) == 6:
            lines.append([])
    return _table(lines, "\t")


def render(rows: list[ScriptRow], level: float, generator: np.random.Generator) -> Floats:
    """Return the session's sound: the rows and the room at *level* dBFS, and zeros where scrubbed."""
    length = seconds_to_samples(max(row.stop for row in rows) + 0.5, SAMPLE_RATE)
    sound = synthesis.decibels(generator.uniform(-40, -32)) * synthesis.room_noise(length, generator)
    for row in rows:
        start = seconds_to_samples(row.start, SAMPLE_RATE)
        sound[start : start + len(row.sound)] += row.sound
    for row in rows:
        if row.value == "scrubbed_entry":
            sound[slice(*(seconds_to_samples(time, SAMPLE_RATE) for time in (row.start, row.stop)))] = 0.0
    return sound * synthesis.decibels(level)


def _write_session(folder: Path, session: DemoSession, seed: int) -> None:
    rows = draw_rows(session, seed)
    sound = render(rows, session.level, np.random.default_rng([seed, 15, session.number]))
    stream = io.BytesIO()
    soundfile.write(stream, synthesis.to_pcm16(sound), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    contents = {
        f"{session.number}_AUDIO.wav": stream.getvalue(),
        f"{session.number}_TRANSCRIPT.csv": transcript(session, rows).encode(),
    }
    if session.zipped:
        with atomic_path(folder / f"{session.number}_P.zip") as path, zipfile.ZipFile(path, "w") as archive:
            for name, content in contents.items():
                # ZipInfo's own date is fixed, so that the archive is the same every time
                archive.writestr(zipfile.ZipInfo(name), content)
        return
    home = folder / f"{session.number}_P"
    home.mkdir(parents=True)
    for name, content in contents.items():
        (home / name).write_bytes(content)
