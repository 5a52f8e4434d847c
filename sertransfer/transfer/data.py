"""The sentences and subjects of a run: taken from the manifest, checked, refused if they leak."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sertransfer.corpora.splits import shared_speakers
from sertransfer.encoders.base import Encoder
from sertransfer.errors import Fault, Faults, bad_input, nearest
from sertransfer.io.files import hash_value
from sertransfer.manifest import WITHOUT_SENTENCES, AudioSource, Manifest
from sertransfer.transfer.settings import TransferConfig

_NAMED = 8
"""How many subjects a message names before it only counts them."""


@dataclass(frozen=True)
class SubjectSplit:
    """One split of a run.

    Attributes:
        sentences: Columns ``id, subject, split, label, cluster``, in the manifest's order.
        subjects: One row a subject in order of appearance, columns ``subject, split, label, cluster``;
            last those of whom the manifest has no sentence.
    """

    sentences: pd.DataFrame
    subjects: pd.DataFrame

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of subjects and of sentences of each label."""
        return {
            "subjects": {str(k): int(v) for k, v in self.subjects["label"].value_counts().items()},
            "sentences": {str(k): int(v) for k, v in self.sentences["label"].value_counts().items()},
        }


def take_parts(manifest: Manifest, config: TransferConfig) -> tuple[SubjectSplit, SubjectSplit]:
    """Return the training part and the reported part of *manifest*.

    Raises:
        BadInput: With everything that is wrong: a split without sentences or labels, a label that is none
            of the two classes, a subject with two labels, a subject or cluster in two splits, or a
            training part of one class.
    """
    if config.cluster not in manifest.table:
        raise bad_input(
            "setting cluster",
            found=f"'{config.cluster}'",
            expected="a column of the manifest",
            remedy=nearest(config.cluster, manifest.table.columns),
        )
    faults = Faults()
    _check_shared(manifest.table, config, faults)
    train = _part(manifest, "train", config, faults)
    reported = _part(manifest, config.split, config, faults)
    missing = set(config.classes) - set(train.sentences["label"])
    if not faults and missing:
        faults.add(
            "split 'train'",
            found=f"no subject labelled '{' or '.join(sorted(missing))}'",
            expected="subjects of both classes",
            remedy="check the labels, or name the classes with --negative and --positive",
        )
    faults.raise_if_any()
    return train, reported


def _check_shared(table: pd.DataFrame, config: TransferConfig, faults: Faults) -> None:
    for column in dict.fromkeys(("speaker", config.cluster)):
        shared = shared_speakers(table.assign(speaker=table[column]))
        what = "subject" if column == "speaker" else column
        for name, splits in shared.items():
            first = table[(table[column] == name) & table["split"].isin(splits)].drop_duplicates("split")
            faults.add(
                f"manifest, rows {' and '.join(str(row + 2) for row in first.index)}",
                found=f"{what} '{name}' in {' and '.join(first['split'])}",
                expected=f"each {what} in one split",
                remedy="prepare the corpus with subject-disjoint splits",
            )


def _part(manifest: Manifest, split: str, config: TransferConfig, faults: Faults) -> SubjectSplit:
    rows = manifest.table[manifest.table["split"] == split]
    sentences = pd.DataFrame(
        {
            "id": rows["id"],
            "subject": rows["speaker"],
            "split": rows["split"],
            "label": rows["label"],
            "cluster": rows[config.cluster],
        }
    ).reset_index(drop=True)
    if sentences.empty:
        held = sorted(set(manifest.table["split"]) - {""})
        faults.add(
            f"split '{split}'",
            found="no sentence",
            expected="sentences",
            remedy=f"the manifest holds {', '.join(held) or 'no split'}: prepare the corpus with its split "
            "files, or report another split with --split",
        )
    _check_labels(sentences, split, config, faults)
    for column, what in (("label", "label"), ("cluster", config.cluster)):
        several = sentences.groupby("subject")[column].nunique()
        for subject in several.index[several > 1]:
            found = sorted(sentences.loc[sentences["subject"] == subject, column].unique())
            faults.add(
                f"split '{split}', subject '{subject}'",
                found=f"{what} {', '.join(map(repr, found))}",
                expected=f"one {what} per subject",
                remedy="a sentence's label is its subject's: correct the manifest",
            )
    columns = ["subject", "split", "label", "cluster"]
    spoken = sentences.drop_duplicates("subject")[columns]
    silent = [
        (one["speaker"], split, one["label"], one.get(config.cluster, one["speaker"]))
        for one in manifest.notes.get(WITHOUT_SENTENCES, [])
        if one["split"] == split and one["label"] in config.classes
    ]
    subjects = pd.concat([spoken, pd.DataFrame(silent, columns=columns)], ignore_index=True)
    return SubjectSplit(sentences, subjects)


def _check_labels(sentences: pd.DataFrame, split: str, config: TransferConfig, faults: Faults) -> None:
    unlabelled = sentences.loc[sentences["label"] == "", "subject"].unique().tolist()
    if unlabelled:
        remedy = (
            "the released test split has no labels: add full_test_split.csv to the corpus and prepare it "
            "again, or report the development set with --split dev"
            if split == "test"
            else "prepare the corpus with its label files"
        )
        faults.add(
            f"split '{split}'",
            found=f"{len(unlabelled)} subject(s) without a label: {_some(unlabelled)}",
            expected="a label for each subject",
            remedy=remedy,
        )
    for label, rows in sentences.groupby("label"):
        if label not in ("", *config.classes):
            faults.add(
                f"split '{split}'",
                found=f"label '{label}' of subject(s) {_some(rows['subject'].unique().tolist())}",
                expected=f"'{config.negative}' or '{config.positive}'",
                remedy="name the classes with --negative and --positive, or leave these rows out",
            )


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


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

    def too_short(self, samples: int, shortest: int) -> Fault:
        """Return the fault of a sentence of *samples* for an encoder that needs *shortest*."""
        expected = f"{shortest} or more, for one frame of this encoder"
        return Fault(self.place, f"{samples} samples", expected, "leave this sentence out")


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
