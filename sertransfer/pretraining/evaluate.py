"""Scoring a checkpoint on one split of a manifest, and what a run folder says about the scores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from torch import nn

from sertransfer import __version__
from sertransfer.audio.speaker_norm import calibration_ids
from sertransfer.audio.store import build_store
from sertransfer.corpora.recordings import silence_remarks
from sertransfer.errors import Faults, bad_input
from sertransfer.evaluation.chance import against_constant
from sertransfer.evaluation.intervals import (
    FEWEST_CLUSTERS,
    Clusters,
    Interval,
    decision_intervals,
    no_interval,
)
from sertransfer.evaluation.metrics import (
    confusion_matrix,
    majority_row,
    recalls,
    unweighted_accuracy,
    weighted_accuracy,
)
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.io.files import hash_file, write_text
from sertransfer.io.run_folder import RunFolder
from sertransfer.manifest import Manifest
from sertransfer.models.checkpoint import Checkpoint, build_from, checkpoint_file, read_checkpoint
from sertransfer.pretraining.classifier import adversarial_epsilon, attack
from sertransfer.pretraining.data import (
    UNKNOWN_SPEAKERS,
    Split,
    check_split,
    count_short,
    default_store,
    feature_workers,
    finished_for,
    hash_manifest,
    resting_facts,
    select_split,
    shared_audio,
    take_utterances,
)
from sertransfer.training.inference import Probabilities, choose_device, predict_probabilities

_log = logging.getLogger(__name__)


def evaluate(
    checkpoint: Path,
    manifest: Manifest,
    *,
    split: str = "test",
    run_dir: Path,
    absent: Literal["error", "skip"] = "error",
    skip_bad: bool = False,
    store: Path | None = None,
    batch_size: int = 64,
    workers: int = 0,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Score *checkpoint* on a split, with the front end and the crop rule that it carries.

    Args:
        checkpoint: A file that ``pretrain`` or ``import-checkpoint`` wrote, the run folder of ``pretrain``,
            or a folder of ``export``.
        manifest: Utterances; labels outside the checkpoint's classes are left out and counted.
        split: Split to score.
        run_dir: Folder of the run; a finished one of the same inputs returns its metrics.
        absent: ``skip`` leaves classes that the split lacks out of UA; otherwise they are an error.
        skip_bad: Leave utterances out whose audio is faulty, and record them, instead of stopping.
        store: Folder of the feature stores (default: ``features`` beside the run folder).
        batch_size: Most utterances at once.
        workers: Processes that make features and read ahead; 0 = a core each for many features, none to read.
        seed: Of the bootstrap.
        progress: Whether bars are shown.

    Returns:
        The content of ``metrics.json``, keys as those of :func:`~sertransfer.pretraining.workflow.pretrain`.

    Raises:
        BadInput: If checkpoint, manifest or audio are at fault, or the folder belongs to another run.
    """
    checkpoint = checkpoint_file(checkpoint)
    carried = read_checkpoint(checkpoint)
    front_end = _front_end(carried, checkpoint)
    config = {"command": "evaluate", "split": split, "absent": absent, "seed": seed}
    inputs = {"manifest": hash_manifest(manifest), "checkpoint": hash_file(checkpoint)}
    with RunFolder(run_dir).claim(config, inputs) as run:
        if finished_for(run, skip_bad=skip_bad):
            _log.info("%s is finished; nothing to do", run.path)
        else:
            cache = store if store is not None else default_store(run.path)
            calibration = calibration_ids(manifest, front_end, scored=True)
            part = select_split(manifest, split, carried.classes, calibration=calibration)
            part = _checked(part, carried.classes, absent)
            features = build_store(
                part.manifest,
                front_end,
                cache,
                rest=manifest,
                workers=feature_workers(workers, len(part)),
                skip_bad=skip_bad,
                progress=progress,
            )
            utterances, part = take_utterances(features, part, carried.classes)
            _checked(part, carried.classes, absent)
            cropping = carried.cropping if carried.cropping is not None else Cropping()
            network = build_from(carried, where=checkpoint).to(choose_device())

            def predict(epsilon: float | None) -> Probabilities:
                return predict_probabilities(
                    network,
                    utterances,
                    longest=cropping.frames(front_end.framing),
                    pad=cropping.pad,
                    batch_size=batch_size,
                    workers=workers,
                    progress=progress,
                    perturb=attack(epsilon),
                )

            generated_model = bool(carried.provenance.get("generated", False))
            run.write_metrics(
                {
                    **score_split(run.path, part, carried.classes, network, predict, absent=absent),
                    "split": split,
                    "corpus": ", ".join(sorted(set(part.table["corpus"]))),
                    "model": carried.model,
                    "checkpoint": str(checkpoint),
                    "generated": manifest.generated or generated_model,
                    "generated_data": manifest.generated,
                    "generated_model": generated_model,
                    **_prior(carried),
                    "speakers_shared": _shared(carried, part),
                    "audio_shared": shared_audio(
                        carried.training_audio, part, "the checkpoint's training part", cache=cache
                    ),
                    "filled_up": count_short(network, {split: utterances}, front_end, cropping),
                    "left_out": {"labels": {split: part.other_labels}, "audio": list(features.left_out)},
                    **resting_facts(features, manifest, [part]),
                    "assumptions": [
                        *manifest.notes.get("assumptions", []),
                        *silence_remarks(part.manifest, part.table["id"].tolist(), "utterances"),
                    ],
                    "sertransfer": __version__,
                }
            )
        write_report(run.path)
        return run.read_metrics()


def _checked(part: Split, classes: tuple[str, ...], absent: str) -> Split:
    faults = Faults()
    check_split(part, classes, faults, absent=absent)
    faults.raise_if_any()
    return part


def _shared(checkpoint: Checkpoint, part: Split) -> int | None:
    """Return how many speakers of *part* the checkpoint was trained on; ``None`` where it does not say.

    Names of speakers are those of a corpus: equal ones of different corpora are different people.
    """
    train = checkpoint.provenance.get("train")
    if not isinstance(train, dict) or "speakers" not in train:
        return None
    if not set(part.table["corpus"]) & set(checkpoint.provenance.get("corpus") or part.table["corpus"]):
        return 0
    shared = len(part.speakers & set(train["speakers"]))
    if shared:
        _log.warning("speakers shared with the checkpoint's training part: %d", shared)
    return shared


def _prior(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the block of :func:`prior_facts`; nothing where the checkpoint does not tell its training."""
    train = checkpoint.provenance.get("train")
    if not isinstance(train, dict) or not {"labels", "class_weights"} <= set(train):
        return {}
    labels = train["labels"]
    if not isinstance(labels, dict) or not set(checkpoint.classes) <= set(labels):
        return {}
    return prior_facts({name: labels[name] for name in checkpoint.classes}, train["class_weights"])


def prior_facts(labels: Mapping[str, int], class_weights: str) -> dict[str, Any]:
    """Return the block ``prior`` of ``metrics.json``: the shares of the classes behind the scores.

    Args:
        labels: Number of training utterances of each class.
        class_weights: Of the training, ``none`` or ``balanced``.

    Returns:
        Of each class ``assumed``, its share of the weights in training, and ``prevalence``, its share of the
        training utterances, to which the report corrects scores before it shows their calibration.
    """
    total = sum(labels.values())
    shares = {name: count / total for name, count in labels.items()}
    equal = dict.fromkeys(labels, 1 / len(labels))
    return {"prior": {"assumed": equal if class_weights == "balanced" else shares, "prevalence": shares}}


def _front_end(checkpoint: Checkpoint, path: Path) -> FrontEnd:
    if checkpoint.front_end is None:
        raise bad_input(
            path,
            found="a checkpoint that does not say how its features were made",
            expected="one with a front end",
            remedy="import it again with 'sertransfer import-checkpoint --front-end NAME --framing NAME'",
        )
    return checkpoint.front_end


def score_split(
    folder: Path,
    split: Split,
    classes: Sequence[str],
    network: nn.Module,
    predict: Callable[[float | None], Probabilities],
    *,
    absent: str,
) -> dict[str, Any]:
    """Write the scores of *split*, of an ADV model on attacked inputs too; return their blocks of metrics.

    Args:
        folder: The run's; gets ``utterances.csv``, and of an ADV model ``utterances_adversarial.csv``.
        split: What is scored.
        classes: Order of the network's outputs.
        network: Says whether it is an ADV model.
        predict: Takes the step of the attack (``None`` = no attack), returns the class probabilities.
        absent: ``error`` or ``skip``, as in :func:`score_metrics`.
    """
    clean = score_table(split.table, predict(None), classes)
    metrics = score_metrics(clean, classes, absent=absent)
    _write_scores(folder / "utterances.csv", clean)
    if (epsilon := adversarial_epsilon(network)) is not None:
        attacked = score_table(split.table, predict(epsilon), classes)
        _write_scores(folder / "utterances_adversarial.csv", attacked)
        found = score_metrics(attacked, classes, absent=absent)["utterance"]
        metrics["adversarial"] = {"epsilon": epsilon, "utterance": found}
    return metrics


def score_table(table: pd.DataFrame, probabilities: Probabilities, classes: Sequence[str]) -> pd.DataFrame:
    """Return ``id, speaker, split, label, prediction`` and ``score_<class>`` for each class."""
    scores = table[["id", "speaker", "split", "label"]].reset_index(drop=True)
    scores["prediction"] = [classes[number] for number in probabilities.argmax(axis=1)]
    for number, name in enumerate(classes):
        scores[f"score_{name}"] = probabilities[:, number]
    return scores


def score_metrics(scores: pd.DataFrame, classes: Sequence[str], *, absent: str = "error") -> dict[str, Any]:
    """Return the ``utterance`` and ``majority`` blocks of ``metrics.json``.

    Speakers are the clusters of the intervals; with fewer than six known ones there is none.

    Args:
        scores: What :func:`score_table` gives; may be empty, all scores being ``None`` then.
        classes: Order of the confusion matrix.
        absent: ``error`` or ``skip``, as in :func:`sertransfer.evaluation.metrics.unweighted_accuracy`.
    """
    if scores.empty:
        nothing = dict.fromkeys(["wa", "ua", "wa_ci95", "ua_ci95", "confusion"])
        return {
            "utterance": {"n": 0, **nothing, "classes": list(classes)},
            "majority": {"wa": None, "ua": None},
        }
    truth, predicted = scores["label"].tolist(), scores["prediction"].tolist()
    confusion = confusion_matrix(truth, predicted, classes)
    known = ~scores["speaker"].isin(UNKNOWN_SPEAKERS)
    speakers = scores.loc[known, "speaker"].nunique()
    # utterances of unknown speakers may all be of one person
    clusters = Clusters(scores["speaker"].where(known, "unknown").tolist(), "speakers")
    number = {name: index for index, name in enumerate(classes)}
    rows, columns = (np.array([number[name] for name in names]) for names in (truth, predicted))
    reason = "" if speakers >= FEWEST_CLUSTERS else no_interval(int(speakers), "speakers")
    if reason:
        _log.warning("%s: there are intervals from %d known speakers on", reason, FEWEST_CLUSTERS)
    intervals = {name: Interval(reason=reason) for name in ("wa", "ua")}
    compared = {name: {"state": "open", "reason": reason} for name in ("wa", "ua")}
    if not reason:
        intervals = decision_intervals(rows, columns, classes, clusters)
        compared = against_constant(rows, columns, len(classes), clusters)
    found = recalls(confusion)
    return {
        "utterance": {
            "n": len(scores),
            "wa": weighted_accuracy(confusion),
            "ua": unweighted_accuracy(confusion, absent=absent),
            **{f"{name}_ci95": intervals[name].bounds for name in ("wa", "ua")},
            "no_interval": {name: reason for name in ("wa", "ua") if reason},
            "intervals_over": "speakers",
            "against_majority": compared,
            "speakers": int(speakers),
            "confusion": confusion.tolist(),
            "classes": list(classes),
            "recall": [None if np.isnan(value) else float(value) for value in found],
            "absent": [name for name, value in zip(classes, found, strict=True) if np.isnan(value)],
        },
        "majority": majority_row(confusion),
    }


def _write_scores(path: Path, scores: pd.DataFrame) -> None:
    write_text(path, scores.to_csv(index=False, lineterminator="\n", float_format="%.6g"))


def write_report(folder: Path) -> None:
    """Write ``report.html`` and its plots (confusion as in the paper's Figure 2) from the run's files."""
    from sertransfer.reporting import report  # matplotlib is slow to import

    report.write_report(folder)
