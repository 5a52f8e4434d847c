"""A small CTC recogniser of characters, trained by ESPnet's own trainer and scored through our reading of it.

It stands for a real one where there is none: in the demo, on generated vowels strung together, and in the run
on real digits. It proves that the path from ESPnet's trainer to an encoder works; its scores are no evidence
that speech recognition transfers worse or better than emotion recognition. Downloads nothing: what ESPnet's
text modules would fetch when they are imported is refused, and not needed for characters.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import torchaudio.functional as F
import yaml
from numpy.typing import NDArray
from scipy import signal

from sertransfer.demo.synthesis import BANDWIDTHS, VOWELS
from sertransfer.encoders.espnet.encoder import AsrEncoder
from sertransfer.encoders.espnet.folder import read_experiment
from sertransfer.io.files import make_folder, open_own, refuse_links, write_json, write_text

RATE = 16_000
ENCODER, EXPERIMENT = AsrEncoder.name, "exp/asr_train"
BLANK, UNKNOWN, END = "<blank>", "<unk>", "<sos/eos>"


@dataclass(frozen=True)
class SpokenText:
    """Sound at 16 kHz, and the characters said in it."""

    id: str
    text: str
    sound: NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """A conformer and its training.

    Attributes:
        blocks: Of the encoder.
        width: Of its features.
        mels: Filters of the front end.
        highest: Upper end of the last one, in Hz.
        batch: Utterances a step.
        rate: Learning rate.
        warm_up: Steps until it is reached.
    """

    blocks: int
    width: int
    mels: int
    highest: int
    batch: int
    rate: float
    warm_up: int


def write_data(folder: Path, name: str, utterances: Sequence[SpokenText]) -> None:
    """Write one of ESPnet's data folders: sound files, ``wav.scp``, ``text`` and lengths."""
    home = folder / name
    (home / "wav").mkdir(parents=True, exist_ok=True)
    lists: dict[str, list[str]] = {"wav.scp": [], "text": [], "speech_shape": []}
    for utterance in sorted(utterances, key=lambda utterance: utterance.id):
        path = home / "wav" / f"{utterance.id}.wav"
        soundfile.write(path, utterance.sound, RATE, subtype="PCM_16")
        lists["wav.scp"].append(f"{utterance.id} {path.resolve()}")
        lists["text"].append(f"{utterance.id} {utterance.text}")
        lists["speech_shape"].append(f"{utterance.id} {len(utterance.sound)}")
    for file, lines in lists.items():
        write_text(home / file, "\n".join(lines) + "\n")


def write_config(folder: Path, characters: str, size: Size, seed: int) -> Path:
    """Write the training config and the token list; return the config's path."""
    tokens = [BLANK, UNKNOWN, *sorted(set(characters)), END]
    write_text(folder / "tokens.txt", "\n".join(tokens) + "\n")

    def data(name: str) -> list[list[str]]:
        home = folder / name
        return [[str(home / "wav.scp"), "speech", "sound"], [str(home / "text"), "text", "text"]]

    config = {
        "token_type": "char",
        "token_list": str(folder / "tokens.txt"),
        "train_data_path_and_name_and_type": data("train"),
        "valid_data_path_and_name_and_type": data("valid"),
        "train_shape_file": [str(folder / "train/speech_shape")],
        "valid_shape_file": [str(folder / "valid/speech_shape")],
        "batch_type": "sorted",
        "batch_size": size.batch,
        "num_workers": 0,
        "ngpu": 0,
        "seed": seed,
        "frontend": "default",
        "frontend_conf": {
            "fs": RATE,
            "n_fft": 512,
            "win_length": 400,
            "hop_length": 160,
            "n_mels": size.mels,
            "fmax": size.highest,
        },
        "specaug": "specaug",
        "specaug_conf": {
            "apply_time_warp": False,
            "apply_freq_mask": True,
            "freq_mask_width_range": [0, size.mels // 5],
            "num_freq_mask": 2,
            "apply_time_mask": True,
            "time_mask_width_range": [0, 5],
            "num_time_mask": 1,
        },
        "normalize": "utterance_mvn",
        "normalize_conf": {"norm_means": True, "norm_vars": True},
        "model_conf": {"ctc_weight": 1.0},
        "encoder": "conformer",
        "encoder_conf": {
            "output_size": size.width,
            "attention_heads": 4,
            "linear_units": 4 * size.width,
            "num_blocks": size.blocks,
            "dropout_rate": 0.1,
            "input_layer": "conv2d2",  # digits are short: half of the frames, not a quarter
            "macaron_style": True,
            "use_cnn_module": True,
            "cnn_module_kernel": 7,
            "rel_pos_type": "latest",
            "pos_enc_layer_type": "rel_pos",
            "selfattention_layer_type": "rel_selfattn",
        },
        "optim": "adam",
        "optim_conf": {"lr": size.rate},
        "scheduler": "warmuplr",
        "scheduler_conf": {"warmup_steps": size.warm_up},
        "best_model_criterion": [["valid", "cer_ctc", "min"]],
        "keep_nbest_models": 3,
        "num_att_plot": 0,
        "use_matplotlib": False,
        "use_tensorboard": False,
        "resume": True,
        "log_level": "WARNING",
        "output_dir": str(folder / EXPERIMENT),
    }
    path = folder / "train.yaml"
    write_text(path, yaml.safe_dump(config, sort_keys=False))
    return path


def espnet_task() -> Any:
    """Return ESPnet's recognition task; NLTK, which it imports, is kept from reaching for its data."""
    import nltk

    fetch = nltk.download
    nltk.download = lambda *_, **__: False
    try:
        from espnet2.tasks.asr import ASRTask
    finally:
        nltk.download = fetch
    return ASRTask


def train(
    folder: Path,
    *,
    characters: str,
    size: Size,
    unseen: Sequence[SpokenText],
    seconds: float,
    goal: float,
    epochs_at_once: int,
    most_epochs: int = 1000,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train on ``folder/train`` until the error rate on *unseen* is *goal* or *seconds* are over.

    ESPnet's trainer runs for a few epochs at a time and resumes, the averaged model is scored between. The
    stop looks at the figure, and where ``folder/valid`` holds the same utterances the choice of epochs does.

    Args:
        folder: Holds ``train`` and ``valid`` of :func:`write_data`; the experiment comes beside them.
        characters: All that occur.
        size: Of model and training.
        unseen: Utterances to score.
        seconds: No round of epochs is begun that would end later.
        goal: Character error rate to stop at.
        epochs_at_once: Epochs between two scores.
        most_epochs: Epochs after which training ends in any case.
        seed: Of ESPnet.
        say: Told each score.

    Returns:
        ``cer``, ``goal``, ``history`` of ``[epoch, cer]``, ``epochs``, ``seconds`` and ``experiment``.
    """
    start = time.monotonic()
    config = write_config(folder, characters, size, seed)
    with _to_file(folder / "espnet.txt"):
        task = espnet_task()
    history: list[tuple[int, float]] = []
    epochs = 0
    while True:
        began = time.monotonic()
        epochs = min(epochs + epochs_at_once, most_epochs)
        with _to_file(folder / "espnet.txt"):
            task.main(cmd=["--config", str(config), "--max_epoch", str(epochs)])
        history.append((epochs, error_rate(folder / EXPERIMENT, unseen)))
        now = time.monotonic()
        say(f"epoch {epochs}: character error rate {history[-1][1]:.3f}, {now - start:.0f} s")
        # no round is begun that would end after the time is over
        if history[-1][1] <= goal or epochs >= most_epochs or 2 * now - began - start > seconds:
            break
    return {
        "cer": history[-1][1],
        "goal": goal,
        "history": history,
        "epochs": epochs,
        "seconds": round(time.monotonic() - start, 1),
        "experiment": EXPERIMENT,
    }


@contextmanager
def _to_file(path: Path) -> Iterator[None]:
    """Keep what ESPnet prints and warns of, which a user can do nothing about, in a file."""
    descriptor = open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        yield


def error_rate(experiment: Path, utterances: Sequence[SpokenText]) -> float:
    """Return edit distance over characters, of the best path of the CTC on our encoder's features."""
    read = read_experiment(experiment)
    tokens = read.config["token_list"]
    encoder = AsrEncoder(read)
    weight, bias = read.weights["ctc.ctc_lo.weight"], read.weights["ctc.ctc_lo.bias"]
    errors = characters = 0
    for utterance in utterances:
        waveform = torch.from_numpy(utterance.sound)[None]
        features, _ = encoder.encode(waveform, torch.tensor([waveform.shape[1]]))
        path = torch.unique_consecutive((features[0] @ weight.T + bias).argmax(dim=1)).tolist()
        said = [tokens[index] for index in path if tokens[index] not in (BLANK, UNKNOWN, END)]
        errors += F.edit_distance(list(utterance.text), said)
        characters += len(utterance.text)
    return errors / characters


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


def generate(count: int, name: str, seed: int) -> list[SpokenText]:
    """Return *count* generated utterances of 2 to 6 vowels, each in a voice of its own."""
    generator = np.random.default_rng(seed)
    utterances = []
    for number in range(count):
        text = "".join(generator.choice(list(LETTERS), size=generator.integers(2, 7)))
        utterances.append(SpokenText(f"{name}-{number:04d}", text, speak(text, generator)))
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
    make_folder(home)
    refuse_links(*home.iterdir())
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
