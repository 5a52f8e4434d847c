"""What recognises a feature store: a hash of all that its features depend on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sertransfer.audio.resting import resting_manifest, speakers_of, uses_rest
from sertransfer.front_end import FrontEnd
from sertransfer.io.files import hash_value
from sertransfer.manifest import Manifest

FORMAT_VERSION = 2
"""Raised whenever features or layout change; part of the key, so that old stores are not taken for new."""


def store_key(manifest: Manifest, front_end: FrontEnd, rest: Manifest | None = None) -> str:
    """Return the key of the store of *manifest*: a hash of all that its features depend on.

    That is every utterance's id, audio, times and gain, size and time of change of every audio file,
    the front end, and the format; with resting states also who speaks, and all of this for the resting
    recordings in *rest* (``None`` = *manifest* itself).
    """
    table = manifest.table
    content = [FORMAT_VERSION, front_end.as_dict(), *_utterances(manifest)]
    if uses_rest(front_end):
        content += [speakers_of(table), resting_key(manifest, front_end, manifest if rest is None else rest)]
    return hash_value(content)[:32]


def _utterances(manifest: Manifest) -> list[Any]:
    """Return columns and rows that say which sound the utterances are, and the state of the files."""
    table = manifest.table
    files = {}
    for audio in table["audio"].unique():
        source = manifest.source(audio)
        try:
            status = source.path.stat()
            files[audio] = (source.member, status.st_size, status.st_mtime_ns)
        except OSError:
            files[audio] = (source.member, -1, -1)
    columns = [column for column in ("id", "audio", "start", "end", "gain") if column in table]
    rows = [[str(value) for value in row] for row in table[columns].itertuples(index=False)]
    return [columns, rows, files]


def rows_key(manifest: Manifest, *more: object) -> str:
    """Return a hash of the utterances of *manifest*, the state of their files, and *more*."""
    return hash_value([*more, *_utterances(manifest)])[:32]


def resting_key(manifest: Manifest, front_end: FrontEnd, rest: Manifest) -> str:
    """Return a hash of all that the resting states of the speakers of *manifest* depend on."""
    resting = resting_manifest(manifest, rest)
    return hash_value([speakers_of(resting.table), store_key(resting, plain(front_end))])[:32]


def plain(front_end: FrontEnd) -> FrontEnd:
    """Return the front end that resting states are measured with."""
    return replace(front_end, normalise="none")
