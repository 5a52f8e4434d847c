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

CLASS = "import torch; from espnet2.asr.encoder.conformer_encoder import ConformerEncoder"
OURS = (
    "import sys; from pathlib import Path; from sertransfer.encoders.registry import open_encoder;"
    "open_encoder('asr', Path(sys.argv[1]))"
)


def write_experiment(folder: Path) -> Path:
    """Write an ESPnet experiment of a small conformer with random weights."""
    with contextlib.redirect_stdout(io.StringIO()):
        from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
        from espnet2.asr.frontend.default import DefaultFrontend

    front_end: dict[str, Any] = {"fs": 16000, "n_fft": 512, "win_length": 400, "hop_length": 160}
    encoder: dict[str, Any] = {"output_size": 64, "attention_heads": 4, "linear_units": 128, "num_blocks": 2}
    encoder["rel_pos_type"] = "latest"
    network = torch.nn.ModuleDict(
        {"frontend": DefaultFrontend(**front_end), "encoder": ConformerEncoder(80, **encoder)}
    )
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "valid.acc.best.pth")
    config = {"frontend": "default", "frontend_conf": front_end, "normalize": None}
    config |= {"encoder": "conformer", "encoder_conf": encoder}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def asr_start_up(options: Options) -> dict[str, Any]:
    """Open an ESPnet encoder, against only importing torch and ESPnet's encoder class."""
    experiment = write_experiment(options.work / "asr_start_up")

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


ROWS = [asr_start_up]
