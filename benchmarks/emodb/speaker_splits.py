"""Who is trained on and who is scored: EmoDB's speakers, and manifests that leave some of them out."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from sertransfer.corpora.emotion import emodb
from sertransfer.errors import Faults, bad_input
from sertransfer.manifest import Manifest

PAIRS = (("03", "08"), ("09", "10"), ("11", "12"), ("13", "14"), ("15", "16"))
"""Neighbours by number. One network is trained without both, and serves the folds of both."""

INNER_TEST = "03"
"""The fold on whose training side all choices were made; its own recordings were left out of them."""

INNER_HELD_OUT = ("08", "11", "14")
"""Held out in the inner split, chosen by the number of recordings alone: two women and a man, 118 in all."""


def read_corpus(root: Path) -> Manifest:
    """Return the four classes of EmoDB at *root*, every row without a split.

    Raises:
        BadInput: With every fault of the corpus.
    """
    faults = Faults()
    manifest = emodb.read(root, emodb.Options(), faults)
    faults.raise_if_any()
    return manifest.with_table(manifest.table.assign(split=""))


def leave_out(manifest: Manifest, speakers: Collection[str], *, drop: Collection[str] = ()) -> Manifest:
    """Return *manifest* with *speakers* as the test split and all others as the training split.

    Args:
        manifest: All recordings.
        speakers: Whom the network must not hear.
        drop: Speakers whose recordings stand in neither split and are left out.

    Raises:
        BadInput: If one of *speakers* has no recording, or nobody is left to train on.
    """
    table = manifest.table[~manifest.table["speaker"].isin(list(drop))].reset_index(drop=True)
    known = set(table["speaker"])
    if not set(speakers) <= known or not known - set(speakers):
        raise bad_input(
            "speakers to leave out",
            found=", ".join(sorted(speakers)),
            expected=f"some, not all, of {', '.join(sorted(known))}",
            remedy="give all recordings of EmoDB's four classes",
        )
    held = table["speaker"].isin(list(speakers))
    return manifest.with_table(table.assign(split=np.where(held, "test", "train").astype(object)))


def pair_of(speaker: str) -> tuple[str, str]:
    """Return the pair that *speaker* belongs to."""
    return next(pair for pair in PAIRS if speaker in pair)


def check_unheard(table: pd.DataFrame, heard: Collection[str], where: object) -> None:
    """Raise :class:`BadInput` if a speaker of *table* is among those whom a network has *heard*."""
    shared = sorted(set(table["speaker"]) & set(heard))
    if shared:
        raise bad_input(
            where,
            found=f"training on speaker {', '.join(shared)}, who is to be scored",
            expected="a network that has not heard the test speaker",
            remedy="remove this folder and run again",
        )
