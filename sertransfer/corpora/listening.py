"""What must be known of a manifest's sound before anything is made of it: silence, channels, odd files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from sertransfer.audio.reading import CANCELLED_DB, SILENT_DB, Heard, listen
from sertransfer.errors import BadInput, Faults
from sertransfer.io.progress import bar
from sertransfer.manifest import Manifest

SILENT, CHANNELS, FILES = "silent", "louder_channel", "odd_files"
"""Notes of a manifest: ids of silent utterances; id to the channel taken; recording to what is odd."""

WORKERS = 4
"""Threads. Most of the time is Python's own."""

BLOCK = 64
"""Utterances that a thread takes at once: handing over each by itself takes longer than listening to it."""

_log = logging.getLogger(__name__)

Row = tuple[str, str, float | None, float | None]


def hear_all(manifest: Manifest, faults: Faults) -> tuple[Manifest, dict[str, Any]]:
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

    def hear(rows: Iterable[Row]) -> list[tuple[str, str, Heard | BadInput]]:
        return [(identity, audio, _hear(manifest, audio, start, end)) for identity, audio, start, end in rows]

    silent: list[str] = []
    channels: dict[str, int] = {}
    files: dict[str, list[str]] = {}
    broken: list[str] = []
    with ThreadPoolExecutor(WORKERS) as pool, bar("listening", len(table), unit="utterances") as shown:
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
    """Yield the utterances of whole recordings, :data:`BLOCK` together or a few more."""
    block: list[Row] = []
    for rows in recordings:
        block += rows
        if len(block) >= BLOCK:
            yield block
            block = []
    if block:
        yield block


def _hear(manifest: Manifest, audio: str, start: float | None, end: float | None) -> Heard | BadInput:
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
    _, notes = hear_all(manifest.with_table(manifest.table[rows].reset_index(drop=True)), Faults())
    return list(notes[SILENT])


def heard_warnings(heard: Sequence[Heard], what: str) -> list[str]:
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


def describe_heard(notes: Mapping[str, Any], audio: Mapping[str, str]) -> list[str]:
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
