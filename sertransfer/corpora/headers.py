"""The headers of a corpus's audio files, read in parallel: is each file there, whole, and how long?"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

from sertransfer.audio.contents import LFS_FOUND
from sertransfer.audio.reading import AudioInfo, inspect
from sertransfer.errors import BadInput, Fault, Faults
from sertransfer.io.progress import bar
from sertransfer.manifest import AudioSource
from sertransfer.timebase import SAMPLE_RATE

WORKERS = 16
"""Threads. Reading a header waits for the disk, not for a processor."""

BLOCK = 64
"""Recordings that a thread takes at once: handing over each by itself takes as long as reading it."""

SLACK = 512 / 16_000
"""An end time may pass the end of its file by this much (one hop of the paper's framing, in seconds)."""

SAMPLE = 1 / 16_000


def inspect_all(sources: Mapping[str, AudioSource]) -> tuple[dict[str, AudioInfo], dict[str, list[Fault]]]:
    """Read every header, in parallel.

    Returns:
        What was read, and the faults of the files that could not be, both by the key in *sources*.
    """

    def look(key: str) -> AudioInfo | list[Fault]:
        try:
            return inspect(sources[key])
        except BadInput as error:
            return list(error.faults)

    keys = list(sources)
    blocks = [keys[first : first + BLOCK] for first in range(0, len(keys), BLOCK)]
    results: list[AudioInfo | list[Fault]] = []
    with ThreadPoolExecutor(WORKERS) as pool, bar("reading headers", len(keys), unit="files") as shown:
        for looked in pool.map(lambda block: [*map(look, block)], blocks):
            results += looked
            shown.advance(len(looked))
    good: dict[str, AudioInfo] = {}
    bad: dict[str, list[Fault]] = {}
    for key, found in zip(keys, results, strict=True):
        if isinstance(found, AudioInfo):
            good[key] = found
        else:
            bad[key] = found
    return good, bad


def check_headers(
    table: pd.DataFrame,
    sources: Mapping[str, AudioSource],
    where: str | None,
    faults: Faults,
    *,
    notes: dict[str, Any],
) -> pd.DataFrame:
    """Return the rows whose audio is sound, with a column ``duration`` (seconds, of the utterance).

    An end time up to :data:`SLACK` past the end of the file is cut to it; more is a fault.

    Args:
        table: Columns ``audio``, ``start``, ``end`` (seconds, NaN = whole file); its index numbers the rows.
        sources: Where each value of ``audio`` is.
        where: Name of the metadata file whose rows these are, for the messages; ``None`` without one.
        faults: Receives a skippable fault for each row left out.
        notes: Of the manifest; receives ``sample_rates``, the number of recordings at each rate in Hz.
    """
    infos, broken = inspect_all({audio: sources[audio] for audio in table["audio"].unique()})
    counts = Counter(info.sample_rate for info in infos.values())
    notes["sample_rates"] = {str(rate): count for rate, count in sorted(counts.items())}
    hit = table["audio"].isin(list(broken))
    pointers = {audio: found[0] for audio, found in broken.items() if found[0].found == LFS_FOUND}
    if pointers:  # once, not for each file
        fault = next(iter(pointers.values()))
        faults.add(
            os.path.commonpath([pointer.where for pointer in pointers.values()]),
            found=f"{LFS_FOUND}, {len(pointers)} of {len(infos) + len(broken)} recordings",
            expected=fault.expected,
            remedy=fault.remedy,
            skippable=True,
        )
    for row, audio in table.loc[hit & ~table["audio"].isin(list(pointers)), "audio"].items():
        for fault in broken[str(audio)]:
            faults.add(
                fault.where if where is None else f"{fault.where} ({where}, row {row})",
                found=fault.found,
                expected=fault.expected,
                remedy=fault.remedy,
                skippable=True,
            )
    table = table[~hit]
    lengths = table["audio"].map({audio: info.duration for audio, info in infos.items()}).astype(float)
    late = (table["end"] > lengths + SLACK) | (table["start"] > lengths - SAMPLE)
    for row in table.index[late]:
        faults.add(
            f"{where}, row {row}",
            found=f"{table['start'][row]:g} to {table['end'][row]:g} s in a file of {lengths[row]:.3f} s",
            expected="times inside the file",
            remedy="correct the times, or the name of the recording",
            skippable=True,
        )
    table, lengths = table[~late].copy(), lengths[~late]
    table["end"] = table["end"].where(table["end"].isna(), table["end"].clip(upper=lengths))
    table["duration"] = (table["end"] - table["start"]).fillna(lengths).round(6)
    return table


def describe_rates(notes: Mapping[str, Any]) -> str:
    """Return how many recordings are resampled, for a person; empty if none is, or it is not known."""
    rates = notes.get("sample_rates") or {}
    others = {rate: count for rate, count in rates.items() if rate != str(SAMPLE_RATE)}
    if not others:
        return ""
    shown = ", ".join(f"{count} at {rate} Hz" for rate, count in others.items())
    share = f"{sum(others.values())} of {sum(rates.values())} recordings ({shown})"
    return f"{share} are resampled to {SAMPLE_RATE} Hz"
