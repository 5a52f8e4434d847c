"""Time and peak memory at 1, 4 and 16 times the data: ``python benchmarks/scale/growth.py``.

Every measurement has a process of its own. Time should grow with the data, so that seconds an item stay the
same or fall (what does not depend on the data weighs less); memory beyond the imports should not grow at
all, or by no more than what has to be known of each item. All data are generated.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

HERE = Path(__file__)
FACTORS = (1, 4, 16)
RATE = 16_000


def manifest_rows(count: int, root: Path) -> Any:
    """Return a manifest of *count* segments of 1.5 s of one generated recording, ten sentences a speaker."""
    import numpy as np
    import pandas as pd
    import soundfile

    from sertransfer.manifest import Manifest, make_table

    if not (root / "sound.wav").exists():
        sound = 0.1 * np.random.default_rng(0).standard_normal(600 * RATE)
        soundfile.write(root / "sound.wav", sound, RATE, subtype="PCM_16")
    numbers = np.arange(count)
    speakers = numbers // 10
    start = 0.0625 * (numbers % 9000)
    table = pd.DataFrame(
        {
            "id": [f"item{number}" for number in numbers],
            "audio": "sound.wav",
            "start": start,
            "end": start + 1.5,
            "speaker": [f"speaker{speaker}" for speaker in speakers],
            "label": np.where(speakers % 2, "angry", "sad"),
            "split": np.where(speakers % 5 == 0, "test", "train"),
            "corpus": "generated",
        }
    )
    return Manifest(make_table(table.to_dict("records")), root, {"corpus": "generated", "generated": True})


def manifest(count: int, work: Path) -> Callable[[], None]:
    """Write, read and check a manifest, and describe it."""
    from sertransfer.corpora.statistics import describe
    from sertransfer.manifest import read_manifest, write_manifest

    made = manifest_rows(count, work)

    def run() -> None:
        write_manifest(made, work / "manifest.csv")
        describe(read_manifest(work / "manifest.csv"))

    return run


def store(count: int, work: Path) -> Callable[[], None]:
    """Compute features into a store."""
    from sertransfer.audio.store import build_store
    from sertransfer.front_end import FrontEnd

    made = manifest_rows(count, work)
    return lambda: build_store(made, FrontEnd(), work / "features", progress=False) and None


def epoch(count: int, work: Path) -> Callable[[], None]:
    """Read an epoch of batches out of a store."""
    import numpy as np
    from stores import write_store

    from sertransfer.fitting.batches import TrainingBatches, Utterances

    made = write_store(work / "store", np.full(count, 79, dtype=np.int64))
    items = np.arange(count, dtype=np.int64)
    batches = TrainingBatches(
        Utterances(made, items, items % 4, made.ids), batch_size=256, longest=157, pad=False, seed=0
    )

    def run() -> None:
        for _ in batches:
            pass

    return run


def stage_1(count: int, work: Path) -> Callable[[], None]:
    """Features, one training epoch of a small network, scores and report."""
    from sertransfer.training.pretrain import pretrain
    from sertransfer.training.settings import ModelSettings, PretrainConfig

    made = manifest_rows(count, work)
    config = PretrainConfig(
        model=ModelSettings("pyresnet_tiny"), classes=("angry", "sad"), epochs=1, batch_size=32
    )
    return lambda: pretrain(config, made, work / "run", progress=False) and None


def stage_2(count: int, work: Path) -> Callable[[], None]:
    """Embedding by a small network, probing, scores and report."""
    from daic import write_encoder

    from sertransfer.transfer.settings import TransferConfig
    from sertransfer.transfer.workflow import transfer

    made = manifest_rows(count, work)
    write_encoder("pyresnet_tiny", work / "encoder.safetensors")
    config = TransferConfig(negative="sad", positive="angry", split="test")
    paths = {"checkpoint": work / "encoder.safetensors", "run_dir": work / "run"}
    return lambda: transfer(config, made, encoder="ser", **paths, progress=False) and None


WORK: dict[str, tuple[Callable[[int, Path], Callable[[], None]], int]] = {
    "manifest: write, read, check, describe": (manifest, 10_000),
    "feature store: build": (store, 500),
    "training batches: one epoch from the store": (epoch, 4_000),
    "stage 1: features, one epoch, scores, report": (stage_1, 200),
    "stage 2: embed, probe, score, report": (stage_2, 200),
}
"""What is measured, and the items at factor 1. 16 times the manifest is more than LSSED has."""


def measure_here(name: str, count: int) -> None:
    """Measure one piece of work in this process and print it."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        run = WORK[name][0](count, Path(work))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {"items": count, "seconds": seconds, "peak_mb": peak / 1e3, "added_mb": (peak - before) / 1e3}
        )
    )


def main() -> None:
    """Measure everything and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--one", nargs=2, metavar=("WORK", "ITEMS"), help="measure this in this process")
    parser.add_argument("--shrink", type=int, default=1, help="divide all sizes by this, for a quick look")
    parser.add_argument("--output", type=Path, default=HERE.parents[1] / "results/scale_growth.json")
    arguments = parser.parse_args()
    if arguments.one:
        measure_here(arguments.one[0], int(arguments.one[1]))
        return
    rows = []
    for name, (_, base) in WORK.items():
        for factor in FACTORS:
            count = max(100, base // arguments.shrink) * factor
            command = [sys.executable, str(HERE), "--one", name, str(count)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            row = {"work": name, "factor": factor, **json.loads(done.stdout.splitlines()[-1])}
            print(
                f"{name} x{factor}: {row['seconds']:.2f} s, {1000 * row['seconds'] / count:.3f} ms an item, "
                f"peak {row['peak_mb']:.0f} MB, {row['added_mb']:.0f} of them by the work",
                flush=True,
            )
            rows.append(row)
    from sertransfer.files import write_json

    write_json(arguments.output, rows)


if __name__ == "__main__":
    main()
