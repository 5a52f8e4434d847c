"""What fine-tuning works on, whichever the encoder is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from sertransfer.manifest import Manifest
from sertransfer.training.batches import FeatureSource
from sertransfer.training_audio import TrainingAudio
from sertransfer.transfer.depth import Depth
from sertransfer.transfer.subjects import Part

Write = Callable[[dict[str, Tensor], dict[str, Any], Path], None]
"""Takes the trained state, what is to be said of the training, and the file."""


class SentenceStore(FeatureSource, Protocol):
    """A store of what the network takes of each sentence."""

    @property
    def left_out(self) -> list[dict[str, str]]:
        """The sentences that have nothing there, and why."""

    def position(self, identity: str) -> int:
        """Return the place of a sentence."""


@dataclass(frozen=True)
class Task:
    """What a run fine-tunes, and on what.

    Attributes:
        manifest: Sentences.
        parts: Training and reported part.
        encoder: Name of the encoder.
        checkpoint: Its weights.
        features: Parent of the stores of features or waveforms.
        skip_bad: Leave out sentences that can not be read, and record them.
        progress: Whether bars are shown.
        training_audio: Fingerprint of the training part's audio and of all that the encoder was trained on.
    """

    manifest: Manifest
    parts: tuple[Part, Part]
    encoder: str
    checkpoint: Path
    features: Path
    skip_bad: bool
    progress: bool
    training_audio: TrainingAudio | None = None


@dataclass(frozen=True)
class Learner:
    """A network to be trained, its data, and how it is kept.

    Attributes:
        network: From the batches of *store* to the scores of both classes.
        depth: What of it learns.
        store: What the network takes of each sentence.
        parts: Training and reported part, usable sentences only.
        longest: Frames of the store that a training batch has at most.
        pad: See :class:`sertransfer.front_end.Cropping`.
        write: Writes the whole network.
        record: What ``metrics.json`` is to say of it.
    """

    network: nn.Module
    depth: Depth
    store: SentenceStore
    parts: tuple[Part, Part]
    longest: int
    pad: bool
    write: Write
    record: dict[str, Any]
