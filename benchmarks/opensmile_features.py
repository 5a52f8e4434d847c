"""The peer's features: openSMILE's functionals of whole recordings or segments, kept in a file.

openSMILE is a dependency of the benchmarks alone (``benchmarks/requirements.lock``). It is imported where
features are computed, so that figures can be made again from a cache without it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sertransfer.audio.reading import read_segment
from sertransfer.errors import bad_input, choose
from sertransfer.io.files import atomic_path, hash_value
from sertransfer.manifest import AudioSource
from sertransfer.timebase import SAMPLE_RATE

FEATURE_SETS = ("ComParE_2016", "eGeMAPSv02")
"""6373 functionals of 65 descriptors and their differences, or 88 chosen by hand."""

VERSION = 1
"""Raised when the computation changes; part of the cache's key."""


class Segment(NamedTuple):
    """A recording from *start* to *end* in seconds; ``None`` = its beginning, its end."""

    path: Path
    start: float | None = None
    end: float | None = None

    @property
    def name(self) -> str:
        """The file's name without its ending, with the times where there are any."""
        times = "" if self.start is None and self.end is None else f"[{self.start}:{self.end}]"
        return f"{self.path.stem}{times}"


def functionals(
    recordings: Sequence[Path | Segment], feature_set: str = "ComParE_2016", *, cache: Path | None = None
) -> pd.DataFrame:
    """Return the functionals of *recordings*, one row each, in their order.

    Audio is read as everywhere else: 16 kHz, one channel.

    Args:
        recordings: Whole files, or segments of them.
        feature_set: One of :data:`FEATURE_SETS`.
        cache: Folder that holds what was computed before, in a file named after the feature set and a hash
            of all that the features depend on (names, sizes and times of change of the files, times of the
            segments); ``None`` = compute.

    Returns:
        Index: names of the recordings (:attr:`Segment.name`). Columns: openSMILE's names.

    Raises:
        BadInput: If the feature set is unknown, or openSMILE is needed and not installed, or audio is faulty.
    """
    choose("feature set", feature_set, FEATURE_SETS)
    segments = [each if isinstance(each, Segment) else Segment(each) for each in recordings]
    if cache is None:
        return _compute(segments, feature_set)
    target = cache / f"{feature_set}_{_key(segments, feature_set)}.npz"
    if not target.exists():
        table = _compute(segments, feature_set)
        with atomic_path(target) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                names=table.index.to_numpy(str),
                columns=table.columns.to_numpy(str),
                values=table.to_numpy(np.float32),
            )
    with np.load(target, allow_pickle=False) as kept:
        return pd.DataFrame(kept["values"], index=kept["names"].tolist(), columns=kept["columns"].tolist())


def _key(segments: Sequence[Segment], feature_set: str) -> str:
    files = {path: path.stat() for path in {segment.path for segment in segments}}
    rows = [
        (str(path.resolve()), files[path].st_size, files[path].st_mtime_ns, start, end)
        for path, start, end in segments
    ]
    return hash_value([VERSION, feature_set, rows])[:16]


def _compute(segments: Sequence[Segment], feature_set: str) -> pd.DataFrame:
    if importlib.util.find_spec("opensmile") is None:
        raise bad_input(
            "the peer's features",
            found="no openSMILE",
            expected="the package opensmile",
            remedy="install benchmarks/requirements.lock",
        )
    import opensmile

    smile = opensmile.Smile(
        feature_set=getattr(opensmile.FeatureSet, feature_set),
        feature_level=opensmile.FeatureLevel.Functionals,
    )
    rows = [
        smile.process_signal(read_segment(AudioSource(path), start, end), SAMPLE_RATE).to_numpy()[0]
        for path, start, end in segments
    ]
    names = [segment.name for segment in segments]
    return pd.DataFrame(np.stack(rows).astype(np.float32), index=names, columns=list(smile.feature_names))
