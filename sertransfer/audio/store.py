"""Features computed once, into a memory-mapped file that is keyed by all that they depend on.

A store is an :class:`~sertransfer.io.array_store.ArrayStore` in the folder ``<key>`` of a cache folder. Its
file ``features.bin`` has ``mels`` values a frame, in half precision for logarithmic features and in single
for linear power, which overflows half.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.audio.features import (
    FORMAT_VERSION,
    ExtractionPlan,
    ExtractionResult,
    extract,
    make_plan,
    plain,
    store_key,
)
from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.audio.speaker_norm import Resting, measure_states, resting_manifest, speakers_of, uses_rest
from sertransfer.errors import BadInput, Fault
from sertransfer.front_end import FrontEnd
from sertransfer.io.array_store import (
    ArrayStore,
    building,
    hash_onto_disk,
    remember_hash,
    write_index,
    write_meta,
)
from sertransfer.manifest import Manifest, check_recordings

_log = logging.getLogger(__name__)


class FeatureStore(ArrayStore):
    """An opened store of features.

    Attributes:
        ids: Utterances in the order of the manifest, those that were left out missing.
        front_end: What the features were computed with.
        left_out: ``{"item", "reason"}`` of every utterance that ``skip_bad`` left out.
        resting: Number of ``speakers`` whose resting state was measured, on how many ``recordings``; ``None``
            where the front end does not ask for it.

    Raises:
        BadInput: If *path* holds no whole store of this format.
    """

    VALUES = "features.bin"
    FORMAT = FORMAT_VERSION
    WHAT = "features"

    def _shape(self, meta: dict[str, Any]) -> tuple[int, int]:
        return int(meta["frames"]), int(meta["mels"])  # those of failed utterances included

    def _take(self, meta: dict[str, Any], index: pd.DataFrame) -> None:
        self.front_end = FrontEnd.from_dict(meta["front_end"])
        self.left_out: list[dict[str, str]] = meta["left_out"]
        self.faults = [Fault(**fault) for fault in meta["faults"]]
        self.resting: dict[str, int] | None = meta.get("resting")


def build_store(
    manifest: Manifest,
    front_end: FrontEnd,
    folder: Path,
    *,
    rest: Manifest | None = None,
    workers: int = 0,
    skip_bad: bool = False,
    progress: bool = True,
) -> FeatureStore:
    """Open the store of *manifest* in the cache *folder*, after building it if it is not there.

    Args:
        manifest: The utterances.
        front_end: How their features are computed.
        folder: The cache; the store is its sub-folder ``<key>``.
        rest: Where the speakers' resting recordings are, if the front end asks for resting states: the whole
            corpus that *manifest* is a part of; ``None`` = *manifest* itself.
        workers: Processes to compute with; 0 = this one.
        skip_bad: Leave faulty utterances out, and record them, instead of raising.
        progress: Show a progress bar.

    Raises:
        BadInput: If there are no utterances, or utterances are faulty (unreadable, with samples that
            are no numbers, reaching past their recording, of a speaker without a resting state where
            the front end asks for it): all faults at once, one alone if
            no recording is there at all. Also if the store that is there is damaged.
    """
    check_recordings(manifest)
    key = store_key(manifest, front_end, rest)
    target = Path(folder) / key
    if not target.exists():
        resting = Resting()
        if uses_rest(front_end):
            source = manifest if rest is None else rest
            resting = measure_resting(manifest, front_end, folder, source, workers=workers, progress=progress)
        plan = make_plan(manifest, front_end, resting.states)
        _build(plan, target, resting, workers=workers, skip_bad=skip_bad, progress=progress)
    store = FeatureStore(target)
    store.verify()
    if store.faults and not skip_bad:
        raise BadInput(store.faults)
    return store


def measure_resting(
    manifest: Manifest, front_end: FrontEnd, folder: Path, rest: Manifest, *, workers: int, progress: bool
) -> Resting:
    """Return the resting states of the speakers of *manifest*, from their recordings in *rest*.

    These are stored beside the others in *folder*, in the precision of any store. A speaker whose recordings
    are all faulty has no state; the faults are told in the result.
    """
    recordings = resting_manifest(manifest, rest)
    if not len(recordings):
        return Resting()
    store = build_store(
        recordings, plain(front_end), folder, workers=workers, skip_bad=True, progress=progress
    )
    whose = dict(zip(recordings.table["id"], speakers_of(recordings.table), strict=True))
    states = measure_states(store, range(len(store)), [whose[identity] for identity in store.ids])
    _log.info("resting states of %d speakers measured on %d recordings", len(states), len(store))
    return Resting(states, len(store), store.left_out, store.faults)


def _build(
    plan: ExtractionPlan, target: Path, resting: Resting, *, workers: int, skip_bad: bool, progress: bool
) -> None:
    with building(target) as folder:
        if folder is None:
            return
        empty = MelFrontEnd(plan.front_end).empty_filters
        if empty:
            _log.warning("%d of %d mel filters are empty at this framing", empty, plan.front_end.mels)
        path = folder / FeatureStore.VALUES
        result = extract(plan, path, workers=workers, progress=progress)
        faults = _faults(result, resting)
        if (faults and not skip_bad) or len(result.failures) == len(plan.ids):
            raise BadInput(faults)
        entries = plan.entries(result.failures)
        sha256 = hash_onto_disk(path)
        write_index(folder, entries)
        more = {"key": target.name, "utterances": len(entries), "sha256": sha256}
        write_meta(folder, describe(plan, result, resting, **more))
    remember_hash(target, FeatureStore.VALUES, sha256)


def describe(
    plan: ExtractionPlan, result: ExtractionResult, resting: Resting, **more: object
) -> dict[str, Any]:
    """Return what ``meta.json`` says of a store; *more* is its key, number of utterances, and hash."""
    failed = {identity for identity, _ in result.failures}
    meta: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "front_end": plan.front_end.as_dict(),
        "dtype": plan.dtype,
        "mels": plan.front_end.mels,
        "frames": plan.frames,
        "clipped_share": result.clipped_share,
        "left_out": [
            {"item": identity, "reason": f"{fault.where}: found {fault.found}"}
            for identity, fault in result.failures
        ]
        + [entry for entry in resting.left_out if entry["item"] not in failed],
        "faults": [fault.as_dict() for fault in _faults(result, resting)],
        **more,
    }
    if uses_rest(plan.front_end):
        meta["resting"] = {"speakers": len(resting.states), "recordings": resting.rows}
    return meta


def _faults(result: ExtractionResult, resting: Resting) -> list[Fault]:
    return list(dict.fromkeys([*resting.faults, *result.faults]))
