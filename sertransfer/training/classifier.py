"""The training step of stage 1 as a Lightning module: masks, mixup, cross-entropy, SGD."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torchaudio.transforms import FrequencyMasking, TimeMasking
from torchvision.transforms.v2 import MixUp

from sertransfer.errors import SertransferError
from sertransfer.training.adversarial import adversarial_epsilon, adversarial_step
from sertransfer.training.data import Batch
from sertransfer.training.schedule import make_schedule, relative_rate
from sertransfer.training.settings import Augment, PretrainConfig

_log = logging.getLogger(__name__)


class NonFiniteLoss(SertransferError):
    """Training broke down: the loss is NaN or infinite."""


def breakdown(what: str, names: Sequence[str], resume_point: str) -> NonFiniteLoss:
    """Return the exception that says *what* broke down, on which utterances, and what to do; log it whole.

    Args:
        what: What is not finite, and when.
        names: The utterances of the batch.
        resume_point: Where the last good state lies.
    """
    _log.error("%s; utterances of the batch: %s", what, ", ".join(names))
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more (see log.txt)" if names[10:] else "")
    return NonFiniteLoss(
        f"{what}; utterances of the batch: {shown}; last good checkpoint: {resume_point}; "
        "lower optimiser.lr, or train in 32-true or bf16-mixed precision, in another --run-dir"
    )


class Classifier(LightningModule):
    """Trains a network of the zoo.

    Each batch sets the random state from ``(seed, epoch, batch)``, which a resumed run repeats; dropout
    and masks then do not depend on what happened before the batch.

    Args:
        network: ``(batch, 1, mels, frames) -> (batch, classes)``.
        config: Settings of the run.
        class_weights: Weight of each class in the loss, shape ``(classes,)``, or ``None``.
        ids: Names of the training items, for the message when the loss breaks down.
        resume_point: Says where the last good state lies, for the same message.
    """

    def __init__(
        self,
        network: nn.Module,
        config: PretrainConfig,
        *,
        class_weights: Tensor | None = None,
        ids: Sequence[str] = (),
        resume_point: Callable[[], str] = lambda: "none",
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        settings = config.regularisation
        # mixed targets are shares of classes: torch then divides by the items instead of by their weights,
        # which is the same over an epoch, since balanced weights have mean 1 over the training part
        self.loss = nn.CrossEntropyLoss(weight=class_weights, label_smoothing=settings.label_smoothing)
        self.masks = make_masks(config.augment)
        self.mix = MixUp(alpha=settings.mixup, num_classes=len(config.classes)) if settings.mixup else None
        self.sums = {"loss": 0.0, "hits": 0.0, "items": 0.0}
        self._ids, self._resume_point = ids, resume_point

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the random state that belongs to this batch."""
        key = np.random.SeedSequence([self.config.seed, self.trainer.current_epoch, batch_idx])
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean loss of the batch.

        Raises:
            NonFiniteLoss: Naming the step, the batch's utterances and the last good checkpoint.
        """
        features, targets = self.masks(batch.features), batch.targets
        if self.mix is not None:
            features, targets = self.mix(features, targets)
        if self.config.channels_last:
            features = features.contiguous(memory_format=torch.channels_last)
        scores, loss = self._score(features, targets)
        value = float(loss.detach())
        if not np.isfinite(value):
            self._stop(value, batch)
        self.sums["loss"] += value * len(batch.targets)
        truth = batch.targets if self.mix is None else targets.argmax(1)  # the class of the larger share
        self.sums["hits"] += float((scores.detach().argmax(1) == truth).sum())
        self.sums["items"] += len(batch.targets)
        self.log("loss", value, batch_size=len(batch.targets))
        return loss

    def _score(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores of the clean inputs, and the loss, adversarial where the model asks for it."""
        epsilon = adversarial_epsilon(self.network)
        if epsilon is not None:
            return adversarial_step(self.network, features, targets, epsilon, loss=self.loss)
        scores = self.network(features)
        return scores, self.loss(scores, targets)

    def _stop(self, value: float, batch: Batch) -> None:
        names = [self._ids[item] for item in batch.items.tolist()]
        step, epoch = self.trainer.global_step, self.trainer.current_epoch + 1
        raise breakdown(f"the loss is {value} at step {step}, in epoch {epoch}", names, self._resume_point())

    def take_sums(self) -> tuple[float, float]:
        """Return the epoch's mean loss and accuracy over the training items as they came, and start anew."""
        items = max(1.0, self.sums["items"])
        loss, accuracy = self.sums["loss"] / items, self.sums["hits"] / items
        self.sums = dict.fromkeys(self.sums, 0.0)
        return loss, accuracy

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sums of the epoch under way."""
        checkpoint["epoch_sums"] = dict(self.sums)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the sums up again."""
        self.sums = dict(checkpoint["epoch_sums"])

    def rate(self, epoch: int) -> float:
        """Return the learning rate of *epoch*, counted from 0."""
        return self.config.optimiser.lr * relative_rate(self.config, epoch)

    def configure_optimizers(self) -> Any:
        """Return SGD and its schedule over the epochs."""
        settings = self.config.optimiser
        optimiser = torch.optim.SGD(
            self.network.parameters(),
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        schedule = make_schedule(optimiser, self.config)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


def make_masks(augment: Augment) -> nn.Module:
    """Return the masks, drawn for each utterance of a batch ``(batch, 1, mels, frames)`` anew."""
    masks: list[nn.Module] = []
    if augment.freq_mask:
        masks.append(FrequencyMasking(augment.freq_mask, iid_masks=True))
    if augment.time_mask:
        masks.append(TimeMasking(augment.time_mask, iid_masks=True))
    return nn.Sequential(*masks)


def balanced_weights(targets: NDArray[np.int64], classes: int) -> Tensor:
    """Return ``items / (classes * items of the class)`` for each class, shape ``(classes,)``."""
    counts = np.bincount(targets, minlength=classes)
    return torch.tensor(len(targets) / (classes * counts), dtype=torch.float32)
