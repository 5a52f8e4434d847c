"""Compare candidates for stage 1 inside its own training actors, as PROTOCOL2.md states.

    choose.py --emodb DIR --work DIR [--only NAME,NAME]

Of each rotation, only the five training actors are touched. Two of them are held out, twice; a candidate is
trained on the other three and judged by how its features tell angry from happy sentences of those two. Takes
up again where it was stopped, and prints the table of what is there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

import arrange
from rows import Place, class_scores

from sertransfer.audio.reading import read_segment
from sertransfer.config import load_config
from sertransfer.encoders.ser import SerEncoder
from sertransfer.evaluation import metrics
from sertransfer.io.files import write_json
from sertransfer.manifest import Manifest
from sertransfer.models.checkpoint import read_checkpoint
from sertransfer.pretraining.settings import PretrainConfig
from sertransfer.pretraining.workflow import pretrain
from sertransfer.transfer.probe.probe import Booleans, Floats, Vectors, fit_path, sentence_weights
from sertransfer.transfer.settings import ProbeConfig

HERE = Path(__file__).parent
SPEEDS = (0.9, 1.1)
HELD = ((("03", "08"), ("12", "14")), (("09", "11"), ("15", "16")))
"""Of each rotation, the two pairs of training actors held out in turn, each a man and a woman."""

MODERN = {
    "model.width": 0.25,
    "schedule.rule": "cosine",
    "schedule.warmup": 3,
    "regularisation.label_smoothing": 0.1,
    "regularisation.mixup": 0.2,
    "regularisation.ema": 0.99,
}
COPIES = {**MODERN, "epochs": 20}
CANDIDATES: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "modern": (MODERN, ()),
    "copies": (COPIES, SPEEDS),
    "not_denoised": ({**MODERN, "front_end.denoise.method": "none"}, ()),
}
"""Settings over attempt1.yaml, and the speeds of copies. With two copies a recording, 20 epochs are as many
steps as 60 without."""

PROBE_C = 0.01
POOLINGS = ("mean", "mean_std")


def held_out(manifest: Manifest, actors: Sequence[str]) -> Manifest:
    """Return the training actors of *manifest* with *actors* as the test split, without copies of theirs."""
    table = manifest.table[manifest.table["split"] == "train"]
    inside = table["speaker"].isin([f"emodb{actor}" for actor in actors])
    table = table.assign(split=np.where(inside, "test", "train"))
    return manifest.with_table(table[~(inside & table["id"].str.contains("_speed"))].reset_index(drop=True))


def judge(run: Path, manifest: Manifest) -> dict[str, float]:
    """Return AUROCs of angry against happy on the held-out actors, each the mean over the actors.

    ``network`` is that of stage 1's own log-odds; ``mean`` and ``mean_std`` are those of a logistic
    regression on the features so pooled, fitted to the other held-out actor; ``classes`` that of one on the
    four scores before stage 1's softmax.
    """
    scores = pd.read_csv(run / "utterances.csv")
    scores = scores[scores["label"].isin([arrange.POSITIVE, arrange.NEGATIVE])].reset_index(drop=True)
    odds = np.log(scores[f"score_{arrange.POSITIVE}"]) - np.log(scores[f"score_{arrange.NEGATIVE}"])
    positive = (scores["label"] == arrange.POSITIVE).to_numpy(bool)
    actors = scores["speaker"].to_numpy(np.str_)
    checkpoint = run / "checkpoints" / "model.safetensors"
    encoder = SerEncoder(read_checkpoint(checkpoint))
    rows = manifest.table.set_index("id").loc[scores["id"]]
    sounds = [torch.from_numpy(read_segment(manifest.source(audio))) for audio in rows["audio"]]
    found = {"network": actor_mean(positive, odds.to_numpy(np.float64), actors)}
    for pooling in POOLINGS:
        with torch.inference_mode():
            vectors = np.concatenate([encoder.embed([sound], pooling).numpy() for sound in sounds])
        found[pooling] = actor_mean(positive, decide_others(vectors, positive, actors), actors)
        if pooling == "mean":
            classes = class_scores(vectors.astype(np.float64), checkpoint).astype(np.float32)
            found["classes"] = actor_mean(positive, decide_others(classes, positive, actors), actors)
    return found


def decide_others(vectors: Vectors, positive: Booleans, actors: NDArray[np.str_]) -> Floats:
    """Return each sentence's decision value by a probe of the other actors, classes weighing the same."""
    values = np.empty(len(vectors))
    for actor in np.unique(actors):
        own = actors == actor
        names = [str(row) for row in np.flatnonzero(~own)]
        weights = sentence_weights(positive[~own], names, balance_subjects=False, balance_classes=True)
        probe, _ = next(fit_path(vectors[~own], positive[~own], weights, [PROBE_C], ProbeConfig()))
        values[own] = probe.decision(vectors[own])
    return values


def actor_mean(positive: Booleans, values: Floats, actors: NDArray[np.str_]) -> float:
    """Return the mean over the actors of the AUROC within each."""
    areas = [metrics.auroc(positive[actors == actor], values[actors == actor]) for actor in np.unique(actors)]
    return float(np.mean([area for area in areas if area is not None]))


def compare(emodb: Path, work: Path, names: Sequence[str]) -> pd.DataFrame:
    """Train and judge what is not there yet; return one row a candidate, rotation and pair."""
    rows = []
    for name in names:
        settings, speeds = CANDIDATES[name]
        for rotation in (1, 2):
            manifest = Place(work, work, rotation).training(speeds, emodb)
            for number, actors in enumerate(HELD[rotation - 1]):
                path = work / f"{name}_{rotation}_{number}.json"
                if not path.exists():
                    overrides = {key: str(value) for key, value in settings.items()}
                    config = load_config(
                        PretrainConfig, HERE / "attempt1.yaml", {**overrides, "store": str(work / "features")}
                    )
                    run = work / "runs" / path.stem
                    part = held_out(manifest, actors)
                    ua = pretrain(config, part, run, progress=False)["utterance"]["ua"]
                    write_json(path, {"ua": ua, **judge(run, part)})
                row = {
                    "candidate": name,
                    "rotation": rotation,
                    "pair": number,
                    **json.loads(path.read_text()),
                }
                print(row, flush=True)
                rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Compare, and print the means of each rotation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--emodb", type=Path, required=True, help="folder that holds EmoDB's wav/")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", default=",".join(CANDIDATES), help="candidates")
    args = parser.parse_args()
    table = compare(args.emodb.resolve(), args.work.resolve(), args.only.split(","))
    table["judged"] = (table["network"] + table["mean"]) / 2
    columns = ["ua", "network", "classes", *POOLINGS, "judged"]
    means = table.groupby(["rotation", "candidate"], sort=False)[columns].mean()
    print(means.round(3).to_string())
    print(table.groupby("rotation")[["classes", *POOLINGS]].mean().round(3).to_string())


if __name__ == "__main__":
    main()
