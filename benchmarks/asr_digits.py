"""Train a small real ESPnet recogniser, offline, for use as the ASR encoder.

``python benchmarks/asr_digits.py digits --fsdd DIR --output DIR``: the Free Spoken Digit Dataset, spelled
out in letters. All speakers but one train; training ends when the character error rate on that one is 0.3
or after 30 minutes. The stop and the choice of epochs look at this figure, so it is to the good.

``python benchmarks/asr_digits.py generated --output DIR``: the demo's own tiny one, on generated vowels, in
less than two minutes.

Both prove that the path from ESPnet's trainer to an encoder works. Digits of 8 kHz, let alone generated
vowels, are no evidence that speech recognition transfers worse or better than emotion recognition.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import soundfile
import torch
import torchaudio.functional as F

from sertransfer.demo.recogniser import (
    EXPERIMENT,
    RATE,
    Size,
    SpokenText,
    train,
    train_demo_recogniser,
    write_data,
)
from sertransfer.io.files import write_json

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FSDD_RATE = 8_000
SPEEDS = (0.85, 1.0, 1.15)
"""Each recording is trained on at three speeds, which shift pitch and formants too: more voices."""
SHORTEST = 1600
"""Samples: a tenth of a second, below which three letters do not fit in the encoder's frames."""
DIGIT_SIZE = Size(blocks=4, width=128, mels=40, highest=4000, batch=48, rate=0.002, warm_up=400)


def read_digits(fsdd: Path, unseen: str) -> tuple[list[SpokenText], list[SpokenText]]:
    """Return the training utterances and those of the speaker *unseen*, at 16 kHz."""
    paths = sorted((fsdd / "recordings").glob("*.wav"))
    speakers = sorted({path.stem.split("_")[1] for path in paths})
    if unseen not in speakers or len(speakers) < 2:
        sys.exit(f"{fsdd}: no recordings/<digit>_{unseen}_<take>.wav beside others; speakers: {speakers}")
    training, test = [], []
    for path in paths:
        digit, speaker, _ = path.stem.split("_")
        sound, rate = soundfile.read(path, dtype="float32")
        if rate != FSDD_RATE or sound.ndim != 1:
            sys.exit(f"{path}: {rate} Hz, {sound.ndim} dimensions; expected {FSDD_RATE} Hz, mono")
        for speed in (1.0,) if speaker == unseen else SPEEDS:
            # played at RATE, sound resampled from speed * FSDD_RATE is faster by that factor
            fitted = F.resample(torch.from_numpy(sound), round(speed * FSDD_RATE), RATE).numpy()
            utterance = SpokenText(f"{speaker}-{path.stem}-{speed:g}", DIGITS[int(digit)], fitted)
            if speaker == unseen:
                test.append(utterance)
            elif len(fitted) >= SHORTEST:
                training.append(utterance)
    return training, test


def train_digits(fsdd: Path, output: Path, *, unseen: str, minutes: float, goal: float, epochs: int) -> None:
    """Train on the digits until the unseen speaker's error rate is *goal* or the time is over."""
    training, test = read_digits(fsdd, unseen)
    write_data(output, "train", training)
    write_data(output, "valid", [utterance for utterance in test if len(utterance.sound) >= SHORTEST])
    result = train(
        output,
        characters="".join(DIGITS),
        size=DIGIT_SIZE,
        unseen=test,
        seconds=60 * minutes,
        goal=goal,
        epochs_at_once=3,
        most_epochs=epochs,
    )
    counts = {"unseen": unseen, "training_utterances": len(training), "unseen_utterances": len(test)}
    note = (
        f"real digits of 8 kHz; speaker {unseen} is not in the training, but the stop and the choice of"
        " epochs looked at this figure"
    )
    write_result(output, {**result, **counts}, note)


def write_result(folder: Path, result: dict[str, Any], note: str) -> None:
    """Write ``result.json`` and say the figure."""
    write_json(folder / "result.json", {**result, "note": note})
    say_result(folder, {**result, "note": note})


def say_result(folder: Path, result: dict[str, Any]) -> None:
    """Say the figure and where the encoder is."""
    print(
        f"character error rate {result['cer']:.3f} after {result['epochs']} epochs, {result['seconds']:.0f} s"
    )
    print(f"{result['note']}\nencoder: --encoder asr --checkpoint {folder / EXPERIMENT}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    digits = commands.add_parser("digits", help="real digits, up to half an hour")
    digits.add_argument("--fsdd", type=Path, required=True, help="folder with FSDD's recordings/")
    digits.add_argument("--unseen", default="george", help="speaker that is left out (default: george)")
    digits.add_argument("--minutes", type=float, default=30)
    digits.add_argument("--cer", type=float, default=0.3, help="error rate to stop at")
    digits.add_argument("--epochs", type=int, default=1000, help="epochs at most")
    generated = commands.add_parser("generated", help="generated vowels, under two minutes")
    generated.add_argument("--utterances", type=int, default=400)
    generated.add_argument("--epochs", type=int, default=12, help="epochs at most")
    for command in (digits, generated):
        command.add_argument("--output", type=Path, required=True, help="a new folder, or one to go on in")
    args = parser.parse_args()
    output = args.output.resolve()
    if args.command == "digits":
        limits = {"minutes": args.minutes, "goal": args.cer, "epochs": args.epochs}
        train_digits(args.fsdd, output, unseen=args.unseen, **limits)
    else:
        say_result(output, train_demo_recogniser(output, count=args.utterances, epochs=args.epochs))


if __name__ == "__main__":
    main()
