"""The sentences that are to be embedded: their order, their chunks, and the key of what comes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sertransfer.encoders.base import Encoder
from sertransfer.io.files import hash_value
from sertransfer.manifest import AudioSource, Manifest

CHUNK_SENTENCES = 1024
CHUNK_SECONDS = 3600.0
READING = 2
"""Raised whenever the samples that are read of a recording change; part of each key."""

_UNKNOWN_SECONDS = 10.0
"""What a sentence counts towards a chunk when it is a whole file of unread length."""


@dataclass(frozen=True)
class Sentence:
    """Where one sentence's audio is, times in seconds, and who speaks, as corpus and name."""

    id: str
    source: AudioSource
    start: float | None
    end: float | None
    gain: float
    speaker: tuple[str, str] = ("", "")

    @property
    def seconds(self) -> float:
        """Duration as far as the manifest tells."""
        return _UNKNOWN_SECONDS if self.start is None or self.end is None else self.end - self.start

    @property
    def place(self) -> str:
        """Recording, and times if there are any, for messages."""
        if self.start is None or self.end is None:
            return str(self.source)
        return f"{self.source}, {self.start:g} to {self.end:g} s"


def embedding_key(manifest: Manifest, encoder: Encoder, pooling: str = "mean") -> str:
    """Return what recognises the embeddings of *manifest*: its audio, the encoder and the pooling."""
    return content_key(take_sentences(manifest), encoder, pooling)


def content_key(sentences: list[Sentence], encoder: Encoder, pooling: str = "mean") -> str:
    """Return what recognises the embeddings of *sentences*; size and time stand for a file's content."""
    stats: dict[AudioSource, tuple[int, int] | None] = {}
    rows: list[list[Any]] = []
    for sentence in sentences:
        if sentence.source not in stats:
            stats[sentence.source] = _stat(sentence.source.path)
        name = [sentence.id, sentence.source.path.name, sentence.source.member]
        speaker = [sentence.speaker] if encoder.by_speaker else []
        rows.append([*name, sentence.start, sentence.end, sentence.gain, stats[sentence.source], *speaker])
    content = {"rows": rows, "encoder": encoder.fingerprint(), "pooling": pooling, "reading": READING}
    return hash_value(content)[:32]


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None  # the reader says what is wrong with it
    return status.st_size, status.st_mtime_ns


def take_sentences(manifest: Manifest) -> list[Sentence]:
    """Return the manifest's sentences, session by session and in time."""
    table = manifest.table.sort_values(["audio", "start", "id"], kind="stable")
    gains = table["gain"].fillna(1.0) if "gain" in table else np.ones(len(table))
    speakers = zip(table["corpus"], table["speaker"], strict=True)
    columns = (table["id"], table["audio"], table["start"], table["end"], gains, speakers)
    return [
        Sentence(identity, manifest.source(audio), *_times(start, end), float(gain), speaker)
        for identity, audio, start, end, gain, speaker in zip(*columns, strict=True)
    ]


def _times(start: float, end: float) -> tuple[float | None, float | None]:
    return (None, None) if np.isnan(start) or np.isnan(end) else (float(start), float(end))


def in_chunks(sentences: list[Sentence]) -> list[list[Sentence]]:
    """Cut *sentences* into runs that fit in memory; a kill loses the work on one of them at most."""
    chunks: list[list[Sentence]] = []
    seconds = float("inf")
    for sentence in sentences:
        if seconds + sentence.seconds > CHUNK_SECONDS or len(chunks[-1]) >= CHUNK_SENTENCES:
            chunks.append([])
            seconds = 0.0
        chunks[-1].append(sentence)
        seconds += sentence.seconds
    return chunks
