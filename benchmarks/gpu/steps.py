"""Steps of training and fine-tuning as the package takes them, timed, and the plain loop of their peer."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import Callback

from sertransfer.encoders.ser import replace_classifier
from sertransfer.models.registry import build_model
from sertransfer.pretraining.classifier import Classifier
from sertransfer.pretraining.settings import PretrainConfig
from sertransfer.pretraining.workflow import build_network
from sertransfer.training.batches import TrainingBatches, Utterances, keep_on_device
from sertransfer.training.module import SeededModule
from sertransfer.training.trainer import fit
from sertransfer.transfer.finetune.learners import Depth, Finetuner
from sertransfer.transfer.settings import TransferConfig


class Enough(Exception):
    """The measurement has what it needs; nothing went wrong."""


@dataclass
class Stopwatch(Callback):
    """Counts utterances from the end of the warm-up on, until the time is up.

    Attributes:
        warm_up: Steps that are not counted: compiling, choosing kernels, filling caches.
        seconds: How long to count.
        items: Utterances counted, and
        spent: the seconds they took.
    """

    device: torch.device
    warm_up: int
    seconds: float
    items: int = 0
    spent: float = 0.0
    _steps: int = field(default=0, repr=False)
    _start: float = field(default=0.0, repr=False)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.count(len(batch.targets))

    def count(self, items: int) -> None:
        """Count a step of so many utterances; raises `Enough` when the time is up."""
        self._steps += 1
        if self._steps <= self.warm_up:
            if self._steps == self.warm_up:
                wait_for(self.device)
                self._start = time.perf_counter()
            return
        self.items += items
        if time.perf_counter() - self._start >= self.seconds:
            wait_for(self.device)
            self.spent = time.perf_counter() - self._start
            raise Enough

    @property
    def rate(self) -> float:
        """Utterances a second."""
        return self.items / self.spent


def wait_for(device: torch.device) -> None:
    """Wait until *device* has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def training_rate(config: PretrainConfig, utterances: Utterances, watch: Stopwatch) -> float:
    """Return utterances a second of stage 1 under *config*, its data path, log and checks included."""
    held = keep_on_device(utterances, watch.device) if config.store_on_device else utterances
    network = build_network(config)
    module = Classifier(network, config, ids=utterances.ids)
    _fit(module, held, watch, batch_size=config.batch_size, precision=config.precision)
    return watch.rate


def finetuning_rate(config: TransferConfig, model: str, utterances: Utterances, watch: Stopwatch) -> float:
    """Return utterances a second of fine-tuning *model* under *config*."""
    torch.manual_seed(0)
    network = build_model(model, 4).to(memory_format=torch.channels_last)
    depth = Depth(replace_classifier(network, len(config.classes)), config.finetune)
    module = Finetuner(network.to(watch.device), depth, config, ids=utterances.ids)
    held = keep_on_device(utterances, watch.device)
    settings = config.finetune
    _fit(module, held, watch, batch_size=settings.batch_size, precision=settings.precision)
    return watch.rate


def _fit(
    module: SeededModule,
    utterances: Utterances,
    watch: Stopwatch,
    *,
    batch_size: int,
    precision: str,
) -> None:
    longest = int(utterances.frames.max())
    batches = TrainingBatches(utterances, batch_size=batch_size, longest=longest, pad=False, seed=0, pin=True)
    with tempfile.TemporaryDirectory() as folder, suppress(Enough):
        fit(
            module,
            batches,
            [watch],
            folder=Path(folder),
            resume_point=Path(folder) / "resume.ckpt",
            every=0,
            epochs=1_000_000,
            accumulate=1,
            precision=precision,
            progress=False,
        )


def plain_rate(config: PretrainConfig, frames: int, mels: int, watch: Stopwatch) -> float:
    """Return utterances a second of a plain loop: eager, single precision, default layout, one fixed batch.

    It reads no data, draws no windows, keeps no log and checks nothing.
    """
    torch.manual_seed(0)
    network = build_model(config.model.name, len(config.classes), **config.model.options()).to(watch.device)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=0.001)
    x = torch.randn(config.batch_size, 1, mels, frames, device=watch.device)
    targets = torch.arange(config.batch_size, device=watch.device) % len(config.classes)
    network.train()
    try:
        while True:
            optimiser.zero_grad()
            F.cross_entropy(network(x), targets).backward()
            optimiser.step()
            watch.count(config.batch_size)
    except Enough:
        return watch.rate


def repeated_rate(work: Callable[[], int], watch: Stopwatch) -> float:
    """Return utterances a second of *work*, which returns how many it did."""
    try:
        while True:
            watch.count(work())
    except Enough:
        return watch.rate
