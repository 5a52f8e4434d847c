"""Probes on what is not speech emotion, such as the interviewer's audio: a speech model must beat them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sertransfer.audio.reading import read_segment
from sertransfer.errors import BadInput, bad_input
from sertransfer.io.files import regular_file, write_text
from sertransfer.io.progress import tracked
from sertransfer.manifest import INTERVIEWER_TURNS, Manifest, make_table
from sertransfer.transfer.data import SubjectSplit, take_sentences
from sertransfer.transfer.decide import probe_subjects
from sertransfer.transfer.embedding_store import EmbeddingSet
from sertransfer.transfer.scoring import subject_figures
from sertransfer.transfer.settings import ProbeConfig, TransferConfig

NAME = "interviewer's audio"
NOT_THERE = {
    "e-daic": "E-DAIC's transcripts name no speaker",
    "daic-woz": "the manifest does not say where the interviewer speaks; prepare the corpus again",
}
"""Why a corpus has no turns of an interviewer; of others nothing is known."""

FIGURES = ("n", "wa", "ua", "auroc", "wa_ci95", "ua_ci95", "auroc_ci95")

Listen = Callable[[Manifest], EmbeddingSet]
"""Embeds other utterances by the run's encoder, leaving out what it cannot."""


def interviewer_manifest(manifest: Manifest) -> Manifest:
    """Return the interviewer's turns in the subjects' recordings as a manifest, each a sentence of theirs.

    Raises:
        BadInput: If the notes give none.
    """
    turns = manifest.notes.get(INTERVIEWER_TURNS)
    recordings = manifest.table.drop_duplicates("audio")
    recordings = recordings.drop(columns=[name for name in _OF_ROWS if name in recordings])
    rows: list[dict[str, Any]] = []
    for _, recording in recordings.iterrows():
        for start, end in map(_times, (turns or {}).get(recording["audio"], [])):
            identity = f"{recording['speaker']}-interviewer-{len(rows) + 1:05d}"
            kept = {str(name): value for name, value in recording.items()}
            rows.append({**kept, "id": identity, "start": start, "end": end})
    if not rows:
        found = "no transcript has a row of the interviewer"
        if turns is None:
            names = sorted(set(manifest.table["corpus"]))
            found = "; ".join(NOT_THERE.get(name, f"{name} has no turns of an interviewer") for name in names)
        raise bad_input("manifest", found=found, expected="turns of the interviewer", remedy="none")
    return manifest.with_table(make_table(rows))


_OF_ROWS = ("id", "start", "end", "overlap", "text")
"""Columns that say something of a single row of the participant."""


def _times(turn: str) -> tuple[float, float]:
    start, end = turn.split()
    return float(start), float(end)


def interviewer_row(
    config: TransferConfig, manifest: Manifest, train: SubjectSplit, reported: SubjectSplit, listen: Listen
) -> dict[str, Any]:
    """Return the row of the interviewer's audio: ``name``, :data:`FIGURES` and a ``note``.

    Subjects without a turn are treated as subjects without a usable sentence are: not trained on, and
    undecided where they are reported.

    Args:
        config: Protocol of the run, its probe included; a fine-tuned network is not asked.
        manifest: With the turns in its notes.
        train: Training part; its subjects count.
        reported: Reported part, likewise.
        listen: Embeds the turns.

    Raises:
        BadInput: If there are no turns, none can be embedded, or they are too few for the folds.
    """
    turns = interviewer_manifest(manifest)
    wanted = pd.concat([train.subjects["subject"], reported.subjects["subject"]])
    turns = turns.with_table(turns.table[turns.table["speaker"].isin(wanted)].reset_index(drop=True))
    stored = listen(turns)
    parts = _part(turns.table, train), _part(turns.table, reported)
    outcome = probe_subjects(parts, stored, config)
    figures = subject_figures(outcome.subjects, config)
    undecided = int(outcome.subjects["undecided"].sum())
    notes = ["a known leak of DAIC-WOZ: no speech of the subject"]
    if undecided:
        notes.append(f"{undecided} reported subject(s) without a turn, undecided")
    if config.mode == "finetune":
        notes.append("by a probe on the encoder as it was")
    if stored.faults:
        notes.append(f"{len(stored.faults)} turn(s) that cannot be embedded left out")
    return {"name": NAME, **{name: figures[name] for name in FIGURES}, "note": "; ".join(notes)}


def _part(turns: pd.DataFrame, part: SubjectSplit) -> SubjectSplit:
    """Return *part* with the turns in its subjects' recordings in place of their sentences."""
    subjects = part.subjects.set_index("subject")
    mine = turns[turns["speaker"].isin(subjects.index)]
    sentences = pd.DataFrame({"id": mine["id"], "subject": mine["speaker"]}).reset_index(drop=True)
    for column in ("split", "label", "cluster"):
        sentences[column] = sentences["subject"].map(subjects[column])
    return SubjectSplit(sentences, part.subjects)


def reason_of(error: BadInput) -> str:
    """Return why the row is left out, in a line."""
    more = f" and {len(error.faults) - 1} more" if len(error.faults) > 1 else ""
    return error.faults[0].found + more


_SILENCE = 1e-12
"""Added to a mean square, so that digital silence is -120 dB."""

_LOUDNESS = "loudness.csv"

Numbers = NDArray[np.float32]


def shortcut_rows(
    config: TransferConfig,
    manifest: Manifest,
    train: SubjectSplit,
    reported: SubjectSplit,
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
        ``shortcuts_left_out``: ``name, reason`` of those that this run cannot score.

    Raises:
        BadInput: If a sentence cannot be read.
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
            left_out.append({"name": NAME, "reason": reason_of(error)})
    return {"shortcuts": rows, "shortcuts_left_out": left_out}


def _score(
    values: Numbers,
    sentences: pd.DataFrame,
    train: SubjectSplit,
    reported: SubjectSplit,
    config: TransferConfig,
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
