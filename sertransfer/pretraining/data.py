"""The rows that stage 1 trains on and scores, and their features; what is left out is counted aloud."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn

from sertransfer.audio.fingerprint import utterance_prints
from sertransfer.audio.speaker_norm import REST, calibration_ids, rest_rule
from sertransfer.audio.store import FeatureStore, build_store
from sertransfer.errors import Faults, bad_input
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.io.run_folder import RunFolder
from sertransfer.manifest import UNKNOWN_SPEAKER, Manifest
from sertransfer.pretraining.settings import PretrainConfig, check_settings
from sertransfer.training.batches import Integers, Utterances
from sertransfer.training_audio import TrainingAudio, compare_audio

if TYPE_CHECKING:
    from sertransfer.audio.store import FeatureStore


_log = logging.getLogger(__name__)

MANY_ROWS = 1000
"""From here on starting processes takes less time than they save."""

UNKNOWN_SPEAKERS = {"", UNKNOWN_SPEAKER}


@dataclass(frozen=True)
class Split:
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

    def without(self, ids: set[str]) -> Split:
        """Return the part without the rows *ids*."""
        kept = self.table[~self.table["id"].isin(ids)].reset_index(drop=True)
        return replace(self, manifest=self.manifest.with_table(kept))

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Return the rows of each class."""
        found = self.table["label"].value_counts()
        return {name: int(found.get(name, 0)) for name in classes}


def select_split(
    manifest: Manifest, split: str, classes: Sequence[str], *, calibration: Collection[str] = ()
) -> Split:
    """Return the rows of *split* whose label is among *classes*; the others are counted and logged.

    Args:
        manifest: All rows.
        split: Name of the split.
        classes: Labels.
        calibration: Ids of rows that serve another purpose, see
            :func:`sertransfer.audio.speaker_norm.calibration_ids`; left out and counted.
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
    return Split(split, kept, counts, int(held.sum()))


def resting_facts(store: FeatureStore, manifest: Manifest, parts: Iterable[Split]) -> dict[str, Any]:
    """Return what ``metrics.json`` says of the speakers' resting states; nothing where there are none."""
    if store.resting is None:
        return {}
    left_out = {part.split: part.calibration for part in parts}
    return {"resting_state": {"marked_by": rest_rule(manifest), **store.resting, "left_out": left_out}}


def shared_audio(
    trained_on: TrainingAudio | None, part: Split, what: str, *, cache: Path | None = None
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


def check_split(part: Split, classes: Sequence[str], faults: Faults, *, absent: str = "error") -> None:
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
            remedy=(
                "prepare the corpus with --label_map to rename labels, or pretrain with "
                f'--classes "[{", ".join(sorted(part.other_labels))}]"'
                if part.other_labels
                else "prepare the corpus with a split"
            ),
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


def take_utterances(store: FeatureStore, part: Split, classes: Sequence[str]) -> tuple[Utterances, Split]:
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


Splits = dict[str, Split]


def select_splits(config: PretrainConfig, manifest: Manifest) -> Splits:
    """Return ``train`` and ``test``, without rows that measure a resting state and would be scored."""
    parts = {}
    # an inner selection scores speakers of the training part
    for split, scored in (("train", config.selection.rule == "inner"), ("test", True)):
        calibration = calibration_ids(manifest, config.front_end, scored=scored)
        parts[split] = select_split(manifest, split, config.classes, calibration=calibration)
    return parts


def check_splits(parts: Splits, config: PretrainConfig) -> None:
    """Refuse parts that cannot be trained on, or scored.

    Raises:
        BadInput: With all that is missing.
    """
    faults = Faults()
    check_split(parts["train"], config.classes, faults)
    if len(parts["test"]) or parts["test"].calibration:
        check_split(parts["test"], config.classes, faults, absent=config.absent)
    faults.raise_if_any()


def used_rows(manifest: Manifest, parts: Splits) -> Manifest:
    """Return the rows of all parts, in the order of the manifest: those that the feature store holds."""
    ids = {identity for part in parts.values() for identity in part.table["id"]}
    return manifest.with_table(manifest.table[manifest.table["id"].isin(ids)].reset_index(drop=True))


def make_features(
    config: PretrainConfig,
    manifest: Manifest,
    cache: Path | None,
    *,
    skip_bad: bool = False,
    progress: bool = True,
) -> FeatureStore:
    """Make the feature store that :func:`sertransfer.pretraining.workflow.pretrain` looks for.

    Args:
        config: Settings of stage 1.
        manifest: All utterances.
        cache: The cache folder, which stage 1 is given as ``store``; ``None`` = the one of the settings.
        skip_bad: Leave utterances out whose audio is faulty, and record them, instead of stopping.
        progress: Show a progress bar.

    Raises:
        BadInput: If settings, manifest or audio are at fault.
    """
    check_settings(config)
    folder = cache if cache is not None else Path(config.store or "")
    if cache is None and not config.store:
        raise bad_input(
            "command line", found="no --into", expected="the cache folder", remedy="give --into DIR"
        )
    parts = select_splits(config, manifest)
    check_splits(parts, config)
    rows = used_rows(manifest, parts)
    return build_store(
        rows,
        config.front_end,
        folder,
        rest=manifest,
        workers=feature_workers(config.workers, len(rows)),
        skip_bad=skip_bad,
        progress=progress,
    )


def inner_split(
    targets: Integers, speakers: Sequence[str], *, share: float, seed: int
) -> tuple[Integers, Integers]:
    """Split training items by speaker into those to train on and those to select on.

    Every class stands on both sides, and the classes' shares are kept as far as whole speakers allow.

    Args:
        targets: Class of each item, shape ``(items,)``.
        speakers: Speaker of each item.
        share: Share of the items to hold out; with fewer than ``1 / share`` speakers it is more.
        seed: Of the order in which speakers are dealt out.

    Returns:
        Positions to train on and positions held out, each in ascending order.

    Raises:
        BadInput: If no split by whole speakers leaves every class on both sides.
    """
    names = np.asarray(speakers, dtype=str)
    folds = min(max(2, round(1 / share)), len(np.unique(names)))
    classes = np.unique(targets)
    if folds >= 2 and np.bincount(targets)[classes].min() >= 2:
        # the number of items of a class may be below the number of folds: then fewer folds are dealt
        folds = min(folds, int(np.bincount(targets)[classes].min()))
        dealt = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
        for kept, held in dealt.split(names, targets, groups=names):
            if all(np.array_equal(np.unique(targets[side]), classes) for side in (kept, held)):
                return kept.astype(np.int64), held.astype(np.int64)
    raise bad_input(
        "the training part",
        found=f"{len(np.unique(names))} speakers, who cannot be split with every class on both sides",
        expected="speakers enough for an inner split",
        remedy="set selection.rule to last",
    )


def count_short(
    network: nn.Module, parts: Mapping[str, Utterances], front_end: FrontEnd, cropping: Cropping
) -> dict[str, Any]:
    """Return the ``filled_up`` block of ``metrics.json``, and log it where there is something to say.

    Args:
        network: Its ``least`` says how many mels and frames it takes; any number where it has none.
        parts: Utterances by the name of their split.
        front_end: Gives the framing and the number of mels.
        cropping: Where it pads, every utterance has the frames of the crop.

    Returns:
        ``least_frames`` and ``least_seconds`` of the network, ``mels`` that are added to every utterance,
        and ``utterances`` that are filled up in time, by split.
    """
    least = int(getattr(network, "least", 1))
    framing = front_end.framing
    longest = cropping.frames(framing)
    counts = {}
    for split, part in parts.items():
        counts[split] = len(part) * (longest < least) if cropping.pad else int((part.frames < least).sum())
    mels = max(0, least - front_end.mels)
    seconds = round((least - 1) * framing.hop / framing.sample_rate, 3)
    if any(counts.values()) or mels:
        shown = ", ".join(f"{split} {count} of {len(parts[split])}" for split, count in counts.items())
        _log.warning(
            "the network takes %d frames (%.2f s) and as many mels at least; filled up with zeros are "
            "utterances of %s; mels added to each: %d",
            least,
            seconds,
            shown,
            mels,
        )
    return {"least_frames": least, "least_seconds": seconds, "mels": mels, "utterances": counts}
