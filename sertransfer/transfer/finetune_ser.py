"""Fine-tuning of the SER network: its own classifier, or another pooling over its frames."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sertransfer.encoders.base import UtteranceHead
from sertransfer.errors import bad_input
from sertransfer.models.base import SpectrogramModel
from sertransfer.models.checkpoint import Checkpoint, build_from, read_checkpoint, write_checkpoint
from sertransfer.training.inference import choose_device
from sertransfer.training_audio import TrainingAudio
from sertransfer.transfer.depth import Depth, Stage, replace_classifier
from sertransfer.transfer.finetune_data import take_features
from sertransfer.transfer.finetune_learner import Learner, Task, Write
from sertransfer.transfer.sentence_model import PooledSpectrogramNetwork, write_sentence_model
from sertransfer.transfer.settings import TransferConfig


def ser_learner(config: TransferConfig, task: Task) -> Learner:
    """Return the network of *checkpoint* with a new classifier, and the spectrograms of all sentences.

    Raises:
        BadInput: If audio, depth or pooling is at fault.
    """
    read = read_checkpoint(task.checkpoint)
    front_end, cropping = read.front_end, read.cropping
    if front_end is None:
        raise TypeError("an opened SER encoder has a front end")
    model = build_from(read, where=task.checkpoint)
    network: torch.nn.Module = model
    pooled = config.finetune.pooling != "mean"
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        if not pooled:
            depth = Depth(replace_classifier(model, len(config.classes)), config.finetune)
            write = _as_checkpoint(read, config, task.training_audio)
        else:
            network, head, stages = _pooled(model, read, config)
            depth = Depth(stages, config.finetune, network)
            write = _with_head(read, head, config)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its stub
    store, train, reported = take_features(
        task.manifest,
        task.parts,
        front_end,
        task.features,
        workers=config.embedding.workers,
        skip_bad=task.skip_bad,
        progress=task.progress,
    )
    return Learner(
        network=network.to(choose_device()),
        depth=depth,
        store=store,
        parts=(train, reported),
        longest=int(store.frames.max()) if cropping is None else cropping.frames(front_end.framing),
        pad=cropping is not None and cropping.pad,
        write=write,
        record={"pooling": config.finetune.pooling} if pooled else {},
    )


def _pooled(
    model: SpectrogramModel, read: Checkpoint, config: TransferConfig
) -> tuple[PooledSpectrogramNetwork, UtteranceHead, list[Stage]]:
    """Put another pooling and a head behind the feature map; the model's own classifier stays, unused."""
    if model.time_bins != 1:
        raise bad_input(
            "setting finetune.pooling",
            found=f"'{config.finetune.pooling}' for {read.model}, whose classifier sees spans of time apart",
            expected="mean, which keeps that classifier",
            remedy="leave the setting out, or take another model",
        )
    stages = replace_classifier(model, len(read.classes))[:-1]
    model.load_state_dict(read.state)
    model.requires_grad_(False)
    head = UtteranceHead(
        model.num_features, len(config.classes), pooling=config.finetune.pooling, layers=None
    )
    stages = [stage for stage in stages if not stage.name.startswith("classifier")]
    return PooledSpectrogramNetwork(model, head), head, [*stages, Stage("head", [head])]


def _as_checkpoint(read: Checkpoint, config: TransferConfig, heard: TrainingAudio | None) -> Write:
    def write(state: dict[str, Tensor], about: dict[str, Any], path: Path) -> None:
        """Write the network with what it was trained from, as any checkpoint of a model."""
        write_checkpoint(
            Checkpoint(
                model=read.model,
                options=read.options,
                classes=config.classes,
                front_end=read.front_end,
                cropping=read.cropping,
                state=state,
                provenance=_provenance(read, about),
                training_audio=heard,
            ),
            path,
        )

    return write


def _with_head(read: Checkpoint, head: UtteranceHead, config: TransferConfig) -> Write:
    blueprint = {
        "model": read.model,
        "options": read.options,
        "classes": list(read.classes),
        "front_end": None if read.front_end is None else read.front_end.as_dict(),
        "cropping": None if read.cropping is None else asdict(read.cropping),
    }

    def write(state: dict[str, Tensor], about: dict[str, Any], path: Path) -> None:
        write_sentence_model(
            path,
            encoder="ser",
            blueprint=blueprint,
            head=head,
            classes=config.classes,
            state=state,
            provenance=_provenance(read, about),
        )

    return write


def _provenance(read: Checkpoint, about: dict[str, Any]) -> dict[str, Any]:
    return {"finetuned_from": read.provenance, "classes_before": list(read.classes), **about}
