"""Fine-tuned networks: how encoder and head are put together, and the file that keeps them.

``model.safetensors`` of a fine-tuned ``asr`` or ``ssl`` encoder, and of ``ser`` with another pooling than the
mean, holds tensors (``encoder.*``, ``head.*``) and one text of metadata, JSON with ``format``, ``encoder``,
``blueprint`` (plain values that the encoder is built from), ``head``, ``classes`` and ``provenance``. Nothing
in it can be executed. A fine-tuned ``ser`` network with its own classifier is a checkpoint of stage 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.encoders.base import LayeredEncoder, UtteranceHead
from sertransfer.errors import BadInput, bad_input
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.io.checksums import SEAL, UNSEALED, check_seal, seal
from sertransfer.io.files import atomic_path, regular_file
from sertransfer.io.plain_values import parse_json
from sertransfer.models.base import SpectrogramModel
from sertransfer.models.checkpoint import Checkpoint, build_from, check_state, read_checkpoint

KEY = "sentence_model"
FORMAT = "sertransfer sentence model 1"


class WaveformNetwork(nn.Module):
    """An encoder of waveforms with a head; takes waveforms as the batches of a store hold them.

    Args:
        encoder: Its network becomes a part of this one.
        head: Mixes its blocks if it can mix.
    """

    def __init__(self, encoder: LayeredEncoder, head: UtteranceHead) -> None:
        super().__init__()
        self.encoder = encoder.network
        self.head = head
        self._features = encoder.features

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, 1, 1, samples)`` to scores before the softmax, ``(batch, classes)``."""
        waveforms = x[:, 0, 0].clone()  # ESPnet normalises in place
        scores: Tensor = self.head(self._features(waveforms, mix=self.head.mix is not None))
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


class PooledSpectrogramNetwork(nn.Module):
    """A model of stage 1 with another pooling over time and a head in place of its classifier."""

    def __init__(self, encoder: SpectrogramModel, head: UtteranceHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, 1, mels, frames)`` to scores before the softmax, ``(batch, classes)``."""
        scores: Tensor = self.head(self.encoder.pool_frames(self.encoder.forward_features(x)))
        return scores


@dataclass(frozen=True)
class SentenceModel:
    """A fine-tuned network with all that it takes to score a sentence.

    Attributes:
        encoder: ``ser``, ``asr`` or ``ssl``.
        sample_rate: Of the waveforms it takes, in Hz.
        classes: The negative and the positive label.
        provenance: What it was trained from and how, the threshold of subjects' scores included.
        network: In evaluation mode.
        prepare: From a waveform ``(samples,)`` to what the network takes.
        shortest: Fewest samples that it can score.
    """

    encoder: str
    sample_rate: int
    classes: tuple[str, ...]
    provenance: dict[str, Any]
    network: nn.Module
    prepare: Callable[[Tensor], Tensor]
    shortest: int = 1

    def score(self, waveform: Tensor) -> float:
        """Return the probability of the positive class for one sentence.

        Args:
            waveform: Shape ``(samples,)``, at :attr:`sample_rate`, full scale 1.
        """
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            scores = self.network(self.prepare(waveform)[None, None].to(device))
            return float(scores.double().softmax(1)[0, 1])


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
    blueprint, kind = dict(values["blueprint"]), str(values["encoder"])
    classes = tuple(str(name) for name in values["classes"])
    head_options = {"pooling": str(values["head"]["pooling"]), "layers": values["head"]["layers"]}
    network: nn.Module
    if kind == "ser":
        front_end, cropping = FrontEnd.from_dict(blueprint["front_end"]), _cropping(blueprint["cropping"])
        model = build_from(
            Checkpoint(
                model=str(blueprint["model"]),
                options=dict(blueprint["options"]),
                classes=tuple(str(name) for name in blueprint["classes"]),
                front_end=front_end,
                cropping=cropping,
                state=parts["encoder"],
            ),
            where=path,
        )
        head = UtteranceHead(model.num_features, len(classes), **head_options)
        network, rate = PooledSpectrogramNetwork(model, head), front_end.framing.sample_rate
        prepare, shortest = _spectrogram(front_end, cropping), 1
    else:
        encoder = _layered(kind, blueprint, parts["encoder"], path, device)
        head = UtteranceHead(encoder.dim, len(classes), **head_options)
        network, rate, prepare = WaveformNetwork(encoder, head), encoder.sample_rate, _as_a_row
        shortest = encoder.shortest
    check_state(head.state_dict(), parts["head"], path)
    head.load_state_dict(parts["head"])
    network.eval().to(device)
    return SentenceModel(kind, rate, classes, dict(values["provenance"]), network, prepare, shortest)


def _layered(
    kind: str, blueprint: dict[str, Any], weights: dict[str, Tensor], path: Path, device: str
) -> LayeredEncoder:
    # imported here, so that one does not wait for the libraries of the other
    if kind == "asr":
        from sertransfer.encoders.espnet.encoder import rebuild as rebuild_asr

        return rebuild_asr(blueprint, weights, path, device=device)
    if kind == "ssl":
        from sertransfer.encoders.ssl import rebuild as rebuild_ssl

        return rebuild_ssl(blueprint, weights, path, device=device)
    raise ValueError(f"encoder {kind!r}")


def _of_checkpoint(checkpoint: Checkpoint, path: Path, device: str) -> SentenceModel:
    if checkpoint.front_end is None or "finetune" not in checkpoint.provenance:
        raise bad_input(
            path,
            found="a checkpoint that was not fine-tuned",
            expected="checkpoints/model.safetensors of a run of mode finetune",
            remedy="run 'sertransfer transfer --mode finetune' with it",
        )
    front_end = checkpoint.front_end
    return SentenceModel(
        "ser",
        front_end.framing.sample_rate,
        checkpoint.classes,
        checkpoint.provenance,
        build_from(checkpoint, where=path).to(device),
        _spectrogram(front_end, checkpoint.cropping),
    )


def _cropping(values: dict[str, Any] | None) -> Cropping | None:
    return None if values is None else Cropping(**values)


def _as_a_row(waveform: Tensor) -> Tensor:
    return waveform[None]


def _spectrogram(front_end: FrontEnd, cropping: Cropping | None) -> Callable[[Tensor], Tensor]:
    """Return what makes of a waveform what the feature store holds of it, its precision included."""
    compute = MelFrontEnd(front_end)
    wanted = cropping.frames(front_end.framing) if cropping is not None and cropping.pad else None

    def prepare(waveform: Tensor) -> Tensor:
        features = compute(waveform)
        if front_end.log != "none":
            features = features.half().float()
        if wanted is None:
            return features
        return F.pad(features[:, :wanted], (0, max(0, wanted - features.shape[1])))

    return prepare
