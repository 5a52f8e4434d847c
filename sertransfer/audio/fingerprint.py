"""Prints of sound: hashes of a few milliseconds of samples around peaks, wherever the sound was cut.

A peak is a sample above all others within :data:`REACH` samples. It is a peak in every cut of the recording
that holds these samples, under any name, in any container and header that keep the samples: whole sessions
and sentences cut from them have prints in common. A copy at another level or rate, or packed with loss, has
none. Samples are taken at the recording's own rate, before any gain, as 16-bit numbers.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sertransfer.audio.features import rows_key
from sertransfer.audio.reading import AudioInfo, inspect, read_segment
from sertransfer.errors import BadInput
from sertransfer.io.files import atomic_path, refuse_packed, regular_file
from sertransfer.manifest import AudioSource, Manifest
from sertransfer.timebase import samples_to_seconds, seconds_to_samples

REACH = 512
"""Samples before and behind a peak that are no higher; 32 ms at 16 kHz."""
HALF = 256
"""Samples before and behind a peak that are hashed."""
QUIETEST = 32
"""Range of the samples below which sound counts as silence, which has equal prints everywhere."""
TRAINING_PRINTS = 2
"""Prints that are kept of an utterance that was trained on, those of its highest peaks."""
RULE = 1
"""Raised whenever prints change."""

_BLOCK = 128
_WINDOW = 2**20
"""Samples that are read at once: a session of an hour would take a gigabyte."""
_WINDOW_SECONDS = 3600
"""Of a recording at a few hertz, which would be too long at once."""
_OVERLAP = 2 * REACH
"""Samples that two windows have in common, so that every peak is far enough from the ends of one of them."""

PrintsById = dict[str, list[bytes]]

_log = logging.getLogger(__name__)


def prints_of(samples: NDArray[np.int16], most: int | None = None) -> list[bytes]:
    """Return the prints of an utterance, each of 16 bytes.

    Args:
        samples: Shape ``(samples,)``.
        most: Keep those of so many of the highest peaks; ``None`` keeps all.

    Returns:
        None for silence; one, of all samples, where there is no peak far enough from the ends.
    """
    if _is_silent(samples):
        return []
    return [own for _, own in _ranked_prints(samples, most)] or [_hash(samples)]


def _is_silent(samples: NDArray[np.int16]) -> bool:
    return not len(samples) or int(samples.max()) - int(samples.min()) < QUIETEST


def _ranked_prints(samples: NDArray[np.int16], most: int | None) -> list[tuple[int, bytes]]:
    """Return the prints with the heights of their peaks, the highest first."""
    found: list[tuple[int, bytes]] = []
    for peak in _peaks(samples):
        window = samples[peak - HALF : peak + HALF]
        if not _is_silent(window):
            found.append((int(samples[peak]), _hash(window)))
        if len(found) == most:
            break
    return found


def _hash(samples: NDArray[np.int16]) -> bytes:
    return hashlib.blake2b(samples.astype("<i2", copy=False).tobytes(), digest_size=16).digest()


def _peaks(samples: NDArray[np.int16]) -> Iterator[int]:
    """Yield the places of the peaks, the highest first."""
    count = len(samples) // _BLOCK
    if len(samples) <= 2 * REACH:
        return
    blocks = samples[: count * _BLOCK].reshape(count, _BLOCK)
    heights = blocks.max(axis=1)
    # blocks that lie within reach of every sample of a block; its peak cannot be lower than theirs
    around = REACH // _BLOCK - 1
    padded = np.pad(heights, around, constant_values=np.iinfo(np.int16).min)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * around + 1).max(axis=1)
    likely = np.flatnonzero(heights >= highest)
    for block in likely[np.argsort(-heights[likely].astype(np.int32), kind="stable")]:
        peak = int(block) * _BLOCK + int(blocks[block].argmax())
        if peak < REACH or peak + REACH >= len(samples):
            continue
        height = samples[peak]
        before, behind = samples[peak - REACH : peak], samples[peak + 1 : peak + REACH + 1]
        if before.max() < height >= behind.max():
            yield peak


def as_integers(waveform: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return samples of full scale 1 as 16-bit numbers."""
    integers: NDArray[np.int16] = np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype(np.int16)
    return integers


def recording_prints(source: AudioSource) -> list[bytes]:
    """Return all prints of a whole recording.

    Raises:
        BadInput: If it cannot be read.
    """
    info = inspect(source)
    return list(dict.fromkeys(_read_prints(source, info.sample_rate, 0, info.samples, None)))


def _read_prints(source: AudioSource, rate: int, first: int, last: int, most: int | None) -> list[bytes]:
    """Return the prints of the samples from *first* to *last*, which are read window by window."""
    window = min(_WINDOW, _WINDOW_SECONDS * rate)

    def read(start: int) -> NDArray[np.int16]:
        times = [samples_to_seconds(place, rate) for place in (start, min(last, start + window))]
        return as_integers(read_segment(source, *times, sample_rate=rate))

    if last - first <= window:
        return prints_of(read(first), most)
    found: list[tuple[int, bytes]] = []
    for start in range(first, last - _OVERLAP, window - _OVERLAP):
        found += _ranked_prints(read(start), most)
    found.sort(key=lambda one: -one[0])
    return [own for _, own in found[:most]]


def utterance_prints(manifest: Manifest, *, most: int | None = None, cache: Path | None = None) -> PrintsById:
    """Return the prints of each utterance of *manifest*, by id.

    Args:
        manifest: The utterances; one that cannot be read has no prints.
        most: As for :func:`prints_of`.
        cache: Folder to keep them in, so that the audio is read for them once.
    """
    table = manifest.table
    path = None
    if cache is not None:
        key = rows_key(manifest, RULE, most)
        path = cache / "prints" / f"{key}.npz"
        kept = _read(path, table["id"].tolist())
        if kept is not None:
            return kept
    found: PrintsById = {identity: [] for identity in table["id"]}
    infos: dict[str, AudioInfo] = {}
    ordered = table.sort_values(["audio", "start"], kind="stable")  # a packed recording is unpacked once
    for identity, audio, start, end in zip(
        ordered["id"], ordered["audio"], ordered["start"], ordered["end"], strict=True
    ):
        source = manifest.source(audio)
        try:
            if audio not in infos:
                infos[audio] = inspect(source)
            rate = infos[audio].sample_rate
            first = 0 if np.isnan(start) else seconds_to_samples(start, rate)
            last = infos[audio].samples if np.isnan(end) else seconds_to_samples(end, rate)
            found[identity] = _read_prints(source, rate, first, last, most)
        except BadInput as error:
            _log.debug("no prints of %s: %s", identity, error)
    if cache is not None and path is not None:
        _write(path, cache, found)
    return found


def _write(path: Path, cache: Path, prints: PrintsById) -> None:
    counts = np.array([len(own) for own in prints.values()], dtype=np.int64)
    values = np.frombuffer(b"".join(one for own in prints.values() for one in own), dtype=np.uint8)
    with atomic_path(path, top=cache) as temporary, temporary.open("wb") as stream:
        np.savez(stream, counts=counts, values=values)


def _read(path: Path, ids: list[str]) -> PrintsById | None:
    try:
        with np.load(regular_file(path), allow_pickle=False) as content:
            refuse_packed(content.zip)
            counts, values = content["counts"], content["values"].tobytes()
        ends = np.cumsum(counts)
        if len(counts) != len(ids) or len(values) != 16 * int(counts.sum()):
            raise ValueError("another number of prints")
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged archive raises whatever its bytes lead to
        _log.warning("%s is damaged (%s) and is made again", path, error)
        return None
    cut = [values[16 * place : 16 * (place + 1)] for place in range(len(values) // 16)]
    return {
        identity: cut[int(end - count) : int(end)]
        for identity, count, end in zip(ids, counts, ends, strict=True)
    }
