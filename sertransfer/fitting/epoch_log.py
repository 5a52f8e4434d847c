"""The learning curve: one row an epoch, in ``epochs.csv`` and in the log, kept over resumes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_lightning import Callback, LightningModule, Trainer

from sertransfer.fitting.module import SeededModule
from sertransfer.io.files import write_text
from sertransfer.io.progress import clock_time

_log = logging.getLogger(__name__)


class EpochLog(Callback):
    """Writes loss, training accuracy and the inner scores of each epoch.

    The accuracy is that of the training batches as they came, cropped and masked, while the weights moved.
    Seconds are those since the epoch was begun or taken up. *inner* gives the latest inner scores.
    """

    def __init__(self, path: Path, inner: Callable[[], Mapping[str, float]] | None = None) -> None:
        self.path = path
        self.inner = inner
        self.rows: list[dict[str, float]] = []
        self._since = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row of the epoch that ended."""
        if not isinstance(pl_module, SeededModule):
            raise TypeError(f"{type(pl_module).__name__} keeps no sums")
        loss, accuracy = pl_module.take_sums()
        row = {
            "epoch": trainer.current_epoch + 1,
            "lr": pl_module.rate(trainer.current_epoch),
            "loss": loss,
            "train_wa": accuracy,
        }
        if self.inner is not None:
            row |= self.inner()
        row["seconds"] = round(time.monotonic() - self._since, 2)
        self.rows.append(row)
        if not trainer.is_global_zero:
            return
        write_text(self.path, pd.DataFrame(self.rows).to_csv(index=False, lineterminator="\n"))
        shown = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        seconds = [past["seconds"] for past in self.rows]
        left = ((trainer.max_epochs or 0) - row["epoch"]) * sum(seconds) / len(seconds)
        told = f"at most {clock_time(left)} left" if left > 0 else "the last one"
        _log.info("epoch %d of %s: %s; %s", row["epoch"], trainer.max_epochs, shown, told)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows up again."""
        self.rows = [dict(row) for row in state_dict["rows"]]
