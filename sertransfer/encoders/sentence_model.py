"""Fine-tuned networks: how encoder and head are put together, and the file that keeps them.

``model.safetensors`` of a fine-tuned ``asr`` or ``ssl`` encoder, and of ``ser`` with another pooling than the
mean, holds tensors (``encoder.*``, ``head.*``) and one text of metadata, JSON with ``format``, ``encoder``,
``blueprint`` (plain values that the encoder is built from), ``head``, ``classes`` and ``provenance``. Nothing
in it can be executed. A fine-tuned ``ser`` network with its own classifier is a checkpoint of stage 1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sertransfer.encoders.base import Encoder, Stage, Trainable, UtteranceHead
from sertransfer.encoders.registry import REBUILDERS
from sertransfer.encoders.ser import SerEncoder
from sertransfer.errors import BadInput, bad_input
from sertransfer.io.checksums import SEAL, UNSEALED, check_seal, seal
from sertransfer.io.files import atomic_path, regular_file
from sertransfer.io.plain_values import parse_json
from sertransfer.models.checkpoint import Checkpoint, check_state, read_checkpoint
from sertransfer.training_audio import TrainingAudio

KEY = "sentence_model"
FORMAT = "sertransfer sentence model 1"


class EncoderWithHead(nn.Module):
    """An encoder with a head; takes the batches of a store.

    Args:
        encoder: Its network becomes a part of this one.
        head: Mixes its blocks if it can mix.
    """

    def __init__(self, encoder: Encoder, head: UtteranceHead) -> None:
        super().__init__()
        self.encoder = encoder.network
        self.head = head
        self._features = encoder.of_stored

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, 1, width, length)`` to scores before the softmax, ``(batch, classes)``."""
        scores: Tensor = self.head(self._features(x, mix=self.head.mix is not None))
        return scores


class StoredNetwork(nn.Module):
    """A head alone, on stored features of a frozen encoder; state names are those of the whole network."""

    def __init__(self, head: UtteranceHead, dim: int) -> None:
        super().__init__()
        self.head = head
        self._dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, 1, layers * dim, frames)`` to scores before the softmax, ``(batch, classes)``."""
        features = x[:, 0].transpose(1, 2)  # (batch, frames, layers * dim)
        if self.head.mix is not None:
            features = features.reshape(*features.shape[:2], -1, self._dim)
        scores: Tensor = self.head(features)
        return scores


def make_trainable(
    encoder: Encoder, classes: tuple[str, ...], *, pooling: str, mix: bool, heard: TrainingAudio | None
) -> Trainable:
    """Put a new classifier behind *encoder*: its own if it has one and pools as that does, else a head.

    Args:
        encoder: As it was opened.
        classes: The negative and the positive label.
        pooling: One of :data:`sertransfer.encoders.base.LEARNED_POOLINGS`.
        mix: Whether the head mixes all blocks.
        heard: Fingerprint of the audio that the network will have been trained on.

    Raises:
        BadInput: If there are no blocks to mix, or the pooling does not fit the network.
    """
    own = encoder.with_own_classifier(classes, heard) if pooling == "mean" else None
    if own is not None:
        return own
    if mix:
        encoder.check_layer(encoder.layers or 1)
    stages = encoder.stages(mix=mix)
    head = UtteranceHead(encoder.dim, len(classes), pooling=pooling, layers=encoder.layers if mix else None)

    def write(state: dict[str, Tensor], about: dict[str, Any], path: Path) -> None:
        frozen = {f"encoder.{name}": value for name, value in encoder.network.state_dict().items()}
        write_sentence_model(
            path,
            encoder=encoder.name,
            blueprint=encoder.blueprint(),
            head=head,
            classes=classes,
            state={**frozen, **state},
            provenance={**encoder.origin(), **about},
        )

    return Trainable(EncoderWithHead(encoder, head), [*stages, Stage("head", [head])], head, write)


@dataclass(frozen=True)
class SentenceModel:
    """A fine-tuned network with all that it takes to score a sentence.

    Attributes:
        encoder: What the network is made of.
        classes: The negative and the positive label.
        provenance: What it was trained from and how, the threshold of subjects' scores included.
        network: In evaluation mode.
    """

    encoder: Encoder
    classes: tuple[str, ...]
    provenance: dict[str, Any]
    network: nn.Module

    def score(self, waveform: Tensor) -> float:
        """Return the probability of the positive class for one sentence.

        Args:
            waveform: Shape ``(samples,)``, at the encoder's sample rate, full scale 1.
        """
        batch = self.encoder.as_stored(waveform)[None, None].to(self.encoder.device)
        with torch.inference_mode():
            return float(self.network(batch).double().softmax(1)[0, 1])


def write_sentence_model(
    path: Path,
    *,
    encoder: str,
    blueprint: dict[str, Any],
    head: UtteranceHead,
    classes: tuple[str, ...],
    state: dict[str, Tensor],
    provenance: dict[str, Any],
) -> None:
    """Write a fine-tuned network, whole or not at all; *state* names ``encoder.*`` and ``head.*``."""
    values = {
        "format": FORMAT,
        "encoder": encoder,
        "blueprint": blueprint,
        "head": {"pooling": head.pooling, "layers": None if head.mix is None else len(head.mix.scores)},
        "classes": list(classes),
        "provenance": provenance,
        SEAL: UNSEALED,
    }
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in state.items()
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {KEY: json.dumps(values)})
        seal(temporary)


def load_sentence_model(path: str | Path, *, device: str = "cpu") -> SentenceModel:
    """Load the network of a finished run of mode ``finetune``, ``checkpoints/model.safetensors``.

    Raises:
        BadInput: If there is no such file, it is damaged, or it is none of a fine-tuned network.
    """
    path = Path(path)
    if path.is_file():
        check_seal(path)
    try:
        with safe_open(regular_file(path), framework="pt") as opened:
            text = (opened.metadata() or {}).get(KEY)
            state = {} if text is None else {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError):
        text, state = None, {}  # the reader of checkpoints says what is wrong
    if text is None:
        return _of_checkpoint(read_checkpoint(path), path, device)
    try:
        values = parse_json(text)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}")
        return _rebuild(values, state, path, device)
    except BadInput:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise bad_input(
            path,
            found=f"no fine-tuned network that can be read ({type(error).__name__}: {error})",
            expected="checkpoints/model.safetensors of a finished run",
            remedy="run 'sertransfer transfer --mode finetune' again",
        ) from None


def _rebuild(values: dict[str, Any], state: dict[str, Tensor], path: Path, device: str) -> SentenceModel:
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "head": {}}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    classes = tuple(str(name) for name in values["classes"])
    rebuild = REBUILDERS.get(str(values["encoder"]))
    if rebuild is None:
        raise ValueError(f"encoder {values['encoder']!r}")
    encoder = rebuild(dict(values["blueprint"]), parts["encoder"], path, device=device)
    head = UtteranceHead(
        encoder.dim, len(classes), pooling=str(values["head"]["pooling"]), layers=values["head"]["layers"]
    )
    check_state(head.state_dict(), parts["head"], path)
    head.load_state_dict(parts["head"])
    network = EncoderWithHead(encoder, head).eval().to(device)
    return SentenceModel(encoder, classes, dict(values["provenance"]), network)


def _of_checkpoint(checkpoint: Checkpoint, path: Path, device: str) -> SentenceModel:
    if checkpoint.front_end is None or "finetune" not in checkpoint.provenance:
        raise bad_input(
            path,
            found="a checkpoint that was not fine-tuned",
            expected="checkpoints/model.safetensors of a run of mode finetune",
            remedy="run 'sertransfer transfer --mode finetune' with it",
        )
    encoder = SerEncoder(checkpoint, device=device, where=path)
    return SentenceModel(encoder, checkpoint.classes, checkpoint.provenance, encoder.network)
