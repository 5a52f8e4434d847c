"""Time and peak memory at 1, 4 and 16 times the data: ``python benchmarks/scale/growth.py``.

Every measurement has a process of its own. Time should grow with the data, so that seconds an item stay the
same or fall (what does not depend on the data weighs less); memory beyond the imports should not grow at
all, or by no more than what has to be known of each item. All data are generated.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from own_process import measure, measure_here

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


def split(count: int, work: Path) -> Callable[[], None]:
    """Split by the paper's rule, and speaker-disjoint."""
    from sertransfer.corpora.splits import paper_split, speaker_split

    table = manifest_rows(count, work).table

    def run() -> None:
        paper_split(table)
        speaker_split(table)

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

    from sertransfer.training.batches import TrainingBatches, Utterances

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
    from sertransfer.pretraining.settings import ModelSettings, PretrainConfig
    from sertransfer.pretraining.workflow import pretrain

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
    more = {"embeddings": work / "embeddings", "progress": False}
    return lambda: transfer(config, made, encoder="ser", **paths, **more) and None


def embedding(count: int, work: Path) -> Callable[[], None]:
    """Embedding by a small network."""
    from daic import write_encoder

    from sertransfer.encoders.registry import open_encoder
    from sertransfer.transfer.embed import embed

    made = manifest_rows(count, work)
    write_encoder("pyresnet_tiny", work / "encoder.safetensors")
    encoder = open_encoder("ser", work / "encoder.safetensors")
    (work / "embeddings").mkdir()
    return lambda: embed(made, encoder, work / "embeddings", progress=False) and None


def probing(count: int, work: Path) -> Callable[[], None]:
    """Stage 2 on embeddings that are there: probing, scores and report."""
    import shutil

    again = stage_2(count, work)
    again()
    shutil.rmtree(work / "run")
    return again


def report(count: int, work: Path) -> Callable[[], None]:
    """The report of a finished run of stage 2."""
    from sertransfer.reporting.report import write_report

    stage_2(count, work)()
    return lambda: write_report(work / "run") and None


WORK: dict[str, tuple[Callable[[int, Path], Callable[[], None]], int]] = {
    "manifest: write, read, check, describe": (manifest, 10_000),
    "splits: the paper's and speaker-disjoint": (split, 10_000),
    "feature store: build": (store, 500),
    "training batches: one epoch from the store": (epoch, 4_000),
    "stage 1: features, one epoch, scores, report": (stage_1, 200),
    "embedding: a small network": (embedding, 200),
    "stage 2 on stored embeddings: probe, score, report": (probing, 200),
    "stage 2: report alone": (report, 200),
    "stage 2: embed, probe, score, report": (stage_2, 200),
}
"""What is measured, and the items at factor 1. 16 times the manifest is more than LSSED has."""


def measure_one(name: str, count: int) -> None:
    """Measure one piece of work in this process and print it."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        measure_here(WORK[name][0](count, Path(work)))


def table(rows: list[dict[str, Any]]) -> str:
    """Return the figures as Markdown, a line for each piece of work."""
    heads = [f"{factor} x" for factor in FACTORS]
    lines = [
        f"| work | items | {' | '.join(f'processor ms an item, {head}' for head in heads)} "
        f"| {' | '.join(f'MB by the work, {head}' for head in heads)} |",
        "|---" * (2 + 2 * len(heads)) + "|",
    ]
    for name in dict.fromkeys(row["work"] for row in rows):
        own = [row for row in rows if row["work"] == name]
        cells = [f"{1000 * row['processor_seconds'] / row['items']:.3f}" for row in own]
        cells += [f"{row['added_mb']:.0f}" for row in own]
        lines.append(f"| {name} | {own[0]['items']:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure everything and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--one", nargs=2, metavar=("WORK", "ITEMS"), help="measure this in this process")
    parser.add_argument("--shrink", type=int, default=1, help="divide all sizes by this, for a quick look")
    parser.add_argument("--output", type=Path, default=HERE.parents[1] / "results/scale_growth.json")
    arguments = parser.parse_args()
    if arguments.one:
        measure_one(arguments.one[0], int(arguments.one[1]))
        return
    rows = []
    for name, (_, base) in WORK.items():
        for factor in FACTORS:
            count = max(100, base // arguments.shrink) * factor
            found = measure(HERE, "--one", name, count)
            row = {"work": name, "factor": factor, "items": count, **found}
            print(
                f"{name} x{factor}: {row['seconds']:.2f} s, {1000 * row['seconds'] / count:.3f} ms an item, "
                f"peak {row['peak_mb']:.0f} MB, {row['added_mb']:.0f} of them by the work",
                flush=True,
            )
            rows.append(row)
    from sertransfer.io.files import write_json, write_text

    write_json(arguments.output, rows)
    write_text(arguments.output.with_suffix(".md"), table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
