"""The commands that faults are put into: small, on generated sound, with a tiny network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
PITCHES = {"angry": 1600, "neutral": 400, "happy": 900, "sad": 150}
NETWORK = ["--model.name", "pyresnet_tiny", "--model.width", "0.0625", "--front_end.mels", "32"]
STAGE_1 = [
    *NETWORK,
    "--cropping.seconds",
    "0.5",
    "--batch_size",
    "8",
    "--checkpoint_every",
    "1",
    "--optimiser.lr",
    "0.1",
]
STAGE_2 = ["--folds", "2", "--resamples", "20", "--shortcuts", "false"]


@dataclass(frozen=True)
class Job:
    """A command line, and where its results lie.

    Attributes:
        name: What of it faults are to meet. words: The command line; ``{place}`` stands for the folder that
        it works in, ``{corpora}`` for its input. run: Its run folder, below that place.
    """

    name: str
    words: tuple[str, ...]
    run: str = "run"

    def command(self, place: Path, corpora: Path) -> list[str]:
        """Return the command line for *place*."""
        return [word.format(place=place, corpora=corpora) for word in self.words]


def _stage_1(manifest: str, *more: str) -> tuple[str, ...]:
    given = ["--manifest", f"{{corpora}}/{manifest}.csv", "--run-dir", "{place}/run"]
    return ("pretrain", *given, "--quiet", *STAGE_1, "--store", "{place}/cache", *more)


def _stage_2(command: str, *more: str) -> tuple[str, ...]:
    given = ["--encoder", "ser", "--checkpoint", "{corpora}/ser.safetensors"]
    given += ["--manifest", "{corpora}/interviews.csv", "--run-dir", "{place}/run"]
    return (command, *given, "--embeddings", "{place}/cache", "--quiet", *more)


_TUNE = [word.replace("--", "--transfer.", 1) for word in STAGE_2]
JOBS = {
    job.name: job
    for job in (
        Job("store", _stage_1("many", "--epochs", "1")),
        Job(
            "pretrain",
            _stage_1("tones", "--epochs", "4", "--selection.rule", "inner", "--selection.share", "0.3"),
        ),
        Job("embed", _stage_2("transfer", *STAGE_2, "--probe.c_grid", "[0.01]")),
        Job(
            "tune",
            _stage_2(
                "tune", *_TUNE, "--trials", "6", "--outer_folds", "2", "--random_trials", "3",
                "--space.heads", "[logistic, rbf_svm]", "--space.pca", "[0]",
            ),
        ),
        Job(
            "finetune",
            _stage_2(
                "transfer", "--mode", "finetune", *STAGE_2,
                "--finetune.epochs", "4", "--finetune.batch_size", "8",
            ),
        ),
    )
}  # fmt: skip


def small_steps() -> None:
    """Embed a few sentences at once, so that kills fall between chunks, and find dead trials soon."""
    from sertransfer.transfer import data
    from sertransfer.transfer.tuning import storage

    data.CHUNK_SENTENCES = 8
    storage.HEARTBEAT = storage.GRACE = 1


def make_corpora(folder: Path) -> None:
    """Write tones, interviews, and a network that is not trained, into *folder*."""
    _tones(folder, "tones", 36)
    _tones(folder, "many", 160)
    _interviews(folder)
    _network(folder / "ser.safetensors")


def _tones(folder: Path, name: str, count: int) -> None:
    generator = np.random.default_rng(5)
    rows = []
    for number in range(count):
        label = list(PITCHES)[number % 4]
        time = np.arange(int((0.3 + 0.1 * (number % 4)) * RATE)) / RATE
        tone = 0.3 * np.sin(2 * np.pi * PITCHES[label] * time) + 0.01 * generator.normal(size=len(time))
        tested = number >= count * 2 // 3
        rows.append(
            {"id": f"u{number}", "audio": _write(folder / name, f"{number}.wav", tone), "label": label}
            | {
                "speaker": f"{'t' if tested else 's'}{number // 4 % 6}",
                "split": "test" if tested else "train",
            }
            | {"corpus": "tones"}
        )
    _manifest(folder, name, rows)


def _interviews(folder: Path) -> None:
    generator = np.random.default_rng(6)
    rows, number = [], 300
    for split, labels in {"train": (6, 5), "dev": (3, 3)}.items():
        for label in ["not depressed"] * labels[0] + ["depressed"] * labels[1]:
            level = 0.08 if label == "depressed" else 0.2
            lengths = generator.integers(3200, 8000, size=5)
            ends = np.cumsum(lengths)
            sound = (generator.normal(size=ends[-1]) * level).clip(-1, 1)
            audio = _write(folder / "interviews", f"{number}.wav", sound)
            for index, (end, length) in enumerate(zip(ends, lengths, strict=True)):
                rows.append(
                    {
                        "id": f"{number}_{index}",
                        "audio": audio,
                        "start": (end - length) / RATE,
                        "end": end / RATE,
                    }
                    | {"speaker": str(number), "label": label, "split": split, "corpus": "daic-woz"}
                )
            number += 1
    _manifest(folder, "interviews", rows)


def _write(root: Path, name: str, sound: np.ndarray) -> str:
    root.mkdir(parents=True, exist_ok=True)
    soundfile.write(root / name, sound, RATE, subtype="PCM_16")
    return name


def _manifest(folder: Path, name: str, rows: list[dict]) -> None:
    from sertransfer.manifest import Manifest, make_table, write_manifest

    write_manifest(Manifest(make_table(rows), folder / name, {"generated": True}), folder / f"{name}.csv")


def _network(path: Path) -> None:
    import torch

    from sertransfer.front_end import Cropping, FrontEnd
    from sertransfer.models.checkpoint import Checkpoint, write_checkpoint
    from sertransfer.models.registry import build_model

    torch.manual_seed(0)
    options = {"width": 0.0625}
    state = build_model("pyresnet_tiny", 4, **options).state_dict()
    about = (
        "pyresnet_tiny",
        options,
        tuple(PITCHES),
        FrontEnd(mels=32),
        Cropping(0.2),
        state,
        {"corpus": "x"},
    )
    write_checkpoint(Checkpoint(*about), path)
