"""The rows of a manifest that a task uses, and what it leaves out, counted aloud."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sertransfer.audio.prints import utterance_prints
from sertransfer.audio.resting import REST, rest_rule
from sertransfer.errors import Faults
from sertransfer.fitting.batches import Utterances
from sertransfer.io.run_folder import RunFolder
from sertransfer.manifest import UNKNOWN_SPEAKER, Manifest
from sertransfer.training_audio import TrainingAudio, compare_audio

if TYPE_CHECKING:
    from sertransfer.audio.store import FeatureStore

_log = logging.getLogger(__name__)

MANY_ROWS = 1000
"""From here on starting processes takes less time than they save."""

UNKNOWN_SPEAKERS = {"", UNKNOWN_SPEAKER}


@dataclass(frozen=True)
class Part:
    """One split's rows whose labels are among the classes.

    Attributes:
        split: Name of the split.
        manifest: The rows.
        other_labels: Rows of the split that are left out, counted by label (empty = no label).
        calibration: Number of rows of the split that are left out because they only measure the speakers'
            resting state.
    """

    split: str
    manifest: Manifest
    other_labels: dict[str, int]
    calibration: int = 0

    def __len__(self) -> int:
        return len(self.manifest)

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a table."""
        return self.manifest.table

    @property
    def speakers(self) -> set[str]:
        """The speakers that are known."""
        return set(self.table["speaker"]) - UNKNOWN_SPEAKERS

    def without(self, ids: set[str]) -> Part:
        """Return the part without the rows *ids*."""
        kept = self.table[~self.table["id"].isin(ids)].reset_index(drop=True)
        return replace(self, manifest=self.manifest.with_table(kept))

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Return the rows of each class."""
        found = self.table["label"].value_counts()
        return {name: int(found.get(name, 0)) for name in classes}


def select_part(
    manifest: Manifest, split: str, classes: Sequence[str], *, calibration: Collection[str] = ()
) -> Part:
    """Return the rows of *split* whose label is among *classes*; the others are counted and logged.

    Args:
        manifest: All rows.
        split: Name of the split.
        classes: Labels.
        calibration: Ids of rows that serve another purpose, see
            :func:`sertransfer.audio.resting.calibration_ids`; left out and counted.
    """
    rows = manifest.select(split=split)
    held = rows.table["id"].isin(set(calibration))
    if held.any():
        _log.warning("%s: %d rows are the speakers' resting state and are left out", split, held.sum())
        rows = rows.with_table(rows.table[~held].reset_index(drop=True))
    kept = rows.select(labels=classes)
    others = rows.table.loc[~rows.table["label"].isin(list(classes)), "label"]
    counts = {str(label): int(count) for label, count in others.value_counts().items()}
    if counts:
        shown = ", ".join(f"{label or 'no label'} {count}" for label, count in counts.items())
        _log.warning(
            "%s: %d of %d rows have labels outside the classes and are left out (%s)",
            split,
            len(others),
            len(rows),
            shown,
        )
    return Part(split, kept, counts, int(held.sum()))


def resting_facts(store: FeatureStore, manifest: Manifest, parts: Iterable[Part]) -> dict[str, Any]:
    """Return what ``metrics.json`` says of the speakers' resting states; nothing where there are none."""
    if store.resting is None:
        return {}
    left_out = {part.split: part.calibration for part in parts}
    return {"resting_state": {"marked_by": rest_rule(manifest), **store.resting, "left_out": left_out}}


def shared_audio(
    trained_on: TrainingAudio | None, part: Part, what: str, *, cache: Path | None = None
) -> dict[str, Any]:
    """Return how much audio of *part* a model was trained on, under whatever names; warn where it is any.

    Args:
        trained_on: Fingerprint of the model's training audio.
        part: What is scored with the model.
        what: What the training audio is called in the warning.
        cache: Where prints of the audio are kept.

    Returns:
        ``status`` (``shared``, ``none`` or ``unknown``), and the numbers of ``utterances`` and ``speakers``.
    """
    prints = {} if trained_on is None else utterance_prints(part.manifest, cache=cache)
    table = part.table
    found = compare_audio(trained_on, prints).figures(dict(zip(table["id"], table["speaker"], strict=True)))
    if found["status"] == "shared":
        _log.warning(
            "audio of %s: %d of the %d utterances that are scored, of %d speakers, are in it",
            what,
            found["utterances"],
            len(part),
            found["speakers"],
        )
    return found


def check_part(part: Part, classes: Sequence[str], faults: Faults, *, absent: str = "error") -> None:
    """Add a fault if *part* is empty, or holds nothing of a class where that is an error."""
    where = f"split '{part.split}' of the manifest"
    if not len(part):
        found = ", ".join(sorted(part.other_labels)) or "no rows"
        if part.calibration:
            found += f", but for {part.calibration} of the speakers' resting state, which are not scored"
        faults.add(
            where,
            found=found,
            expected=f"rows labelled {', '.join(classes)}",
            remedy="prepare the corpus with a split, or choose other classes",
        )
        return
    missing = [name for name, count in part.counts(classes).items() if count == 0]
    if missing and absent == "error":
        remedy = "leave them out of the classes"
        if part.split != "train":
            remedy += ", or out of UA with --absent skip"
        if part.calibration:
            remedy += (
                f" (the resting state, {part.calibration} rows, is not scored: mark in a column '{REST}' "
                "which rows are to measure it)"
            )
        faults.add(
            where, found=f"no row labelled {', '.join(missing)}", expected="every class", remedy=remedy
        )


def take_utterances(store: FeatureStore, part: Part, classes: Sequence[str]) -> tuple[Utterances, Part]:
    """Return the part's features and targets, and the part without the rows that the store left out."""
    held = part.without(set(part.table["id"]) - set(store.ids))
    ids = held.table["id"].tolist()
    target = {name: number for number, name in enumerate(classes)}
    utterances = Utterances(
        store,
        np.array([store.position(identity) for identity in ids], dtype=np.int64),
        np.array([target[label] for label in held.table["label"]], dtype=np.int64),
        ids,
    )
    return utterances, held


def feature_workers(requested: int, rows: int) -> int:
    """Return how many processes make the features: those asked for, or a core each where it is worth it."""
    return requested or ((os.cpu_count() or 0) if rows >= MANY_ROWS else 0)


def default_store(run_dir: Path) -> Path:
    """Return where the feature stores of the runs beside *run_dir* lie."""
    return run_dir.resolve().parent / "features"


def finished_for(run: RunFolder, *, skip_bad: bool) -> bool:
    """Return whether *run* is finished; one that left faulty audio out is not where that is not wanted."""
    return run.finished and (skip_bad or not run.read_metrics()["left_out"]["audio"])


def hash_manifest(manifest: Manifest) -> str:
    """Return the SHA-256 of the manifest's CSV."""
    return hashlib.sha256(manifest.table.to_csv(index=False, lineterminator="\n").encode()).hexdigest()
