"""Every sentence of a manifest through a frozen encoder, once, for each layer and pooling that is needed."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from sertransfer.audio.features import resting_key
from sertransfer.audio.reading import read_segment
from sertransfer.audio.speaker_norm import (
    REST,
    RestingState,
    Speaker,
    calibration_ids,
    no_state,
    rest_rule,
    resting_manifest,
    speakers_of,
)
from sertransfer.audio.store import measure_resting
from sertransfer.encoders.base import Encoder
from sertransfer.errors import BadInput, Fault, Faults, SertransferError, bad_input
from sertransfer.io.files import hash_value, hold, make_folder, refuse_links, remove_abandoned
from sertransfer.io.progress import bar
from sertransfer.manifest import Manifest, check_recordings
from sertransfer.timebase import samples_to_seconds
from sertransfer.training.batches import watched_workers
from sertransfer.transfer.data import Sentence, content_key, embedding_key, in_chunks, take_sentences
from sertransfer.transfer.embedding_store import (
    EmbeddedChunk,
    EmbeddingSet,
    open_set,
    raise_faults,
    write_set,
)
from sertransfer.transfer.settings import EmbeddingConfig, TransferConfig

_log = logging.getLogger(__name__)


def embed(
    manifest: Manifest,
    encoder: Encoder,
    folder: Path,
    *,
    pooling: str = "mean",
    batch_seconds: float = 120.0,
    workers: int = 0,
    skip_bad: bool = False,
    progress: bool = True,
) -> EmbeddingSet:
    """Return the embeddings of all sentences of *manifest*, from *folder* where they are already there.

    Args:
        manifest: Sentences to embed; their order, labels and splits do not matter.
        encoder: Frozen encoder.
        folder: Parent of all embedding sets; this one is ``folder/<key>``.
        pooling: From a sentence's frames to one vector, see :func:`sertransfer.encoders.base.pool`.
        batch_seconds: Audio given to the encoder at once, padding included.
        workers: Processes that read ahead.
        skip_bad: Leave out sentences that cannot be embedded, and record them.
        progress: Show a progress bar on standard error.

    Raises:
        BadInput: With the fault of every sentence that cannot be embedded, unless *skip_bad*; always if
            no sentence can be.
    """
    check_recordings(manifest)
    sentences = take_sentences(manifest)
    key = embedding_key(manifest, encoder, pooling)
    home = folder / key
    make_folder(folder, mode=0o700)
    refuse_links(home)
    make_folder(home, mode=0o700)
    # one lock for all sets of this encoder, which may share chunks
    with hold(folder / f".{hash_value(encoder.fingerprint())[:16]}.lock", waiting=_say_holder):
        stored = open_set(home, key)
        if stored is None:
            remove_abandoned(home)
            paths = _embed_chunks(
                sentences, encoder, folder, pooling, batch_seconds, workers, skip_bad, progress
            )
            write_set(home, key, paths, {"encoder": encoder.describe(), "pooling": pooling})
            for path in paths:
                path.unlink(missing_ok=True)
            stored = open_set(home, key)
        else:
            _log.info("embeddings of %d sentences taken from %s", len(stored), home)
    if stored is None:
        raise SertransferError(f"{home} cannot be read back as it was written; check the disk")
    if not skip_bad:
        raise_faults(stored.faults, f"or remove {home} to try again")
    return stored


def _say_holder(holder: str) -> None:
    _log.warning("another process is making these embeddings (%s); waiting for it", holder)


def _embed_chunks(
    sentences: list[Sentence],
    encoder: Encoder,
    folder: Path,
    pooling: str,
    batch_seconds: float,
    workers: int,
    skip_bad: bool,
    progress: bool,
) -> list[Path]:
    """Embed what no chunk holds yet; return the chunks of all sentences.

    A chunk's name follows from its own content, so that when one recording is repaired the others' chunks
    still serve. Chunks with faults are kept only where faults may be skipped.
    """
    chunks = in_chunks(sentences)
    paths = [folder / "chunks" / f"{content_key(chunk, encoder, pooling)}.npz" for chunk in chunks]
    refuse_links(folder / "chunks")
    remove_abandoned(folder / "chunks", {path.name for path in paths})
    todo: list[tuple[list[Sentence], Path]] = []
    embedded, faults = 0, []
    for chunk, path in zip(chunks, paths, strict=True):
        found = EmbeddedChunk.read(path)
        if found is None or (found.faults and not skip_bad):
            todo.append((chunk, path))
        else:
            embedded += len(found.ids)
            faults += found.faults
    done = len(sentences) - sum(len(chunk) for chunk, _ in todo)
    if done:
        _log.info("going on after %d of %d sentences", done, len(sentences))
    loader = read_chunks([chunk for chunk, _ in todo], encoder.sample_rate, workers)
    shown_bar = bar("embedding", len(sentences), unit="sentences", shown=progress, done=done)
    with watched_workers(), shown_bar as shown:
        for (chunk, path), waveforms in zip(todo, loader, strict=True):
            result = _embed_chunk(chunk, waveforms, encoder, pooling, batch_seconds, shown.advance)
            if skip_bad or not result.faults:
                result.write(path)
            embedded += len(result.ids)
            faults += result.faults
    if not (skip_bad and embedded):
        raise_faults(faults)
    return paths


Waveform = NDArray[np.float32] | Fault


def _as_it_is(chunk: list[Waveform]) -> list[Waveform]:
    """Keep arrays arrays: a tensor from another process holds a file open, and a chunk has a thousand."""
    return chunk


def read_chunks(chunks: list[list[Sentence]], sample_rate: int, workers: int) -> DataLoader[list[Waveform]]:
    """Return a loader of the waveforms of each chunk, or what is wrong with one; *workers* read ahead."""
    workers = min(workers, len(chunks))
    return DataLoader(
        ChunkReader(chunks, sample_rate),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=1 if workers else None,
    )


class ChunkReader(Dataset[list[Waveform]]):
    """Reads the waveforms of whole chunks, so that one process meets all sentences of a session."""

    def __init__(self, chunks: list[list[Sentence]], sample_rate: int) -> None:
        self.chunks = chunks
        self.sample_rate = sample_rate

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, index: int) -> list[Waveform]:
        return [self._read(sentence) for sentence in self.chunks[index]]

    def _read(self, sentence: Sentence) -> Waveform:
        try:
            return read_segment(
                sentence.source,
                sentence.start,
                sentence.end,
                sample_rate=self.sample_rate,
                gain=sentence.gain,
            )
        except BadInput as error:
            return error.faults[0]


def _embed_chunk(
    sentences: list[Sentence],
    waveforms: list[Waveform],
    encoder: Encoder,
    pooling: str,
    batch_seconds: float,
    advance: Any,
) -> EmbeddedChunk:
    faults: dict[int, Fault] = {i: found for i, found in enumerate(waveforms) if isinstance(found, Fault)}
    advance(len(faults))
    lengths = {i: len(found) for i, found in enumerate(waveforms) if not isinstance(found, Fault)}
    vectors: dict[int, NDArray[np.float32]] = {}
    limit = batch_seconds * encoder.sample_rate
    for batch, bound in _bound_batches(sentences, lengths, encoder, limit):
        for row, result in zip(batch, _encode(batch, waveforms, bound, pooling), strict=True):
            if isinstance(result, Fault):
                faults[row] = replace(result, where=sentences[row].place)
            elif not np.isfinite(result).all():
                faults[row] = Fault(
                    sentences[row].place,
                    "audio whose embedding is not finite",
                    "an embedding of numbers",
                    "check this audio, and the encoder's weights",
                )
            else:
                vectors[row] = result
        advance(len(batch))
    kept = sorted(vectors)
    return EmbeddedChunk(
        [sentences[row].id for row in kept],
        np.array([samples_to_seconds(lengths[row], encoder.sample_rate) for row in kept], dtype=np.float64),
        np.stack([vectors[row] for row in kept]) if kept else np.zeros((0, 0), np.float32),
        [(sentences[row].id, faults[row]) for row in sorted(faults)],
    )


def _bound_batches(
    sentences: list[Sentence], lengths: dict[int, int], encoder: Encoder, limit: float
) -> Iterator[tuple[list[int], Encoder]]:
    """Yield batches with the encoder for their audio; one that must know who speaks gets no mixed ones."""
    if not encoder.by_speaker:
        for batch in _batches(lengths, limit):
            yield batch, encoder
        return
    speakers: dict[tuple[str, str], dict[int, int]] = {}
    for row, length in lengths.items():
        speakers.setdefault(sentences[row].speaker, {})[row] = length
    for speaker, own in speakers.items():
        bound = encoder.of_speaker(speaker)
        for batch in _batches(own, limit):
            yield batch, bound


def _batches(lengths: dict[int, int], limit: float) -> Iterator[list[int]]:
    """Yield rows of like length, a batch of at most *limit* samples, padding included, or of one row."""
    batch: list[int] = []
    for row in sorted(lengths, key=lambda row: (lengths[row], row)):
        if batch and (len(batch) + 1) * lengths[row] > limit:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _encode(
    rows: list[int], waveforms: list[Waveform], encoder: Encoder, pooling: str
) -> list[NDArray[np.float32] | Fault]:
    """Return the embedding of each row; a batch that the encoder refuses is tried sentence by sentence."""
    batch = [torch.from_numpy(found) for row in rows if not isinstance(found := waveforms[row], Fault)]
    try:
        with torch.inference_mode():
            return list(encoder.embed(batch, pooling).float().cpu().numpy())  # each (dim,)
    except BadInput as error:
        if len(rows) == 1:
            return [error.faults[0]]
        return [result for row in rows for result in _encode([row], waveforms, encoder, pooling)]


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
        skip_bad: Leave out sentences that cannot be embedded, and record them, instead of stopping.
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

    def close(self) -> None:
        """Let the open encoder go; it is opened again where it is asked for."""
        self._opened.clear()

    def listen(self, others: Manifest, candidate: Candidate) -> EmbeddingSet:
        """Return the embeddings of other utterances; those that cannot be embedded are left out.

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
            BadInput: If there is no such layer, or sentences cannot be embedded.
        """
        if candidate not in self._sets:
            encoder = self.encoder(candidate.layer)
            encoder.measure()  # the subjects' resting states, before anything is encoded
            self._sets[candidate] = embed(
                self.manifest,
                encoder,
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
        layers = dict.fromkeys(candidate.layer for candidate in candidates)
        opened = next(iter(self._opened.values()), None) or self.encoder(next(iter(layers)))
        for layer in layers:
            opened.check_layer(layer)
        for candidate in candidates:
            both = candidate._replace(pooling="mean_std")
            if candidate.pooling == "mean" and both in candidates and candidate not in self._sets:
                whole = self.take(both)
                half = whole.vectors[:, : whole.vectors.shape[1] // 2]
                self._sets[candidate] = replace(whole, vectors=half)
            else:
                self.take(candidate)
        return {candidate: self._sets[candidate] for candidate in candidates}


def without_rest(manifest: Manifest, encoder: Encoder, *, skip_bad: bool) -> Manifest:
    """Return the rows of *manifest* that *encoder* may learn from and score: all, or all but the marked ones.

    Args:
        manifest: All rows.
        encoder: As it was opened.
        skip_bad: Let subjects without a resting state pass: their sentences are left out one by one.

    Raises:
        BadInput: If subjects have no resting recording, or nothing else; every one is named.
    """
    if encoder.front_end is None or not encoder.by_speaker:
        return manifest
    calibration = calibration_ids(manifest, encoder.front_end, scored=True)
    rows = manifest.table[~manifest.table["id"].isin(calibration)].reset_index(drop=True)
    measured = dict.fromkeys(speakers_of(resting_manifest(manifest, manifest).table))
    present = dict.fromkeys(speakers_of(rows))
    faults = Faults()
    missing = [no_state(speaker) for speaker in present if speaker not in measured]
    if not (skip_bad and measured):
        faults.extend(missing)
    for speaker in measured:
        if speaker not in present:
            faults.add(
                f"speaker '{speaker[1]}' of {speaker[0]}",
                found="resting recordings and nothing else",
                expected="sentences to judge the subject by",
                remedy=f"mark fewer rows in the column '{REST}', or take the subject out of the manifest",
            )
    faults.raise_if_any()
    _log.warning("%d rows are the subjects' resting state and are left out", len(calibration))
    return manifest.with_table(rows)


def with_rest(
    encoder: Encoder, manifest: Manifest, folder: Path, *, workers: int, skip_bad: bool, progress: bool
) -> Encoder:
    """Return *encoder* as it takes the audio of *manifest*: with its subjects' states if it needs them.

    Args:
        encoder: As it was opened.
        manifest: All rows, resting recordings among them.
        folder: Where these recordings' features are kept.
        workers: Processes to compute them with.
        skip_bad: Leave faulty resting recordings out instead of stopping.
        progress: Whether a bar is shown.
    """
    front_end = encoder.front_end
    if front_end is None or not encoder.by_speaker:
        return encoder

    @functools.cache
    def measure() -> Mapping[Speaker, RestingState]:
        make_folder(folder)
        found = measure_resting(manifest, front_end, folder, manifest, workers=workers, progress=progress)
        if found.faults and not skip_bad:
            raise BadInput(found.faults)
        for entry in found.left_out:
            _log.warning("resting recording %s is left out: %s", entry["item"], entry["reason"])
        return found.states

    return encoder.with_rest(resting_key(manifest, front_end, manifest), measure)


def resting_facts(encoder: Encoder, manifest: Manifest, kept: Manifest) -> dict[str, Any]:
    """Return what ``metrics.json`` says of the subjects' resting states; nothing where there are none.

    Args:
        encoder: As it was opened.
        manifest: All rows.
        kept: What :func:`without_rest` left of them.
    """
    if not encoder.by_speaker:
        return {}
    rest = resting_manifest(manifest, manifest).table
    return {
        "resting_state": {
            "marked_by": rest_rule(manifest),
            "speakers": len(set(speakers_of(rest))),
            "recordings": len(rest),
            "left_out": len(manifest) - len(kept),
        }
    }
