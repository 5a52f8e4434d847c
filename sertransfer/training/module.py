"""What every training step shares: random numbers keyed by the batch, and a loss that must be finite."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from sertransfer.errors import SertransferError
from sertransfer.training import distributed
from sertransfer.training.batches import Batch


class SeededModule(LightningModule, ABC):
    """Trains a network by a loss over batches of a feature store.

    Each batch sets the random state from ``(seed, epoch, batch)``, which a resumed run repeats; dropout
    and masks then do not depend on what happened before the batch. With several processes each draws for its
    own share, those after the first from ``(seed, epoch, batch, rank)``.

    Args:
        network: ``(batch, 1, mels, frames) -> (batch, classes)``.
        seed: Of the run.
        ids: Names of the training items, for the message when the loss breaks down.
        resume_point: Says where the last good state lies, for the same message.

    Attributes:
        rate_setting: Name of the setting of the learning rate, for the same message.
    """

    rate_setting: ClassVar[str]

    def __init__(
        self,
        network: nn.Module,
        *,
        seed: int,
        ids: Sequence[str] = (),
        resume_point: Callable[[], str] = lambda: "none",
    ) -> None:
        super().__init__()
        self.network = network
        self.sums = {"loss": 0.0, "hits": 0.0, "items": 0.0}
        self._seed, self._ids, self._resume_point = seed, ids, resume_point

    @abstractmethod
    def score(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores ``(batch, classes)``, mean loss, and the classes that count as right ``(batch,)``."""

    @abstractmethod
    def rate(self, epoch: int) -> float:
        """Return the learning rate of *epoch*, counted from 0."""

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Make single precision of the batch, on the device."""
        return batch.in_single_precision()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the random state that belongs to this batch."""
        rank = [distributed.rank()] if distributed.rank() else []
        key = np.random.SeedSequence([self._seed, self.trainer.current_epoch, batch_idx, *rank])
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean loss of the batch, scaled by what it says.

        Raises:
            NonFiniteLoss: Naming the step, the batch's utterances and the last good checkpoint; on all
                processes.
        """
        scores, loss, truth = self.score(batch)
        # both in one transfer: on a GPU each would wait for all that was begun before it
        right = (scores.detach().argmax(1) == truth).sum()
        value, hits = torch.stack([loss.detach().double(), right.double()]).tolist()
        value, hits, items = self._whole(value, hits, batch)
        if not np.isfinite(value):
            self._stop(value, batch)
        self.sums["loss"] += value * items
        self.sums["hits"] += hits
        self.sums["items"] += items
        self.log("loss", value, batch_size=int(items))
        return loss * batch.scale

    def _whole(self, loss: float, hits: float, batch: Batch) -> tuple[float, float, float]:
        """Return mean loss, hits and items of the batch over all processes."""
        if distributed.count() == 1:
            return loss, hits, float(len(batch.targets))
        shares = np.array(distributed.gather_numbers([loss, batch.scale, hits, len(batch.targets)]))
        mean = float((shares[:, 0] * shares[:, 1]).sum() / shares[:, 1].sum())
        return mean, float(shares[:, 2].sum()), float(shares[:, 3].sum())

    def _stop(self, value: float, batch: Batch) -> None:
        own = [self._ids[item] for item in batch.items.tolist()]
        names = [name for share in distributed.gather(own) for name in share]
        what = f"the loss is {value} at step {self.trainer.global_step}, in epoch {self.current_epoch + 1}"
        raise breakdown(what, names, self._resume_point(), self.rate_setting)

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


_log = logging.getLogger(__name__)


class NonFiniteLoss(SertransferError):
    """Training broke down: the loss is NaN or infinite."""


def breakdown(what: str, names: Sequence[str], resume_point: str, setting: str) -> NonFiniteLoss:
    """Return the exception that says *what* broke down, on which utterances, and what to do; log it whole.

    Args:
        what: What is not finite, and when.
        names: The utterances of the batch.
        resume_point: Where the last good state lies.
        setting: The learning rate's name.
    """
    _log.error("%s; utterances of the batch: %s", what, ", ".join(names))
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more (see log.txt)" if names[10:] else "")
    return NonFiniteLoss(
        f"{what}; utterances of the batch: {shown}; last good checkpoint: {resume_point}; "
        f"lower {setting}, or train in 32-true or bf16-mixed precision, in another --run-dir"
    )
