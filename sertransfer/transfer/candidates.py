"""The embeddings that a run may need: a set for each layer and pooling, made once by a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from sertransfer.encoders.base import Encoder, LayeredEncoder
from sertransfer.errors import bad_input
from sertransfer.manifest import Manifest
from sertransfer.transfer.embedding import embed
from sertransfer.transfer.embedding_set import EmbeddingSet
from sertransfer.transfer.settings import EmbeddingConfig, TransferConfig


class Candidate(NamedTuple):
    """What decides an embedding, given the encoder: block (``None``: its own output) and pooling."""

    layer: int | None
    pooling: str

    @property
    def name(self) -> str:
        """What tells it from the others, for people."""
        return self.pooling if self.layer is None else f"layer {self.layer}, {self.pooling}"


def candidate_of(config: TransferConfig) -> Candidate:
    """Return the embeddings that *config* asks for."""
    return Candidate(config.layer, config.pooling)


@dataclass
class Embeddings:
    """Embeddings of a manifest, made when they are first asked for.

    Attributes:
        manifest: Sentences.
        open_layer: Opens the encoder at a block.
        folder: Parent of all stored sets.
        speed: Batches and reading processes.
        skip_bad: Leave out sentences that can not be embedded, and record them, instead of stopping.
        progress: Whether bars are shown.
    """

    manifest: Manifest
    open_layer: Callable[[int | None], Encoder]
    folder: Path
    speed: EmbeddingConfig
    skip_bad: bool = False
    progress: bool = True
    _opened: dict[int | None, Encoder] = field(default_factory=dict)
    _sets: dict[Candidate, EmbeddingSet] = field(default_factory=dict)

    def encoder(self, layer: int | None) -> Encoder:
        """Return the encoder at *layer*; one is kept open, since they may fill the memory."""
        if layer not in self._opened:
            opened = self.open_layer(layer)
            self._opened.clear()
            self._opened[layer] = opened
        return self._opened[layer]

    def keep(self, layer: int | None, opened: Encoder) -> None:
        """Take over an encoder that is *opened* already."""
        self._opened = {layer: opened}

    def listen(self, others: Manifest, candidate: Candidate) -> EmbeddingSet:
        """Return the embeddings of other utterances; those that can not be embedded are left out.

        Raises:
            BadInput: If none can be; or where the encoder takes a subject's resting state out, which would
                put the subject's voice into the audio of others.
        """
        speed = asdict(self.speed)
        encoder, pooling = self.encoder(candidate.layer), candidate.pooling
        if encoder.by_speaker:
            raise bad_input(
                "encoder",
                found="a front end that asks for the resting state of who speaks",
                expected="one that takes any audio",
                remedy="take a checkpoint of another normalisation for this check",
            )
        return embed(
            others, encoder, self.folder, pooling=pooling, **speed, skip_bad=True, progress=self.progress
        )

    def take(self, candidate: Candidate) -> EmbeddingSet:
        """Return the embeddings of *candidate*.

        Raises:
            BadInput: If there is no such layer, or sentences can not be embedded.
        """
        if candidate not in self._sets:
            self._sets[candidate] = embed(
                self.manifest,
                self.encoder(candidate.layer),
                self.folder,
                pooling=candidate.pooling,
                **asdict(self.speed),
                skip_bad=self.skip_bad,
                progress=self.progress,
            )
        return self._sets[candidate]

    def take_all(self, candidates: Sequence[Candidate]) -> dict[Candidate, EmbeddingSet]:
        """Return the embeddings of all *candidates*; the encoder runs once for each layer.

        ``mean_std`` begins with the mean, so that it serves for both.

        Raises:
            BadInput: As :meth:`take`; a layer that does not exist is found before anything is embedded.
        """
        opened = next(iter(self._opened.values()), None)
        for layer in dict.fromkeys(candidate.layer for candidate in candidates):
            if isinstance(opened, LayeredEncoder):
                opened.check_layer(layer)
            else:
                self.encoder(layer)
        for candidate in candidates:
            both = candidate._replace(pooling="mean_std")
            if candidate.pooling == "mean" and both in candidates and candidate not in self._sets:
                whole = self.take(both)
                half = whole.vectors[:, : whole.vectors.shape[1] // 2]
                self._sets[candidate] = replace(whole, vectors=half)
            else:
                self.take(candidate)
        return {candidate: self._sets[candidate] for candidate in candidates}
