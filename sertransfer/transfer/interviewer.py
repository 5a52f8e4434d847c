"""What the interviewer's audio alone gives away about the subject.

It is a known leak of DAIC-WOZ: given the interviewer's prompts, models learn to find the questions about
earlier mental health problems instead of signs of depression (Burdisso et al., "DAIC-WOZ: On the validity of
using the therapist's prompts in automatic depression detection from clinical interviews", Clinical NLP 2024).
Her turns, as the transcript times them and without what the participant says meanwhile, go through the run's
encoder and the run's protocol, as if they were sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from sertransfer.errors import BadInput, bad_input
from sertransfer.manifest import INTERVIEWER_TURNS, Manifest, make_table
from sertransfer.transfer.embedding_set import EmbeddingSet
from sertransfer.transfer.probing import probe_subjects
from sertransfer.transfer.scoring import subject_figures
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.subjects import Part

NAME = "interviewer's audio"
NOT_THERE = {
    "e-daic": "E-DAIC's transcripts name no speaker",
    "daic-woz": "the manifest does not say where the interviewer speaks; prepare the corpus again",
}
"""Why a corpus has no turns of an interviewer; of others nothing is known."""

FIGURES = ("n", "wa", "ua", "auroc", "wa_ci95", "ua_ci95", "auroc_ci95")

Listen = Callable[[Manifest], EmbeddingSet]
"""Embeds other utterances by the run's encoder, leaving out what it can not."""


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
    config: TransferConfig, manifest: Manifest, train: Part, reported: Part, listen: Listen
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
        notes.append(f"{len(stored.faults)} turn(s) that can not be embedded left out")
    return {"name": NAME, **{name: figures[name] for name in FIGURES}, "note": "; ".join(notes)}


def _part(turns: pd.DataFrame, part: Part) -> Part:
    """Return *part* with the turns in its subjects' recordings in place of their sentences."""
    subjects = part.subjects.set_index("subject")
    mine = turns[turns["speaker"].isin(subjects.index)]
    sentences = pd.DataFrame({"id": mine["id"], "subject": mine["speaker"]}).reset_index(drop=True)
    for column in ("split", "label", "cluster"):
        sentences[column] = sentences["subject"].map(subjects[column])
    return Part(sentences, part.subjects)


def reason_of(error: BadInput) -> str:
    """Return why the row is left out, in a line."""
    more = f" and {len(error.faults) - 1} more" if len(error.faults) > 1 else ""
    return error.faults[0].found + more
