"""Run a protocol: arrange, train, transfer, score. Takes up again where it was stopped.

    run.py --emodb DIR [--work DIR] [--seeds 3] [--jobs 2]                  PROTOCOL.md
    run.py --emodb DIR --protocol 2 --asr DIR [--work DIR] [--seeds 3]      PROTOCOL2.md

``--asr`` is what ``benchmarks/asr_digits.py digits`` wrote. The figures go to
``WORK/attempt<N>/results.json``, those of protocol 2 as Markdown too. Every step is a call of the package,
the one that a command makes.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import arrange
import rows
import scores
import table

from sertransfer.errors import BadInput, bad_input
from sertransfer.io.files import write_json, write_text

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
BY_ACTOR = {"cluster": "real_speaker", "folds": 4}
WIDE = "[0.000001, 0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0]"
LIGHT = {**BY_ACTOR, "shortcuts": False}

METHODS: dict[int, dict[int, rows.Method]] = {
    1: dict.fromkeys((1, 2), rows.Method(HERE / "attempt1.yaml", (), BY_ACTOR)),
    2: {
        rotation: rows.Method(HERE / "attempt2.yaml", (0.9, 1.1), {**LIGHT, "probe.c_grid": WIDE}, pooling)
        for rotation, pooling in ((1, "mean"), (2, "mean_std"))
    },
}
"""Of each protocol and rotation, stage 1 and the settings of every probe."""

FINETUNE = {**LIGHT, "finetune.batch_size": 8}
NETWORKS = {"trained": "ser_probe", "random": "random"}
"""What stage 1 is run for, and the row of its frozen encoder."""
FIXED = ("duration", "peer", "asr")
"""Rows without a seed."""

Unit = tuple[int, str, int | None]
"""Rotation, ``trained``, ``random`` or a row of :data:`FIXED`, and the seed."""


def score(work: Path, home: Path, emodb: Path, asr: Path | None, protocol: int, unit: Unit) -> None:
    """Do one unit of work: all that hangs on one network, or one fixed row."""
    rotation, name, seed = unit
    place, method = rows.Place(work, home, rotation), METHODS[protocol][rotation]
    began = time.perf_counter()
    if name in NETWORKS and seed is not None:
        checkpoint = rows.train(place, method, name, seed, emodb)
        row = f"{NETWORKS[name]}{seed}"
        if protocol == 1:
            rows.transfer_folds(place, row, "ser", checkpoint, "ser_probe.yaml", method.probe)
            return
        features = rows.embeddings(place, row, "ser", checkpoint, method.pooling)
        rows.score_features(place, row, features, method.probe)
        if name == "trained":
            means = rows.embeddings(place, row, "ser", checkpoint, "mean")
            rows.score_features(
                place, f"ser_classes{seed}", lambda m: rows.class_scores(means(m), checkpoint), method.probe
            )
            settings = {**FINETUNE, "seed": seed}
            rows.transfer_folds(
                place, f"ser_finetune{seed}", "ser", checkpoint, "ser_finetune.yaml", settings
            )
    elif name == "asr" and asr is not None:
        features = rows.embeddings(place, name, "asr", asr / "exp" / "asr_train", method.pooling)
        rows.score_features(place, name, features, method.probe)
    elif name == "peer":
        settings = {**method.probe, "probe.head": "linear_svm"}
        rows.score_features(place, name, rows.peer_features(place), settings)
    else:
        rows.score_features(place, name, rows.durations, method.probe)
    print(
        f"rotation {rotation}, {name} {'' if seed is None else seed}: {time.perf_counter() - began:.0f} s",
        flush=True,
    )


def run(
    emodb: Path, work: Path, *, protocol: int, asr: Path | None = None, seeds: int = 3, jobs: int = 1
) -> Path:
    """Run everything and return the path of the results."""
    home = work / f"attempt{protocol}"
    if not (work / "data").is_dir():
        partial = work / "data.partial"
        arrange.arrange_all(arrange.find_recordings(emodb), partial, seed=0)
        partial.rename(work / "data")
    for rotation, method in METHODS[protocol].items():  # before several processes ask for them
        place = rows.Place(work, home, rotation)
        place.training(method.speeds, emodb)
        for fold in rows.FOLDS:
            place.interviews(fold)
    units: list[Unit] = [] if protocol == 1 else [*itertools.product((1, 2), FIXED, (None,))]
    units += [(rotation, name, seed) for seed in range(seeds) for rotation in (1, 2) for name in NETWORKS]
    work_on = functools.partial(score, work, home, emodb, asr, protocol)
    if jobs == 1:
        list(map(work_on, units))
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            list(pool.map(work_on, units))
    results = {"seeds": seeds, "stage1_on_unseen_speakers": _stage1(home, seeds)}
    if protocol == 1:
        trained, rival = (gather(work, home, name, range(seeds)) for name in NETWORKS.values())
        results = {"config": "attempt1.yaml", **results, **scores.summarise(trained, rival)}
        print(report(results))
    else:
        results |= summarise(work, home, seeds) | {"recogniser": _recogniser(asr)}
        write_text(home / "table.md", table.markdown(results) + "\n")
        print(table.markdown(results))
    write_json(home / "results.json", results)
    return home / "results.json"


def gather(work: Path, home: Path, row: str, seeds: Sequence[int | None]) -> list[scores.Scored]:
    """Return what a row scored over both rotations, one entry a seed."""
    places = [rows.Place(work, home, rotation) for rotation in (1, 2)]
    return [
        scores.gather(
            [
                (
                    place.folder(f"{row}{'' if seed is None else seed}") / f"fold{fold}",
                    place.data / "interviews" / "sessions.csv",
                )
                for place in places
                for fold in rows.FOLDS
            ]
        )
        for seed in seeds
    ]


def summarise(work: Path, home: Path, seeds: int) -> dict[str, Any]:
    """Return the table of protocol 2, and the C that each probe was chosen to have."""
    found = {row: gather(work, home, row, (None,)) for row in FIXED}
    found |= {
        row: gather(work, home, row, range(seeds))
        for row in (*NETWORKS.values(), "ser_classes", "ser_finetune")
    }
    order = ("duration", "random", "asr", "ser_probe", "ser_classes", "ser_finetune", "peer")
    names = [
        *FIXED,
        *(f"{row}{seed}" for row in (*NETWORKS.values(), "ser_classes") for seed in range(seeds)),
    ]
    chosen = {
        name: [c for rotation in (1, 2) for c in rows.chosen(rows.Place(work, home, rotation), name)]
        for name in names
    }
    return {**table.summarise({row: found[row] for row in order}), "chosen_c": chosen}


def _recogniser(asr: Path | None) -> dict[str, Any] | None:
    path = None if asr is None else asr / "result.json"
    return None if path is None or not path.exists() else dict(json.loads(path.read_text()))


def _stage1(home: Path, seeds: int) -> list[dict[str, float]]:
    found = []
    for rotation in (1, 2):
        for seed in range(seeds):
            path = home / f"rotation{rotation}" / f"trained{seed}" / "stage1" / "metrics.json"
            utterance = json.loads(path.read_text())["utterance"]
            found.append({"rotation": rotation, "seed": seed, "wa": utterance["wa"], "ua": utterance["ua"]})
    return found


def report(results: dict[str, Any]) -> str:
    """Return the results of protocol 1 as text."""
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


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--emodb", type=Path, required=True, help="folder that holds EmoDB's wav/")
    parser.add_argument("--protocol", type=int, choices=sorted(METHODS), default=1)
    parser.add_argument("--asr", type=Path, help="what asr_digits.py wrote; protocol 2 needs it")
    parser.add_argument("--work", type=Path, default=PROJECT / "benchmarks/results/runs/real_speech")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="units side by side (OMP_NUM_THREADS=1 then)")
    args = parser.parse_args(argv)
    try:
        if args.protocol == 2 and not (args.asr and (args.asr / "exp" / "asr_train").is_dir()):
            raise bad_input(
                "--asr",
                found=args.asr or "nothing",
                expected="the folder that 'asr_digits.py digits' wrote",
                remedy="train the recogniser first",
            )
        emodb, work = args.emodb.resolve(), args.work.resolve()
        asr = None if args.asr is None else args.asr.resolve()
        run(emodb, work, protocol=args.protocol, asr=asr, seeds=args.seeds, jobs=args.jobs)
    except BadInput as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
