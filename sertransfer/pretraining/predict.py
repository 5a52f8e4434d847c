"""A speech emotion recogniser of stage 1 on single files: class scores of each, taken as one utterance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sertransfer import __version__
from sertransfer.audio.fingerprint import recording_prints
from sertransfer.audio.reading import listen
from sertransfer.audio.recordings import readable_path
from sertransfer.audio.speaker_norm import uses_rest
from sertransfer.audio.store import build_store
from sertransfer.corpora.recordings import sound_warnings
from sertransfer.errors import bad_input
from sertransfer.front_end import Cropping
from sertransfer.io.scratch import scratch_folder
from sertransfer.io.spelling import printable
from sertransfer.manifest import AudioSource, Manifest, make_table
from sertransfer.models.checkpoint import build_from, read_checkpoint
from sertransfer.training.batches import Utterances
from sertransfer.training.inference import choose_device, predict_probabilities
from sertransfer.training_audio import TrainingAudio, compare_audio

NOTE = (
    "class scores of acted or elicited emotion, as the training corpus labels it; no statement about a person"
)


def predict_emotions(
    checkpoint: Path,
    recordings: Mapping[str, Path],
    *,
    skip_bad: bool = False,
    progress: bool = True,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Score files with a model of stage 1.

    Args:
        checkpoint: ``model.safetensors``.
        recordings: Files by name; each is one utterance.
        skip_bad: Leave out files that cannot be read, and record them, instead of stopping.
        progress: Whether bars are shown.
        batch_size: Most utterances at once.

    Returns:
        ``checkpoint, model, classes, corpus`` (of the training, where the checkpoint says), ``generated,
        note, utterances`` (of each ``utterance, audio, prediction, scores, warnings``, and ``audio_shared``:
        whether the model was trained on it, ``shared``, ``none`` or ``unknown``) and ``left_out``.

    Raises:
        BadInput: If the checkpoint does not say how its features are made, or needs more than a recording,
            or a file cannot be read.
    """
    read = read_checkpoint(checkpoint)
    front_end = read.front_end
    if front_end is None or uses_rest(front_end):
        raise bad_input(
            checkpoint,
            found="weights whose front end is not known"
            if front_end is None
            else "a front end that takes out each speaker's resting state",
            expected="a model that scores a recording by itself",
            remedy="import it again with --front-end and --framing"
            if front_end is None
            else "score a manifest with resting recordings by 'sertransfer evaluate'",
        )
    if "finetune" in read.provenance:
        raise bad_input(
            checkpoint,
            found="the network of a fine-tuned run of stage 2",
            expected="a model of stage 1, or a run folder",
            remedy=f"give the run folder: sertransfer predict {checkpoint.parent.parent} AUDIO",
        )
    cropping = read.cropping if read.cropping is not None else Cropping()
    with scratch_folder("predict") as folder, scratch_folder("links") as links:
        rows = [
            {"id": name, "audio": readable_path(path, links, name), "speaker": name, "corpus": "predict"}
            for name, path in recordings.items()
        ]
        features = build_store(
            Manifest(make_table(rows), Path("/")),
            front_end,
            folder,
            skip_bad=skip_bad,
            progress=progress,
        )
        utterances = Utterances(
            features,
            np.arange(len(features), dtype=np.int64),
            np.zeros(len(features), dtype=np.int64),
            features.ids,
        )
        probabilities = predict_probabilities(
            build_from(read, where=checkpoint).to(choose_device()),
            utterances,
            longest=cropping.frames(front_end.framing),
            pad=cropping.pad,
            batch_size=batch_size,
            progress=progress,
        )
    found = [
        {
            "utterance": name,
            "audio": printable(str(recordings[name])),
            "prediction": read.classes[int(values.argmax())],
            "scores": dict(zip(read.classes, values.tolist(), strict=True)),
            "audio_shared": _shared(read.training_audio, name, recordings[name]),
            "warnings": _warnings(recordings[name]),
        }
        for name, values in zip(features.ids, probabilities, strict=True)
    ]
    return {
        "checkpoint": str(checkpoint),
        "model": read.model,
        "classes": list(read.classes),
        "corpus": read.provenance.get("corpus"),
        "generated": bool(read.provenance.get("generated", False)),
        "note": NOTE,
        "sertransfer": __version__,
        "utterances": found,
        "left_out": list(features.left_out),
    }


def _shared(trained_on: TrainingAudio | None, name: str, audio: Path) -> str:
    prints = [] if trained_on is None else recording_prints(AudioSource(audio))
    return compare_audio(trained_on, {name: prints}).status


def _warnings(recording: Path) -> list[str]:
    heard = listen(AudioSource(recording))
    return sound_warnings([heard], "recording")
