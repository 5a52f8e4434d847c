"""What fine-tuning trains, by kind of encoder: the SER network, or blocks over waveforms."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sertransfer.encoders.base import LayeredEncoder, UtteranceHead
from sertransfer.encoders.registry import open_encoder
from sertransfer.errors import bad_input
from sertransfer.models.base import SpectrogramModel
from sertransfer.models.checkpoint import Checkpoint, build_from, read_checkpoint, write_checkpoint
from sertransfer.timebase import seconds_to_samples
from sertransfer.training.batches import Batch, Utterances
from sertransfer.training.inference import choose_device, predict_probabilities
from sertransfer.training.module import SeededModule
from sertransfer.training_audio import TrainingAudio
from sertransfer.transfer.decide import usable_part
from sertransfer.transfer.finetune.data import Learner, Task, Write, take_features
from sertransfer.transfer.finetune.frames import GIGABYTE, FrameStore, frames_of, take_frozen, take_waveforms
from sertransfer.transfer.finetune.freezing import Depth, Stage, replace_classifier
from sertransfer.transfer.finetune.model import (
    PooledSpectrogramNetwork,
    StoredNetwork,
    WaveformNetwork,
    write_sentence_model,
)
from sertransfer.transfer.probe.probe import Floats
from sertransfer.transfer.settings import TransferConfig


class Finetuner(SeededModule):
    """Cross-entropy over balanced batches, AdamW with a rate for each stage."""

    rate_setting = "finetune.lr"

    def __init__(self, network: nn.Module, depth: Depth, config: TransferConfig, **about: Any) -> None:
        super().__init__(network, seed=config.seed, **about)
        self.depth = depth
        self.config = config
        self.loss = nn.CrossEntropyLoss()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set modes, which Lightning and scoring change, and the batch's random state."""
        super().on_train_batch_start(batch, batch_idx)
        self.depth.set_modes()

    def score(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores, their cross-entropy, and the classes."""
        scores = self.network(batch.features.contiguous(memory_format=torch.channels_last))
        return scores, self.loss(scores, batch.targets), batch.targets

    def rate(self, epoch: int) -> float:
        """Return the classifier's learning rate, which stays."""
        return self.config.finetune.lr

    def configure_optimizers(self) -> Any:
        """Return AdamW."""
        return torch.optim.AdamW(self.depth.groups())


class Scorer:
    """Scores sentences by the network's evaluation rule: whole, or cut and filled up if it was trained so."""

    def __init__(self, longest: int, pad: bool, config: TransferConfig) -> None:
        self.longest, self.pad, self.config = longest, pad, config

    def __call__(self, network: nn.Module, utterances: Utterances, *, progress: bool = False) -> Floats:
        """Return the probability of the positive class, shape ``(sentences,)``."""
        return predict_probabilities(
            network,
            utterances,
            longest=self.longest,
            pad=self.pad,
            batch_size=self.config.finetune.batch_size,
            workers=self.config.embedding.workers,
            progress=progress,
        )[:, 1]


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


FRONT_END = (
    "its front end is fixed; nothing is masked; layer drop is off; dropout acts in trained parts alone"
)

_log = logging.getLogger(__name__)


def waveform_learner(config: TransferConfig, task: Task) -> Learner:
    """Return the encoder with a head, and the waveforms of all sentences or what the frozen encoder gives.

    Raises:
        BadInput: If audio, depth, layers or the checkpoint is at fault.
    """
    settings = config.finetune
    opened = open_encoder(task.encoder, task.checkpoint, layer=config.layer, device=str(choose_device()))
    if not isinstance(opened, LayeredEncoder):
        raise TypeError(f"encoder '{task.encoder}' takes no waveforms to train on")
    mix = settings.layers == "mix"
    if mix:
        opened.check_layer(opened.layers or 1)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        head = UtteranceHead(
            opened.dim,
            len(config.classes),
            pooling=settings.pooling,
            layers=opened.layers if mix else None,
        )
    stages = [Stage(name, modules) for name, modules in opened.stages(mix=mix)]
    whole = WaveformNetwork(opened, head).to(choose_device())
    depth = Depth([*stages, Stage("head", [head])], settings, whole)
    wanted = pd.concat([part.sentences["id"] for part in task.parts])
    table = task.manifest.table[task.manifest.table["id"].isin(wanted)].reset_index(drop=True)
    store = take_waveforms(
        task.manifest.with_table(table),
        opened,
        task.features,
        workers=config.embedding.workers,
        skip_bad=task.skip_bad,
        progress=task.progress,
    )
    window = seconds_to_samples(settings.window, opened.sample_rate)
    network: nn.Module = whole
    longest, kept = max(window, opened.shortest), "encoder run in every epoch"
    if settings.depth == "head":
        frozen = _take_frozen(store, opened, longest, config, task)
        if frozen is not None:
            kept = "frames of the frozen encoder, computed once"
            if settings.pooling == "mean":
                kept = "block means of the frozen encoder, computed once"
            store, network = frozen, StoredNetwork(head, opened.dim)
            longest = frames_of(opened, longest)
    usable = (usable_part(task.parts[0], store.seconds), usable_part(task.parts[1], store.seconds))
    return Learner(
        network=network,
        depth=depth,
        store=store,
        parts=usable,
        longest=longest,
        pad=False,
        write=_writer(opened, head, config),
        record={
            "layers": settings.layers,
            "pooling": settings.pooling,
            "features": kept,
            "encoder_policy": FRONT_END,
        },
    )


def _take_frozen(
    waveforms: FrameStore,
    encoder: LayeredEncoder,
    window: int,
    config: TransferConfig,
    task: Task,
) -> FrameStore | None:
    """Return what the frozen encoder gives for each sentence; ``None`` if that is too much to keep."""
    settings = config.finetune
    mix, whole = settings.layers == "mix", settings.pooling != "mean"
    if whole:
        frames = int(waveforms.frames.sum()) / window * frames_of(encoder, window)
        size = 4 * frames * encoder.dim * (encoder.layers if mix else 1)
        if size > settings.store_gb * GIGABYTE:
            _log.warning(
                "the encoder's frames would take %.1f GB, more than finetune.store_gb = %g: it runs again in "
                "every epoch",
                size / GIGABYTE,
                settings.store_gb,
            )
            return None
    return take_frozen(
        waveforms,
        encoder,
        task.features,
        mix=mix,
        whole=whole,
        batch_size=settings.batch_size,
        skip_bad=task.skip_bad,
        progress=task.progress,
    )


def _writer(encoder: LayeredEncoder, head: UtteranceHead, config: TransferConfig) -> Write:
    def write(state: dict[str, Tensor], about: dict[str, Any], path: Path) -> None:
        frozen = {f"encoder.{name}": value for name, value in encoder.network.state_dict().items()}
        write_sentence_model(
            path,
            encoder=encoder.name,
            blueprint=encoder.blueprint(),
            head=head,
            classes=config.classes,
            state={**frozen, **state},
            provenance={"finetuned_from": encoder.fingerprint(), **about},
        )

    return write
