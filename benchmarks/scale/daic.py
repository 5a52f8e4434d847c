"""DAIC-WOZ at its true size, from raw folders to the subject table: ``make bench-scale``.

``python benchmarks/scale/daic.py [--sessions N] [--model NAME] [--work DIR]``. Needs 6 GB of disk at
full size. Two spans are compared with what embedding alone takes at the rate measured in the same run,
on sentences of the same corpus that are already in memory: to the subject table (prepare, embed the
participants' sentences, probe, score), and to the finished report, for which the interviewer's turns are
embedded too, as a check. The corpus is generated and says nothing of people.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from interviews import COUNTS, write_corpus

from sertransfer.audio.reading import read_segment
from sertransfer.config import load_config
from sertransfer.corpora.interviews.daic_woz import Options as DaicOptions
from sertransfer.corpora.prepare import prepare
from sertransfer.encoders.base import Encoder
from sertransfer.encoders.registry import open_encoder
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.io.files import write_json
from sertransfer.manifest import Manifest
from sertransfer.models.checkpoint import Checkpoint, write_checkpoint
from sertransfer.models.registry import build_model
from sertransfer.transfer.checks.shortcuts import interviewer_manifest
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.workflow import transfer

PROJECT = Path(__file__).parents[2]
SAMPLE_SECONDS = 900.0
"""Sound that the rate of embedding alone is measured on, at the start and at the end."""


def main() -> None:
    """Generate, run, and write ``benchmarks/results/scale_daic.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=sum(COUNTS.values()), help="default: all 189")
    parser.add_argument("--model", default="pyresnet152", help="network of the encoder, with random weights")
    parser.add_argument("--work", type=Path, help="folder for the corpus and the run; default: temporary")
    parser.add_argument("--sample", type=float, default=SAMPLE_SECONDS, help="seconds to measure the rate on")
    parser.add_argument("--output", type=Path, default=PROJECT / "benchmarks/results/scale_daic.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        result = measure(work, arguments.sessions, arguments.model, arguments.sample)
    write_json(arguments.output, result)
    for key, value in result.items():
        print(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")


def measure(work: Path, sessions: int, model: str, sample: float) -> dict[str, Any]:
    """Return the figures of one run."""
    total = sum(COUNTS.values())
    counts = {split: max(4, round(count * sessions / total)) for split, count in COUNTS.items()}
    corpus, checkpoint = work / "daic-woz", work / "encoder.safetensors"
    hours = write_corpus(corpus, counts)
    write_encoder(model, checkpoint)
    encoder = open_encoder("ser", checkpoint)
    config = load_config(TransferConfig, PROJECT / "configs/transfer/ser_probe.yaml", {})

    start = time.perf_counter()
    # generated transcripts have neither shifts nor interruptions, whatever the session's number
    options = DaicOptions(without_errata=("shift", "interruption"))
    manifest = prepare("daic-woz", corpus, options, work / "manifest.csv")
    prepared = time.perf_counter() - start
    before = embedding_rate(encoder, manifest, sample, config.embedding.batch_seconds)
    start, begin = time.perf_counter(), time.time()
    paths = {"checkpoint": checkpoint, "run_dir": work / "run"}
    transfer(config, manifest, encoder="ser", **paths, progress=sys.stderr.isatty())
    whole = prepared + time.perf_counter() - start
    table = (work / "run" / "subjects.csv").stat().st_mtime
    # the first set that is whole is that of the participants
    embedded = min(path.stat().st_mtime for path in (work / "run").glob("embeddings/*/embedding.json"))
    to_table = prepared + table - begin
    after = embedding_rate(encoder, manifest, sample, config.embedding.batch_seconds)
    rate = (before + after) / 2
    seconds = float((manifest.table["end"] - manifest.table["start"]).sum())
    more = interviewer_seconds(manifest, config)
    return {
        "corpus": "generated, in DAIC-WOZ's layout",
        "sessions": sum(counts.values()),
        "hours": hours,
        "sentences": len(manifest),
        "speech_hours": seconds / 3600,
        "model": model,
        "threads": torch.get_num_threads(),
        "prepare_seconds": prepared,
        "embedding_seconds": embedded - begin,
        "probe_seconds": table - embedded,
        "to_subject_table_seconds": to_table,
        "embedding_alone_seconds": seconds / rate,
        "to_subject_table_over_embedding_alone": to_table * rate / seconds,
        "interviewer_hours": more / 3600,
        "whole_seconds": whole,
        "embedding_both_seconds": (seconds + more) / rate,
        "whole_over_embedding_both": whole * rate / (seconds + more),
        "rate_before_and_after": [before, after],
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def interviewer_seconds(manifest: Manifest, config: TransferConfig) -> float:
    """Return the seconds of the interviewer's turns that the report's check embeds."""
    used = manifest.table["split"].isin(["train", config.split])
    turns = interviewer_manifest(manifest.with_table(manifest.table[used].reset_index(drop=True))).table
    return float((turns["end"] - turns["start"]).sum())


def write_encoder(model: str, path: Path) -> None:
    """Write a checkpoint of *model* with random weights."""
    torch.manual_seed(0)
    state, classes = build_model(model, 4).state_dict(), ("angry", "neutral", "happy", "sad")
    write_checkpoint(Checkpoint(model, {}, classes, FrontEnd(), Cropping(), state, {}), path)


def embedding_rate(encoder: Encoder, manifest: Manifest, sample: float, batch_seconds: float) -> float:
    """Return seconds of speech embedded in a second, for sentences in memory, in batches of like length."""
    order = np.random.default_rng(0).permutation(len(manifest))
    waves: list[torch.Tensor] = []
    for row in order.tolist():
        if sum(len(wave) for wave in waves) > sample * encoder.sample_rate:
            break
        entry = manifest.table.iloc[row]
        sound = read_segment(manifest.source(entry["audio"]), entry["start"], entry["end"])
        waves.append(torch.from_numpy(sound))
    waves.sort(key=len)
    batches: list[list[torch.Tensor]] = [[]]
    for wave in waves:
        if batches[-1] and (len(batches[-1]) + 1) * len(wave) > batch_seconds * encoder.sample_rate:
            batches.append([])
        batches[-1].append(wave)
    with torch.inference_mode():
        encoder.embed(batches[0])
        start = time.perf_counter()
        for batch in batches:
            encoder.embed(batch)
        spent = time.perf_counter() - start
    return sum(len(wave) for wave in waves) / encoder.sample_rate / spent


if __name__ == "__main__":
    main()
