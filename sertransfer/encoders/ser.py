"""A speech emotion recognition model of stage 1 as an encoder: what stands before its classifier."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.audio.speaker_norm import RestingState, Speaker, no_state, uses_rest
from sertransfer.encoders.base import Encoder, Stage, Trainable, hash_weights
from sertransfer.errors import BadInput, bad_input
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.models.base import SpectrogramModel, prepare_for_inference
from sertransfer.models.checkpoint import Checkpoint, build_from, write_checkpoint
from sertransfer.training_audio import TrainingAudio

_OPENED = ("features", "classifier")
"""Containers of an image network, whose children are stages of their own."""


class SerEncoder(Encoder):
    """Mel spectrogram, then the model's pooled feature map: 8192 values a frame for PyResNet152.

    Front end and crop are the checkpoint's own. A front end that asks for resting states gets them by
    :meth:`with_rest`; until then no audio is encoded. Encoding folds the network's batch norms, so that one
    that is to be trained is opened anew.

    Args:
        checkpoint: Trained weights with their preprocessing.
        device: Where the network runs; the front end runs on the CPU.
        where: What to call the checkpoint in an error, such as its path.

    Raises:
        BadInput: If the checkpoint's front end is not known, or its weights are not its model's.
    """

    name = "ser"

    def __init__(self, checkpoint: Checkpoint, *, device: str = "cpu", where: object = "checkpoint") -> None:
        if checkpoint.front_end is None:
            raise bad_input(
                where,
                found="weights whose front end is not known",
                expected="the front end that they were trained with",
                remedy="import them again with --front-end and --framing (--calibrate-on DIR ranks them)",
            )
        self.cropping = checkpoint.cropping
        self.front_end = checkpoint.front_end
        self._checkpoint = replace(checkpoint, state={})
        self._compute = MelFrontEnd(checkpoint.front_end)
        self.by_speaker = uses_rest(checkpoint.front_end)
        self._speaker: Speaker | None = None
        self._state: RestingState | None = None
        self.network: SpectrogramModel = build_from(checkpoint, where=where)
        self.network.eval().requires_grad_(False).to(device)
        self.device = torch.device(device)
        self.framing = checkpoint.front_end.framing
        self.sample_rate = self.framing.sample_rate
        self.dim = self.network.num_features
        self.record = {
            "encoder": self.name,
            "model": checkpoint.model,
            "options": checkpoint.options,
            "classes": list(checkpoint.classes),
            "framing": self.framing.name,
            "front_end": checkpoint.front_end.as_dict(),
            "cropping": None if checkpoint.cropping is None else asdict(checkpoint.cropping),
            "provenance": checkpoint.provenance,
        }
        self._fingerprint = _fingerprint(checkpoint)
        self.training_audio = checkpoint.training_audio

    def of_speaker(self, speaker: Speaker) -> SerEncoder:
        """Return the encoder for the audio of one speaker; without a resting state it refuses all audio."""
        if not self.by_speaker:
            return self
        bound = copy.copy(self)
        bound._speaker, bound._state = speaker, self.measure().get(speaker)
        return bound

    def encode(self, waveforms: Tensor, lengths: Tensor, *, mix: bool = False) -> tuple[Tensor, Tensor]:
        """Encode a batch; see :meth:`sertransfer.encoders.base.Encoder.encode`."""
        if not getattr(self.network, "folded", False):
            prepare_for_inference(self.network)
            self.network.folded = True  # type: ignore[assignment]
        return super().encode(waveforms, lengths, mix=mix)

    def prepare(self, waveforms: Tensor) -> Tensor:
        """Return what the model is to see, ``(batch, 1, mels, frames)``."""
        if self._speaker is not None and self._state is None:
            raise BadInput(no_state(self._speaker))
        spectrograms = [self._cut(self._compute(waveform, self._state)) for waveform in waveforms.cpu()]
        return torch.stack(spectrograms)[:, None].to(self.device)

    def _cut(self, spectrogram: Tensor) -> Tensor:
        """Cut and fill up ``(mels, frames)`` as the model was trained."""
        if self.cropping is None or not self.cropping.pad:
            return spectrogram
        wanted = self.cropping.frames(self.framing)
        return F.pad(spectrogram[:, :wanted], (0, max(0, wanted - spectrogram.shape[1])))

    def output(self, inputs: Tensor) -> Tensor:
        """Return the pooled feature map, ``(batch, frames, dim)``."""
        return self.network.pool_frames(self.network.forward_features(inputs))

    def stages(self, *, mix: bool) -> list[Stage]:
        """Return the stages of the network but its classifier, which is not used.

        Raises:
            BadInput: If the network has no frames of the whole utterance, but spans of time apart.
        """
        if self.network.time_bins != 1:
            raise bad_input(
                "setting finetune.pooling",
                found=f"another than mean for {self._checkpoint.model}, "
                "whose classifier sees spans of time apart",
                expected="mean, which keeps that classifier",
                remedy="leave the setting out, or take another model",
            )
        state = self.network.state_dict()
        stages = replace_classifier(self.network, len(self._checkpoint.classes))[:-1]
        self.network.load_state_dict(state)
        self.network.requires_grad_(False)
        return [stage for stage in stages if not stage.name.startswith("classifier")]

    def blueprint(self) -> dict[str, Any]:
        """Return model, front end and crop."""
        return {name: self.record[name] for name in ("model", "options", "classes", "front_end", "cropping")}

    def origin(self) -> dict[str, Any]:
        """Return where the checkpoint comes from, and its classes."""
        return {
            "finetuned_from": self._checkpoint.provenance,
            "classes_before": list(self._checkpoint.classes),
        }

    def with_own_classifier(self, classes: tuple[str, ...], heard: TrainingAudio | None) -> Trainable | None:
        """Return the network with a new classifier of its own kind, written as a checkpoint of stage 1."""

        def write(state: dict[str, Tensor], about: dict[str, Any], path: Path) -> None:
            provenance = {**self.origin(), **about}
            trained = replace(
                self._checkpoint, classes=classes, state=state, provenance=provenance, training_audio=heard
            )
            write_checkpoint(trained, path)

        return Trainable(self.network, replace_classifier(self.network, len(classes)), None, write)

    def as_stored(self, waveform: Tensor) -> Tensor:
        """Return what the feature store holds of a waveform, in its precision, cut and filled up."""
        features = self._compute(waveform, self._state)
        if self._checkpoint.front_end is not None and self._checkpoint.front_end.log != "none":
            features = features.half().float()
        return self._cut(features)

    def of_stored(self, batch: Tensor, *, mix: bool) -> Tensor:
        """Return the features of spectrograms ``(batch, 1, mels, frames)``."""
        return self.output(batch)


def rebuild(
    blueprint: dict[str, Any], weights: dict[str, Tensor], where: object, *, device: str
) -> SerEncoder:
    """Build the encoder of :meth:`SerEncoder.blueprint` with *weights*, by their names in its network."""
    cropping = blueprint["cropping"]
    checkpoint = Checkpoint(
        model=str(blueprint["model"]),
        options=dict(blueprint["options"]),
        classes=tuple(str(name) for name in blueprint["classes"]),
        front_end=FrontEnd.from_dict(blueprint["front_end"]),
        cropping=None if cropping is None else Cropping(**cropping),
        state=weights,
    )
    return SerEncoder(checkpoint, device=device, where=where)


def replace_classifier(network: SpectrogramModel, num_classes: int) -> list[Stage]:
    """Give *network* a new classifier and return its stages from the input on; the classifier is the last.

    A stage is a child of the network, or of its ``features`` and ``classifier``, that has weights: the stem
    and four stages of a residual network, every layer of a VGG. A norm belongs to what it follows, a module
    without weights (activation, dropout) to what follows it.
    """
    before = {id(weight) for weight in network.parameters()}
    network.reset_classifier(num_classes)
    stages: list[Stage] = []
    waiting: list[nn.Module] = []
    for name, module in _units(network):
        if isinstance(module, _BatchNorm) and stages:
            stages[-1].modules.append(module)
        elif next(module.parameters(), None) is None:
            waiting.append(module)
        else:
            stages.append(Stage(name, [*waiting, module]))
            waiting = []
    head = [stage for stage in stages if any(id(weight) not in before for weight in stage.parameters())]
    return [stage for stage in stages if stage not in head] + head


def _units(network: nn.Module) -> list[tuple[str, nn.Module]]:
    units: list[tuple[str, nn.Module]] = []
    for name, child in network.named_children():
        opened = name in _OPENED and isinstance(child, nn.Sequential)
        units += [(f"{name}.{n}", c) for n, c in child.named_children()] if opened else [(name, child)]
    return units


def _fingerprint(checkpoint: Checkpoint) -> str:
    """Return the SHA-256 of all in *checkpoint* that decides the features."""
    values = {
        "model": checkpoint.model,
        "options": checkpoint.options,
        "front_end": None if checkpoint.front_end is None else checkpoint.front_end.as_dict(),
        "cropping": None if checkpoint.cropping is None else asdict(checkpoint.cropping),
    }
    return hash_weights(values, checkpoint.state)
