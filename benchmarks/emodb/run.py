"""Run the comparison of PROTOCOL.md. Takes up again where it was stopped; a figure is made when all is there.

    run.py --emodb DIR [--work DIR] [--seeds 1] [--only inner|networks|scores]

Networks, features and the peer's functionals are kept below WORK; the figures go to
``benchmarks/results/emodb_loso.json``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import paired_scores as scores
import speaker_splits as splits
from opensmile_features import FEATURE_SETS, functionals
from stage_probe import SPEEDS, embed
from tuned_svm import Fold, tuned_svm

from sertransfer.audio.store import build_store
from sertransfer.config import load_config
from sertransfer.errors import BadInput
from sertransfer.io.files import atomic_path, hash_file, hash_value, write_json
from sertransfer.manifest import Manifest
from sertransfer.models.checkpoint import read_checkpoint
from sertransfer.pretraining.settings import PretrainConfig
from sertransfer.pretraining.workflow import CHECKPOINT, pretrain

HERE = Path(__file__).parent
PEER = FEATURE_SETS[0]
NETWORK, PROBE = "PyResNet", "PyResNet, probe"


@dataclass(frozen=True)
class Setting:
    """What a run is given: recordings, folder, training settings and number of networks a fold."""

    manifest: Manifest
    work: Path
    config: PretrainConfig
    seeds: int
    name: str = "network.yaml"


def network_folder(setting: Setting, held: Collection[str], drop: Collection[str], seed: int) -> Path:
    """Return the run folder of the network that has not heard *held* and *drop*."""
    return setting.work / "networks" / f"without_{'_'.join(sorted({*held, *drop}))}" / f"seed{seed}"


def train(setting: Setting, held: Collection[str], seed: int, *, drop: Collection[str] = ()) -> Path:
    """Train a network that leaves *held* and *drop* out, unless it is there; return its run folder."""
    folder = network_folder(setting, held, drop, seed)
    config = replace(setting.config, seed=seed, store=str(setting.work / "features"))
    pretrain(config, splits.leave_out(setting.manifest, held, drop=drop), folder, progress=False)
    return folder


def network_answers(folders: Sequence[Path], asked: pd.DataFrame) -> pd.DataFrame:
    """Return the class of highest mean probability over *folders* for each row of *asked*.

    Raises:
        BadInput: If a network has heard a speaker of *asked*.
    """
    total: pd.DataFrame | None = None
    for folder in folders:
        splits.check_unheard(asked, _heard(folder), folder)
        known = pd.read_csv(folder / "utterances.csv", dtype={"id": str, "speaker": str}).set_index("id")
        values = known.loc[asked["id"], [name for name in known if name.startswith("score_")]]
        total = values if total is None else total + values
    if total is None:
        raise ValueError("no network")
    chosen = total.idxmax(axis=1).str.removeprefix("score_")
    return asked[["id", "speaker", "label"]].assign(predicted=chosen.to_numpy())


def probe_answers(
    setting: Setting, folders: Sequence[Path], learnt: pd.DataFrame, asked: pd.DataFrame
) -> tuple[pd.DataFrame, Fold]:
    """Return what a probe on the networks' features, trained on *learnt*, says of *asked*.

    Raises:
        BadInput: If a network has heard a speaker of *asked*, or the probe would.
    """
    splits.check_unheard(asked, set(learnt["speaker"]), "the probe")
    rows, chosen = learnt["id"].tolist(), asked["id"].tolist()
    own, copies, test = [], [], []
    for folder in folders:
        splits.check_unheard(asked, _heard(folder), folder)
        position, versions = embeddings(setting, folder)
        known = versions[:, [position[identity] for identity in rows]]
        own.append(known[0])
        copies.append(known[1:])
        test.append(versions[0, [position[identity] for identity in chosen]])
    changed = list(np.concatenate(copies, axis=2))
    return svm_answers(
        np.concatenate(own, axis=1), learnt, np.concatenate(test, axis=1), asked, copies=changed
    )


def embeddings(setting: Setting, folder: Path) -> tuple[dict[str, int], np.ndarray]:
    """Return each recording's place, and features ``(1 + speeds, recordings, dim)``, kept in a file."""
    checkpoint = folder / "checkpoints" / CHECKPOINT
    ids = setting.manifest.table["id"].tolist()
    key = hash_value([hash_file(checkpoint), ids, SPEEDS])[:16]
    target = setting.work / "embeddings" / f"{folder.parent.name}_{folder.name}_{key}.npy"
    if not target.exists():
        front_end = read_checkpoint(checkpoint).front_end
        if front_end is None:
            raise ValueError(f"{checkpoint} has no front end")
        store = build_store(setting.manifest, front_end, setting.work / "features", progress=False)
        values = np.stack([embed(checkpoint, store, ids, speed=speed) for speed in (1.0, *SPEEDS)])
        with atomic_path(target) as temporary, temporary.open("wb") as stream:
            np.save(stream, values)
    return {identity: place for place, identity in enumerate(ids)}, np.load(target, allow_pickle=False)


def peer_answers(table: pd.DataFrame, learnt: pd.DataFrame, asked: pd.DataFrame) -> tuple[pd.DataFrame, Fold]:
    """Return what the peer, trained on *learnt*, says of *asked*; *table* holds the functionals by id."""
    splits.check_unheard(asked, set(learnt["speaker"]), "the peer")
    known, test = (table.loc[part["id"]].to_numpy(np.float64) for part in (learnt, asked))
    return svm_answers(known, learnt, test, asked)


def svm_answers(
    known: np.ndarray,
    learnt: pd.DataFrame,
    test: np.ndarray,
    asked: pd.DataFrame,
    *,
    copies: Sequence[np.ndarray] = (),
) -> tuple[pd.DataFrame, Fold]:
    """Return the table of answers, and the fold, of the SVM that both sides share."""
    labels, speakers = (learnt[name].to_numpy(object) for name in ("label", "speaker"))
    fold = tuned_svm(known, labels, speakers, test, copies=copies)
    return asked[["id", "speaker", "label"]].assign(predicted=fold.predicted), fold


def _heard(folder: Path) -> set[str]:
    """Return the speakers whom the network of the run *folder* was trained on, from the checkpoint itself."""
    return set(read_checkpoint(folder / "checkpoints" / CHECKPOINT).provenance["train"]["speakers"])


def peer_features(setting: Setting, feature_set: str) -> pd.DataFrame:
    """Return the functionals of all recordings by their ids."""
    table = setting.manifest.table
    paths = [setting.manifest.source(audio).path for audio in table["audio"]]
    found = functionals(paths, feature_set, cache=setting.work / "opensmile")
    return found.set_axis(table["id"].tolist(), axis=0)


def score_fold(
    setting: Setting, peers: dict[str, pd.DataFrame], held: Collection[str], folders: Sequence[Path]
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Return every system's answers about *held*, learnt from all others, and what was tuned."""
    table = setting.manifest.table
    outside = table["speaker"].isin(list(held))
    asked, learnt = table[outside], table[~outside]
    answers, tuned = {}, {}
    for name, features in peers.items():
        answers[name], tuned[name] = peer_answers(features, learnt, asked)
    answers[NETWORK] = network_answers(folders, asked)
    answers[PROBE], tuned[PROBE] = probe_answers(setting, folders, learnt, asked)
    return answers, {name: {"c": fold.c, "inner_ua": list(fold.inner_ua)} for name, fold in tuned.items()}


def run_inner(setting: Setting) -> dict[str, Any]:
    """Run the inner split: the speakers of one fold's training side, three of them held out."""
    table = setting.manifest.table
    rows = table[table["speaker"] != splits.INNER_TEST].reset_index(drop=True)
    inside = replace(setting, manifest=setting.manifest.with_table(rows))
    held = splits.INNER_HELD_OUT
    folders = [train(setting, held, seed, drop=(splits.INNER_TEST,)) for seed in range(setting.seeds)]
    peers = {name: peer_features(inside, name) for name in FEATURE_SETS}
    answers, tuned = score_fold(inside, peers, held, folders)
    return {"tuned": tuned, **scores.summarise(answers, setting.config.classes, peer=PEER)}


def run_outer(setting: Setting) -> dict[str, Any]:
    """Run the ten folds from the networks that are there, and return all figures."""
    peers = {name: peer_features(setting, name) for name in FEATURE_SETS}
    answers: dict[str, list[pd.DataFrame]] = {}
    tuned: dict[str, Any] = {}
    for pair in splits.PAIRS:
        folders = [network_folder(setting, pair, (), seed) for seed in range(setting.seeds)]
        for speaker in pair:
            own, tuned[speaker] = score_fold(setting, peers, (speaker,), folders)
            for name, part in own.items():
                answers.setdefault(name, []).append(part)
    tables = {name: pd.concat(parts, ignore_index=True) for name, parts in answers.items()}
    classes = setting.config.classes
    unseen = {name: rows[~rows["speaker"].isin(splits.INNER_HELD_OUT)] for name, rows in tables.items()}
    return {
        "config": setting.name,
        "networks_a_fold": setting.seeds,
        "tuned": tuned,
        **scores.summarise(tables, classes, peer=PEER),
        "without_speakers_of_the_choices": scores.summarise(unseen, classes, peer=PEER),
        "predictions": {
            name: dict(zip(rows["id"], rows["predicted"], strict=True)) for name, rows in tables.items()
        },
    }


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--emodb", type=Path, required=True, help="folder that holds EmoDB's wav/")
    parser.add_argument("--config", type=Path, default=HERE / "network.yaml")
    parser.add_argument("--work", type=Path, default=HERE.parent / "results/runs/emodb")
    parser.add_argument("--seeds", type=int, default=1, help="networks a fold; their scores are averaged")
    parser.add_argument("--only", choices=["inner", "networks", "scores"], help="one part of the work")
    parser.add_argument("-o", "--output", type=Path, default=HERE.parent / "results/emodb_loso.json")
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    try:
        config = load_config(PretrainConfig, args.config)
        corpus = splits.read_corpus(args.emodb.resolve())
        setting = Setting(corpus, args.work.resolve(), config, args.seeds, args.config.name)
        if args.only == "inner":
            print(scores.report(run_inner(setting)))
            return 0
        if args.only != "scores":
            for seed in range(args.seeds):  # every fold has its first network before any has a second
                for pair in splits.PAIRS:
                    folder = train(setting, pair, seed)
                    embeddings(setting, folder)
                    print("there is", folder, flush=True)
        if args.only != "networks":
            results = run_outer(setting)
            write_json(args.output, results)
            print(scores.report(results))
    except BadInput as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
