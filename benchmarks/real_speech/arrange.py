"""Arrange real recordings of EmoDB in the layouts of LSSED and DAIC-WOZ, for the run that PROTOCOL.md states.

    arrange.py all --emodb DIR OUT                      both rotations, as run.py uses them
    arrange.py lssed --emodb DIR --train 03,08 --test 09 OUT
    arrange.py interviews --emodb DIR --participants 09,11 --interviewers 03,08 OUT

An interview session is made of one actor's sentences of one emotion, angry or happy, brought to one level
and put in random order, with pauses and with neutral sentences of other actors as the interviewer's. Angry
sessions are coded as depressed, since the layout knows no other name: the label is constructed and says
nothing about depression. File names, session ids and utterance ids are drawn without looking at it.

What stands in OUT of ``interviews``:

    sessions.csv        session, real_speaker, group, fold: which actor is behind which session
    fold<K>/            a corpus in DAIC-WOZ's layout; its dev split is one actor, its train split the others
    sessions/           the sessions, to which those of each fold are hard links (copies where links fail)
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from sertransfer.audio.reading import read_segment
from sertransfer.corpora.emotion.emodb import EMOTIONS, SPEAKERS
from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.io.files import write_text
from sertransfer.manifest import AudioSource
from sertransfer.timebase import SAMPLE_RATE, seconds_to_samples

CLASSES = ("angry", "neutral", "happy", "sad")
POSITIVE, NEGATIVE = "angry", "happy"
HALVES = (("03", "08", "10", "12", "14"), ("09", "11", "13", "15", "16"))
"""The two halves of the actors: three men and two women, two men and three women. They were chosen by the
number of recordings alone: 64 and 63 angry ones, 32 and 39 happy ones in the four-class part of EmoDB."""

SENTENCES = 4
"""Sentences that a session should have, as nearly as an actor's recordings divide."""
LEVEL, BLEED, NOISE = -26.0, -16.0, -75.0
"""Level of every sentence in dBFS, the interviewer's relative to it, and the pauses' in dBFS."""

NOT_USED = {318, 321, 341, 342, 362, 373, 394, 398, 402, 409, 444, 451, 458, 460, 480}
"""Ids of DAIC-WOZ that do not exist or have an erratum, which would be applied here too."""
ITEMS = ("NoInterest", "Depressed", "Sleep", "Tired", "Appetite", "Failure", "Concentrating", "Moving")

Floats = NDArray[np.float64]
_NAME = re.compile(r"(?P<speaker>\d\d)[a-z]\d\d(?P<emotion>[A-Z])[a-z]?")


@dataclass(frozen=True)
class Recording:
    """One recording of EmoDB."""

    path: Path
    speaker: str
    emotion: str


@dataclass(frozen=True)
class Session:
    """One constructed interview: its id, the actor behind it, the emotion, and the actor's sentences."""

    number: int
    speaker: str
    emotion: str
    recordings: tuple[Recording, ...]


def find_recordings(emodb: Path) -> list[Recording]:
    """Return the recordings of the four classes below ``emodb/wav``, in the order of their names.

    Raises:
        BadInput: If there are none, or a name is not EmoDB's.
    """
    paths = sorted((emodb / "wav").glob("*.wav"))
    faults, found = Faults(), []
    for path in paths:
        match = _NAME.fullmatch(path.stem)
        if match is None or match["speaker"] not in SPEAKERS or match["emotion"] not in EMOTIONS:
            faults.add(path, found="this name", expected="one like 03a01Wa.wav", remedy="remove the file")
        elif EMOTIONS[match["emotion"]] in CLASSES:
            found.append(Recording(path, match["speaker"], EMOTIONS[match["emotion"]]))
    faults.raise_if_any()
    if not found:
        raise bad_input(
            emodb / "wav",
            found=f"{len(paths)} WAV files",
            expected="recordings of EmoDB such as wav/03a01Wa.wav",
            remedy="give the folder that holds wav/ with --emodb",
        )
    return found


def of_speakers(recordings: Iterable[Recording], speakers: Sequence[str]) -> list[Recording]:
    """Return the recordings of *speakers*.

    Raises:
        BadInput: If one of them has none.
    """
    chosen = [recording for recording in recordings if recording.speaker in speakers]
    missing = sorted(set(speakers) - {recording.speaker for recording in chosen})
    if missing:
        raise bad_input(
            "speakers",
            found=f"no recording of {', '.join(missing)}",
            expected="recordings of each",
            remedy=f"name speakers among {', '.join(SPEAKERS)}",
        )
    return chosen


def refuse_overlap(first: Sequence[str], second: Sequence[str]) -> None:
    """Raise :class:`BadInput` if a speaker stands in both lists."""
    shared = sorted(set(first) & set(second))
    if shared:
        raise bad_input(
            "speakers",
            found=f"{', '.join(shared)} on both sides",
            expected="each on one side",
            remedy="name a speaker once",
        )


def arrange_lssed(
    recordings: Sequence[Recording], train: Sequence[str], test: Sequence[str], folder: Path, *, seed: int
) -> None:
    """Write the four classes of both lists of speakers to *folder* in LSSED's layout.

    A ``split`` column says ``train`` or ``test``: read it with ``--split column``.
    """
    refuse_overlap(train, test)
    chosen = of_speakers(recordings, [*train, *test])
    numbers = np.random.default_rng([seed, 1]).permutation(len(chosen))
    wav = _new_folder(folder) / "wav_all"
    wav.mkdir()
    rows = []
    for number, recording in sorted(zip(numbers.tolist(), chosen, strict=True), key=lambda pair: pair[0]):
        name = f"utt_{number + 1:04d}"
        shutil.copyfile(recording.path, wav / f"{name}.wav")
        gender, age = SPEAKERS[recording.speaker]
        split = "train" if recording.speaker in train else "test"
        rows.append([name, recording.emotion, gender, age, f"emodb{recording.speaker}", split])
    header = ["name", "faces", "gender", "age", "speaker", "split"]
    write_text(folder / "metadata_english_all.csv", table([header, *rows]))


def draw_sessions(recordings: Sequence[Recording], speakers: Sequence[str], *, seed: int) -> list[Session]:
    """Divide each speaker's angry and happy sentences into sessions, with ids in random order."""
    generator = np.random.default_rng([seed, 2])
    groups: list[tuple[str, str, list[Recording]]] = []
    for speaker in speakers:
        for emotion in (POSITIVE, NEGATIVE):
            own = [r for r in of_speakers(recordings, [speaker]) if r.emotion == emotion]
            parts = max(1, round(len(own) / SENTENCES))
            for part in np.array_split(generator.permutation(len(own)), parts):
                if len(part):
                    groups.append((speaker, emotion, [own[place] for place in part]))
    ids = [number for number in range(300, 493) if number not in NOT_USED]
    numbers = generator.choice(ids, size=len(groups), replace=False).tolist()
    sessions = [
        Session(number, speaker, emotion, tuple(chosen))
        for number, (speaker, emotion, chosen) in zip(numbers, groups, strict=True)
    ]
    return sorted(sessions, key=lambda session: session.number)


def at_level(recording: Recording, level: float) -> Floats:
    """Return the recording at 16 kHz with a root mean square of *level* dBFS."""
    sound = np.asarray(read_segment(AudioSource(recording.path)), dtype=np.float64)
    return sound * (10 ** (level / 20) / np.sqrt(np.mean(sound**2)))


def write_session(session: Session, questions: Sequence[Recording], folder: Path, *, seed: int) -> None:
    """Cut the session together and write its sound and transcript to ``<id>_P`` below *folder*.

    Args:
        session: What is said.
        questions: Neutral recordings of other speakers, to draw the interviewer's turns from.
        folder: Where the sessions stand.
        seed: Of pauses, questions and the noise in the pauses.
    """
    generator = np.random.default_rng([seed, 3, session.number])
    parts: list[Floats] = []
    rows: list[list[object]] = [["start_time", "stop_time", "speaker", "value"]]
    now = 0

    def pause() -> None:
        nonlocal now
        parts.append(np.zeros(seconds_to_samples(generator.uniform(0.3, 0.8), SAMPLE_RATE)))
        now += len(parts[-1])

    def say(speaker: str, sound: Floats, text: str) -> None:
        nonlocal now
        times = [f"{sample / SAMPLE_RATE:.6f}" for sample in (now, now + len(sound))]
        rows.append([*times, speaker, text])
        parts.append(sound)
        now += len(sound)

    for recording in session.recordings:
        pause()
        question = questions[int(generator.integers(len(questions)))]
        say("Ellie", at_level(question, LEVEL + BLEED), "a question (a question)")
        pause()
        say("Participant", at_level(recording, LEVEL), "a sentence")
    pause()
    sound = np.concatenate(parts)
    sound += 10 ** (NOISE / 20) * generator.standard_normal(len(sound))
    home = folder / f"{session.number}_P"
    home.mkdir(parents=True)
    pcm = np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)
    soundfile.write(home / f"{session.number}_AUDIO.wav", pcm, SAMPLE_RATE, subtype="PCM_16")
    write_text(home / f"{session.number}_TRANSCRIPT.csv", table(rows, delimiter="\t"))


def split_files(sessions: Sequence[Session], held_out: str) -> dict[str, str]:
    """Return the text of the split files by name; *held_out* is the actor of the dev split."""
    header = ["Participant_ID", "PHQ8_Binary", "PHQ8_Score", "Gender", *(f"PHQ8_{item}" for item in ITEMS)]
    rows: dict[str, list[list[object]]] = {"train": [], "dev": []}
    for session in sessions:
        item = 2 if session.emotion == POSITIVE else 0
        male = int(SPEAKERS[session.speaker][0] == "male")
        rows["dev" if session.speaker == held_out else "train"].append(
            [session.number, int(item > 0), item * len(ITEMS), male, *[item] * len(ITEMS)]
        )
    return {
        f"{split}_split_Depression_AVEC2017.csv": table([header, *rows[split]]) for split in ("train", "dev")
    }


def arrange_interviews(
    recordings: Sequence[Recording],
    participants: Sequence[str],
    interviewers: Sequence[str],
    folder: Path,
    *,
    seed: int,
) -> list[Session]:
    """Write one corpus a participant to *folder*, that participant being its dev split; see the module."""
    refuse_overlap(participants, interviewers)
    questions = [r for r in of_speakers(recordings, interviewers) if r.emotion == "neutral"]
    sessions = draw_sessions(recordings, participants, seed=seed)
    shared = _new_folder(folder) / "sessions"
    for session in sessions:
        write_session(session, questions, shared, seed=seed)
    rows: list[list[object]] = [["session", "real_speaker", "group", "fold"]]
    for fold, held_out in enumerate(participants, 1):
        corpus = folder / f"fold{fold}"
        shutil.copytree(shared, corpus, copy_function=_link_or_copy)
        for name, text in split_files(sessions, held_out).items():
            write_text(corpus / name, text)
        rows += [[s.number, s.speaker, s.emotion, fold] for s in sessions if s.speaker == held_out]
    write_text(folder / "sessions.csv", table(rows))
    return sessions


def arrange_all(recordings: Sequence[Recording], folder: Path, *, seed: int) -> None:
    """Write both rotations: ``rotation<N>/lssed`` and ``rotation<N>/interviews``."""
    for rotation, (first, second) in enumerate((HALVES, HALVES[::-1]), 1):
        home = folder / f"rotation{rotation}"
        arrange_lssed(recordings, first, second, home / "lssed", seed=seed)
        arrange_interviews(recordings, second, first, home / "interviews", seed=seed)


def table(rows: Iterable[Iterable[object]], *, delimiter: str = ",") -> str:
    """Return *rows* as CSV text."""
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _new_folder(folder: Path) -> Path:
    if folder.exists():
        raise bad_input(folder, found="a folder", expected="none yet", remedy="remove it or name another")
    folder.mkdir(parents=True)
    return folder


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--emodb", type=Path, required=True, help="folder that holds EmoDB's wav/")
    common.add_argument("--seed", type=int, default=0)
    common.add_argument("out", type=Path, help="folder to write; it must not exist")
    commands.add_parser("all", parents=[common], help="both rotations")
    lssed = commands.add_parser("lssed", parents=[common], help="stage 1")
    interviews = commands.add_parser("interviews", parents=[common], help="stage 2")
    for command, names in ((lssed, ("train", "test")), (interviews, ("participants", "interviewers"))):
        for name in names:
            command.add_argument(f"--{name}", required=True, help="speakers, such as 03,08", type=_speakers)
    args = parser.parse_args(argv)
    try:
        recordings = find_recordings(args.emodb)
        if args.command == "all":
            arrange_all(recordings, _new_folder(args.out), seed=args.seed)
        elif args.command == "lssed":
            arrange_lssed(recordings, args.train, args.test, args.out, seed=args.seed)
        else:
            arrange_interviews(recordings, args.participants, args.interviewers, args.out, seed=args.seed)
    except BadInput as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


def _speakers(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
