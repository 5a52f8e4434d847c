"""How long opening an encoder takes, in a process of its own."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from measure import Options, by_turns, timed_row
from stores import HOP, RATE, sentence_frames
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from sertransfer.encoders.espnet.encoder import AsrEncoder
from sertransfer.encoders.espnet.folder import read_experiment

CLASS = "import torch; from espnet2.asr.encoder.conformer_encoder import ConformerEncoder"
OURS = (
    "import sys; from pathlib import Path; from sertransfer.encoders.registry import open_encoder;"
    "open_encoder('asr', Path(sys.argv[1]))"
)


def write_experiment(folder: Path, *, width: int = 64, blocks: int = 2) -> nn.ModuleDict:
    """Write an ESPnet experiment of a conformer with random weights, and return ESPnet's own modules."""
    with contextlib.redirect_stdout(io.StringIO()):
        from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
        from espnet2.asr.frontend.default import DefaultFrontend

    front_end: dict[str, Any] = {"fs": 16000, "n_fft": 512, "win_length": 400, "hop_length": 160}
    encoder: dict[str, Any] = {"output_size": width, "attention_heads": 4, "linear_units": 4 * width}
    encoder |= {"num_blocks": blocks, "rel_pos_type": "latest"}
    torch.manual_seed(0)
    network = nn.ModuleDict(
        {"frontend": DefaultFrontend(**front_end), "encoder": ConformerEncoder(80, **encoder)}
    )
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "valid.acc.best.pth")
    config = {"frontend": "default", "frontend_conf": front_end, "normalize": None}
    config |= {"encoder": "conformer", "encoder_conf": encoder}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return network.eval()


def asr_start_up(options: Options) -> dict[str, Any]:
    """Open an ESPnet encoder, against only importing torch and ESPnet's encoder class."""
    experiment = options.work / "asr_start_up"
    write_experiment(experiment)

    def process(program: str, *arguments: str) -> None:
        command = [sys.executable, "-c", program, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    turns = by_turns(lambda: process(OURS, str(experiment)), lambda: process(CLASS), pairs=7)
    return timed_row(
        "start Python and open an ESPnet conformer as encoder",
        "importing torch and the encoder class",
        turns,
        items=1,
        unit="start",
        goal=1 / 1.5,
        note="the peer does nothing with the class: a ratio of 1 is the most there can be",
    )


def asr_sentences(options: Options) -> dict[str, Any]:
    """Embed sentences of lognormal duration, against ESPnet's modules on batches padded as they come."""
    folder = options.work / "asr_sentences"
    network = write_experiment(folder, width=256, blocks=12)
    encoder = AsrEncoder(read_experiment(folder))
    generator = torch.Generator().manual_seed(0)
    waves = [
        0.1 * torch.randn(samples, generator=generator) for samples in (HOP * sentence_frames(64)).tolist()
    ]

    def theirs(part: list[Tensor]) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([len(wave) for wave in part])
        features, frames = network["frontend"](pad_sequence(part, batch_first=True), lengths)
        encoded, frames, _ = network["encoder"](features, frames)
        return encoded, frames

    def ours() -> list[Tensor]:
        return [encoder.embed([wave]) for wave in waves]

    def padded() -> list[Tensor]:
        return [theirs(waves[start : start + 32])[0] for start in range(0, len(waves), 32)]

    with torch.inference_mode():
        alone = torch.cat([theirs([wave])[0].mean(1) for wave in waves])
        error = float((torch.cat(ours()) - alone).abs().max())
        if error > 1e-5:
            raise RuntimeError(f"features differ from ESPnet's, one at a time, by {error:.1e}")
        turns = by_turns(ours, padded, pairs=3)
    seconds = sum(len(wave) for wave in waves) / RATE
    return timed_row(
        "ASR encoder on sentences of lognormal duration",
        "ESPnet's own modules, batches of 32 padded as they come",
        turns,
        items=len(waves),
        unit="sentence",
        goal=3,
        note=f"conformer of 12 blocks of 256, random weights; {seconds:.0f} s of noise; ours equals ESPnet "
        f"one at a time to {error:.0e}, the padded batches do not; {torch.get_num_threads()} threads",
    )


ROWS = [asr_start_up, asr_sentences]
