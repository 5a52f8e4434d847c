"""What every encoder offers: waveforms in, frames out; its weights; pooling; a classifier on top."""

from __future__ import annotations

import copy
import hashlib
import pickle
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from sertransfer.audio.speaker_norm import RestingState, Speaker
from sertransfer.errors import Faults, bad_input
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.io.files import check_archive, hash_value
from sertransfer.models.safe_pickle import LIGHTNING, WEIGHTS_ALONE, is_lightning, without_wrappers
from sertransfer.timebase import Framing
from sertransfer.training_audio import TrainingAudio

Pooling = Literal["mean", "mean_std"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
"""``mean`` over frames, or ``mean_std``: the mean, then the standard deviation (statistics pooling)."""
LearnedPooling = Literal["mean", "mean_std", "attention"]
LEARNED_POOLINGS: tuple[str, ...] = get_args(LearnedPooling)
"""Ways from frames to one vector where something is trained on it."""


def frame_mask(features: Tensor, frames: Tensor) -> Tensor:
    """Return which frames of *features* ``(batch, frames, dim)`` count, shape ``(batch, frames, 1)``."""
    positions = torch.arange(features.shape[1], device=features.device)
    return (positions < frames.to(features.device)[:, None])[..., None]


def pool(features: Tensor, frames: Tensor, pooling: str) -> Tensor:
    """Return one vector per utterance; frames beyond its own are not looked at.

    Args:
        features: Shape ``(batch, frames, dim)``.
        frames: How many of them count, 1 or more, shape ``(batch,)``.
        pooling: One of :data:`POOLINGS`.

    Returns:
        Shape ``(batch, dim)``, or ``(batch, 2 * dim)`` for ``mean_std``, where the deviation is that of the
        frames at hand (divided by their number), 0 for a single one.

    Raises:
        ValueError: If *pooling* is none of :data:`POOLINGS`.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling '{pooling}'; there are {', '.join(POOLINGS)}")
    mask = frame_mask(features, frames)
    count = frames.to(features)[:, None]
    mean = features.masked_fill(~mask, 0).sum(dim=1) / count
    if pooling == "mean":
        return mean
    centred = (features - mean[:, None]).masked_fill(~mask, 0)
    variance = centred.square().sum(dim=1) / count
    moves = variance > 0  # the root has no slope at 0, and a gradient must not become NaN there
    return torch.cat([mean, torch.where(moves, variance, 1).sqrt() * moves], dim=1)


class AttentivePooling(nn.Module):
    """Learned mean over frames: attention from a small network (Okabe et al., 2018, without the deviation).

    Starts as the plain mean.

    Args:
        dim: Length of a feature vector.
        hidden: Width of the attention network.
    """

    def __init__(self, dim: int, hidden: int = 128) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        """Return the vectors of *features* ``(batch, frames, dim)``, of which *frames* ``(batch,)`` count."""
        scores = self.score(torch.tanh(self.hidden(features)))  # (batch, frames, 1)
        mask = frame_mask(features, frames)
        weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=1)
        pooled: Tensor = (weights * features.masked_fill(~mask, 0)).sum(dim=1)
        return pooled


@dataclass(frozen=True)
class Stage:
    """Modules that are frozen or trained together, under the name of the one that holds the weights."""

    name: str
    modules: list[nn.Module]

    def parameters(self) -> list[nn.Parameter]:
        """Return all weights."""
        return [weight for module in self.modules for weight in module.parameters()]


Write = Callable[[dict[str, Tensor], dict[str, Any], Path], None]
"""Takes the trained state, what is to be said of the training, and the file."""


@dataclass(frozen=True)
class Trainable:
    """An encoder with a classifier, as fine-tuning takes it.

    Attributes:
        network: From batches ``(batch, 1, width, length)`` of a store to scores before the softmax.
        stages: What can be trained, from the input on; the classifier is the last.
        head: The classifier where it is not the network's own.
        write: Writes the trained network.
    """

    network: nn.Module
    stages: list[Stage]
    head: UtteranceHead | None
    write: Write


class Encoder(ABC):
    """A network with its front end: utterances of equal frame count in, frames out.

    Padding, grouping and pooling are done here, for all encoders: only utterances of which the network sees
    equally much share a batch, and none is padded, so that what it gives for one never depends on the
    others, to rounding. An encoder implements :meth:`output`, and what else differs from the defaults below.

    Attributes:
        name: Its name in :data:`sertransfer.encoders.registry.ENCODERS`.
        sample_rate: Rate of the waveforms it takes, in Hz.
        dim: Length of a feature vector.
        framing: Its short-time analysis.
        shortest: Fewest samples it can work on.
        layers: Number of blocks whose output can be had; 0 where only the encoder's own output can.
        layer: Block whose output :meth:`encode` returns, counted from 1, as it leaves the block: without
            the norm that may follow the last one. ``None`` is the encoder's own output.
        network: Its weights, in evaluation mode and frozen; fine-tuning opens what it trains.
        device: Where the network runs.
        front_end: Settings of the spectrograms that it works on; ``None`` if it works on waveforms.
        cropping: Span of each spectrogram that it was trained on; ``None`` if it was trained on whole ones.
        by_speaker: Whether its front end must know who speaks: see :meth:`of_speaker`.
        measure: Measures the states of the speakers, where their front end needs any.
        record: What a run keeps of the encoder, as plain values: see :meth:`describe`.
        training_audio: Fingerprint of the audio that it was trained on; ``None`` if it does not say.
    """

    name: str
    sample_rate: int
    dim: int
    framing: Framing
    shortest: int = 1
    layers: int = 0
    layer: int | None = None
    network: nn.Module
    device: torch.device = torch.device("cpu")
    front_end: FrontEnd | None = None
    cropping: Cropping | None = None
    by_speaker: bool = False
    measure: Callable[[], Mapping[Speaker, RestingState]] = dict
    record: dict[str, Any]
    training_audio: TrainingAudio | None = None
    _fingerprint: str

    @abstractmethod
    def output(self, inputs: Tensor) -> Tensor:
        """Return the encoder's own output for what :meth:`prepare` gave, shape ``(batch, frames, dim)``."""

    def blocks(self, inputs: Tensor, count: int) -> list[Tensor]:
        """Return the outputs of the first *count* blocks, each of shape ``(batch, frames, dim)``."""
        raise NotImplementedError(f"encoder {self.name} has no blocks")

    def prepare(self, waveforms: Tensor) -> Tensor:
        """Return what the network takes of ``(batch, samples)`` of equal length; time is the last axis."""
        return waveforms

    def seen(self, length: int) -> int:
        """Return how much of *length*, the last axis of what :meth:`prepare` gave, frames depend on."""
        return length

    def features(self, waveforms: Tensor, *, mix: bool) -> Tensor:
        """Return the features of waveforms of equal length, with gradients where weights ask for them.

        Args:
            waveforms: Shape ``(batch, samples)``, on the network's device; may be overwritten.
            mix: Whether every block's output is returned, for a learned mix.

        Returns:
            Shape ``(batch, frames, dim)``, or ``(batch, frames, layers, dim)`` for *mix*.
        """
        return self._frames(self.prepare(waveforms), mix=mix)

    def _frames(self, inputs: Tensor, *, mix: bool) -> Tensor:
        if mix:
            return torch.stack(self.blocks(inputs, self.layers), dim=2)
        if self.layer is None:
            return self.output(inputs)
        return self.blocks(inputs, self.layer)[self.layer - 1]

    def encode(self, waveforms: Tensor, lengths: Tensor, *, mix: bool = False) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Args:
            waveforms: Shape ``(batch, samples)``, full scale 1, padded at the end with anything.
            lengths: Samples that count, shape ``(batch,)``.
            mix: Whether every block's output is returned, for a learned mix (:class:`LayerMix`).

        Returns:
            Features of shape ``(batch, frames, dim)``, for *mix* ``(batch, frames, layers, dim)``, zero
            beyond an utterance's own frames, and the number of those, shape ``(batch,)``.

        Raises:
            BadInput: If a waveform is too short or not finite, or *mix* asks for blocks that there are not.
        """
        check_waveforms(waveforms, lengths, shortest=self.shortest)
        if mix:
            self.check_layer(self.layers or 1)
        alike: dict[torch.Size, list[int]] = defaultdict(list)
        prepared: list[Tensor] = []
        encoded: dict[int, Tensor] = {}
        with torch.no_grad():
            for row, length in enumerate(lengths.tolist()):
                # a copy: ESPnet normalises in place
                waveform = waveforms[row : row + 1, :length].to(self.device, torch.float32, copy=True)
                inputs = self.prepare(waveform)
                prepared.append(inputs[..., : self.seen(inputs.shape[-1])])
                alike[prepared[row].shape].append(row)
            for rows in alike.values():
                features = self._frames(torch.cat([prepared[row] for row in rows]), mix=mix)
                encoded.update(zip(rows, features, strict=True))
        frames = torch.tensor([len(encoded[row]) for row in range(len(lengths))], dtype=torch.long)
        padded = torch.zeros(len(frames), int(frames.amax()), *encoded[0].shape[1:], device=self.device)
        for row, features in encoded.items():
            padded[row, : len(features)] = features
        return padded, frames

    def embed(self, waveforms: Sequence[Tensor], pooling: str = "mean") -> Tensor:
        """Return one vector for each waveform, pooled over its frames.

        Args:
            waveforms: Each of shape ``(samples,)``.
            pooling: ``mean`` or ``mean_std``, see :func:`sertransfer.encoders.base.pool`.

        Returns:
            Shape ``(len(waveforms), dim)``, or twice as wide for ``mean_std``.
        """
        if not waveforms:
            return pool(torch.zeros(0, 1, self.dim), torch.zeros(0), pooling)
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        features, frames = self.encode(pad_sequence(list(waveforms), batch_first=True), lengths)
        return pool(features, frames, pooling)

    def check_layer(self, layer: int | None) -> None:
        """Raise :class:`BadInput` if there is no such block."""
        if layer is None or 1 <= layer <= self.layers:
            return
        raise bad_input(
            f"encoder {self.name}",
            found=f"layer {layer}",
            expected=f"1 to {self.layers}"
            if self.layers
            else "no layer: this one gives its last output only",
            remedy="choose another layer, or leave the setting out",
        )

    def describe(self) -> dict[str, Any]:
        """Return architecture, layer and what else decides the features, with the fingerprint."""
        return {**self.record, "dim": self.dim, "fingerprint": self._fingerprint}

    def fingerprint(self) -> str:
        """Return a hash of all that decides the features: weights, preprocessing and layer."""
        return self._fingerprint

    def of_speaker(self, speaker: Speaker) -> Encoder:
        """Return the encoder for the audio of one speaker, given as corpus and name."""
        return self

    def with_rest(self, key: str, measure: Callable[[], Mapping[Speaker, RestingState]]) -> Encoder:
        """Return the same encoder for audio of speakers with resting states.

        Args:
            key: What recognises the resting recordings; part of the fingerprint.
            measure: Gives the speakers' states; called when the first is needed.
        """
        bound = copy.copy(self)
        bound.measure = measure
        bound._fingerprint = hash_value([self._fingerprint, key])
        return bound

    # What fine-tuning, saving and rebuilding need; an encoder that is not trained here keeps the defaults.

    def stages(self, *, mix: bool) -> list[Stage]:
        """Return the parts that can be trained, from the input on: what comes before the blocks, each block.

        Parts that :meth:`features` does not use, and a front end that is no network, are in none.
        """
        return []

    def blueprint(self) -> dict[str, Any]:
        """Return plain values from which its rebuilder makes this encoder, given its weights.

        See :data:`sertransfer.encoders.registry.REBUILDERS`.
        """
        return {}

    def origin(self) -> dict[str, Any]:
        """Return what a fine-tuned network is to say of the encoder that it was made of."""
        return {"finetuned_from": self._fingerprint}

    def with_own_classifier(self, classes: tuple[str, ...], heard: TrainingAudio | None) -> Trainable | None:
        """Return the network with its own classifier anew, for *classes*; ``None`` where it has none.

        Args:
            classes: The negative and the positive label.
            heard: Fingerprint of the audio that it will have been trained on.
        """
        return None

    def as_stored(self, waveform: Tensor) -> Tensor:
        """Return what a store for training holds of a waveform ``(samples,)``, shape ``(width, length)``."""
        return waveform[None]

    def of_stored(self, batch: Tensor, *, mix: bool) -> Tensor:
        """Return the :meth:`features` of a batch of such a store, ``(batch, 1, width, length)``."""
        return self.features(batch[:, 0, 0].clone(), mix=mix)  # a copy: ESPnet normalises in place


def check_waveforms(waveforms: Tensor, lengths: Tensor, *, shortest: int = 1) -> None:
    """Refuse what cannot be encoded, every item at once.

    Args:
        waveforms: Shape ``(batch, samples)``.
        lengths: Samples that count, shape ``(batch,)``.
        shortest: Fewest samples that the encoder can work on.

    Raises:
        BadInput: With a fault for each waveform that is too short or not finite.
        ValueError: If the shapes are wrong, which is no fault of the audio.
    """
    if waveforms.ndim != 2 or lengths.shape != waveforms.shape[:1] or len(lengths) == 0:
        shapes = f"waveforms {tuple(waveforms.shape)} and lengths {tuple(lengths.shape)}"
        raise ValueError(f"{shapes}; expected (batch, samples) and (batch,), at least one")
    faults = Faults()
    for row, length in enumerate(lengths.tolist()):
        expected = "sound"
        if not 0 < length <= waveforms.shape[1]:
            found = f"{length} samples, of {waveforms.shape[1]} given"
        elif length < shortest:
            found, expected = f"{length} samples", f"{shortest} or more, for one frame of this encoder"
        elif not bool(torch.isfinite(waveforms[row, :length]).all()):
            found = "samples that are not finite"
        else:
            continue
        faults.add(f"waveform {row}", found=found, expected=expected, remedy="leave this utterance out")
    faults.raise_if_any()


def hash_weights(values: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of plain *values* and named tensors, for a fingerprint."""
    digest = hashlib.sha256(hash_value(dict(values)).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class LayerMix(nn.Module):
    """Learned weighted sum over an encoder's blocks (Peters et al., 2018; SUPERB, Yang et al., 2021).

    Starts as the plain mean over blocks.

    Args:
        layers: Number of blocks.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))

    @property
    def weights(self) -> Tensor:
        """Weight of each block, shape ``(layers,)``; they add up to 1."""
        return self.scores.softmax(dim=0)

    def forward(self, features: Tensor) -> Tensor:
        """Mix ``(batch, frames, layers, dim)`` into ``(batch, frames, dim)``."""
        return torch.einsum("bfld,l->bfd", features, self.weights)


class UtteranceHead(nn.Module):
    """A learned mix of blocks if there are several, pooling over frames, and a linear classifier.

    All frames count, since only utterances of equal numbers of frames share a batch.

    Args:
        dim: Length of a feature vector.
        classes: Number of classes.
        pooling: One of :data:`sertransfer.encoders.base.LEARNED_POOLINGS`.
        layers: Number of blocks to mix; ``None`` where features are of one block.
    """

    def __init__(self, dim: int, classes: int, *, pooling: str, layers: int | None) -> None:
        super().__init__()
        self.pooling = pooling
        self.mix = None if layers is None else LayerMix(layers)
        self.attention = AttentivePooling(dim) if pooling == "attention" else None
        self.classifier = nn.Linear(2 * dim if pooling == "mean_std" else dim, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return scores before the softmax, ``(batch, classes)``.

        Args:
            features: Shape ``(batch, frames, dim)``, or ``(batch, frames, layers, dim)`` to mix.
        """
        mixed = features if self.mix is None else self.mix(features)
        frames = torch.full((mixed.shape[0],), mixed.shape[1], device=mixed.device)
        if self.attention is None:
            pooled = pool(mixed, frames, self.pooling)
        else:
            pooled = self.attention(mixed, frames)
        scores: Tensor = self.classifier(pooled)
        return scores


SHOWN = 10
"""Names in one message; there may be hundreds."""


def read_weights(stream: BinaryIO, where: object) -> dict[str, Tensor]:
    """Read a state dict that ``torch.save`` wrote, weights only, without wrappers before its names.

    Raises:
        BadInput: If it is damaged, holds other objects than weights (none is made), or another structure.
    """
    if is_lightning(stream):
        raise bad_input(where, found=LIGHTNING, expected="a state dict of tensors", remedy=WEIGHTS_ALONE)
    try:
        check_archive(stream)
        stream.seek(0)
        content = torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        lines = [line.strip() for line in str(error).splitlines() if "GLOBAL" in line or "nsupported" in line]
        text = (lines or ["a broken pickle"])[0].removeprefix("WeightsUnpickler error: ")[:200]
        raise bad_input(
            where,
            found=f"a pickle that is not weights ({text})",
            expected="a state dict of tensors; nothing else is unpickled",
            remedy="save it again with torch.save(model.state_dict(), path), if you trust where it is from",
        ) from None
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise bad_input(
            where,
            found=f"a file that cannot be read ({type(error).__name__})",
            expected="a state dict that torch.save wrote",
            remedy="copy the file again",
        ) from None
    good = isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )
    if not good or not content:
        names = [str(name) for name in content][:SHOWN] if isinstance(content, Mapping) else []
        raise bad_input(
            where,
            found=f"a {type(content).__name__}" + (f" of {', '.join(names)}" if names else ""),
            expected="a state dict: names and tensors, nothing nested",
            remedy="name a file of model weights, not of a trainer's state",
        )
    return without_wrappers(content)


def load_weights(network: nn.Module, state: Mapping[str, Tensor], where: object, *, remedy: str) -> None:
    """Load *state* into *network*: every name must be there, in its shape, and none more.

    Raises:
        BadInput: With a fault for the missing names, the unexpected ones and those of another shape.
    """
    wanted = network.state_dict()
    differing = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    fitting = {name: tensor for name, tensor in state.items() if name not in differing}
    # torch's own comparison, since modules may know older names of their parameters
    compared = network.load_state_dict(fitting, strict=False)
    faults = Faults()
    lists = {
        "missing": [name for name in compared.missing_keys if name not in differing],
        "unexpected": compared.unexpected_keys,
        "of another shape": [
            f"{name} {_shape(state[name])} for {_shape(wanted[name])}" for name in differing
        ],
    }
    for what, names in lists.items():
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            faults.add(
                where,
                found=f"{len(names)} weights {what}: {', '.join(names[:SHOWN])}{more}",
                expected="the weights of the network that the config describes",
                remedy=remedy,
            )
    faults.raise_if_any()


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
