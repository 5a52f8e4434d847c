"""The rows that stage 1 trains on and scores, and their features: made beforehand, at once or in shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sertransfer.audio.resting import calibration_ids
from sertransfer.audio.shards import StoreParts, Work
from sertransfer.audio.store import FeatureStore, build_store
from sertransfer.errors import Faults, bad_input
from sertransfer.manifest import Manifest
from sertransfer.sharding import Shard
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


@dataclass(frozen=True)
class Made:
    """What :func:`make_features` left.

    Attributes:
        store: The store; ``None`` while parts are missing.
        folder: Of the store, or of its parts.
        missing: The parts that are not there yet.
    """

    store: FeatureStore | None
    folder: Path
    missing: tuple[Shard, ...] = ()


def make_features(
    config: PretrainConfig,
    manifest: Manifest,
    cache: Path | None,
    *,
    shard: Shard | None = None,
    merge: bool = False,
    skip_bad: bool = False,
    progress: bool = True,
) -> Made:
    """Make the feature store that :func:`sertransfer.training.pretrain.pretrain` looks for.

    Args:
        config: Settings of stage 1.
        manifest: All utterances.
        cache: The cache folder, which stage 1 is given as ``store``; ``None`` = the one of the settings.
        shard: Make this part alone; the last part joins all.
        merge: Make no part, only join those that are there.
        skip_bad: Leave utterances out whose audio is faulty, and record them, instead of stopping.
        progress: Show a progress bar.

    Raises:
        BadInput: If settings, manifest or audio are at fault, or parts are missing that are to be joined.
    """
    check_settings(config)
    folder = cache if cache is not None else Path(config.store or "")
    if cache is None and not config.store:
        raise bad_input(
            "command line", found="no --into", expected="the cache folder", remedy="give --into DIR"
        )
    if merge and shard is not None:
        raise bad_input(
            "command line",
            found="--shard and --merge",
            expected="one of them",
            remedy="build the part first; the last part joins all by itself",
        )
    parts = select_parts(config, manifest)
    check_parts(parts, config)
    rows = used_rows(manifest, parts)
    share = len(rows) if shard is None else len(shard.rows(len(rows)))
    work = Work(feature_workers(config.workers, share), skip_bad, progress)
    if shard is None and not merge:
        store = build_store(
            rows,
            config.front_end,
            folder,
            rest=manifest,
            workers=work.workers,
            skip_bad=skip_bad,
            progress=progress,
        )
        return Made(store, store.path)
    pieces = StoreParts(rows, config.front_end, folder, rest=manifest, work=work)
    made = pieces.join() if shard is None else pieces.build(shard)
    if made is not None:
        return Made(made, made.path)
    return Made(None, pieces.folder, tuple(pieces.missing(shard.count if shard is not None else 1)))
