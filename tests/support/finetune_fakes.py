"""Small encoders of waveforms on disk, for the tests of their fine-tuning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from sertransfer.encoders.ssl import BUILDERS
from sertransfer.manifest import Manifest
from sertransfer.transfer import workflow
from sertransfer.transfer.settings import FinetuneConfig, TransferConfig
from support.encoder_fakes import SMALL
from support.espnet_fakes import make_config, make_experiment


def make_ssl(folder: Path, family: str = "hubert", **config: Any) -> Path:
    """Write a small self-supervised model with random weights; WavLM with the norm behind the blocks."""
    torch.manual_seed(0)
    options = dict(SMALL)
    if family == "wavlm":
        options |= {"encoder_num_buckets": 32, "encoder_max_distance": 80, "encoder_layer_norm_first": True}
    folder.mkdir(parents=True)
    torch.save(BUILDERS[family](**options).state_dict(), folder / "model.pth")
    (folder / "config.yaml").write_text(yaml.safe_dump({"family": family, "model": options, **config}))
    return folder


def make_asr(root: Path, encoder: str = "conformer", **changes: Any) -> Path:
    """Write a small ESPnet experiment with random weights."""
    return make_experiment(root, make_config(encoder, **changes))[0]


def settings(**finetune: Any) -> TransferConfig:
    """Return settings of a short run."""
    values: dict[str, Any] = {"depth": "last", "lr": 0.003, "epochs": 2, "batch_size": 8, "inner_share": 0.5}
    return TransferConfig(
        mode="finetune",
        resamples=20,
        folds=2,
        shortcuts=False,
        finetune=FinetuneConfig(**{**values, **finetune}),
    )


def run(
    manifest: Manifest, encoder: str, checkpoint: Path, folder: Path, config: TransferConfig, **options: Any
) -> dict[str, Any]:
    """Run stage 2 without bars."""
    return workflow.transfer(
        replace(config),
        manifest,
        encoder=encoder,
        checkpoint=checkpoint,
        run_dir=folder,
        progress=False,
        **options,
    )
