"""Run the protocol of PROTOCOL.md: arrange, train, transfer, score. Takes up again where it was stopped.

    run.py --emodb DIR [--config attempt1.yaml] [--work DIR] [--seeds 3] [--jobs 2]

Every step is one of the two recipes or a command of ``sertransfer``, which is printed; the figures go to
``WORK/<config>/results.json``.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))

import arrange
import scores

from sertransfer.errors import BadInput
from sertransfer.files import write_json
from sertransfer.manifest import read_manifest, write_manifest

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
FOLDS = range(1, 6)
MODELS: dict[str, list[str]] = {
    "trained": [],
    # a rate that moves no weight: what is left is the random start, with batch-norm statistics of the
    # very audio that the trained model saw, without which random features would be handicapped
    "random": [
        "--optimiser.lr=1.0e-12",
        "--optimiser.weight_decay=0.0",
        "--epochs=10",
        "--augment.freq_mask=0",
        "--augment.time_mask=0",
    ],
}
PROBE = ["--cluster=real_speaker", "--folds=4"]


def sertransfer(*arguments: str | Path) -> None:
    """Run one command of the package; the run stops if it fails."""
    words = [str(argument) for argument in arguments]
    print("sertransfer", *words, flush=True)
    subprocess.run([sys.executable, "-m", "sertransfer.cli", *words], check=True, cwd=PROJECT)


def recipe(name: str, *arguments: str | Path) -> None:
    """Run one recipe of the project, with this interpreter's ``sertransfer``."""
    words = [str(argument) for argument in arguments]
    print(f"recipes/{name}", *words, flush=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        [PROJECT / "recipes" / name, *words], check=True, cwd=PROJECT, env={**os.environ, "PATH": path}
    )


def prepare_interviews(fold: Path, output: Path, mapping: Path) -> None:
    """Write the manifest of one fold, with the actor behind each session as the column real_speaker."""
    sertransfer("prepare", "daic-woz", fold, "-o", output)
    manifest = read_manifest(output)
    known = pd.read_csv(mapping, dtype=str)
    actors = dict(zip(known["session"], known["real_speaker"], strict=True))
    write_manifest(
        manifest.with_table(manifest.table.assign(real_speaker=manifest.table["session"].map(actors))), output
    )


def score_model(data: Path, home: Path, config: Path, unit: tuple[int, str, int]) -> None:
    """Run stage 1 of one rotation, model and seed, and stage 2 for each of its folds."""
    rotation, name, seed = unit
    corpora, work = data / f"rotation{rotation}", data.parent
    stage1 = home / f"rotation{rotation}" / f"{name}{seed}" / "stage1"
    recipe(
        *("lssed_pretrain.sh", "--lssed-root", corpora / "lssed", "--config", config),
        *("--run-dir", stage1, "--", "--prepare.split", "column"),
        *(f"--seed={seed}", f"--store={work / 'features'}", *MODELS[name]),
    )
    for fold in FOLDS:
        run_dir = stage1.parent / f"fold{fold}"
        manifest = work / "manifests" / f"rotation{rotation}_fold{fold}.csv"
        write_manifest(read_manifest(manifest), run_dir / "manifest.csv")
        recipe(
            *("daic_transfer.sh", "--encoder", "ser", "--stage", "3"),
            *("--daic-root", corpora / "interviews" / f"fold{fold}"),
            *("--checkpoint", stage1 / "checkpoints" / "model.safetensors"),
            *("--run-dir", run_dir, "--", "--embeddings", stage1.parent / "embeddings", *PROBE),
        )


def run(emodb: Path, work: Path, config: Path, *, seeds: int, jobs: int) -> Path:
    """Run everything and return the path of the results."""
    data, home = work / "data", work / config.stem
    if not data.is_dir():
        partial = work / "data.partial"
        arrange.arrange_all(arrange.find_recordings(emodb), partial, seed=0)
        partial.rename(data)
    for rotation, fold in itertools.product((1, 2), FOLDS):
        manifest = work / "manifests" / f"rotation{rotation}_fold{fold}.csv"
        if not manifest.exists():
            interviews = data / f"rotation{rotation}" / "interviews"
            prepare_interviews(interviews / f"fold{fold}", manifest, interviews / "sessions.csv")
    units = itertools.product((1, 2), MODELS, range(seeds))
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(functools.partial(score_model, data, home, config), units))
    gathered = {
        name: [scores.gather(_folds(data, home, f"{name}{seed}")) for seed in range(seeds)] for name in MODELS
    }
    results = {
        "config": config.name,
        "stage1_on_unseen_speakers": _stage1(home, seeds),
        **scores.summarise(gathered["trained"], gathered["random"]),
    }
    write_json(home / "results.json", results)
    print(report(results))
    return home / "results.json"


def _folds(data: Path, home: Path, model: str) -> list[tuple[Path, Path]]:
    return [
        (
            home / f"rotation{rotation}" / model / f"fold{fold}",
            data / f"rotation{rotation}" / "interviews" / "sessions.csv",
        )
        for rotation in (1, 2)
        for fold in FOLDS
    ]


def _stage1(home: Path, seeds: int) -> list[dict[str, float]]:
    found = []
    for rotation in (1, 2):
        for seed in range(seeds):
            path = home / f"rotation{rotation}" / f"trained{seed}" / "stage1" / "metrics.json"
            utterance = json.loads(path.read_text())["utterance"]
            found.append({"rotation": rotation, "seed": seed, "wa": utterance["wa"], "ua": utterance["ua"]})
    return found


def report(results: dict[str, Any]) -> str:
    """Return the results as text."""
    lines = [f"{results['config']}: {json.dumps(results['counts'])}"]
    for name in ("deciding", "second"):
        entry = results[name]
        lines.append(f"{entry['statistic']}: {entry['value']:.3f}, 95 % interval {_interval(entry['ci95'])}")
    names = list(results["majority"])
    lines.append(" " * 10 + "".join(f"{name:>18}" for name in names))
    for model in ("trained", "random"):
        lines.append(f"{model:<10}" + "".join(f"{results[model][name]['mean']:18.3f}" for name in names))
    lines.append(f"{'majority':<10}" + "".join(f"{results['majority'][name]:18.3f}" for name in names))
    alone = results["duration_alone"]
    lines.append(
        f"duration alone: pooled {alone['sentence_auroc']:.3f}, by actor {alone['mean_actor_auroc']:.3f}"
    )
    for row in results["stage1_on_unseen_speakers"]:
        lines.append(
            f"stage 1, rotation {row['rotation']}, seed {row['seed']}: WA {row['wa']:.3f} UA {row['ua']:.3f}"
        )
    return "\n".join(lines)


def _interval(bounds: Sequence[float] | None) -> str:
    return "undefined" if bounds is None else f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--emodb", type=Path, required=True, help="folder that holds EmoDB's wav/")
    parser.add_argument("--config", type=Path, default=HERE / "attempt1.yaml", help="settings of stage 1")
    parser.add_argument("--work", type=Path, default=PROJECT / "benchmarks/results/runs/real_speech")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--jobs", type=int, default=1, help="models run side by side (OMP_NUM_THREADS=1 then)"
    )
    args = parser.parse_args()
    try:
        places = (path.resolve() for path in (args.emodb, args.work, args.config))
        run(*places, seeds=args.seeds, jobs=args.jobs)
    except BadInput as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    return 0


if __name__ == "__main__":
    sys.exit(main())
