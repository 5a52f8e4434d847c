"""Mode ``finetune``: an encoder with a new classifier of two classes, trained on sentences."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sertransfer import __version__
from sertransfer.encoders.base import Encoder, LayerMix
from sertransfer.encoders.registry import REBUILDERS
from sertransfer.errors import bad_input
from sertransfer.evaluation.aggregation import aggregate
from sertransfer.io.run_folder import RunFolder
from sertransfer.training.batches import TrainingBatches, Utterances, keep_on_device
from sertransfer.training.callbacks import BestEpoch, EpochLog
from sertransfer.training.inference import choose_device
from sertransfer.training.trainer import BEST, RESUME_POINT, check_precision, fit
from sertransfer.transfer.decide import (
    DecidedRun,
    check_enough,
    choose_threshold,
    decide_subjects,
    decisions,
    with_clusters,
)
from sertransfer.transfer.finetune.data import (
    BalancedDraw,
    Integers,
    Task,
    as_utterances,
    split_inner,
)
from sertransfer.transfer.finetune.learners import Finetuner, Learner, Scorer, make_learner
from sertransfer.transfer.probe.probe import sentence_weights
from sertransfer.transfer.scoring import bare_figures
from sertransfer.transfer.settings import TransferConfig

EVERY = 50
"""Steps between resume points."""

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
    learner = make_learner(config, task)
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


MODEL = "model.safetensors"
"""Name of the fine-tuned network in the run's ``checkpoints`` folder."""


@dataclass(frozen=True)
class Finetuned:
    """What fine-tuning found, what ``metrics.json`` says of it, and the sentences that were left out."""

    outcome: DecidedRun
    record: dict[str, Any]
    left_out: list[dict[str, str]]


def check_finetune(config: TransferConfig, opened: Encoder) -> None:
    """Refuse what cannot be fine-tuned.

    Raises:
        BadInput: If the settings ask for what the encoder has not, or for what only stored embeddings have.
    """
    if opened.name not in REBUILDERS:
        raise bad_input(
            "--mode finetune",
            found=f"encoder '{opened.name}'",
            expected=f"one that is trained on here: {', '.join(REBUILDERS)}",
            remedy="take --mode probe",
        )
    if config.finetune.layers == "mix" and not (opened.layers and config.layer is None):
        whose = f"encoder '{opened.name}', which gives its last output only"
        raise bad_input(
            "setting finetune.layers",
            found=f"'mix' with {f'layer {config.layer}' if opened.layers else whose}",
            expected="all blocks of an encoder",
            remedy="take finetune.layers output, or leave layer out",
        )
    if config.pooling != "mean":
        raise bad_input(
            "setting pooling",
            found=f"'{config.pooling}' in mode finetune",
            expected="mean, the setting of mode probe; this mode has one of its own",
            remedy="leave it out, or set finetune.pooling",
        )
    check_precision(config.finetune.precision, "finetune.precision")


def finetune_subjects(config: TransferConfig, task: Task, run: RunFolder) -> Finetuned:
    """Train from the run's resume point if there is one, write the network, score and decide.

    Args:
        config: Settings.
        task: Encoder and sentences.
        run: The run's folder, claimed.

    Raises:
        BadInput: If audio, depth or the resume point is at fault, or too few subjects are left.
        NonFiniteLoss: If training breaks down.
    """
    trained = train(config, task, run.path)
    learner, held, score, stopping = trained.learner, trained.held, trained.score, trained.stopping
    network, store, (training, reported) = learner.network, learner.store, learner.parts
    state = stopping.best_state()
    network.load_state_dict(state)

    inner = training.sentences.iloc[held].reset_index(drop=True)
    inner = inner.assign(score=score(network, trained.sentences.subset(held)))
    inner_subjects = with_clusters(aggregate(inner, config.aggregation, top_k=config.top_k), training)
    threshold = choose_threshold(inner_subjects, config.threshold, config.positive)
    inner_subjects["prediction"] = decisions(inner_subjects["score"] >= threshold, config)
    told = as_utterances(reported, store, config.positive)
    scored = reported.sentences.assign(score=score(network, told, progress=task.progress))
    subjects = decide_subjects(scored, training, reported, threshold, config)
    outcome = DecidedRun(training, reported, threshold, inner, inner_subjects, scored, subjects)
    record = {
        "finetune": {
            "depth": config.finetune.depth,
            **learner.depth.describe(),
            "batch_norm": config.finetune.batch_norm,
            **learner.record,
            **layer_weights(network),
            "epoch": int(stopping.best["epoch"]),
            "epochs": int(stopping.latest["epoch"]),
            "inner_loss": stopping.best["loss"],
            "chosen_by": "cross-entropy on held-out training subjects; subjects weigh the same, and classes",
            "inner_subjects": sorted(inner_subjects["subject"]),
            "file": f"checkpoints/{MODEL}",
        },
        "out_of_fold": {
            "note": "held-out training subjects alone; epoch and threshold were chosen on them",
            "subject": bare_figures(inner_subjects, config),
        },
    }
    about = {
        "finetune": {**record["finetune"], "threshold": threshold},
        "aggregation": config.aggregation,
        **({"top_k": config.top_k} if config.aggregation == "top_k" else {}),
        "sertransfer": __version__,
    }
    learner.write(state, about, run.checkpoints / MODEL)
    return Finetuned(outcome, record, store.left_out)


def remove_resume_files(run: RunFolder) -> None:
    """Remove what only a run under way needs."""
    for name in (RESUME_POINT, BEST):
        (run.checkpoints / name).unlink(missing_ok=True)


def layer_weights(network: nn.Module) -> dict[str, list[float]]:
    """Return the learned weight of each block, from the input on, where there is a mix of blocks."""
    mix = next((module for module in network.modules() if isinstance(module, LayerMix)), None)
    return {} if mix is None else {"layer_weights": mix.weights.detach().tolist()}
