"""Trainings that several processes do together; the process of test_distributed runs the same ones alone.

As a script it is one of the processes: ``joined_runs.py FOLDER``, or ``joined_runs.py FAILURE`` and a command
of the program, whose process 1 fails in its third batch.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from sertransfer.cli.main import main
from sertransfer.errors import SertransferError
from sertransfer.io.run_folder import RunFolder
from sertransfer.models import registry
from sertransfer.pretraining import workflow
from sertransfer.pretraining.classifier import Classifier
from sertransfer.pretraining.settings import (
    Augment,
    EpochSelection,
    ModelSettings,
    Optimiser,
    PretrainConfig,
    Regularisation,
)
from sertransfer.training.batches import Utterances
from sertransfer.training.distributed import connected, rank
from sertransfer.training.module import NonFiniteLoss
from support import training_fakes

ITEMS = 27  # steps of 7, 7, 7 and 6 of at most 8: the shares of two processes are unequal
SPEAKERS = [f"s{item // 4}" for item in range(ITEMS)]
MEAN = {"selection": EpochSelection("inner", 0.2), "regularisation": Regularisation(0.1, 0.0, 0.9)}
DRAWN = {
    "augment": Augment(3, 5),
    "regularisation": Regularisation(mixup=0.4),
    "selection": MEAN["selection"],
}
EXACT = {
    "plain": {},
    "weights": {"class_weights": "balanced", "accumulate": 2, "batch_size": 4},
    "mean": MEAN,
}


class Plain(nn.Module):
    """A network without batch norm and dropout, whose gradients are sums over utterances."""

    def __init__(self, num_classes):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, num_classes),
        )

    def forward(self, x):
        return self.layers(x)


def register():
    registry.MODELS["plain"] = lambda num_classes: Plain(num_classes)
    registry.MODELS["probe"] = lambda num_classes, *, dropout=0.3: training_fakes.Probe(num_classes, dropout)


def settings(model="plain", **options):
    return PretrainConfig(
        model=ModelSettings(model),
        **{
            "epochs": 3,
            "batch_size": 8,
            "optimiser": Optimiser(lr=0.1, step=1),
            "checkpoint_every": 1,
            **options,
        },
    )


def data():
    """Return utterances of unequal classes and lengths."""
    items = np.arange(ITEMS)
    frames = np.random.default_rng(0).integers(5, 20, ITEMS)
    targets = np.minimum(items % 5, 3)
    return Utterances(training_fakes.MemoryStore(frames), items, targets, [f"u{item}" for item in items])


class Killed(Exception):
    """Stands for the end of all processes."""


def stop_before(batch, stop):
    """Have the next training call *stop* before its batch number *batch*."""
    begun = []
    start = Classifier.on_train_batch_start

    def counted(self, taken, batch_idx):
        if len(begun) == batch:
            Classifier.on_train_batch_start = start
            stop()
        begun.append(batch_idx)
        start(self, taken, batch_idx)

    Classifier.on_train_batch_start = counted


def kill():
    raise Killed


def poison():
    """Make one utterance of the second process' share NaN."""
    read = training_fakes.MemoryStore.read
    training_fakes.MemoryStore.read = lambda self, index, start=0, stop=None: (
        read(self, index, start, stop) * (np.nan if index == 11 else 1)
    )


def train(folder, config):
    """Train in *folder*; return the weights, or what stopped it. Process 1 takes part."""
    try:
        if rank():
            return workflow.train_along()
        with RunFolder(folder).claim({}, {}) as run:
            network = workflow.build_network(config)
            trained = workflow.train_network(config, network, data(), SPEAKERS, run, progress=False)
    except Killed:
        return None
    except NonFiniteLoss as error:
        return str(error)
    return {"state": trained.state, "selection": trained.selection}


def work(folder):
    """Do all trainings; the results of process 0 are what the test compares."""
    results = {name: train(folder / name, settings(**options)) for name, options in EXACT.items()}
    drawn = settings("probe", **DRAWN)
    results["whole"] = train(folder / "whole", drawn)
    stop_before(6, kill)
    results["killed"] = train(folder / "resumed", drawn)
    results["resumed"] = train(folder / "resumed", drawn)
    poison()
    results["broken"] = train(folder / "broken", settings())
    if rank() == 0:
        torch.save(results, folder / "results.pt")


def fail():
    raise SertransferError("process 1 has had enough")


FAILURES = {"killed": lambda: os.kill(os.getpid(), signal.SIGKILL), "raises": fail}


if __name__ == "__main__":
    first, *command = sys.argv[1:]
    if command:
        if os.environ["RANK"] == "1":
            stop_before(2, FAILURES[first])
        sys.exit(main(command))
    register()
    with connected():
        work(Path(first))
