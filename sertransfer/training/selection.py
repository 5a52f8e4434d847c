"""Choosing an epoch on training speakers that were held out; the test split has no say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn

from sertransfer.errors import bad_input
from sertransfer.fitting import distributed
from sertransfer.fitting.best import keep_best, read_best

_log = logging.getLogger(__name__)

Integers = NDArray[np.int64]


def inner_split(
    targets: Integers, speakers: Sequence[str], *, share: float, seed: int
) -> tuple[Integers, Integers]:
    """Split training items by speaker into those to train on and those to select on.

    Every class stands on both sides, and the classes' shares are kept as far as whole speakers allow.

    Args:
        targets: Class of each item, shape ``(items,)``.
        speakers: Speaker of each item.
        share: Share of the items to hold out; with fewer than ``1 / share`` speakers it is more.
        seed: Of the order in which speakers are dealt out.

    Returns:
        Positions to train on and positions held out, each in ascending order.

    Raises:
        BadInput: If no split by whole speakers leaves every class on both sides.
    """
    names = np.asarray(speakers, dtype=str)
    folds = min(max(2, round(1 / share)), len(np.unique(names)))
    classes = np.unique(targets)
    if folds >= 2 and np.bincount(targets)[classes].min() >= 2:
        # the number of items of a class may be below the number of folds: then fewer folds are dealt
        folds = min(folds, int(np.bincount(targets)[classes].min()))
        dealt = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
        for kept, held in dealt.split(names, targets, groups=names):
            if all(np.array_equal(np.unique(targets[side]), classes) for side in (kept, held)):
                return kept.astype(np.int64), held.astype(np.int64)
    raise bad_input(
        "the training part",
        found=f"{len(np.unique(names))} speakers, who can not be split with every class on both sides",
        expected="speakers enough for an inner split",
        remedy="set selection.rule to last",
    )


class InnerSelection(Callback):
    """Scores the held-out speakers after each epoch and keeps the weights of best UA (the first of equals).

    The first process scores and writes, while the others wait.

    Args:
        score: Takes the network, returns WA and UA of the held-out items.
        path: File of the best weights so far.

    Attributes:
        subject: What is scored and kept in place of the network itself, such as a mean of its weights.
    """

    def __init__(self, score: Callable[[nn.Module], tuple[float, float]], path: Path) -> None:
        self.score = score
        self.path = path
        self.subject: nn.Module | None = None
        self.best: dict[str, float] = {}
        self.latest: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the epoch."""
        network = pl_module.get_submodule("network") if self.subject is None else self.subject
        wa, ua = distributed.share(lambda: self.score(network))
        self.latest = {"epoch": trainer.current_epoch + 1, "wa": wa, "ua": ua}
        pl_module.log_dict({"inner_wa": wa, "inner_ua": ua}, batch_size=1)
        if ua > self.best.get("ua", -1.0):
            self.best = self.latest
            if distributed.rank() == 0:
                keep_best(network, self.path)

    def scores(self) -> dict[str, float]:
        """Return the scores of the latest epoch as columns of the learning curve."""
        return {"inner_wa": self.latest["wa"], "inner_ua": self.latest["ua"]}

    def best_state(self) -> dict[str, Tensor]:
        """Return the weights of the best epoch."""
        return read_best(self.path)

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch so far."""
        return {"best": self.best, "latest": self.latest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best epoch so far up again."""
        self.best, self.latest = dict(state_dict["best"]), dict(state_dict["latest"])
