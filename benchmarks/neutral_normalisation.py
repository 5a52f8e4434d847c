"""Stage 1 with and without the speakers' resting states, on EmoDB. Protocol: neutral_normalisation.md.

    neutral_normalisation.py --emodb DIR [--work DIR] [-o FILE]

One process, one model after the other; takes up again where it was stopped. The figures go to
``benchmarks/results/neutral_normalisation.json``.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sertransfer.config import load_config
from sertransfer.corpora.emotion import emodb
from sertransfer.errors import BadInput, Faults
from sertransfer.evaluation.metrics import (
    Matrix,
    cluster_bootstrap,
    confusion_matrix,
    majority_row,
    recalls,
    unweighted_accuracy,
    weighted_accuracy,
)
from sertransfer.io.files import write_json
from sertransfer.manifest import Manifest
from sertransfer.pretraining.settings import PretrainConfig
from sertransfer.pretraining.workflow import pretrain

HERE = Path(__file__).parent
CLASSES = ("angry", "happy", "sad")
HALVES = (("03", "08", "10", "12", "14"), ("09", "11", "13", "15", "16"))
ARMS = {"without": "utterance", "with": "resting"}
"""Name of each arm, and its normalisation."""
SEEDS = (0, 1, 2)
EPOCHS, STEP = 40, 27
RESAMPLES = 5000

Rows = NDArray[np.int64]


def half_manifest(root: Path, half: int) -> Manifest:
    """Return EmoDB's four classes, one half of the actors to train on and the other to test on."""
    faults = Faults()
    manifest = emodb.read(root, emodb.Options(test_speakers=HALVES[1 - half]), faults)
    faults.raise_if_any()
    return manifest


def settings(arm: str, seed: int, store: Path, epochs: int = EPOCHS) -> PretrainConfig:
    """Return the settings of one run: those of real_speech/attempt1.yaml but for what the protocol names."""
    config = load_config(PretrainConfig, HERE / "real_speech" / "attempt1.yaml", {})
    return replace(
        config,
        classes=CLASSES,
        front_end=replace(config.front_end, normalise=ARMS[arm]),
        optimiser=replace(config.optimiser, step=STEP),
        epochs=epochs,
        seed=seed,
        store=str(store),
    )


def score_all(root: Path, work: Path, epochs: int = EPOCHS) -> dict[str, list[pd.DataFrame]]:
    """Train and score every arm, half and seed; return the test rows of both halves, a table a seed.

    Raises:
        ValueError: If two tables do not hold the same rows, each once.
    """
    found: dict[str, list[pd.DataFrame]] = {}
    for arm, seed in itertools.product(ARMS, SEEDS):
        parts = []
        for half in range(len(HALVES)):
            run = work / f"{arm}_seed{seed}_half{half}"
            config = settings(arm, seed, work / "features", epochs)
            pretrain(config, half_manifest(root, half), run, progress=False)
            parts.append(pd.read_csv(run / "utterances.csv", dtype={"id": str, "speaker": str}))
        found.setdefault(arm, []).append(pd.concat(parts).sort_values("id", ignore_index=True))
    tables = list(itertools.chain.from_iterable(found.values()))
    ids = tables[0]["id"].tolist()
    if len(set(ids)) < len(ids) or any(table["id"].tolist() != ids for table in tables):
        raise ValueError("the runs scored different rows")
    return found


def _figure(tables: Sequence[pd.DataFrame], figure: Callable[[Matrix], float]) -> Callable[[Rows], float]:
    """Return *figure* of drawn rows, as the mean over the seeds' tables; NaN where a class is missing."""
    place = {name: number for number, name in enumerate(CLASSES)}
    cells = [
        (table["label"].map(place) * len(CLASSES) + table["prediction"].map(place)).to_numpy(np.int64)
        for table in tables
    ]

    def statistic(rows: Rows) -> float:
        values = []
        for cell in cells:
            counts = np.bincount(cell[rows], minlength=len(CLASSES) ** 2).reshape(len(CLASSES), -1)
            values.append(figure(counts) if counts.sum(axis=1).all() else float("nan"))
        return float(np.mean(values))

    return statistic


def summarise(found: dict[str, list[pd.DataFrame]]) -> dict[str, Any]:
    """Return the figures that the protocol names."""
    first = found["with"][0]
    speakers = first["speaker"].tolist()
    everyone = np.arange(len(first))
    results: dict[str, Any] = {
        "rows": len(first),
        "classes": {name: int((first["label"] == name).sum()) for name in CLASSES},
        "speakers": len(set(speakers)),
        "seeds": len(SEEDS),
        "majority": majority_row(confusion_matrix(first["label"], first["label"], CLASSES)),
        "difference": {},
    }
    for name, figure in (("ua", unweighted_accuracy), ("wa", weighted_accuracy)):
        statistics = {arm: _figure(tables, figure) for arm, tables in found.items()}

        def difference(rows: Rows, of: dict[str, Callable[[Rows], float]] = statistics) -> float:
            return of["with"](rows) - of["without"](rows)

        for arm, statistic in statistics.items():
            entry = results.setdefault(arm, {})
            entry[name] = statistic(everyone)
            entry[f"{name}_ci95"] = cluster_bootstrap(statistic, speakers, resamples=RESAMPLES)
            entry[f"{name}_by_seed"] = [_figure([table], figure)(everyone) for table in found[arm]]
        results["difference"][name] = difference(everyone)
        results["difference"][f"{name}_ci95"] = cluster_bootstrap(difference, speakers, resamples=RESAMPLES)
    for arm, tables in found.items():
        confusions = [confusion_matrix(table["label"], table["prediction"], CLASSES) for table in tables]
        mean = np.mean([recalls(confusion) for confusion in confusions], axis=0)
        results[arm]["recall"] = dict(zip(CLASSES, mean.tolist(), strict=True))
        right = pd.concat([table.assign(right=table["label"] == table["prediction"]) for table in tables])
        results[arm]["wa_by_speaker"] = right.groupby("speaker")["right"].mean().to_dict()
    return results


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--emodb", type=Path, required=True, help="folder that holds EmoDB's wav/")
    parser.add_argument("--work", type=Path, default=HERE / "results/runs/neutral_normalisation")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results/neutral_normalisation.json")
    args = parser.parse_args()
    begun = time.monotonic()
    try:
        results = summarise(score_all(args.emodb.resolve(), args.work.resolve()))
    except BadInput as error:
        print(error, file=sys.stderr)
        return error.exit_status
    write_json(args.output, {**results, "seconds": round(time.monotonic() - begun)})
    print(args.output.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
