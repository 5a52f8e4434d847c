"""Each speaker's resting state: mean and deviation of every mel band over the speaker's resting recordings.

The paper's future work (section 3.2: "the resting (neutral) state of each individual"), chosen with
``normalise="resting"``. Which recordings show a speaker at rest is said by the manifest, either way:

- rows marked ``true`` in an optional column ``rest``: calibration recordings, which are neither trained
  on nor scored. This is how a corpus without emotion labels takes part;
- without that column, rows labelled ``neutral``. A speaker who has such rows in the split ``train`` is
  measured on these alone; another on all of them, and these rows are then not scored: who knows that a
  row of a test speaker is neutral has read its label.

States are made of a speaker's own rows only, from one manifest. Speakers of one name in two corpora are
two people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sertransfer.errors import Fault, Faults
from sertransfer.front_end import FrontEnd
from sertransfer.io.files import hash_value
from sertransfer.manifest import UNKNOWN_SPEAKER, Manifest

REST = "rest"
"""Optional column of a manifest that marks resting recordings with ``true``."""

NEUTRAL = "neutral"
"""Label of the resting recordings where there is no such column."""

Speaker = tuple[str, str]
"""Corpus and name."""


@dataclass(frozen=True, eq=False)
class RestingState:
    """How one speaker's spectrum looks at rest, all frames of the resting recordings counting the same.

    Attributes:
        mean: Of each mel band, shape ``(mels,)``.
        deviation: Of each mel band, shape ``(mels,)``; infinite where the band is constant at rest, so
            that it becomes 0.
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def normalise(self, values: NDArray[np.float32]) -> None:
        """Take mean and deviation out of *values*, shape ``(frames, mels)``, in place."""
        values -= self.mean
        values /= self.deviation

    def fingerprint(self) -> str:
        """Return a hash of the values."""
        return hash_value([self.mean.tolist(), self.deviation.tolist()])


@dataclass(frozen=True)
class Resting:
    """The states of all speakers that have one, and the resting recordings that could not be used.

    Attributes:
        states: By speaker.
        rows: How many recordings they were made of.
        left_out: ``{"item", "reason"}`` of each recording that could not.
        faults: Why, each once.
    """

    states: Mapping[Speaker, RestingState] = field(default_factory=dict)
    rows: int = 0
    left_out: list[dict[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class SpectrogramSource(Protocol):
    """What is needed of a :class:`sertransfer.audio.store.FeatureStore`."""

    def read(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.floating[Any]]:
        """Return the frames of an utterance, shape ``(mels, frames)``."""


def uses_rest(front_end: FrontEnd) -> bool:
    """Return whether *front_end* asks for the speakers' resting states."""
    return front_end.normalise == "resting"


def rest_rule(manifest: Manifest) -> str:
    """Return in words what marks the resting recordings of *manifest*."""
    return f"column '{REST}'" if REST in manifest.table else f"label '{NEUTRAL}'"


def speakers_of(table: pd.DataFrame) -> list[Speaker]:
    """Return the speaker of each row."""
    return list(zip(table["corpus"], table["speaker"], strict=True))


def rest_rows(manifest: Manifest) -> pd.Series[bool]:
    """Return which rows of *manifest* its speakers' resting states are made of.

    Raises:
        BadInput: With every row whose ``rest`` is neither ``true`` nor ``false`` nor empty.
    """
    table = manifest.table
    if REST in table:
        marks = table[REST].str.strip().str.lower()
        faults = Faults()
        for row in table.index[~marks.isin(["true", "false", ""])]:
            faults.add(
                f"manifest, row {row + 2}",
                found=f"rest '{table[REST][row]}'",
                expected="true, false or nothing",
                remedy="correct the column rest",
            )
        faults.raise_if_any()
        return marks == "true"
    neutral = table["label"] == NEUTRAL
    trained = neutral & (table["split"] == "train")
    speakers = pd.Series(speakers_of(table), index=table.index, dtype=object)
    return neutral & (trained | ~speakers.isin(set(speakers[trained])))


def calibration_ids(manifest: Manifest, front_end: FrontEnd, *, scored: bool) -> set[str]:
    """Return the rows that only serve to measure resting states under *front_end*.

    Args:
        manifest: All rows.
        front_end: Without resting states there are no such rows.
        scored: Whether the rows are asked for a part that is scored; otherwise for one that is trained on,
            where rows labelled ``neutral`` are examples of their class like any others.
    """
    if not uses_rest(front_end) or not (scored or REST in manifest.table):
        return set()
    return set(manifest.table.loc[rest_rows(manifest), "id"])


def resting_manifest(manifest: Manifest, rest: Manifest) -> Manifest:
    """Return the resting recordings in *rest* of the known speakers of *manifest*."""
    wanted = {speaker for speaker in speakers_of(manifest.table) if is_known(speaker)}
    table = rest.table[rest_rows(rest)]
    keep = np.array([speaker in wanted for speaker in speakers_of(table)], dtype=bool)
    return rest.with_table(table[keep].reset_index(drop=True))


def is_known(speaker: Speaker) -> bool:
    """Return whether *speaker* is one person, and not a corpus that does not tell who speaks."""
    return speaker[1] not in ("", UNKNOWN_SPEAKER)


def no_state(speaker: Speaker) -> Fault:
    """Return what is wrong with *speaker*, who has no resting state."""
    where = f"speaker '{speaker[1]}' of {speaker[0]}"
    other = "or take another normalisation than 'resting'"
    if not is_known(speaker):
        return Fault(
            where,
            "a corpus that does not tell who speaks",
            "known speakers, each with a resting state",
            f"prepare it with speakers, {other}",
        )
    return Fault(
        where,
        "no usable recording of the resting state",
        f"rows of this speaker labelled '{NEUTRAL}', or marked 'true' in a column '{REST}'",
        f"add such rows to the manifest, leave the speaker out, {other}",
    )


def measure_states(
    features: SpectrogramSource, positions: Sequence[int], speakers: Sequence[Speaker]
) -> dict[Speaker, RestingState]:
    """Return the state of each of *speakers*.

    Args:
        features: Spectrograms of resting recordings, not normalised.
        positions: Where each recording lies in them.
        speakers: Whose each recording is.
    """
    owned: dict[Speaker, list[int]] = {}
    for position, speaker in zip(positions, speakers, strict=True):
        owned.setdefault(speaker, []).append(position)
    return {speaker: _measure(features, own) for speaker, own in owned.items()}


def _measure(features: SpectrogramSource, positions: Sequence[int]) -> RestingState:
    frames, total, squares = 0, np.zeros(1), np.zeros(1)
    for position in positions:
        values = features.read(position).astype(np.float64)  # (mels, frames)
        frames += values.shape[1]
        total = total + values.sum(axis=1)
        squares = squares + np.square(values).sum(axis=1)
    mean = total / frames
    deviation = np.sqrt(np.maximum(squares / frames - np.square(mean), 0))
    # What is left of a constant after subtracting its mean is rounding, not signal.
    constant = deviation <= 1e-6 * np.abs(mean)
    return RestingState(mean.astype(np.float32), np.where(constant, np.inf, deviation).astype(np.float32))
