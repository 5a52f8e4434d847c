"""Feature stores of random content, for work whose speed does not depend on what the numbers say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sertransfer.audio.features import FORMAT_VERSION
from sertransfer.audio.store import FeatureStore
from sertransfer.front_end import FrontEnd
from sertransfer.io.array_store import write_index, write_meta

MELS = 128
RATE, HOP = 16_000, 512


def sentence_frames(count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Return frame counts of sentences of lognormal duration: median 2.5 s, sigma 0.9, 0.3 to 30 s."""
    generator = np.random.default_rng(seed)
    seconds = np.clip(np.exp(generator.normal(np.log(2.5), 0.9, count)), 0.3, 30)
    return 1 + (seconds * RATE).astype(np.int64) // HOP


def write_store(folder: Path, frames: NDArray[np.int64]) -> FeatureStore:
    """Write a store of utterances of so many frames each, in half precision, block by block.

    Args:
        folder: The store's own folder, new.
        frames: Frames of each utterance, shape ``(utterances,)``.
    """
    folder.mkdir(parents=True)
    total = int(frames.sum())
    block = np.random.default_rng(0).standard_normal((1 << 16, MELS)).astype(np.float16)
    digest = hashlib.sha256()
    with (folder / "features.bin").open("wb") as file:
        for start in range(0, total, len(block)):
            part = block[: total - start].tobytes()
            file.write(part)
            digest.update(part)
    ids = [f"utterance{number:07d}" for number in range(len(frames))]
    write_index(folder, list(zip(ids, np.cumsum(frames) - frames, frames, strict=True)))
    meta = {
        "format": FORMAT_VERSION,
        "key": folder.name,
        "front_end": FrontEnd(mels=MELS).as_dict(),
        "dtype": "float16",
        "mels": MELS,
        "frames": total,
        "utterances": len(frames),
        "clipped_share": None,
        "sha256": digest.hexdigest(),
        "left_out": [],
        "faults": [],
    }
    write_meta(folder, meta)
    return FeatureStore(folder)
