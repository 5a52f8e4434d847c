"""A speech emotion recognition model of stage 1 as an encoder: what stands before its classifier."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.audio.speaker_norm import RestingState, Speaker, no_state, uses_rest
from sertransfer.encoders.base import Encoder, check_waveforms, hash_weights
from sertransfer.errors import BadInput, bad_input
from sertransfer.io.files import hash_value
from sertransfer.models.checkpoint import Checkpoint, build_from
from sertransfer.models.inference import prepare_for_inference


class SerEncoder(Encoder):
    """Mel spectrogram, then the model's pooled feature map: 8192 values a frame for PyResNet152.

    Front end and crop are the checkpoint's own. The front end works utterance by utterance, and only
    utterances of the same number of frames share a batch, so there is no padding for a score to depend on.
    A front end that asks for resting states gets them by :meth:`with_rest`; until then no audio is encoded.

    Attributes:
        front_end: The checkpoint's.
        measure: Gives the states of the speakers, nobody's before :meth:`with_rest`.

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
        self._cropping = checkpoint.cropping
        self.front_end = checkpoint.front_end
        self._compute = MelFrontEnd(checkpoint.front_end)
        self.by_speaker = uses_rest(checkpoint.front_end)
        self.measure: Callable[[], Mapping[Speaker, RestingState]] = dict
        self._speaker: Speaker | None = None
        self._state: RestingState | None = None
        self._model = prepare_for_inference(build_from(checkpoint, where=where)).to(device)
        self._device = torch.device(device)
        self.framing = checkpoint.front_end.framing
        self.sample_rate = self.framing.sample_rate
        self.dim = self._model.num_features
        self._record = {
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

    def with_rest(self, key: str, measure: Callable[[], Mapping[Speaker, RestingState]]) -> SerEncoder:
        """Return the same encoder for audio of speakers with resting states.

        Args:
            key: What recognises the resting recordings; part of the fingerprint.
            measure: Gives the speakers' states; called when the first is needed.
        """
        bound = copy.copy(self)
        bound.measure = measure
        bound._fingerprint = hash_value([self._fingerprint, key])
        return bound

    def of_speaker(self, speaker: Speaker) -> SerEncoder:
        """Return the encoder for the audio of one speaker; without a resting state it refuses all audio."""
        if not self.by_speaker:
            return self
        bound = copy.copy(self)
        bound._speaker, bound._state = speaker, self.measure().get(speaker)
        return bound

    def encode(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch; see :meth:`sertransfer.encoders.base.Encoder.encode`."""
        check_waveforms(waveforms, lengths)
        by_frames: dict[int, list[int]] = defaultdict(list)
        spectrograms = []
        for row, length in enumerate(lengths.tolist()):
            spectrogram = self._spectrogram(waveforms[row, :length])
            spectrograms.append(spectrogram)
            by_frames[spectrogram.shape[1]].append(row)
        encoded: dict[int, Tensor] = {}
        with torch.no_grad():
            for rows in by_frames.values():
                x = torch.stack([spectrograms[row] for row in rows])[:, None]  # (rows, 1, mels, frames)
                features = self._model.forward_features(x.to(self._device))
                encoded.update(zip(rows, self._model.pool_frames(features), strict=True))
        frames = torch.tensor([len(encoded[row]) for row in range(len(lengths))], dtype=torch.long)
        padded = torch.zeros(len(frames), int(frames.amax()), self.dim, device=self._device)
        for row, features in encoded.items():
            padded[row, : len(features)] = features
        return padded, frames

    def _spectrogram(self, waveform: Tensor) -> Tensor:
        """Return what the model is to see of one utterance, shape ``(mels, frames)``."""
        if self._speaker is not None and self._state is None:
            raise BadInput(no_state(self._speaker))
        spectrogram = self._compute(waveform, self._state)
        if self._cropping is None or not self._cropping.pad:
            return spectrogram
        wanted = self._cropping.frames(self.framing)
        return F.pad(spectrogram[:, :wanted], (0, max(0, wanted - spectrogram.shape[1])))

    def describe(self) -> dict[str, Any]:
        """Return model, front end, crop and where the weights come from."""
        return {**self._record, "dim": self.dim, "fingerprint": self._fingerprint}

    def fingerprint(self) -> str:
        """Return a hash of the weights, the model's options, the front end and the crop."""
        return self._fingerprint


def _fingerprint(checkpoint: Checkpoint) -> str:
    """Return the SHA-256 of all in *checkpoint* that decides the features."""
    values = {
        "model": checkpoint.model,
        "options": checkpoint.options,
        "front_end": None if checkpoint.front_end is None else checkpoint.front_end.as_dict(),
        "cropping": None if checkpoint.cropping is None else asdict(checkpoint.cropping),
    }
    return hash_weights(values, checkpoint.state)
