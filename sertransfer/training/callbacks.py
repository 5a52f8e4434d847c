"""Callbacks of a training: resume points, the learning curve, the best epoch and the mean of the weights.

A resumed run ends with the very weights of an undisturbed one (bit for bit on a CPU): Lightning restores
weights, optimiser, schedule, counters and the states of callbacks, the batches know where they stood
(:class:`sertransfer.training.batches.TrainingBatches`), and every batch sets its own random state
(:class:`sertransfer.training.module.SeededModule`). Lightning's own callbacks would lose that: its early
stopping trains one more epoch when a run that had stopped is resumed, its checkpoints find the best weights
by an absolute path, and its weight averaging exchanges the weights of the resume point.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning import Callback, LightningModule, Trainer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sertransfer.errors import bad_input
from sertransfer.io.checksums import SEAL, UNSEALED, check_seal, seal
from sertransfer.io.files import atomic_path, check_archive, regular_file, storage_error, write_text
from sertransfer.io.progress import clock_time
from sertransfer.training import distributed
from sertransfer.training.batches import TrainingBatches
from sertransfer.training.module import SeededModule, breakdown

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
            BadInput: If it cannot be read, or was changed since it was written.
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
                found=f"a resume point that cannot be read ({type(error).__name__})",
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


def keep_best(network: nn.Module, path: Path) -> None:
    """Write the weights of *network* to *path*, whole or not at all."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary, {SEAL: UNSEALED})
        seal(temporary)


def read_best(path: Path) -> dict[str, Tensor]:
    """Return the weights that :func:`keep_best` wrote.

    Raises:
        BadInput: If they are not there, or were changed since.
    """
    try:
        check_seal(path)
        return dict(load_file(regular_file(path)))
    except (FileNotFoundError, SafetensorError) as error:
        raise bad_input(
            path,
            found=f"no weights that can be read ({type(error).__name__})",
            expected="those of the best epoch, which this run wrote",
            remedy="remove the resume point beside it, to train from the start",
        ) from error


class WeightMean(Callback):
    """Follows a network with an exponential mean of its weights and batch statistics, step by step.

    The mean is a copy: training is the same with and without it. After step ``t``, counted from 0, the decay
    is ``min(decay, (1 + t) / (10 + t))``, so that a short run is not ruled by its first weights.

    Args:
        network: What is trained, on its device or not.
        decay: The limit, as in :class:`sertransfer.pretraining.settings.Regularisation`.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._mean = AveragedModel(network, use_buffers=True)
        self._step = 0

    @property
    def network(self) -> nn.Module:
        """The network with the mean weights."""
        network: nn.Module = self._mean.module
        return network

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the mean to where the network is trained."""
        self._mean.to(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the weights in, if this batch ended a step."""
        if trainer.global_step == self._step:
            return
        decay = min(self.decay, (1 + self._step) / (10 + self._step))
        self._mean.multi_avg_fn = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._mean.update_parameters(pl_module.get_submodule("network"))
        self._step = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """Return the mean, and the step it stands at."""
        return {"mean": self._mean.state_dict(), "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the mean up again."""
        self._mean.load_state_dict(state_dict["mean"])
        self._step = int(state_dict["step"])


class BestEpoch(Callback):
    """Scores the network after each epoch, keeps the best epoch's weights, and may stop without a better one.

    The first of equally good epochs is kept. A resumed run that had stopped stays stopped. Process 0 scores
    and writes, while the others wait.

    Args:
        score: Takes the network, returns scores by name.
        path: File of the best weights so far.
        by: Which score decides.
        least: Whether the least is the best.
        patience: Epochs without a better one after which training stops; ``None`` = it never does.

    Attributes:
        subject: What is scored and kept in place of the network itself, such as a mean of its weights.
        best: The best epoch so far, counted from 1, and its scores; empty before the first.
        latest: The latest epoch and its scores.
    """

    def __init__(
        self,
        score: Callable[[nn.Module], dict[str, float]],
        path: Path,
        *,
        by: str,
        least: bool = False,
        patience: int | None = None,
    ) -> None:
        self.score, self.path = score, path
        self.by, self.least, self.patience = by, least, patience
        self.subject: nn.Module | None = None
        self.best: dict[str, float] = {}
        self.latest: dict[str, float] = {}

    @property
    def state_key(self) -> str:
        """Its name in resume points, which is that of earlier versions."""
        return "InnerSelection" if self.patience is None else "EarlyStopping"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stay stopped."""
        self._stop_if_due(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the epoch."""
        if self.stopped:
            return
        network = pl_module.get_submodule("network") if self.subject is None else self.subject
        self.latest = {
            "epoch": trainer.current_epoch + 1,
            **distributed.share(lambda: self.score(network)),
        }
        pl_module.log_dict(self.scores(), batch_size=1)
        if not self.best or self._is_better():
            self.best = self.latest
            if distributed.rank() == 0:
                keep_best(network, self.path)
        self._stop_if_due(trainer)

    def _is_better(self) -> bool:
        new, old = self.latest[self.by], self.best[self.by]
        return new < old if self.least else new > old

    @property
    def stopped(self) -> bool:
        """Whether patience is at its end."""
        if self.patience is None or not self.best:
            return False
        return self.latest["epoch"] - self.best["epoch"] >= self.patience

    def _stop_if_due(self, trainer: Trainer) -> None:
        if self.stopped:
            _log.info("no better inner %s in %d epochs: training ends", self.by, self.patience)
            trainer.should_stop = True

    def scores(self) -> dict[str, float]:
        """Return the scores of the latest epoch as columns of the learning curve."""
        return {f"inner_{name}": value for name, value in self.latest.items() if name != "epoch"}

    def best_state(self) -> dict[str, Tensor]:
        """Return the weights of the best epoch."""
        return read_best(self.path)

    def state_dict(self) -> dict[str, Any]:
        """Return the best and the latest epoch."""
        return {"best": self.best, "latest": self.latest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take both up again; earlier versions wrote the latest epoch of fine-tuning without a name."""
        before = {name: value for name, value in state_dict.items() if name in ("epoch", self.by)}
        self.best, self.latest = dict(state_dict["best"]), dict(state_dict.get("latest", before))
