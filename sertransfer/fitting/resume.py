"""Resume points: written whole or not at all, read as values only.

A resumed run ends with the very weights of an undisturbed one (bit for bit on a CPU): Lightning restores
weights, their mean, optimiser, schedule and counters, the batches know where they stood
(:class:`sertransfer.fitting.batches.TrainingBatches`), and every batch sets its own random state
(:class:`sertransfer.fitting.module.SeededModule`). With several processes the first writes, and all read.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning import Callback, LightningModule, Trainer

from sertransfer.errors import bad_input
from sertransfer.fitting import distributed
from sertransfer.fitting.batches import TrainingBatches
from sertransfer.fitting.breakdown import breakdown
from sertransfer.fitting.module import SeededModule
from sertransfer.io.files import atomic_path, check_archive, regular_file, storage_error

_log = logging.getLogger(__name__)


class AtomicCheckpointIO(CheckpointIO):
    """Saves in the target's own folder, syncs and renames; loads plain values and tensors only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write *checkpoint* so that *path* is at every moment the old or the new one."""
        # through a stream, since torch's own writer does not say why it fails
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as stream:
            torch.save(checkpoint, stream)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; whatever is asked for, nothing in the file is executed.

        Raises:
            BadInput: If it can not be read, or was changed since it was written.
        """
        try:
            check_archive(path)
            checkpoint: dict[str, Any] = torch.load(regular_file(path), map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises what zip files, pickles and tensors raise
            trouble = storage_error(error, path)
            if trouble is not None:
                raise trouble from error
            raise bad_input(
                path,
                found=f"a resume point that can not be read ({type(error).__name__})",
                expected="one that this run wrote",
                remedy="remove it to train from the start",
            ) from error
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Remove the file."""
        Path(path).unlink(missing_ok=True)


class ResumePoint(Callback):
    """Saves one rolling checkpoint at each epoch's end, and inside epochs every so many steps.

    It must be the last of the callbacks, since it saves the state of the others. The place in the batches
    is part of its own state: Lightning restores that of a loader inside epochs, but not at their ends.
    """

    def __init__(self, path: Path, batches: TrainingBatches, *, every: int) -> None:
        self.path = path
        self.batches = batches
        self.every = every
        self._items = torch.empty(0, dtype=torch.int64)

    def state_dict(self) -> dict[str, Any]:
        """Return where the batches stand."""
        return {**self.batches.state_dict(), "processes": distributed.count()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the batches to where they stood."""
        before = state_dict.get("processes", 1)
        if before != distributed.count():
            _log.warning(
                "the run goes on in %d processes instead of %d: on the same batches and windows, but with "
                "other masks, mixing, dropout and batch statistics",
                distributed.count(),
                before,
            )
        self.batches.load_state_dict(state_dict)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if the step is due; never between the batches of one step, nor twice at an epoch's end."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        last = batch_idx + 1 >= trainer.num_training_batches
        self._items = batch.items  # named only if a weight breaks: until then a GPU is not asked for them
        if self.every and stepped and not last and trainer.global_step % self.every == 0:
            self._save(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the epoch."""
        self._save(trainer, pl_module)

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a good state: a finite loss may have left weights that are not, which must not be kept.

        What the first process would save is what counts, and all stop or go on together.
        """
        name = distributed.share(lambda: _first_broken(pl_module))
        if name is not None:
            step, ids = trainer.global_step, self.batches.utterances.ids
            items = [item for share in distributed.gather(self._items.tolist()) for item in share]
            what = f"'{name}' is not finite after step {step}, in epoch {trainer.current_epoch + 1}"
            point = str(self.path) if self.path.exists() else "none yet"
            setting = pl_module.rate_setting if isinstance(pl_module, SeededModule) else "the rate"
            raise breakdown(what, [ids[item] for item in items], point, setting)
        trainer.save_checkpoint(self.path)


def _first_broken(module: LightningModule) -> str | None:
    """Return the first name in the state of *module* that holds values which are not finite."""
    state = module.state_dict().items()
    return next((name for name, value in state if not bool(torch.isfinite(value).all())), None)
