"""What a trial of head tuning costs, against embedding the sentences again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import Options, Turns, seconds, timed_row

from sertransfer.config import load_config
from sertransfer.corpora.interviews.daic_woz import Options as DaicOptions
from sertransfer.corpora.prepare import prepare
from sertransfer.demo.corpora import make_daic_woz
from sertransfer.encoders.ser import SerEncoder
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.manifest import Manifest
from sertransfer.models.checkpoint import Checkpoint
from sertransfer.models.registry import build_model
from sertransfer.transfer.data import take_parts
from sertransfer.transfer.embed import Candidate, embed
from sertransfer.transfer.embedding_store import EmbeddingSet
from sertransfer.transfer.tuning.nested import tune_probe
from sertransfer.transfer.tuning.space import TuneConfig
from sertransfer.transfer.tuning.storage import open_storage

CONFIG = Path(__file__).parents[1] / "configs/transfer/ser_tune.yaml"
CLASSES = ("angry", "neutral", "happy", "sad")
SESSIONS = (40, 4, 1)
TRIALS, OUTER = 30, 2
"""Trials of a study, as in ser_tune.yaml; one study an outer fold, and one for the final choice."""


def write_interviews(folder: Path) -> Manifest:
    """Generate interviews and return their sentences."""
    root = make_daic_woz(folder / "daic", sessions=SESSIONS)
    return prepare("daic-woz", root, DaicOptions(), folder / "manifest.csv")


def random_encoder() -> SerEncoder:
    """Return the paper's largest network as encoder, with random weights."""
    torch.manual_seed(0)
    state = build_model("pyresnet152", len(CLASSES)).state_dict()
    return SerEncoder(Checkpoint("pyresnet152", {}, CLASSES, FrontEnd(), Cropping(5.0), state, {}))


def tuning_trial(options: Options) -> dict[str, Any]:
    """Run a trial of head tuning, against embedding its sentences again."""
    work = options.work / "tuning"
    work.mkdir()
    manifest = write_interviews(work)
    loaded = load_config(TuneConfig, CONFIG, {})
    config = replace(
        loaded,
        trials=TRIALS,
        outer_folds=OUTER,
        # one set of embeddings: with more to choose from, embedding again costs more
        space=replace(loaded.space, pooling=("mean",)),
        # the interval of the outer score is no part of a trial
        transfer=replace(loaded.transfer, resamples=20, folds=3),
    )
    train, _ = take_parts(manifest, config.transfer)
    sentences = replace(manifest, table=manifest.table[manifest.table["split"] == "train"])
    encoder = random_encoder()

    def embed_again(turn: int) -> EmbeddingSet:
        return embed(sentences, encoder, work / f"embeddings{turn}", progress=False)

    stored = {Candidate(None, "mean"): embed_again(0)}

    def search(turn: int) -> None:
        tune_probe(config, train, stored, open_storage(work / f"study{turn}.db"), progress=False)

    turns = Turns([], [])
    for turn in (1, 2):  # new folders each time, so that nothing is found done
        turns.ours.append(seconds(partial(search, turn)) / (TRIALS * (OUTER + 1)))
        turns.peer.append(seconds(partial(embed_again, turn)))
    return timed_row(
        "a trial of head tuning",
        "embedding its sentences again",
        turns,
        items=1,
        unit="trial",
        goal=50,
        note=f"{len(train.subjects)} generated training subjects, {len(train.sentences)} sentences;"
        " PyResNet152, random weights; the space of ser_tune.yaml; ours is a nested search over its trials,"
        f" refits of the outer folds included; {torch.get_num_threads()} threads",
    )


ROWS = [tuning_trial]
