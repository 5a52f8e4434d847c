"""Trainings that several processes do together; the process of test_distributed runs the same ones alone.

As a script it is one of the processes: ``joined_runs.py FOLDER``.
"""

import contextlib
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from sertransfer.fitting.batches import Utterances
from sertransfer.fitting.breakdown import NonFiniteLoss
from sertransfer.fitting.launch import read_launch
from sertransfer.fitting.processes import current, run_together
from sertransfer.io.run_folder import RunFolder
from sertransfer.models import registry
from sertransfer.training import fitting
from sertransfer.training.classifier import Classifier
from sertransfer.training.settings import (
    Augment,
    ModelSettings,
    Optimiser,
    PretrainConfig,
    Regularisation,
    Selection,
)
from support import training_fakes

ITEMS = 27  # steps of 7, 7, 7 and 6 of at most 8: the shares of two processes are unequal
SPEAKERS = [f"s{item // 4}" for item in range(ITEMS)]
MEAN = {"selection": Selection("inner", 0.2), "regularisation": Regularisation(0.1, 0.0, 0.9)}
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


def kill_after(batches):
    """Have the next training end before batch number *batches*; on every process."""
    begun = []
    start = Classifier.on_train_batch_start

    def counted(self, batch, batch_idx):
        if len(begun) == batches:
            Classifier.on_train_batch_start = start
            raise Killed
        begun.append(batch_idx)
        start(self, batch, batch_idx)

    Classifier.on_train_batch_start = counted


def poison():
    """Make one utterance of the second process' share NaN."""
    read = training_fakes.MemoryStore.read
    training_fakes.MemoryStore.read = lambda self, index, start=0, stop=None: (
        read(self, index, start, stop) * (np.nan if index == 11 else 1)
    )


def train(folder, config):
    """Train in *folder*; return the weights, or what stopped it."""
    with RunFolder(folder).claim({}, {}) as run:
        try:
            trained = fitting.train_network(
                config, fitting.build_network(config), data(), SPEAKERS, run, progress=False
            )
        except Killed:
            return None
        except NonFiniteLoss as error:
            return str(error)
    return {"state": trained.state, "selection": trained.selection}


_train_along = fitting._train_along


def along(*arguments):
    """Take part, and survive what the first process survives."""
    with contextlib.suppress(Killed, NonFiniteLoss):
        _train_along(*arguments)


def work(folder):
    """Do all trainings; the results are what the test compares."""
    results = {name: train(folder / name, settings(**options)) for name, options in EXACT.items()}
    drawn = settings("probe", **DRAWN)
    results["whole"] = train(folder / "whole", drawn)
    current().call(kill_after, 6)
    kill_after(6)
    results["killed"] = train(folder / "resumed", drawn)
    results["resumed"] = train(folder / "resumed", drawn)
    current().call(poison)
    poison()
    results["broken"] = train(folder / "broken", settings())
    torch.save(results, folder / "results.pt")


if __name__ == "__main__":
    # functions are sent by the name of their module, which is the same for all processes
    from support import joined_runs

    joined_runs.register()
    fitting._train_along = joined_runs.along
    run_together(read_launch(os.environ), lambda: joined_runs.work(Path(sys.argv[1])))
