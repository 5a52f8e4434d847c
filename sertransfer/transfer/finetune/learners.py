"""What fine-tuning trains and how deep it goes: a network's stages, which of them learn, and how fast."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sertransfer.encoders.base import Encoder, Stage, UtteranceHead, Write
from sertransfer.encoders.registry import open_encoder
from sertransfer.encoders.sentence_model import StoredNetwork, make_trainable
from sertransfer.errors import bad_input
from sertransfer.front_end import FrontEnd
from sertransfer.timebase import seconds_to_samples
from sertransfer.training.batches import Batch, Utterances
from sertransfer.training.inference import choose_device, predict_probabilities
from sertransfer.training.module import SeededModule
from sertransfer.transfer.data import SubjectSplit
from sertransfer.transfer.decide import usable_part
from sertransfer.transfer.finetune.data import (
    GIGABYTE,
    FrameStore,
    SentenceStore,
    Task,
    frames_of,
    take_features,
    take_frozen,
    take_waveforms,
)
from sertransfer.transfer.probe.probe import Floats
from sertransfer.transfer.settings import FinetuneConfig, TransferConfig

ENCODER_POLICY = (
    "its front end is fixed; nothing is masked; layer drop is off; dropout acts in trained parts alone"
)

_log = logging.getLogger(__name__)


class Depth:
    """Freezes stages, sets modes, and groups the rest by learning rate.

    What is frozen is the same after a step: weights, the statistics of batch norms, and what comes out.

    Args:
        stages: From the input to the classifier.
        settings: Depth, rates and what becomes of batch norms.
        whole: A network that the stages are part of and whose other modules act as in evaluation; ``None``
            where all of it is in the stages.

    Attributes:
        trained: Stages that learn, the classifier first.
        frozen: The others.

    Raises:
        BadInput: If there are fewer stages than are to be trained.
    """

    def __init__(self, stages: list[Stage], settings: FinetuneConfig, whole: nn.Module | None = None) -> None:
        body = len(stages) - 1
        count = {"head": 0, "last": settings.stages, "all": body}[settings.depth]
        if count > body:
            names = ", ".join(stage.name for stage in stages[:-1])
            raise bad_input(
                "setting finetune.stages",
                found=str(count),
                expected=f"at most {body}: before the classifier this network has {names}",
                remedy="lower it, or take finetune.depth all",
            )
        self.frozen = stages[: body - count]
        self.trained = stages[body - count :][::-1]
        self._settings, self._whole = settings, whole
        self._still = settings.batch_norm == "frozen"
        for group, learns in ((self.frozen, False), (self.trained, True)):
            for stage in group:
                for weight in stage.parameters():
                    weight.requires_grad_(learns)
        if self._still:
            for norm in self._norms():
                norm.requires_grad_(False)

    def _norms(self) -> list[nn.Module]:
        modules = [module for stage in [*self.frozen, *self.trained] for module in stage.modules]
        return [part for module in modules for part in module.modules() if isinstance(part, _BatchNorm)]

    def set_modes(self) -> None:
        """Put what learns into training mode, and what is frozen into evaluation mode."""
        if self._whole is not None:
            self._whole.eval()
        for stages, mode in ((self.trained, True), (self.frozen, False)):
            for stage in stages:
                for module in stage.modules:
                    module.train(mode)
        if self._still:
            for norm in self._norms():
                norm.eval()

    def groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups: each stage's rate, and no decay of vectors."""
        groups: list[dict[str, Any]] = []
        for distance, stage in enumerate(self.trained):
            rate = self._settings.lr * self._settings.layer_decay**distance
            weights = [weight for weight in stage.parameters() if weight.requires_grad]
            for matrices in (True, False):
                chosen = [weight for weight in weights if (weight.ndim > 1) == matrices]
                decay = self._settings.weight_decay if matrices else 0.0
                if chosen:
                    groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
        return groups

    def describe(self) -> dict[str, Any]:
        """Return which stages learn, and how many numbers."""
        learnt = [w.numel() for stage in self.trained for w in stage.parameters() if w.requires_grad]
        names = [stage.name for stage in self.trained]
        return {"trained": names, "frozen": [s.name for s in self.frozen], "trained_numbers": sum(learnt)}


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


@dataclass(frozen=True)
class Learner:
    """A network to be trained, its data, and how it is kept.

    Attributes:
        network: From the batches of *store* to the scores of both classes.
        depth: What of it learns.
        store: What the network takes of each sentence.
        parts: Training and reported part, usable sentences only.
        longest: Frames of the store that a training batch has at most.
        pad: See :class:`sertransfer.front_end.Cropping`.
        write: Writes the whole network.
        record: What ``metrics.json`` is to say of it.
    """

    network: nn.Module
    depth: Depth
    store: SentenceStore
    parts: tuple[SubjectSplit, SubjectSplit]
    longest: int
    pad: bool
    write: Write
    record: dict[str, Any]


def make_learner(config: TransferConfig, task: Task) -> Learner:
    """Return the encoder with a new classifier, and what it takes of all sentences.

    Raises:
        BadInput: If audio, depth, pooling, layers or the checkpoint is at fault.
    """
    settings = config.finetune
    opened = open_encoder(task.encoder, task.checkpoint, layer=config.layer, device=str(choose_device()))
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        made = make_trainable(
            opened,
            config.classes,
            pooling=settings.pooling,
            mix=settings.layers == "mix",
            heard=task.training_audio,
        )
    network = made.network.to(choose_device())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its stub
    depth = Depth(made.stages, settings, None if made.head is None else network)
    parts: dict[str, Any]
    if opened.front_end is not None:
        parts = _on_spectrograms(opened, opened.front_end, config, task)
    else:
        parts = _on_waveforms(opened, made.head, config, task)
    return Learner(**{"network": network, "depth": depth, "write": made.write, **parts})


def _on_spectrograms(
    opened: Encoder, front_end: FrontEnd, config: TransferConfig, task: Task
) -> dict[str, Any]:
    """Return what of a :class:`Learner` depends on the store, which is that of stage 1."""
    store, train, reported = take_features(
        task.manifest,
        task.parts,
        front_end,
        task.features,
        workers=config.embedding.workers,
        skip_bad=task.skip_bad,
        progress=task.progress,
    )
    cropping = opened.cropping
    return {
        "store": store,
        "parts": (train, reported),
        "longest": int(store.frames.max()) if cropping is None else cropping.frames(front_end.framing),
        "pad": cropping is not None and cropping.pad,
        "record": {"pooling": config.finetune.pooling} if config.finetune.pooling != "mean" else {},
    }


def _on_waveforms(
    opened: Encoder, head: UtteranceHead | None, config: TransferConfig, task: Task
) -> dict[str, Any]:
    """Return what of a :class:`Learner` depends on the store: waveforms, or what the frozen encoder gives."""
    settings = config.finetune
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
    longest = max(seconds_to_samples(settings.window, opened.sample_rate), opened.shortest)
    kept, network = "encoder run in every epoch", {}
    if settings.depth == "head" and head is not None:
        frozen = _take_frozen(store, opened, longest, config, task)
        if frozen is not None:
            kept = "frames of the frozen encoder, computed once"
            if settings.pooling == "mean":
                kept = "block means of the frozen encoder, computed once"
            store, network = frozen, {"network": StoredNetwork(head, opened.dim)}
            longest = frames_of(opened, longest)
    return {
        **network,
        "store": store,
        "parts": tuple(usable_part(part, store.seconds) for part in task.parts),
        "longest": longest,
        "pad": False,
        "record": {
            "layers": settings.layers,
            "pooling": settings.pooling,
            "features": kept,
            "encoder_policy": ENCODER_POLICY,
        },
    }


def _take_frozen(
    waveforms: FrameStore,
    encoder: Encoder,
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
