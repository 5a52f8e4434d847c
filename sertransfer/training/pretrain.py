"""Stage 1: from a manifest to a speech emotion recogniser and its scores (paper, sections 2.3 and 3.2)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sertransfer import __version__
from sertransfer.audio.prints import TRAINING_PRINTS, utterance_prints
from sertransfer.audio.store import FeatureStore, build_store
from sertransfer.fitting import distributed
from sertransfer.fitting.trainer import BEST, RESUME_POINT
from sertransfer.io.files import hash_file
from sertransfer.io.run_folder import RunFolder
from sertransfer.manifest import Manifest
from sertransfer.models.checkpoint import Checkpoint, write_checkpoint
from sertransfer.training.adversarial import adversarial_epsilon
from sertransfer.training.features import Parts, check_parts, select_parts, used_rows
from sertransfer.training.fitting import (
    Trained,
    build_network,
    check_model,
    predict_with,
    train_along,
    train_network,
)
from sertransfer.training.parts import (
    Part,
    default_store,
    feature_workers,
    finished_for,
    hash_manifest,
    resting_facts,
    shared_audio,
    take_utterances,
)
from sertransfer.training.scoring import (
    score_attack,
    score_metrics,
    score_table,
    write_report,
    write_scores,
)
from sertransfer.training.settings import PretrainConfig, check_settings
from sertransfer.training.short_inputs import count_short
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
    processes (:mod:`sertransfer.fitting.distributed`) all make this call: process 0 does the work, the others
    join the training.

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
    parts = select_parts(config, manifest)
    check_parts(parts, config)
    unused = int((~manifest.table["split"].isin(list(parts))).sum())
    if unused:
        _log.warning("%d rows are in neither train nor test and are not used", unused)
    store = _features(config, manifest, parts, run.path, skip_bad=skip_bad, progress=progress)
    train, parts["train"] = take_utterances(store, parts["train"], classes)
    test, parts["test"] = take_utterances(store, parts["test"], classes)
    check_parts(parts, config)
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

    def scores(epsilon: float | None = None) -> pd.DataFrame:
        probabilities = np.empty((0, len(classes)))
        if len(test):
            probabilities = predict_with(config, network, test, progress=progress, epsilon=epsilon)
        return score_table(parts["test"].table, probabilities, classes)

    clean = scores()
    metrics = score_metrics(clean, classes, absent=config.absent)
    write_scores(run.path, clean)
    epsilon = adversarial_epsilon(network)
    if epsilon is not None:
        metrics |= score_attack(run.path, scores(epsilon), classes, epsilon, absent=config.absent)
    return {
        **metrics,
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
    config: PretrainConfig, manifest: Manifest, parts: Parts, run_dir: Path, *, skip_bad: bool, progress: bool
) -> FeatureStore:
    """Return the features of all parts, in the order of the manifest."""
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
    config: PretrainConfig, manifest: Manifest, train: Part, trained: Trained, heard: TrainingAudio
) -> Checkpoint:
    provenance: dict[str, Any] = {
        "corpus": sorted(set(train.table["corpus"])),
        "manifest_sha256": hash_manifest(manifest),
        "generated": manifest.generated,
        "train": {
            "n": len(train),
            "labels": train.counts(config.classes),
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
