"""The rows that stage 1 trains on and scores, and their features, made beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from sertransfer.audio.resting import calibration_ids
from sertransfer.audio.store import FeatureStore, build_store
from sertransfer.errors import Faults, bad_input
from sertransfer.fitting.batches import Integers
from sertransfer.manifest import Manifest
from sertransfer.training.parts import Part, check_part, feature_workers, select_part
from sertransfer.training.settings import PretrainConfig, check_settings

Parts = dict[str, Part]


def select_parts(config: PretrainConfig, manifest: Manifest) -> Parts:
    """Return ``train`` and ``test``, without rows that measure a resting state and would be scored."""
    parts = {}
    # an inner selection scores speakers of the training part
    for split, scored in (("train", config.selection.rule == "inner"), ("test", True)):
        calibration = calibration_ids(manifest, config.front_end, scored=scored)
        parts[split] = select_part(manifest, split, config.classes, calibration=calibration)
    return parts


def check_parts(parts: Parts, config: PretrainConfig) -> None:
    """Refuse parts that can not be trained on, or scored.

    Raises:
        BadInput: With all that is missing.
    """
    faults = Faults()
    check_part(parts["train"], config.classes, faults)
    if len(parts["test"]) or parts["test"].calibration:
        check_part(parts["test"], config.classes, faults, absent=config.absent)
    faults.raise_if_any()


def used_rows(manifest: Manifest, parts: Parts) -> Manifest:
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
    """Make the feature store that :func:`sertransfer.training.pretrain.pretrain` looks for.

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
    parts = select_parts(config, manifest)
    check_parts(parts, config)
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
        found=f"{len(np.unique(names))} speakers, who can not be split with every class on both sides",
        expected="speakers enough for an inner split",
        remedy="set selection.rule to last",
    )
