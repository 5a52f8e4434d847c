"""Lightning's trainer as every training here uses it: a device a process, no advice, resumed."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from sertransfer.errors import bad_input
from sertransfer.io.files import storage_error
from sertransfer.training import distributed
from sertransfer.training.batches import TrainingBatches, watched_workers
from sertransfer.training.callbacks import AtomicCheckpointIO, ResumePoint
from sertransfer.training.inference import choose_device
from sertransfer.training.module import SeededModule

_log = logging.getLogger(__name__)

RESUME_POINT = "resume.ckpt"
BEST = "best.safetensors"
"""Files of a run under way, in its ``checkpoints`` folder."""


class _Bar(RichProgressBar):
    """Lightning's bar without the name of the logger's folder, which it takes for a figure."""

    def _get_train_description(self, current_epoch: int) -> str:
        """Return the epoch, counted from 1 as in the log."""
        last = self.trainer.max_epochs
        return f"Epoch {current_epoch + 1}" + ("" if last is None else f"/{last}")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float | Any]:
        """Return what stands behind the bar."""
        return {k: v for k, v in super().get_metrics(trainer, pl_module).items() if k != "v_num"}


def check_precision(precision: str, setting: str = "precision") -> None:
    """Raise `BadInput` if *precision* is not available here."""
    if precision == "16-mixed" and choose_device().type == "cpu":
        raise bad_input(
            f"setting {setting}", found="16-mixed without a GPU", expected="a GPU", remedy="take 32-true"
        )


def fit(
    module: SeededModule,
    batches: TrainingBatches,
    callbacks: Sequence[Callback],
    *,
    folder: Path,
    resume_point: Path,
    every: int,
    epochs: int,
    accumulate: int,
    precision: str,
    progress: bool,
    sync_batch_norm: bool = False,
) -> None:
    """Train *module*'s network in place, from *resume_point* if it is there.

    All connected processes call this, each with its share of the batches.

    Args:
        module: What to do with a batch.
        batches: All training batches.
        callbacks: Called in this order; their states are part of the resume point.
        folder: For TensorBoard.
        resume_point: Rolling checkpoint.
        every: Steps between resume points inside an epoch; 0 = at the ends of epochs alone.
        epochs: Most epochs.
        accumulate: Batches a step.
        precision: As Lightning names it.
        progress: Whether a bar is shown on a terminal.
        sync_batch_norm: Whether batch norms take the statistics of all shares together (GPUs only).
    """
    device = choose_device()
    network: nn.Module = module.network
    called = list(callbacks)
    bar = progress and distributed.rank() == 0 and sys.stderr.isatty()
    if bar:
        called.append(_Bar(leave=True, console_kwargs={"stderr": True}))
    called.append(ResumePoint(resume_point, batches, every=every))
    start = str(resume_point) if distributed.share(resume_point.exists) else None
    if start is not None:
        _log.info("resuming from %s", start)
    with _quiet_lightning(), _no_variables("PL_"), torch.random.fork_rng():
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            **_layout(AtomicCheckpointIO(), sync_batch_norm=sync_batch_norm),
            precision=precision,  # type: ignore[arg-type]  # its own literal, checked by the settings
            max_epochs=epochs,
            accumulate_grad_batches=accumulate,
            callbacks=called,
            logger=TensorBoardLogger(folder, name="", version="tensorboard"),
            log_every_n_steps=10,
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=bar,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        try:
            with watched_workers(), _quiet_threads():
                trainer.fit(module, train_dataloaders=batches, ckpt_path=start, weights_only=True)
        except SystemExit as stop:  # what Lightning makes of Ctrl-C, after it has turned Ctrl-C off
            if isinstance(stop.code, int) and stop.code > 128:  # TERM or HUP
                raise
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from stop
        network.to(device)


def _layout(checkpoints: AtomicCheckpointIO, *, sync_batch_norm: bool) -> dict[str, Any]:
    """Return which devices the trainer has, and what connects it with others."""
    environment = distributed.find_environment() if distributed.count() > 1 else None
    if environment is None:
        return {"devices": 1, "plugins": [checkpoints, LightningEnvironment()]}  # whatever started it
    return {
        "devices": distributed.local_count(),
        "num_nodes": distributed.count() // distributed.local_count(),
        "strategy": DDPStrategy(),
        "sync_batchnorm": sync_batch_norm,
        "plugins": [checkpoints, environment],
    }


@contextmanager
def _no_variables(prefix: str) -> Iterator[None]:
    """Hide variables of the environment: ``PL_TRAINER_LIMIT_TRAIN_BATCHES=1`` would be obeyed in silence."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(prefix)}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """Keep a thread from printing what a disk has against its file: TensorBoard raises it here as well."""
    hook = threading.excepthook

    def say(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is None or storage_error(args.exc_value) is None:
            hook(args)

    threading.excepthook = say
    try:
        yield
    finally:
        threading.excepthook = hook


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice out of the way; its errors are exceptions and stay."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric|torch\.utils\.data")
            warnings.filterwarnings(
                "ignore", message=".*(num_workers|bottleneck|GPU available|lr_scheduler).*"
            )
            yield
    finally:
        logger.setLevel(level)
