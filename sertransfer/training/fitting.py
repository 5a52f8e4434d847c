"""Training a network with Lightning: the trainer, its callbacks and logs, and the weights that are kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import Callback
from torch import Tensor, nn

from sertransfer.errors import bad_input
from sertransfer.evaluation.metrics import confusion_matrix, unweighted_accuracy, weighted_accuracy
from sertransfer.fitting import distributed
from sertransfer.fitting.batches import TrainingBatches, Utterances
from sertransfer.fitting.callbacks import EpochLog, InnerSelection, WeightMean
from sertransfer.fitting.device_cache import keep_on_device
from sertransfer.fitting.inference import Probabilities, choose_device, predict_probabilities
from sertransfer.fitting.trainer import BEST, RESUME_POINT, check_precision, fit
from sertransfer.io.run_folder import RunFolder
from sertransfer.models.image_weights import load_image_weights
from sertransfer.models.registry import build_model
from sertransfer.training.classifier import Classifier, balanced_weights
from sertransfer.training.features import inner_split
from sertransfer.training.scoring import attack
from sertransfer.training.settings import PretrainConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What training ends with: the weights that are kept, and how they were chosen."""

    state: dict[str, Tensor]
    selection: dict[str, Any]


def check_model(config: PretrainConfig) -> None:
    """Refuse a model, or options of it, that do not exist; nothing is initialised.

    Raises:
        BadInput: As :func:`sertransfer.models.registry.build_model`.
    """
    with torch.device("meta"):
        build_model(config.model.name, len(config.classes), **config.model.options())


def build_network(config: PretrainConfig) -> nn.Module:
    """Build the network with weights that depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network: nn.Module = build_model(config.model.name, len(config.classes), **config.model.options())
        if config.model.image_weights:
            kept = load_image_weights(network, config.model.image_weights)
            _log.info("ImageNet weights are loaded; fresh are %s", ", ".join(kept))
    if config.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its stub
    return network


def train_network(
    config: PretrainConfig,
    network: nn.Module,
    train: Utterances,
    speakers: list[str],
    run: RunFolder,
    *,
    progress: bool,
) -> Trained:
    """Train *network* in place, from the run's resume point if there is one.

    Of several processes this is process 0; the others call :func:`train_along`.

    Args:
        config: Settings.
        network: Fresh, from :func:`build_network`.
        train: The training part.
        speakers: Speaker of each training item.
        run: The run's folder, claimed.
        progress: Whether a bar is shown.

    Raises:
        BadInput: If the precision, the inner split or the resume point can not be had.
        NonFiniteLoss: If the loss breaks down.
    """
    check_precision(config.precision)
    _check_processes(config)
    distributed.broadcast((config, train, speakers, run.path))
    selection, mean, chosen = _fit(config, network, train, speakers, run, progress=progress)
    if selection is None:
        final = network if mean is None else mean.network
        state = {name: value.detach().cpu().contiguous() for name, value in final.state_dict().items()}
        return Trained(state, chosen)
    best = selection.best
    chosen |= {"epoch": int(best["epoch"]), "inner_wa": best["wa"], "inner_ua": best["ua"]}
    _log.info("epoch %d is kept: UA %.3f on held-out training speakers", best["epoch"], best["ua"])
    return Trained(selection.best_state(), chosen)


def train_along() -> None:
    """Take part in the training of process 0; it sends ``None`` if there is nothing to train."""
    task = distributed.broadcast()
    if task is not None:
        config, train, speakers, folder = task
        _fit(config, build_network(config), train, speakers, RunFolder(folder), progress=False)


def _check_processes(config: PretrainConfig) -> None:
    if distributed.count() > 1:
        _log.info("training in %d processes", distributed.count())
    if distributed.count() > 1 and config.sync_batch_norm and choose_device().type == "cpu":
        raise bad_input(
            "setting sync_batch_norm",
            found="true, for several processes without GPUs",
            expected="GPUs: PyTorch has no such batch norm for the CPU",
            remedy="take sync_batch_norm false, or one process",
        )


def predict_with(
    config: PretrainConfig,
    network: nn.Module,
    utterances: Utterances,
    *,
    progress: bool = False,
    epsilon: float | None = None,
) -> Probabilities:
    """Return the class probabilities of *utterances* by the evaluation rule of the settings."""
    return predict_probabilities(
        network,
        utterances,
        longest=config.cropping.frames(config.front_end.framing),
        pad=config.cropping.pad,
        batch_size=config.batch_size,
        workers=config.workers,
        progress=progress,
        perturb=attack(epsilon),
    )


def _inner_score(config: PretrainConfig, held: Utterances) -> Callable[[nn.Module], tuple[float, float]]:
    truth = [config.classes[target] for target in held.targets]

    def score(network: nn.Module) -> tuple[float, float]:
        predicted = [config.classes[number] for number in predict_with(config, network, held).argmax(axis=1)]
        confusion = confusion_matrix(truth, predicted, config.classes)
        return weighted_accuracy(confusion), unweighted_accuracy(confusion)

    return score


def _fit(
    config: PretrainConfig,
    network: nn.Module,
    train: Utterances,
    speakers: list[str],
    run: RunFolder,
    *,
    progress: bool,
) -> tuple[InnerSelection | None, WeightMean | None, dict[str, Any]]:
    """Train, and return what chose the epoch, the mean of the weights, and how the epoch was chosen."""
    chosen: dict[str, Any] = {"rule": config.selection.rule, "epoch": config.epochs}
    if config.store_on_device:
        train = keep_on_device(train, choose_device())
    learnt, selection = train, None
    if config.selection.rule == "inner":
        kept, held = inner_split(train.targets, speakers, share=config.selection.share, seed=config.seed)
        chosen |= {"held_out": len(held), "held_out_speakers": sorted({speakers[item] for item in held})}
        learnt = train.subset(kept)
        score = _inner_score(config, train.subset(held))
        selection = InnerSelection(score, run.checkpoints / BEST)
    mean = WeightMean(network, config.regularisation.ema) if config.regularisation.ema else None
    if selection is not None and mean is not None:
        selection.subject = mean.network
    resume_point = run.checkpoints / RESUME_POINT
    balanced = config.class_weights == "balanced"
    weights = balanced_weights(learnt.targets, len(config.classes)) if balanced else None
    weighed = None
    if weights is not None and not config.regularisation.mixup:  # what the loss divides by, see Classifier
        weighed = weights.double().numpy()[learnt.targets]
    module = Classifier(
        network,
        config,
        class_weights=weights,
        ids=learnt.ids,
        resume_point=lambda: str(resume_point) if resume_point.exists() else "none yet",
    )
    batches = TrainingBatches(
        learnt,
        batch_size=config.batch_size,
        longest=config.cropping.frames(config.front_end.framing),
        pad=config.cropping.pad,
        seed=config.seed,
        workers=config.workers,
        pin=choose_device().type == "cuda",
        accumulate=config.accumulate,
        rank=distributed.rank(),
        shares=distributed.count(),
        weights=weighed,
    )
    callbacks: list[Callback] = [callback for callback in (mean, selection) if callback is not None]
    callbacks.append(EpochLog(run.path / "epochs.csv", None if selection is None else selection.scores))
    fit(
        module,
        batches,
        callbacks,
        folder=run.path,
        resume_point=resume_point,
        every=config.checkpoint_every,
        epochs=config.epochs,
        accumulate=config.accumulate,
        precision=config.precision,
        progress=progress,
        sync_batch_norm=config.sync_batch_norm,
    )
    return selection, mean, chosen
