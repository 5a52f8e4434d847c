"""What a training epoch costs before the network: frames computed for nothing, and reading the store."""

from __future__ import annotations

from typing import Any

import numpy as np
from measure import Options, by_turns, one_core, timed_row
from stores import MELS, sentence_frames, write_store

from sertransfer.training.batches import TrainingBatches, Utterances, plan_epoch

BATCH = 32
SENTENCES = 16_000


def frames_computed(options: Options) -> dict[str, Any]:
    """Count the frames of an epoch's batches, against random batches padded to their longest sentence."""
    frames = sentence_frames(SENTENCES)
    plans = plan_epoch(frames, batch_size=BATCH, longest=int(frames.max()), pad=False, seed=0, epoch=0)
    ours = sum(len(plan.items) * plan.frames for plan in plans)
    order = np.random.default_rng(0).permutation(SENTENCES)
    padded = sum(
        len(part) * int(frames[part].max()) for part in np.array_split(order, -(-SENTENCES // BATCH))
    )
    real = int(frames.sum())
    # every frame of ours is speech: what it leaves out is counted against it, not for it
    return {
        "work": "frames computed for sentences of lognormal duration, shuffled batches of 32",
        "ours": max(ours, real) / real,
        "peer": padded / real,
        "peer_name": "random padded batches",
        "ratio": padded / max(ours, real),
        "goal": 4.1,
        "limit_fraction": real / max(ours, real),
        "spread": None,
        "unit": "frames a frame of speech",
        "note": f"counted, not timed; {1 - ours / real:.1%} of the frames are cut off an epoch, at places "
        "drawn anew for each: a batch has the length of its shortest sentence; limit: no padding at all",
    }


def cached_epoch(options: Options) -> dict[str, Any]:
    """Read all batches of an epoch out of the store, against reading its file from front to end."""
    frames = np.full(20_000, 157, dtype=np.int64)  # 5 s: nothing is cut, so that all of the file is read
    store = write_store(options.work / "cached_epoch", frames)
    items = np.arange(len(frames), dtype=np.int64)
    batches = TrainingBatches(
        Utterances(store, items, items % 4, store.ids), batch_size=256, longest=157, pad=False, seed=0
    )
    path, block = store.path / "features.bin", bytearray(1 << 24)

    def epoch() -> None:
        for _ in batches:
            pass

    def plainly() -> None:
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass

    with one_core():
        turns = by_turns(epoch, plainly, pairs=7)
    return timed_row(
        "a cached epoch over the feature store",
        "sequential read of the file",
        turns,
        items=len(frames),
        unit="utterance of 5 s",
        goal=0.83,
        note=f"{path.stat().st_size / 1e9:.2f} GB of half precision in the page cache, random content, "
        f"{MELS} mels; batches of 256 in random order, one core",
    )


ROWS = [frames_computed, cached_epoch]
