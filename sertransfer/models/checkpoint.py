"""Checkpoints: a model's weights with all that is needed to use them, in one safetensors file.

The file holds tensors, and as text in its metadata the model's name and options, the classes, the front
end, the crop and where the weights come from. Nothing in it can be executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.io.checksums import SEAL, UNSEALED, check_seal, seal
from sertransfer.io.files import atomic_path, regular_file
from sertransfer.io.plain_values import parse_json
from sertransfer.io.run_folder import look_at
from sertransfer.models.base import SpectrogramModel
from sertransfer.models.registry import build_model
from sertransfer.models.safe_pickle import LIGHTNING, is_lightning
from sertransfer.training_audio import TrainingAudio

FORMAT = "sertransfer checkpoint"
VERSION = 1
EXPORTED = "model.safetensors"
"""Name of the checkpoint in a folder of 'sertransfer export'."""
TRAINING_AUDIO = "training_audio"
"""Key of the metadata under which the fingerprint of the training audio stands."""
KEYS = ("model", "options", "classes", "front_end", "cropping", "provenance")
"""What the metadata of a checkpoint must hold, and all that it may hold."""


_OTHERS = {
    "sentence_model": "the network of a fine-tuned run of stage 2 with a head of its own",
    "exported_encoder": "an exported encoder",
    "probe": "the probe of a run of stage 2",
}
"""What other files of ours hold, by a key of their metadata."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model as values.

    Attributes:
        model: Name in :data:`sertransfer.models.registry.MODELS`.
        options: The builder's options.
        classes: Class names, in the order of the model's outputs.
        front_end: What the weights expect as input; ``None`` if it is not known.
        cropping: How much of an utterance the model sees; ``None`` for all of it.
        state: The weights by name.
        provenance: Where the weights come from, in plain values.
        training_audio: Fingerprint of the audio that they were trained on; ``None`` if it is not known.
    """

    model: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    front_end: FrontEnd | None
    cropping: Cropping | None
    state: dict[str, Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)
    training_audio: TrainingAudio | None = None


def write_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write *checkpoint* to *path*, whole or not at all."""
    values = {
        "model": checkpoint.model,
        "options": checkpoint.options,
        "classes": list(checkpoint.classes),
        "front_end": None if checkpoint.front_end is None else checkpoint.front_end.as_dict(),
        "cropping": None if checkpoint.cropping is None else asdict(checkpoint.cropping),
        "provenance": checkpoint.provenance,
    }
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "checkpoint": json.dumps(values),
        SEAL: UNSEALED,
    }
    if checkpoint.training_audio is not None:
        metadata[TRAINING_AUDIO] = json.dumps(checkpoint.training_audio.as_dict())
    # Cloned, because safetensors takes neither views of one storage nor channels-last tensors.
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in checkpoint.state.items()
    }
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata)
        seal(temporary)


def checkpoint_file(path: str | Path) -> Path:
    """Return *path*, or the checkpoint in it if it is a run folder or one of 'sertransfer export'."""
    path = Path(path)
    places = (path / EXPORTED, path / "checkpoints" / EXPORTED)
    return next((place for place in places if place.is_file()), path)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint that :func:`write_checkpoint` wrote, or that of a run folder or an exported one.

    Raises:
        BadInput: If the file is missing, truncated, changed, of another kind or of a newer version.
    """
    path = checkpoint_file(path)
    if not path.is_file():
        raise _no_file(path)
    check_seal(path)
    try:
        with safe_open(regular_file(path), framework="pt") as opened:
            metadata = opened.metadata() or {}
            values, heard = _metadata(path, metadata), _training_audio(path, metadata)
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise _no_checkpoint(path, error) from error
    return replace(_from_values(path, values, state), training_audio=heard)


def _training_audio(path: Path, metadata: Mapping[str, str]) -> TrainingAudio | None:
    if TRAINING_AUDIO not in metadata:  # of an earlier version, or imported
        return None
    try:
        return TrainingAudio.from_dict(parse_json(metadata[TRAINING_AUDIO]))
    except ValueError as error:
        raise _damaged(path, error) from error


def _no_file(path: Path) -> BadInput:
    """Return the exception for a path that leads to no checkpoint."""
    place = look_at(path)
    found, remedy = place.text, "correct the path"
    if place.kind == "missing":
        found = "no such file"
    elif place.kind == "unfinished":
        remedy = "finish the run first: the same command goes on with it"
    elif place.command in ("transfer", "tune"):
        found += ", which keeps no network of its own"
        remedy = "give the encoder that it was made with, or score recordings with 'sertransfer predict'"
    elif place.command == "evaluate":
        found += ", which trained nothing"
        remedy = "give the checkpoint that it scored"
    elif place.kind == "espnet":
        remedy = "open it as the encoder 'asr'"
    elif place.kind == "runs":
        remedy = "name one of them"
    return bad_input(
        path, found=found, expected="a checkpoint, or the run folder of a trained model", remedy=remedy
    )


def _no_checkpoint(path: Path, error: SafetensorError) -> BadInput:
    """Return the exception for a file that safetensors cannot read."""
    with regular_file(path).open("rb") as stream:
        head = stream.read(2)
    if is_lightning(path):
        return bad_input(
            path,
            found=LIGHTNING,
            expected="a safetensors checkpoint",
            remedy="finish the run, which then writes model.safetensors, or save the weights alone and use"
            " 'sertransfer import-checkpoint'",
        )
    if head == b"PK" or head[:1] == b"\x80":  # a zip archive or a pickle: what torch.save writes
        return bad_input(
            path,
            found="a file of torch.save",
            expected="a safetensors checkpoint",
            remedy=f"convert it: sertransfer import-checkpoint {path.name} -o model.safetensors",
        )
    return bad_input(
        path,
        found=f"no readable safetensors file ({error})",
        expected="a whole checkpoint file",
        remedy="copy or make it again",
    )


def _metadata(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the checkpoint's values out of the file's *metadata*."""
    if metadata.get("format") != FORMAT:
        other = next((text for key, text in _OTHERS.items() if key in metadata), None)
        raise bad_input(
            path,
            found=other or "a safetensors file of another program",
            expected="a checkpoint written by sertransfer",
            remedy="make it with 'sertransfer pretrain' or 'sertransfer import-checkpoint'",
        )
    if metadata.get("version") != str(VERSION):
        raise bad_input(
            path,
            found=f"checkpoint version {metadata.get('version')}",
            expected=f"version {VERSION}",
            remedy="update sertransfer",
        )
    try:
        values = parse_json(metadata["checkpoint"])
        keys = set(values)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    faults = Faults()
    for key in sorted(keys ^ set(KEYS)):
        state = "is missing" if key in KEYS else "is unknown"
        faults.add(path, found=f"'{key}' {state}", expected=", ".join(KEYS), remedy="make the file again")
    faults.raise_if_any()
    return dict(values)


def _damaged(path: Path, error: Exception) -> BadInput:
    return bad_input(
        path,
        found=f"damaged metadata ({error})",
        expected="a checkpoint's metadata",
        remedy="make the file again",
    )


def _from_values(path: Path, values: dict[str, Any], state: dict[str, Tensor]) -> Checkpoint:
    """Build the checkpoint from JSON values, whose types may be anything."""
    try:
        return Checkpoint(
            model=str(values["model"]),
            options=dict(values["options"]),
            classes=tuple(str(name) for name in values["classes"]),
            front_end=None if values["front_end"] is None else FrontEnd.from_dict(values["front_end"]),
            cropping=None if values["cropping"] is None else Cropping(**values["cropping"]),
            state=state,
            provenance=dict(values["provenance"]),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error


def check_state(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: object) -> None:
    """Compare weights with those a model needs.

    Raises:
        BadInput: With every key that is missing, unexpected, of another shape or not finite.
    """
    faults = Faults()
    remedy = "this file and this model do not belong together"
    for name in expected.keys() - found.keys():
        faults.add(where, found=f"'{name}' missing", expected=_shape(expected[name]), remedy=remedy)
    for name in found.keys() - expected.keys():
        faults.add(where, found=f"unexpected '{name}'", expected="only the model's keys", remedy=remedy)
    for name in expected.keys() & found.keys():
        if expected[name].shape != found[name].shape:
            shapes = _shape(found[name]), _shape(expected[name])
            faults.add(where, found=f"'{name}' of shape {shapes[0]}", expected=shapes[1], remedy=remedy)
        elif not bool(torch.isfinite(found[name]).all()):
            faults.add(
                where, found=f"'{name}' not finite", expected="finite numbers", remedy="train the model again"
            )
    if len(faults):
        raise BadInput(sorted(faults, key=lambda fault: fault.found))


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(str(size) for size in tensor.shape)})"


def build_from(checkpoint: Checkpoint, *, where: object = "checkpoint") -> SpectrogramModel:
    """Build the model with the checkpoint's weights, in evaluation mode.

    Args:
        checkpoint: The values; its tensors are copied.
        where: What to call the checkpoint in an error, such as its path.

    Raises:
        BadInput: If the model is unknown or its weights are not these; every key is named.
    """
    with torch.device("meta"):  # shapes without memory: nothing is initialised in vain
        model = build_model(checkpoint.model, len(checkpoint.classes), **checkpoint.options)
    check_state(model.state_dict(), checkpoint.state, where)
    model.to_empty(device="cpu")
    model.load_state_dict(checkpoint.state)
    return model.eval()


def load_model(path: str | Path) -> nn.Module:
    """Load a model of stage 1.

    Args:
        path: A checkpoint of ``pretrain`` or ``import-checkpoint``, the run folder of ``pretrain``, or a
            folder of ``export``.

    Returns:
        The network in evaluation mode: log-mel spectrograms ``(batch, 1, mels, frames)`` to the scores before
        the softmax, ``(batch, classes)``, in the order of :attr:`Checkpoint.classes`.

    Raises:
        BadInput: If *path* is no checkpoint (a ``.pth`` file goes through ``import-checkpoint`` first).
    """
    return build_from(read_checkpoint(path), where=path)
