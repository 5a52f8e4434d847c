"""Early stopping of fine-tuning on training subjects that are not trained on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from sertransfer.training.callbacks import keep_best, read_best

_log = logging.getLogger(__name__)


class EarlyStopping(Callback):
    """Scores the network after each epoch, keeps the weights of least loss, and stops without a better one.

    The first of equals is kept. A resumed run that had stopped stays stopped.

    Args:
        score: Takes the network, returns its inner loss.
        path: File of the best weights so far.
        patience: Epochs without a lower loss after which training stops.
    """

    def __init__(self, score: Callable[[nn.Module], float], path: Path, *, patience: int) -> None:
        self.score = score
        self.path = path
        self.patience = patience
        self.epoch = 0
        self.loss = float("inf")
        self.best: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stay stopped."""
        self._stop_if_due(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the epoch."""
        if self.stopped:
            return
        network = pl_module.get_submodule("network")
        self.epoch, self.loss = trainer.current_epoch + 1, self.score(network)
        pl_module.log("inner_loss", self.loss, batch_size=1)
        if not self.best or self.loss < self.best["loss"]:
            self.best = {"epoch": self.epoch, "loss": self.loss}
            keep_best(network, self.path)
        self._stop_if_due(trainer)

    @property
    def stopped(self) -> bool:
        """Whether patience is at its end."""
        return bool(self.best) and self.epoch - self.best["epoch"] >= self.patience

    def _stop_if_due(self, trainer: Trainer) -> None:
        if self.stopped:
            _log.info("no better inner loss in %d epochs: training ends", self.patience)
            trainer.should_stop = True

    def scores(self) -> dict[str, float]:
        """Return the inner loss of the latest epoch, as a column of the learning curve."""
        return {"inner_loss": self.loss}

    def best_state(self) -> dict[str, Tensor]:
        """Return the weights of the best epoch."""
        return read_best(self.path)

    def state_dict(self) -> dict[str, Any]:
        """Return the latest epoch and the best one."""
        return {"epoch": self.epoch, "loss": self.loss, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take both up again."""
        self.epoch, self.loss = int(state_dict["epoch"]), float(state_dict["loss"])
        self.best = dict(state_dict["best"])
