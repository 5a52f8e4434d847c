"""The recordings of a corpus: whether each is there and whole, its length, silence, channels that cancel."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from sertransfer.audio.reading import CANCELLED_DB, SILENT_DB, AudioInfo, SoundCheck, inspect, listen
from sertransfer.audio.recordings import LFS_FOUND
from sertransfer.errors import BadInput, Fault, Faults
from sertransfer.io.progress import bar
from sertransfer.manifest import AudioSource, Manifest
from sertransfer.timebase import SAMPLE_RATE

HEADER_THREADS = 16
"""Reading a header waits for the disk, not for a processor."""

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
    with ThreadPoolExecutor(HEADER_THREADS) as pool, bar("reading headers", len(keys), unit="files") as shown:
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


SILENT, CHANNELS, FILES = "silent", "louder_channel", "odd_files"
"""Notes of a manifest: ids of silent utterances; id to the channel taken; recording to what is odd."""

LISTENING_THREADS = 4
"""Most of the time is Python's own."""

LISTENING_BLOCK = 64
"""Utterances that a thread takes at once: handing over each by itself takes longer than listening to it."""

_log = logging.getLogger(__name__)

Row = tuple[str, str, float | None, float | None]


def check_sound(manifest: Manifest, faults: Faults) -> tuple[Manifest, dict[str, Any]]:
    """Listen to every utterance of *manifest*, recording by recording.

    Args:
        manifest: The utterances.
        faults: Receives a skippable fault for each that cannot be read.

    Returns:
        The manifest without those, and its notes :data:`SILENT`, :data:`CHANNELS` and :data:`FILES`.
    """
    table = manifest.table
    recordings: dict[str, list[Row]] = {}
    for identity, audio, start, end in zip(
        table["id"], table["audio"], table["start"], table["end"], strict=True
    ):
        times = [None if np.isnan(time) else float(time) for time in (start, end)]
        recordings.setdefault(audio, []).append((identity, audio, times[0], times[1]))

    def hear(rows: Iterable[Row]) -> list[tuple[str, str, SoundCheck | BadInput]]:
        return [(identity, audio, _hear(manifest, audio, start, end)) for identity, audio, start, end in rows]

    silent: list[str] = []
    channels: dict[str, int] = {}
    files: dict[str, list[str]] = {}
    broken: list[str] = []
    with (
        ThreadPoolExecutor(LISTENING_THREADS) as pool,
        bar("listening", len(table), unit="utterances") as shown,
    ):
        for found in pool.map(hear, _in_blocks(recordings.values())):
            for identity, audio, heard in found:
                if isinstance(heard, BadInput):
                    faults.extend(heard.faults, skippable=True)
                    broken.append(identity)
                    continue
                if heard.silent:
                    silent.append(identity)
                if heard.channel is not None:
                    channels[identity] = heard.channel
                if heard.notes:
                    files[audio] = list(heard.notes)
            shown.advance(len(found))
    if broken:
        manifest = manifest.with_table(table[~table["id"].isin(broken)].reset_index(drop=True))
    notes: dict[str, Any] = {SILENT: silent}
    if channels:
        notes[CHANNELS] = channels
    if files:
        notes[FILES] = files
    return manifest, notes


def _in_blocks(recordings: Iterable[list[Row]]) -> Iterator[list[Row]]:
    """Yield the utterances of whole recordings, :data:`LISTENING_BLOCK` together or a few more."""
    block: list[Row] = []
    for rows in recordings:
        block += rows
        if len(block) >= LISTENING_BLOCK:
            yield block
            block = []
    if block:
        yield block


def _hear(manifest: Manifest, audio: str, start: float | None, end: float | None) -> SoundCheck | BadInput:
    try:
        return listen(manifest.source(audio), start, end)
    except BadInput as error:
        return error


def silent_among(manifest: Manifest, ids: Sequence[str]) -> list[str]:
    """Return which of the utterances *ids* are silent: as 'prepare' found, else by listening to them."""
    wanted = set(ids)
    known = manifest.notes.get(SILENT)
    if isinstance(known, list) and not manifest.notes.get("edited"):
        return [identity for identity in known if identity in wanted]
    rows = manifest.table["id"].isin(list(wanted))
    _, notes = check_sound(manifest.with_table(manifest.table[rows].reset_index(drop=True)), Faults())
    return list(notes[SILENT])


def sound_warnings(heard: Sequence[SoundCheck], what: str) -> list[str]:
    """Return what must be known of one recording's score, from its utterances; *what* one is called."""
    warnings = list(dict.fromkeys(note for one in heard for note in one.notes))
    silent = sum(one.silent for one in heard)
    if silent:
        which = f"the {what} is" if len(heard) == 1 else f"{silent} of {len(heard)} {what}s are"
        warnings.append(f"{which} silent (below {SILENT_DB:g} dB of full scale): a score of it says nothing")
    taken = [one.channel for one in heard if one.channel is not None]
    if taken:
        names = " and ".join(map(str, sorted(set(taken))))
        where = "" if len(heard) == 1 else f" in {len(taken)} of {len(heard)} {what}s"
        warnings.append(
            f"the channels cancel: their mean loses {CANCELLED_DB:g} dB or more, so channel {names},"
            f" the louder one, is taken{where}"
        )
    return warnings


def silence_remarks(manifest: Manifest, ids: Sequence[str], what: str) -> list[str]:
    """Return a remark where any of the scored utterances *ids* is silent, and log which; *what* they are."""
    silent = silent_among(manifest, ids)
    if not silent:
        return []
    _log.warning("silent, and scored all the same: %s", ", ".join(silent))
    return [f"{len(silent)} of {len(ids)} scored {what} are silent (below {SILENT_DB:g} dB of full scale)"]


def describe_sound(notes: Mapping[str, Any], audio: Mapping[str, str]) -> list[str]:
    """Return what was heard, for a person.

    Args:
        notes: Of a manifest.
        audio: Recording of each utterance.
    """
    lines = []
    silent = list(notes.get(SILENT) or [])
    if silent:
        of = {identity: audio[identity] for identity in silent if identity in audio}
        others = {recording for identity, recording in audio.items() if identity not in set(silent)}
        whole = sorted(set(of.values()) - others)
        lines.append(
            f"silent (below {SILENT_DB:g} dB of full scale): {len(silent)} utterance(s) ({_some(silent)})"
            + (f"; nothing else is in {_some(whole)}" if whole else "")
        )
    channels = notes.get(CHANNELS) or {}
    if channels:
        named = _some([f"{name}: {number}" for name, number in channels.items()])
        lines.append(
            f"channels that cancel: in {len(channels)} utterance(s) their mean loses {CANCELLED_DB:g} dB or"
            f" more and the louder channel is taken ({named})"
        )
    lines += [f"{recording}: {'; '.join(told)}" for recording, told in (notes.get(FILES) or {}).items()]
    return lines


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
