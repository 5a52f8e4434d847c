"""Mode ``finetune``: an encoder with a new classifier of two classes, trained on sentences.

A sentence's score is the network's probability of the positive class. Training subjects that are held out
end the training and choose the threshold; the reported split is scored once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from sertransfer import __version__
from sertransfer.encoders.base import LayerMix
from sertransfer.errors import bad_input
from sertransfer.evaluation.aggregation import aggregate
from sertransfer.io.run_folder import RunFolder
from sertransfer.training.trainer import BEST, RESUME_POINT, check_precision
from sertransfer.transfer.deciding import Scored, decide_subjects, decisions, with_clusters
from sertransfer.transfer.finetune_data import as_utterances
from sertransfer.transfer.finetune_learner import Task
from sertransfer.transfer.finetune_training import LEARNERS
from sertransfer.transfer.finetune_training import train as train_network
from sertransfer.transfer.scoring import bare_figures
from sertransfer.transfer.selection import choose_threshold
from sertransfer.transfer.settings import TransferConfig

MODEL = "model.safetensors"
"""Name of the fine-tuned network in the run's ``checkpoints`` folder."""


@dataclass(frozen=True)
class Finetuned:
    """What fine-tuning found, what ``metrics.json`` says of it, and the sentences that were left out."""

    outcome: Scored
    record: dict[str, Any]
    left_out: list[dict[str, str]]


def check_finetune(config: TransferConfig, encoder: str) -> None:
    """Refuse what can not be fine-tuned.

    Raises:
        BadInput: If the settings ask for what the encoder has not, or for what only stored embeddings have.
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


@dataclass(frozen=True)
class Search:
    """Chooses settings before the run is trained with them.

    Attributes:
        settings: Its own, which are part of what the run is recognised by.
        choose: Takes the run's folder, its inputs as hashes, and the task; gives the settings, and what to
            add to ``metrics.json``.
    """

    settings: dict[str, Any]
    choose: Callable[[RunFolder, dict[str, str], Task], tuple[TransferConfig, dict[str, Any]]]


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
    trained = train_network(config, task, run.path)
    learner, held, score, stopping = trained.learner, trained.held, trained.score, trained.stopping
    network, store, (train, reported) = learner.network, learner.store, learner.parts
    state = stopping.best_state()
    network.load_state_dict(state)

    inner = train.sentences.iloc[held].reset_index(drop=True)
    inner = inner.assign(score=score(network, trained.sentences.subset(held)))
    inner_subjects = with_clusters(aggregate(inner, config.aggregation, top_k=config.top_k), train)
    threshold = choose_threshold(inner_subjects, config.threshold, config.positive)
    inner_subjects["prediction"] = decisions(inner_subjects["score"] >= threshold, config)
    told = as_utterances(reported, store, config.positive)
    scored = reported.sentences.assign(score=score(network, told, progress=task.progress))
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
