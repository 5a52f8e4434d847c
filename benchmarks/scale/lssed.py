"""LSSED's true size, from the metadata to the plan of a training epoch: ``python benchmarks/scale/lssed.py``.

147,025 rows with the paper's class totals and 820 speakers, in LSSED's layout. The recordings are sparse
files: each has a WAV header that promises some 5 s, and as many bytes, of which the disk holds the header and
some noise in the middle, where ``prepare`` listens first. So recordings are opened, checked and listened to
as real ones are, but for the disk's own time: what has just been written lies in memory. The feature store is
a sparse file of the true size. Every piece of work has a process of its own; memory is the process's peak,
imports included. Nothing is learnt from this.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from own_process import measure, measure_here

PROJECT = Path(__file__).parents[2]
ROWS, SPEAKERS, SECONDS = 147_025, 820, 206 * 3600 + 25 * 60
RATE = 16_000
NOISE = 2048
"""Samples of noise in the middle of a recording; of digital silence ``prepare`` would have to read all."""


def generate(work: Path, rows: int) -> None:
    """Write the corpus into ``work/lssed``."""
    import pandas as pd

    from sertransfer.reporting.paper_tables import paper_table

    generator = np.random.default_rng(0)
    totals = {row["label"]: row["total"] for row in paper_table(3)["rows"] if row["label"] != "total"}
    labels = generator.permutation(np.repeat(list(totals), list(totals.values())))[:rows]
    speakers = generator.integers(max(10, SPEAKERS * rows // ROWS), size=rows)
    table = pd.DataFrame(
        {
            "name": [f"utt_{number:06d}" for number in range(rows)],
            "faces": labels,
            "gender": np.where(speakers % 2, "female", "male"),
            "age": np.array(["young", "middle-aged", "old"])[speakers % 3],
            "speaker": [f"spk{speaker:03d}" for speaker in speakers],
        }
    )
    folder = work / "lssed" / "wav_all"
    folder.mkdir(parents=True)
    table.to_csv(folder.parent / "metadata_english_all.csv", index=False)
    mean, sigma = SECONDS / ROWS, 0.5
    seconds = mean * np.exp(sigma * generator.standard_normal(rows) - sigma**2 / 2)
    lengths = (RATE * np.clip(seconds, 0.3, 30)).astype(int).tolist()
    noise = generator.integers(-3000, 3000, NOISE).astype("<i2").tobytes()
    for name, samples in zip(table["name"], lengths, strict=True):
        write_recording(folder / f"{name}.wav", samples, noise)


def write_recording(path: Path, samples: int, noise: bytes) -> None:
    """Write a sparse recording of so many samples, silent but for *noise* in its middle."""
    with path.open("wb") as stream:
        stream.write(wav_header(samples))
        stream.truncate(44 + 2 * samples)
        stream.seek(44 + (2 * samples - len(noise)) // 4 * 2)
        stream.write(noise)


def wav_header(samples: int) -> bytes:
    """Return the header of so many 16-bit samples at 16 kHz."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    data = struct.pack("<4sI", b"data", 2 * samples)
    return struct.pack("<4sI4s", b"RIFF", 36 + 2 * samples, b"WAVE") + form + data


def prepared(work: Path, **options: Any) -> Callable[[], Any]:
    """Prepare with *options* to ``manifest.csv``."""
    from sertransfer.corpora.prepare import prepare
    from sertransfer.corpora.registry import CORPORA

    chosen = CORPORA["lssed"].options(task="eleven", **options)
    return lambda: {"rows": len(prepare("lssed", work / "lssed", chosen, work / "manifest.csv"))}


def describe(work: Path) -> Callable[[], Any]:
    """Read the manifest and count the paper's tables."""
    from sertransfer.corpora.statistics import describe_files

    return lambda: {"hours": describe_files([work / "manifest.csv"])[0].overview["h:mm"].iloc[0]}


def split(work: Path, rule: str) -> Callable[[], Any]:
    """Split by *rule*."""
    from sertransfer.corpora import splits
    from sertransfer.manifest import read_manifest

    table = read_manifest(work / "manifest.csv").table
    rules = {"paper": splits.paper_split, "speaker": splits.speaker_split}
    return lambda: {"test_rows": int((rules[rule](table) == "test").sum())}


def key(work: Path) -> Callable[[], Any]:
    """Find the store's key: every recording's size and time of change."""
    from sertransfer.audio.features import store_key
    from sertransfer.front_end import FrontEnd
    from sertransfer.manifest import read_manifest

    made = read_manifest(work / "manifest.csv")
    return lambda: {"key": store_key(made, FrontEnd())}


def plan(work: Path) -> Callable[[], Any]:
    """Plan the store: every header once more, and each utterance's place."""
    from sertransfer.audio.features import make_plan
    from sertransfer.front_end import FrontEnd
    from sertransfer.manifest import read_manifest

    made = read_manifest(work / "manifest.csv")

    def run() -> dict[str, Any]:
        found = make_plan(made, FrontEnd())
        return {"store_gb": found.frames * found.front_end.mels * 2 / 1e9}

    return run


def sparse_store(work: Path) -> Path:
    """Write a store of the manifest's true size whose features are a sparse file, unless it is there."""
    from sertransfer.audio.features import ExtractionResult, make_plan
    from sertransfer.audio.speaker_norm import Resting
    from sertransfer.audio.store import describe
    from sertransfer.front_end import FrontEnd
    from sertransfer.io.array_store import write_index, write_meta
    from sertransfer.manifest import read_manifest

    folder = work / "store"
    if folder.exists():
        return folder
    found = make_plan(read_manifest(work / "manifest.csv"), FrontEnd())
    folder.mkdir()
    with (folder / "features.bin").open("wb") as stream:
        stream.truncate(found.frames * found.front_end.mels * 2)
    write_index(folder, [(job.id, job.offset, job.frames) for job in found.jobs])
    more = {"key": "sparse", "utterances": len(found.jobs), "sha256": ""}
    write_meta(folder, describe(found, ExtractionResult(), Resting(), **more))
    return folder


def open_store(work: Path) -> Callable[[], Any]:
    """Open the store: index and memory map."""
    from sertransfer.audio.store import FeatureStore

    folder = sparse_store(work)
    size = (folder / "features.bin").stat().st_size
    return lambda: {"rows": len(FeatureStore(folder)), "store_gb": size / 1e9}


def epoch(work: Path) -> Callable[[], Any]:
    """Take the training part and plan an epoch of batches of 256: what happens before the first batch."""
    from sertransfer.audio.store import FeatureStore
    from sertransfer.manifest import read_manifest
    from sertransfer.pretraining.data import select_split, take_utterances
    from sertransfer.training.batches import TrainingBatches, plan_epoch

    store, made = FeatureStore(sparse_store(work)), read_manifest(work / "manifest.csv")
    classes = sorted(set(made.table["label"]))

    def run() -> dict[str, Any]:
        utterances, _ = take_utterances(store, select_split(made, "train", classes), classes)
        batches = TrainingBatches(utterances, batch_size=256, longest=157, pad=False, seed=0)
        batches.state_dict()
        plans = plan_epoch(utterances.frames, batch_size=256, longest=157, pad=False, seed=0, epoch=0)
        return {"rows": len(utterances), "batches": len(plans)}

    return run


WORK: dict[str, Callable[[Path], Callable[[], Any]]] = {
    "prepare: metadata alone, speaker-disjoint": partial(prepared, check_audio=False, split="speaker"),
    "prepare: metadata alone, paper's split": partial(prepared, check_audio=False),
    "prepare: with every recording opened and listened to": prepared,
    "describe": describe,
    "paper's split alone": partial(split, rule="paper"),
    "speaker-disjoint split alone": partial(split, rule="speaker"),
    "store: its key": key,
    "store: plan from the headers": plan,
    "store: open": open_store,
    "training part and plan of an epoch": epoch,
}
"""In this order: later work uses what earlier work wrote."""


def main() -> None:
    """Measure everything and write ``benchmarks/results/scale_lssed.json``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="default: all of LSSED's")
    parser.add_argument("--work", type=Path, help="folder for the corpus, 2 GB; default: temporary")
    parser.add_argument("--one", metavar="WORK", help="measure this in this process, in --work")
    parser.add_argument("--output", type=Path, default=PROJECT / "benchmarks/results/scale_lssed.json")
    arguments = parser.parse_args()
    if arguments.one:
        measure_here(WORK[arguments.one](arguments.work))
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        generate(work, arguments.rows)
        rows = []
        for name in WORK:
            found = {"work": name, **measure(Path(__file__), "--one", name, "--work", work)}
            rows.append(found)
            print(f"{name}: {found['seconds']:.2f} s, peak {found['peak_mb']:.0f} MB", flush=True)
    from sertransfer.io.files import write_json, write_text

    write_json(arguments.output, {"rows": arguments.rows, "corpus": "generated, sparse files", "work": rows})
    write_text(arguments.output.with_suffix(".md"), table(rows))
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    lines = ["| work | s | peak MB | of these by the work |", "|---|---|---|---|"]
    for row in rows:
        figures = f"{row['seconds']:.2f} | {row['peak_mb']:.0f} | {row['added_mb']:.0f}"
        lines.append(f"| {row['work']} | {figures} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
