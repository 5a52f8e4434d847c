"""Resting states in stage 2: a checkpoint whose front end asks for them needs calibration recordings.

A clinical corpus has no emotion labels, so its manifest marks them in a column ``rest``. They measure their
subject, and are neither learnt from nor scored. All else is as :mod:`sertransfer.audio.resting` says.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sertransfer.audio.keys import resting_key
from sertransfer.audio.resting import (
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
from sertransfer.encoders.ser import SerEncoder
from sertransfer.errors import BadInput, Faults
from sertransfer.io.files import make_folder
from sertransfer.manifest import Manifest

_log = logging.getLogger(__name__)


def without_rest(manifest: Manifest, encoder: Encoder, *, skip_bad: bool) -> Manifest:
    """Return the rows of *manifest* that *encoder* may learn from and score: all, or all but the marked ones.

    Args:
        manifest: All rows.
        encoder: As it was opened.
        skip_bad: Let subjects without a resting state pass: their sentences are left out one by one.

    Raises:
        BadInput: If subjects have no resting recording, or nothing else; every one is named.
    """
    if not isinstance(encoder, SerEncoder) or not encoder.by_speaker:
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
    if not isinstance(encoder, SerEncoder) or not encoder.by_speaker:
        return encoder
    front_end = encoder.front_end

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


def measure_now(encoder: Encoder) -> None:
    """Measure the subjects' states, if *encoder* needs them, before anything is encoded.

    Raises:
        BadInput: With the fault of every resting recording that can not be read, unless these may be skipped.
    """
    if isinstance(encoder, SerEncoder) and encoder.by_speaker:
        encoder.measure()


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
