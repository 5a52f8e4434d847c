"""Training, fine-tuning and embedding on one GPU: ``make bench-gpu``, unattended, in under ten minutes.

``python benchmarks/gpu/run.py [--utterances N] [--model NAME] ...``. The store has the size of LSSED's four
classes (84,829 utterances of 158 frames) and random content, which changes no speed. Writes
``benchmarks/results/gpu.json`` and ``gpu.md``, after every row, so that nothing is lost if it is stopped.
Without a GPU it runs on the CPU, which is of use to test it at a small size and for nothing else.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from agreement import agreement
from steps import Stopwatch, finetuning_rate, plain_rate, repeated_rate, training_rate, wait_for
from stores import MELS, write_store
from torch.utils.flop_counter import FlopCounterMode

from sertransfer.encoders.ser import SerEncoder
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.io.files import write_json, write_text
from sertransfer.models.base import prepare_for_inference
from sertransfer.models.checkpoint import Checkpoint
from sertransfer.models.registry import build_model
from sertransfer.pretraining.settings import CLASSES, ModelSettings, PretrainConfig
from sertransfer.training.batches import Utterances
from sertransfer.transfer.settings import FinetuneConfig, TransferConfig

RESULTS = Path(__file__).parents[1] / "results"
GOAL = 2800
"""Utterances a second: 60 epochs of LSSED's four classes in about half an hour."""
EPOCHS = 60
MINUTES = "minutes_for_60_epochs_of_lssed"


@dataclass(frozen=True)
class Setting:
    """What is measured, and how long."""

    device: torch.device
    utterances: Utterances
    config: PretrainConfig
    frames: int
    seconds: float
    warm_up: int

    def watch(self) -> Stopwatch:
        """Return a new stopwatch."""
        return Stopwatch(self.device, self.warm_up, self.seconds)


def main() -> None:
    """Measure row by row, and write the table after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--utterances", type=int, default=84_829)
    parser.add_argument("--frames", type=int, default=158)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--model", default="pyresnet152")
    parser.add_argument("--seconds", type=float, default=20, help="to count for, in each row")
    parser.add_argument("--warm-up", type=int, default=12, help="steps that do not count")
    parser.add_argument("--minutes", type=float, default=9, help="begin no row after so many")
    parser.add_argument("--steps", type=int, default=60, help="of training, for the check of half precision")
    parser.add_argument(
        "--no-compile", action="store_true", help="for tests on a CPU, where it takes minutes"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu.json")
    arguments = parser.parse_args()
    began = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = PretrainConfig(
        model=ModelSettings(arguments.model),
        batch_size=arguments.batch,
        precision="bf16-mixed",
        compile=not arguments.no_compile,
        epochs=EPOCHS,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        frames = np.full(arguments.utterances, arguments.frames, dtype=np.int64)
        store = write_store(folder / "store", frames)
        items = np.arange(len(frames), dtype=np.int64)
        utterances = Utterances(store, items, items % len(CLASSES), store.ids)
        setting = Setting(device, utterances, config, arguments.frames, arguments.seconds, arguments.warm_up)
        result = about(setting)
        for name, row in rows(setting, result, arguments.steps).items():
            torch.manual_seed(0)
            start = time.perf_counter()
            if start - began > 60 * arguments.minutes:
                found: dict[str, Any] = {"note": "SKIPPED: the time was up"}
            else:
                found = attempt(row)
            result["rows"].append({"work": name, **found, "took_seconds": time.perf_counter() - start})
            print(result["rows"][-1], flush=True)
            write_json(arguments.output, result)
            write_text(arguments.output.with_suffix(".md"), markdown(result))


def attempt(row: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what *row* measures; a row that fails says why, and leaves the others their figures."""
    try:
        return row()
    except Exception as error:
        traceback.print_exc()
        return {"note": f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def about(setting: Setting) -> dict[str, Any]:
    """Return what the figures were measured on."""
    device, config = setting.device, setting.config
    gpu = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else "none: a CPU, for a test of the program"
    )
    network = build_model(config.model.name, len(config.classes)).to(device)
    x = torch.randn(2, 1, MELS, setting.frames, device=device)
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()
    return {
        "gpu": gpu,
        "torch": str(torch.__version__),
        "date": datetime.date.today().isoformat(),
        "model": config.model.name,
        "batch_size": config.batch_size,
        "utterances": len(setting.utterances),
        "frames": setting.frames,
        "store_gb": len(setting.utterances) * setting.frames * MELS * 2 / 1e9,
        "operations_a_training_utterance": counter.get_total_flops() / 2,
        "bf16_rate": matmul_rate(device, torch.bfloat16),
        "fp32_rate": matmul_rate(device, torch.float32),
        "rows": [],
    }


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of a large matrix product, in operations a second."""
    size = 8192 if device.type == "cuda" else 256
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(10):
        wait_for(device)
        start = time.perf_counter()
        torch.mm(a, b)
        wait_for(device)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times[2:])


def rows(setting: Setting, result: dict[str, Any], steps: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return every row by its name, in the order in which they are run; the peer stands first and last."""
    config = setting.config
    eager = replace(config, compile=False)
    peer = "peer: eager fp32 NCHW, a plain loop on one batch"
    return {
        peer: partial(_peer, setting, result),
        "training: bf16, channels-last, compiled, store on the device": partial(
            _training, setting, result, config
        ),
        "the same, not compiled": partial(_training, setting, result, eager),
        "the same, compiled, NCHW": partial(_training, setting, result, replace(config, channels_last=False)),
        "the same, compiled, store on the disk": partial(
            _training, setting, result, replace(config, store_on_device=False)
        ),
        "bf16 and compiling against fp32": lambda: agreement(config, setting.device, steps=steps),
        "fine-tuning: bf16, last stage, batch 32": partial(_finetuning, setting, "last"),
        "fine-tuning: bf16, all stages, batch 32": partial(_finetuning, setting, "all"),
        "embedding: the network alone, fp32": partial(_network_alone, setting),
        "embedding: from waveforms of 5 s, front end on one core": partial(_embedding, setting),
        peer + ", again": partial(_peer, setting, result),
    }


def _peer(setting: Setting, result: dict[str, Any]) -> dict[str, Any]:
    rate = plain_rate(setting.config, setting.frames, MELS, setting.watch())
    result["peer_rate"] = statistics.mean([*([result["peer_rate"]] if "peer_rate" in result else []), rate])
    return {"utterances_a_second": rate}


def _training(setting: Setting, result: dict[str, Any], config: PretrainConfig) -> dict[str, Any]:
    if setting.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    torch.compiler.reset()
    rate = training_rate(config, setting.utterances, setting.watch())
    peak = torch.cuda.max_memory_allocated() / 1e9 if setting.device.type == "cuda" else None
    return {
        "utterances_a_second": rate,
        "ratio_to_peer": rate / result["peer_rate"],
        "fraction_of_bf16_rate": rate * result["operations_a_training_utterance"] / result["bf16_rate"],
        MINUTES: EPOCHS * 84_829 / rate / 60,
        "peak_memory_gb": peak,
        "goal": GOAL,
    }


def _finetuning(setting: Setting, depth: Any) -> dict[str, Any]:
    config = TransferConfig(
        negative="neutral", positive="sad", finetune=FinetuneConfig(depth=depth, precision="bf16-mixed")
    )
    some = setting.utterances.subset(np.arange(min(16_000, len(setting.utterances)), dtype=np.int64))
    two = Utterances(some.store, some.positions, some.targets % 2, some.ids)
    rate = finetuning_rate(config, setting.config.model.name, two, setting.watch())
    return {"utterances_a_second": rate}


def _network_alone(setting: Setting) -> dict[str, Any]:
    network = prepare_for_inference(build_model(setting.config.model.name, 4)).to(setting.device)
    x = torch.randn(128, 1, MELS, setting.frames, device=setting.device)
    x = x.contiguous(memory_format=torch.channels_last)

    def work() -> int:
        network.pool_frames(network.forward_features(x)).mean(1)
        return len(x)

    with torch.inference_mode():
        return {"utterances_a_second": repeated_rate(work, setting.watch())}


def _embedding(setting: Setting) -> dict[str, Any]:
    name = setting.config.model.name
    state = build_model(name, 4).state_dict()
    checkpoint = Checkpoint(name, {}, CLASSES, FrontEnd(), Cropping(), state, {})
    encoder = SerEncoder(checkpoint, device=setting.device.type)
    waves = [0.1 * torch.randn(80_000) for _ in range(24)]  # two minutes, as a batch of stage 2 has

    def work() -> int:
        encoder.embed(waves).cpu()
        return len(waves)

    with torch.inference_mode():
        return {"utterances_a_second": repeated_rate(work, setting.watch())}


def markdown(result: dict[str, Any]) -> str:
    """Return the table of what is measured so far."""
    head = [
        f"{result['gpu']}, torch {result['torch']}, {result['date']}. {result['model']}, batches of "
        f"{result['batch_size']}, {result['utterances']} utterances of {result['frames']} frames, random "
        f"content. Matrix product: bf16 {result['bf16_rate'] / 1e12:.3g} TFLOP/s, "
        f"fp32 {result['fp32_rate'] / 1e12:.3g}.",
        "",
        "| work | utterances/s | x peer | of the bf16 rate | minutes for 60 epochs of LSSED | note |",
        "|---|---|---|---|---|---|",
    ]
    known = (
        "utterances_a_second",
        "ratio_to_peer",
        "fraction_of_bf16_rate",
        "minutes_for_60_epochs_of_lssed",
    )
    for row in result["rows"]:
        cells = ["" if row.get(key) is None else f"{row[key]:.3g}" for key in known]
        rest = {key: value for key, value in row.items() if key not in (*known, "work", "took_seconds")}
        note = ", ".join(
            f"{key.replace('_', ' ')} {value}" for key, value in rest.items() if value is not None
        )
        head.append("| " + " | ".join([row["work"], *cells, note.replace("|", "/")]) + " |")
    return "\n".join(head) + "\n"


if __name__ == "__main__":
    main()
