"""Probes on what is no speech emotion: a speech model must beat them to mean anything.

Each is chosen, fitted and scored by the run's own protocol, over a handful of numbers a sentence in place of
its embedding; the interviewer's audio has embeddings, by the run's encoder. They show what the corpus gives
away by how much is said, how loud it was recorded, by whom, or by what was asked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sertransfer.audio.reading import read_segment
from sertransfer.errors import BadInput
from sertransfer.io.files import regular_file, write_text
from sertransfer.io.progress import tracked
from sertransfer.manifest import Manifest
from sertransfer.transfer.embedding_set import EmbeddingSet
from sertransfer.transfer.interviewer import FIGURES, Listen, interviewer_row, reason_of
from sertransfer.transfer.interviewer import NAME as INTERVIEWER
from sertransfer.transfer.probing import probe_subjects
from sertransfer.transfer.scoring import subject_figures
from sertransfer.transfer.sentences import take_sentences
from sertransfer.transfer.settings import ProbeConfig, TransferConfig
from sertransfer.transfer.subjects import Part

_SILENCE = 1e-12
"""Added to a mean square, so that digital silence is -120 dB."""

_LOUDNESS = "loudness.csv"

Numbers = NDArray[np.float32]


def shortcut_rows(
    config: TransferConfig,
    manifest: Manifest,
    train: Part,
    reported: Part,
    *,
    cache: Path,
    progress: bool = True,
    listen: Listen | None = None,
) -> dict[str, Any]:
    """Score the shortcuts.

    Args:
        config: Protocol: folds, weights, aggregation, threshold. The probe is logistic regression of C 1.
        manifest: Gender of the subjects, and the audio.
        train: Training part, with the ``duration`` of its usable sentences.
        reported: Reported part, likewise.
        cache: Folder that keeps the sentences' loudness; it must belong to this audio alone.
        progress: Show a bar while the audio is read.
        listen: Embeds the interviewer's turns by the run's encoder; their row has the run's own probe.

    Returns:
        ``shortcuts``: rows of ``name, n, wa, ua, auroc``, their ``_ci95`` and perhaps a ``note``; and
        ``shortcuts_left_out``: ``name, reason`` of those that this run can not score.

    Raises:
        BadInput: If a sentence can not be read.
    """
    simple = replace(
        config,
        probe=ProbeConfig(
            c_grid=(1.0,),
            balance_subjects=config.probe.balance_subjects,
            balance_classes=config.probe.balance_classes,
        ),
    )
    sentences = pd.concat([train.sentences, reported.sentences], ignore_index=True)
    features: dict[str, Numbers] = {
        "number and duration of sentences": _amounts(sentences),
        "loudness": _loudness(manifest, sentences["id"].tolist(), cache, progress)[:, None],
    }
    left_out = []
    genders = sentences["subject"].map(
        manifest.table.drop_duplicates("speaker").set_index("speaker")["gender"]
    )
    if genders[: len(train.sentences)].nunique() > 1:
        columns = [(genders == name).to_numpy() for name in ("female", "male")]
        features["gender"] = np.stack(columns, axis=1).astype(np.float32)
    else:
        left_out.append(
            {"name": "gender", "reason": "the training subjects are of one gender, or of none known"}
        )
    rows = [
        {"name": name, **_score(values, sentences, train, reported, simple)}
        for name, values in features.items()
    ]
    if listen is not None:
        try:
            with _hushed():
                rows.append(interviewer_row(config, manifest, train, reported, listen))
        except BadInput as error:
            left_out.append({"name": INTERVIEWER, "reason": reason_of(error)})
    return {"shortcuts": rows, "shortcuts_left_out": left_out}


def _score(
    values: Numbers, sentences: pd.DataFrame, train: Part, reported: Part, config: TransferConfig
) -> dict[str, Any]:
    durations = sentences["duration"].to_numpy(float)
    stored = EmbeddingSet(sentences["id"].tolist(), durations, values, [], Path())
    with _hushed():
        subjects = probe_subjects((train, reported), stored, config).subjects
    figures = subject_figures(subjects, config)
    return {name: figures[name] for name in FIGURES}


def _amounts(sentences: pd.DataFrame) -> Numbers:
    """Return the logarithms of a subject's number and seconds of sentences, and of the sentence's seconds."""
    by_subject = sentences.groupby("subject")["duration"]
    columns = [by_subject.transform("size"), by_subject.transform("sum"), sentences["duration"]]
    numbers = np.stack([column.to_numpy(float) for column in columns], axis=1)
    return np.asarray(np.log1p(numbers), dtype=np.float32)


def _loudness(manifest: Manifest, ids: list[str], cache: Path, progress: bool) -> Numbers:
    """Return the level of each of *ids* in dB of full scale, gain included, from *cache* if it is there."""
    path = cache / _LOUDNESS
    known = _read(path)
    wanted = set(ids) - set(known)
    if wanted:
        sentences = [sentence for sentence in take_sentences(manifest) if sentence.id in wanted]
        for sentence in tracked(sentences, "loudness", unit="sentences", shown=progress):
            samples = read_segment(sentence.source, sentence.start, sentence.end, gain=sentence.gain)
            power = float(np.mean(np.square(samples, dtype=np.float64)))
            known[sentence.id] = 10 * np.log10(power + _SILENCE)
        table = pd.DataFrame({"id": list(known), "db": list(known.values())})
        write_text(path, table.to_csv(index=False, lineterminator="\n"))
    return np.array([known[name] for name in ids], dtype=np.float32)


def _read(path: Path) -> dict[str, float]:
    try:
        table = pd.read_csv(
            regular_file(path), dtype={"id": str}, keep_default_na=False, float_precision="round_trip"
        )
        return {str(name): float(level) for name, level in zip(table["id"], table["db"], strict=True)}
    except (OSError, ValueError, KeyError):
        return {}  # not there, or not whole: made again


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep what the run's own probe says from being said again for each shortcut."""
    log = logging.getLogger("sertransfer.transfer")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
