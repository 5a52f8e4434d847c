"""The training of fine-tuning: from settings and sentences to the weights of least inner loss.

A training is resumed where it stood, and keeps nothing outside its own folder but stores of features.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from sertransfer.training.batches import TrainingBatches, Utterances
from sertransfer.training.callbacks import BestEpoch, EpochLog
from sertransfer.training.device_cache import keep_on_device
from sertransfer.training.inference import choose_device
from sertransfer.training.trainer import BEST, RESUME_POINT, fit
from sertransfer.transfer.deciding import check_enough
from sertransfer.transfer.finetune_data import BalancedDraw, Integers, as_utterances, split_inner
from sertransfer.transfer.finetune_learner import Learner, Task
from sertransfer.transfer.finetune_ser import ser_learner
from sertransfer.transfer.finetune_waveforms import waveform_learner
from sertransfer.transfer.finetuner import Finetuner, Scorer
from sertransfer.transfer.probe import sentence_weights
from sertransfer.transfer.settings import TransferConfig

EVERY = 50
"""Steps between resume points."""

LEARNERS: dict[str, Callable[[TransferConfig, Task], Learner]] = {
    "ser": ser_learner,
    "asr": waveform_learner,
    "ssl": waveform_learner,
}
"""What fine-tuning works on, by the encoder's name."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        learner: What was trained; its network has the weights of the last epoch.
        score: Scores sentences by it.
        sentences: Those of the training part.
        held: Which of them were held out.
        stopping: Holds the best epoch and its weights.
    """

    learner: Learner
    score: Scorer
    sentences: Utterances
    held: Integers
    stopping: BestEpoch


def train(config: TransferConfig, task: Task, folder: Path) -> Trained:
    """Train on a part of the training subjects until the loss on the others has stopped falling.

    Args:
        config: Settings.
        task: Encoder and sentences.
        folder: Of the run or trial; its ``checkpoints`` hold the resume point, if there is one.

    Raises:
        BadInput: If audio, depth or the resume point is at fault, or too few subjects are left.
        NonFiniteLoss: If training breaks down.
    """
    learner = LEARNERS[task.encoder](config, task)
    part = learner.parts[0]
    check_enough(*learner.parts)
    score = Scorer(learner.longest, learner.pad, config)
    sentences = keep_on_device(as_utterances(part, learner.store, config.positive), choose_device())
    kept, held = split_inner(part, config)
    stopping = _fit(learner, sentences, (kept, held), config, folder, score, progress=task.progress)
    return Trained(learner, score, sentences, held, stopping)


def _fit(
    learner: Learner,
    sentences: Utterances,
    sides: tuple[Integers, Integers],
    config: TransferConfig,
    folder: Path,
    score: Scorer,
    *,
    progress: bool,
) -> BestEpoch:
    settings, checkpoints = config.finetune, folder / "checkpoints"
    learnt, held = (sentences.subset(side) for side in sides)
    subjects = learner.parts[0].sentences["subject"].to_numpy(np.str_)
    truth = held.targets == 1
    weights = sentence_weights(
        truth, subjects[sides[1]].tolist(), balance_subjects=True, balance_classes=True
    )

    def inner_loss(trained: nn.Module) -> dict[str, float]:
        given = np.where(truth, scores := score(trained, held), 1 - scores)
        loss = np.mean(-weights * np.log(np.maximum(given, np.finfo(np.float32).tiny)))
        return {"loss": float(loss)}

    stopping = BestEpoch(inner_loss, checkpoints / BEST, by="loss", least=True, patience=settings.patience)
    resume_point = checkpoints / RESUME_POINT
    module = Finetuner(
        learner.network,
        learner.depth,
        config,
        ids=learnt.ids,
        resume_point=lambda: str(resume_point) if resume_point.exists() else "none yet",
    )
    batches = TrainingBatches(
        learnt,
        batch_size=settings.batch_size,
        longest=score.longest,
        pad=score.pad,
        seed=config.seed,
        workers=config.embedding.workers,
        pin=choose_device().type == "cuda",
        draw=BalancedDraw(learnt.targets, subjects[sides[0]], config.seed),
    )
    fit(
        module,
        batches,
        [stopping, EpochLog(folder / "epochs.csv", stopping.scores)],
        folder=folder,
        resume_point=resume_point,
        every=EVERY,
        epochs=settings.epochs,
        accumulate=settings.accumulate,
        precision=settings.precision,
        progress=progress,
    )
    _log.info("epoch %d is kept: inner loss %.3f", stopping.best["epoch"], stopping.best["loss"])
    return stopping
