"""Stage 1: from a manifest to a speech emotion recogniser and its scores (paper, sections 2.3 and 3.2)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback
from torch import Tensor, nn

from sertransfer import __version__
from sertransfer.audio.fingerprint import TRAINING_PRINTS, utterance_prints
from sertransfer.audio.store import FeatureStore, build_store
from sertransfer.errors import bad_input
from sertransfer.evaluation.metrics import confusion_matrix, unweighted_accuracy, weighted_accuracy
from sertransfer.io.files import hash_file
from sertransfer.io.run_folder import RunFolder
from sertransfer.manifest import Manifest
from sertransfer.models.checkpoint import Checkpoint, write_checkpoint
from sertransfer.models.image_weights import load_image_weights
from sertransfer.models.registry import build_model
from sertransfer.pretraining.classifier import Classifier, attack, balanced_weights
from sertransfer.pretraining.data import (
    Split,
    Splits,
    check_splits,
    count_short,
    default_store,
    feature_workers,
    finished_for,
    hash_manifest,
    inner_split,
    resting_facts,
    select_splits,
    shared_audio,
    take_utterances,
    used_rows,
)
from sertransfer.pretraining.evaluate import prior_facts, score_split, write_report
from sertransfer.pretraining.settings import PretrainConfig, check_settings
from sertransfer.training import distributed
from sertransfer.training.batches import TrainingBatches, Utterances, keep_on_device
from sertransfer.training.callbacks import BestEpoch, EpochLog, WeightMean
from sertransfer.training.inference import Probabilities, choose_device, predict_probabilities
from sertransfer.training.trainer import BEST, RESUME_POINT, check_precision, fit
from sertransfer.training_audio import TrainingAudio, make_training_audio

_log = logging.getLogger(__name__)

CHECKPOINT = "model.safetensors"
"""Name of the finished model in the run's ``checkpoints`` folder."""


def pretrain(
    config: PretrainConfig,
    manifest: Manifest,
    run_dir: Path,
    *,
    skip_bad: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train on the manifest's ``train`` split, score its ``test`` split, and write the run folder.

    A killed run is taken up where it was by the same call; a finished one returns its metrics. Several
    processes (:mod:`sertransfer.training.distributed`) all make this call: process 0 does the work, and the
    others join the training.

    Args:
        config: Settings.
        manifest: Utterances; labels outside ``config.classes`` are left out and counted.
        run_dir: Folder of the run.
        skip_bad: Leave utterances out whose audio is faulty, and record them, instead of stopping.
        progress: Whether bars are shown.

    Returns:
        The content of ``metrics.json``. Without a ``test`` split its scores are ``None``.

    Raises:
        BadInput: If settings, manifest or audio are at fault, or the folder belongs to another run.
        NonFiniteLoss: If training breaks down.
    """
    check_settings(config)
    check_model(config)  # before there is a folder
    if distributed.rank():
        train_along()
        metrics: dict[str, Any] = distributed.broadcast()
        return metrics
    with RunFolder(run_dir).claim(config.protocol(), {"manifest": hash_manifest(manifest)}) as run:
        if finished_for(run, skip_bad=skip_bad):
            _log.info("%s is finished; nothing to do", run.path)
            distributed.broadcast(None)  # to train_along: nothing to train
        else:
            run.write_metrics(_work(config, manifest, run, skip_bad=skip_bad, progress=progress))
        for name in (RESUME_POINT, BEST):  # also where a process that had finished was killed before this
            (run.checkpoints / name).unlink(missing_ok=True)
        write_report(run.path)
        metrics = distributed.broadcast(run.read_metrics())
        return metrics


def _work(
    config: PretrainConfig, manifest: Manifest, run: RunFolder, *, skip_bad: bool, progress: bool
) -> dict[str, Any]:
    classes = config.classes
    network = build_network(config)
    parts = select_splits(config, manifest)
    check_splits(parts, config)
    unused = int((~manifest.table["split"].isin(list(parts))).sum())
    if unused:
        _log.warning("%d rows are in neither train nor test and are not used", unused)
    store = _features(config, manifest, parts, run.path, skip_bad=skip_bad, progress=progress)
    train, parts["train"] = take_utterances(store, parts["train"], classes)
    test, parts["test"] = take_utterances(store, parts["test"], classes)
    check_splits(parts, config)
    shared = parts["train"].speakers & parts["test"].speakers
    _log.log(
        logging.WARNING if shared else logging.INFO, "speakers shared between train and test: %d", len(shared)
    )
    generated = manifest.generated
    if generated:
        _log.warning("the corpus is generated: its scores say nothing about real speech")

    prints = Path(config.store) if config.store else default_store(run.path)
    heard = make_training_audio(
        utterance_prints(parts["train"].manifest, most=TRAINING_PRINTS, cache=prints).values(), run.stamp
    )
    audio_shared = shared_audio(heard, parts["test"], "the training part", cache=prints)
    filled_up = count_short(network, {"train": train, "test": test}, config.front_end, config.cropping)
    speakers = parts["train"].table["speaker"].tolist()
    trained = train_network(config, network, train, speakers, run, progress=progress)
    checkpoint = _checkpoint(config, manifest, parts["train"], trained, heard)
    write_checkpoint(checkpoint, run.checkpoints / CHECKPOINT)

    network.load_state_dict(trained.state)
    if not len(test):
        _log.warning("the manifest has no test split: nothing is scored")

    def predict(epsilon: float | None) -> Probabilities:
        if not len(test):
            return np.empty((0, len(classes)))
        return predict_with(config, network, test, progress=progress, epsilon=epsilon)

    return {
        **score_split(run.path, parts["test"], classes, network, predict, absent=config.absent),
        "split": "test",
        "corpus": ", ".join(sorted(set(manifest.table["corpus"]))),
        "model": config.model.name,
        "checkpoint": f"checkpoints/{CHECKPOINT}",
        "generated": generated,
        "generated_data": generated,
        "generated_model": generated,
        "selection": trained.selection,
        "train": {
            "n": len(train),
            "speakers": len(parts["train"].speakers),
            "labels": parts["train"].counts(classes),
        },
        **prior_facts(parts["train"].counts(classes), config.class_weights),
        "speakers_shared": len(shared),
        "audio_shared": audio_shared,
        "filled_up": filled_up,
        "left_out": {
            "labels": {split: part.other_labels for split, part in parts.items()},
            "other_splits": unused,
            "audio": list(store.left_out),
        },
        **resting_facts(store, manifest, parts.values()),
        "assumptions": manifest.notes.get("assumptions", []),
        "sertransfer": __version__,
    }


def _features(
    config: PretrainConfig,
    manifest: Manifest,
    parts: Splits,
    run_dir: Path,
    *,
    skip_bad: bool,
    progress: bool,
) -> FeatureStore:
    """Return the features of both splits, in the order of the manifest."""
    rows = used_rows(manifest, parts)
    return build_store(
        rows,
        config.front_end,
        Path(config.store) if config.store else default_store(run_dir),
        rest=manifest,
        workers=feature_workers(config.workers, len(rows)),
        skip_bad=skip_bad,
        progress=progress,
    )


def _checkpoint(
    config: PretrainConfig, manifest: Manifest, train: Split, trained: TrainedNetwork, heard: TrainingAudio
) -> Checkpoint:
    provenance: dict[str, Any] = {
        "corpus": sorted(set(train.table["corpus"])),
        "manifest_sha256": hash_manifest(manifest),
        "generated": manifest.generated,
        "train": {
            "n": len(train),
            "labels": train.counts(config.classes),
            "class_weights": config.class_weights,
            "speakers": sorted(train.speakers),
        },
        "epochs": config.epochs,
        "seed": config.seed,
        "selection": trained.selection,
        "versions": {"sertransfer": __version__, "torch": str(torch.__version__)},
    }
    if config.model.image_weights:
        file = Path(config.model.image_weights)
        provenance["image_weights"] = {"file": file.name, "sha256": hash_file(file)}
    return Checkpoint(
        model=config.model.name,
        options=config.model.options(),
        classes=config.classes,
        front_end=config.front_end,
        cropping=config.cropping,
        state=trained.state,
        provenance=provenance,
        training_audio=heard,
    )


@dataclass(frozen=True)
class TrainedNetwork:
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
) -> TrainedNetwork:
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
        BadInput: If the precision, the inner split or the resume point is not available.
        NonFiniteLoss: If the loss breaks down.
    """
    check_precision(config.precision)
    _check_processes(config)
    distributed.broadcast((config, train, speakers, run.path))
    selection, mean, chosen = _fit(config, network, train, speakers, run, progress=progress)
    if selection is None:
        final = network if mean is None else mean.network
        state = {name: value.detach().cpu().contiguous() for name, value in final.state_dict().items()}
        return TrainedNetwork(state, chosen)
    best = selection.best
    chosen |= {"epoch": int(best["epoch"]), "inner_wa": best["wa"], "inner_ua": best["ua"]}
    _log.info("epoch %d is kept: UA %.3f on held-out training speakers", best["epoch"], best["ua"])
    return TrainedNetwork(selection.best_state(), chosen)


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


def _inner_score(config: PretrainConfig, held: Utterances) -> Callable[[nn.Module], dict[str, float]]:
    truth = [config.classes[target] for target in held.targets]

    def score(network: nn.Module) -> dict[str, float]:
        predicted = [config.classes[number] for number in predict_with(config, network, held).argmax(axis=1)]
        confusion = confusion_matrix(truth, predicted, config.classes)
        return {"wa": weighted_accuracy(confusion), "ua": unweighted_accuracy(confusion)}

    return score


def _fit(
    config: PretrainConfig,
    network: nn.Module,
    train: Utterances,
    speakers: list[str],
    run: RunFolder,
    *,
    progress: bool,
) -> tuple[BestEpoch | None, WeightMean | None, dict[str, Any]]:
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
        selection = BestEpoch(score, run.checkpoints / BEST, by="ua")
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
