"""Mode ``finetune``: an encoder with a new classifier of two classes, trained on sentences.

A sentence's score is the network's probability of the positive class. Training subjects that are held out
end the training and choose the threshold; the reported split is scored once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sertransfer import __version__
from sertransfer.aggregation import aggregate
from sertransfer.encoders.layers import LayerMix
from sertransfer.errors import bad_input
from sertransfer.fitting.batches import TrainingBatches, Utterances
from sertransfer.fitting.epoch_log import EpochLog
from sertransfer.fitting.trainer import BEST, RESUME_POINT, check_precision, choose_device, fit
from sertransfer.manifest import Manifest
from sertransfer.run_folder import RunFolder
from sertransfer.transfer.deciding import Scored, check_enough, decide_subjects, decisions, with_clusters
from sertransfer.transfer.finetune_data import BalancedDraw, as_utterances, split_inner
from sertransfer.transfer.finetune_learner import Learner
from sertransfer.transfer.finetune_ser import ser_learner
from sertransfer.transfer.finetune_waveforms import waveform_learner
from sertransfer.transfer.finetuner import Finetuner, Scorer
from sertransfer.transfer.probe import sentence_weights
from sertransfer.transfer.scoring import bare_figures
from sertransfer.transfer.selection import choose_threshold
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.stopping import EarlyStopping
from sertransfer.transfer.subjects import Part

MODEL = "model.safetensors"
"""Name of the fine-tuned network in the run's ``checkpoints`` folder."""

EVERY = 50
"""Steps between resume points."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finetuned:
    """What fine-tuning found, what ``metrics.json`` says of it, and the sentences that were left out."""

    outcome: Scored
    record: dict[str, Any]
    left_out: list[dict[str, str]]


def check_finetune(config: TransferConfig, encoder: str) -> None:
    """Refuse what can not be fine-tuned.

    Raises:
        BadInput: If it is not the SER encoder, or the settings ask for what only stored embeddings have.
    """
    settings = config.finetune
    if encoder not in LEARNERS:
        raise bad_input(
            "--mode finetune",
            found=f"encoder '{encoder}'",
            expected=f"one that is trained on here: {', '.join(LEARNERS)}",
            remedy="take --mode probe",
        )
    if settings.layers == "mix" and (encoder == "ser" or config.layer is not None):
        whose = "encoder 'ser'" if encoder == "ser" else f"layer {config.layer}"
        raise bad_input(
            "setting finetune.layers",
            found=f"'mix' with {whose}",
            expected="all blocks of an encoder whose blocks are of equal width (asr, ssl)",
            remedy="take finetune.layers output"
            if encoder == "ser"
            else "leave layer or finetune.layers out",
        )
    if config.pooling != "mean":
        raise bad_input(
            "setting pooling",
            found=f"'{config.pooling}' in mode finetune",
            expected="mean, the setting of mode probe; this mode has one of its own",
            remedy="leave it out, or set finetune.pooling",
        )
    check_precision(config.finetune.precision, "finetune.precision")


def finetune_subjects(
    config: TransferConfig,
    manifest: Manifest,
    parts: tuple[Part, Part],
    run: RunFolder,
    *,
    encoder: str,
    checkpoint: Path,
    features: Path,
    skip_bad: bool,
    progress: bool,
) -> Finetuned:
    """Train from the run's resume point if there is one, write the network, score and decide.

    Args:
        config: Settings.
        manifest: Sentences.
        parts: Training and reported part.
        run: The run's folder, claimed.
        encoder: Name of the encoder.
        checkpoint: Its weights.
        features: Parent of the stores of features or waveforms.
        skip_bad: Leave out sentences that can not be read, and record them.
        progress: Whether bars are shown.

    Raises:
        BadInput: If audio, depth or the resume point is at fault, or too few subjects are left.
        NonFiniteLoss: If training breaks down.
    """
    for abandoned in run.checkpoints.glob(".*.tmp"):  # what a process killed while writing left
        abandoned.unlink()
    learner = LEARNERS[encoder](
        config,
        manifest,
        parts,
        encoder=encoder,
        checkpoint=checkpoint,
        features=features,
        skip_bad=skip_bad,
        progress=progress,
    )
    network, store, (train, reported) = learner.network, learner.store, learner.parts
    check_enough(train, reported)
    score = Scorer(learner.longest, learner.pad, config)
    sentences = as_utterances(train, store, config.positive)
    kept, held = split_inner(train, config)
    stopping = _train(learner, sentences, (kept, held), config, run, score, progress=progress)
    state = stopping.best_state()
    network.load_state_dict(state)

    inner = train.sentences.iloc[held].reset_index(drop=True)
    inner = inner.assign(score=score(network, sentences.subset(held)))
    inner_subjects = with_clusters(aggregate(inner, config.aggregation, top_k=config.top_k), train)
    threshold = choose_threshold(inner_subjects, config.threshold, config.positive)
    inner_subjects["prediction"] = decisions(inner_subjects["score"] >= threshold, config)
    told = as_utterances(reported, store, config.positive)
    scored = reported.sentences.assign(score=score(network, told, progress=progress))
    subjects = decide_subjects(scored, train, reported, threshold, config)
    outcome = Scored(train, reported, threshold, inner, inner_subjects, scored, subjects)
    record = {
        "finetune": {
            "depth": config.finetune.depth,
            **learner.depth.describe(),
            "batch_norm": config.finetune.batch_norm,
            **learner.record,
            **layer_weights(network),
            "epoch": int(stopping.best["epoch"]),
            "epochs": stopping.epoch,
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


def _train(
    learner: Learner,
    sentences: Utterances,
    sides: Sequence[np.ndarray[Any, np.dtype[np.int64]]],
    config: TransferConfig,
    run: RunFolder,
    score: Scorer,
    *,
    progress: bool,
) -> EarlyStopping:
    settings = config.finetune
    learnt, held = (sentences.subset(side) for side in sides)
    subjects = learner.parts[0].sentences["subject"].to_numpy(np.str_)
    truth = held.targets == 1
    weights = sentence_weights(
        truth, subjects[sides[1]].tolist(), balance_subjects=True, balance_classes=True
    )

    def inner_loss(trained: nn.Module) -> float:
        given = np.where(truth, scores := score(trained, held), 1 - scores)
        return float(np.mean(-weights * np.log(np.maximum(given, np.finfo(np.float32).tiny))))

    stopping = EarlyStopping(inner_loss, run.checkpoints / BEST, patience=settings.patience)
    resume_point = run.checkpoints / RESUME_POINT
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
        [stopping, EpochLog(run.path / "epochs.csv", stopping.scores)],
        folder=run.path,
        resume_point=resume_point,
        every=EVERY,
        epochs=settings.epochs,
        accumulate=settings.accumulate,
        precision=settings.precision,
        progress=progress,
    )
    _log.info("epoch %d is kept: inner loss %.3f", stopping.best["epoch"], stopping.best["loss"])
    return stopping


LEARNERS: dict[str, Callable[..., Learner]] = {
    "ser": ser_learner,
    "asr": waveform_learner,
    "ssl": waveform_learner,
}
"""What fine-tuning works on, by the encoder's name."""
