"""How each row of the table is scored: a function a kind of row, each taken up again where it was stopped.

A row scores all five folds of a rotation, into ``HOME/rotation<N>/<row><seed>/fold<K>``. Of whatever
kind, every folder gets ``sentences.csv`` and ``subjects.csv``, which ``scores.gather`` reads.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import arrange
import copies
from opensmile_features import Segment, functionals

from sertransfer.config import load_config
from sertransfer.corpora.emotion import lssed
from sertransfer.corpora.interviews import daic_woz
from sertransfer.corpora.prepare import prepare
from sertransfer.encoders.registry import open_encoder
from sertransfer.io.files import write_json, write_text
from sertransfer.manifest import Manifest, read_manifest, write_manifest
from sertransfer.models.checkpoint import read_checkpoint
from sertransfer.pretraining.settings import PretrainConfig
from sertransfer.pretraining.workflow import pretrain
from sertransfer.transfer.data import take_parts
from sertransfer.transfer.decide import probe_subjects
from sertransfer.transfer.embed import embed
from sertransfer.transfer.embedding_store import EmbeddingSet
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.workflow import SENTENCES, SUBJECTS, transfer

CONFIGS = Path(__file__).parents[2] / "configs" / "transfer"
FOLDS = range(1, 6)
FEATURE_SET = "eGeMAPSv02"

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """Stage 1 of one rotation, and what all rows of stage 2 share.

    Attributes:
        config: File of stage 1's settings.
        speeds: Of the copies of training recordings.
        probe: Settings of stage 2.
        pooling: From frames to sentences, of every frozen encoder.
    """

    config: Path
    speeds: tuple[float, ...]
    probe: Settings
    pooling: str = "mean"

    def random(self) -> dict[str, Any]:
        """Return what leaves the random start as it is: a rate that moves no weight.

        Batch-norm statistics are still those of the very audio that the trained model saw, without which
        random features would be handicapped; about as many steps with copies as without.
        """
        steps = {"optimiser.lr": 1e-12, "optimiser.weight_decay": 0.0}
        masks = {"augment.freq_mask": 0, "augment.time_mask": 0}
        extras = {"label_smoothing": 0.0, "mixup": 0.0, "ema": 0.0}
        epochs = {"epochs": max(4, 10 // (1 + len(self.speeds)))}
        return {
            **steps,
            **masks,
            **{f"regularisation.{name}": value for name, value in extras.items()},
            **epochs,
        }


@dataclass(frozen=True)
class Place:
    """Where one rotation's data and runs are.

    Attributes:
        work: What all runs share: ``data``, ``manifests``, ``features``.
        home: Folder of these runs.
        rotation: 1 or 2.
    """

    work: Path
    home: Path
    rotation: int

    @property
    def data(self) -> Path:
        """The arranged corpora."""
        return self.work / "data" / f"rotation{self.rotation}"

    def folder(self, row: str) -> Path:
        """Return the folder of a row, its seed included in the name."""
        return self.home / f"rotation{self.rotation}" / row

    def interviews(self, fold: int) -> Manifest:
        """Return the sentences of one fold, the actor behind each session as the column real_speaker."""
        path = self.work / "manifests" / f"rotation{self.rotation}_fold{fold}.csv"
        if not path.exists():
            root = self.data / "interviews"
            manifest = prepare(
                "daic-woz", root / f"fold{fold}", daic_woz.Options(), path.with_suffix(".partial.csv")
            )
            known = pd.read_csv(root / "sessions.csv", dtype=str)
            actors = dict(zip(known["session"], known["real_speaker"], strict=True))
            table = manifest.table.assign(real_speaker=manifest.table["session"].map(actors))
            write_manifest(manifest.with_table(table), path)
        return read_manifest(path)

    def training(self, speeds: Sequence[float], emodb: Path) -> Manifest:
        """Return stage 1's utterances, with copies of the training ones at these speeds."""
        name = "lssed" + "".join(f"_{round(100 * speed)}" for speed in speeds)
        root, path = self.data / name, self.work / "manifests" / f"rotation{self.rotation}_{name}.csv"
        if not path.exists():
            if not root.is_dir():
                halves = arrange.HALVES if self.rotation == 1 else arrange.HALVES[::-1]
                partial = root.with_suffix(".partial")
                arrange.arrange_lssed(arrange.find_recordings(emodb), *halves, partial, seed=0)
                copies.add_copies(partial, speeds)
                partial.rename(root)
            prepare("lssed", root, lssed.Options(split="column"), path)
        return read_manifest(path)


def train(place: Place, method: Method, name: str, seed: int, emodb: Path) -> Path:
    """Run stage 1 for the row ``trained`` or ``random``, and return its checkpoint."""
    overrides = {
        **(method.random() if name == "random" else {}),
        "seed": seed,
        "store": place.work / "features",
    }
    config = load_config(PretrainConfig, method.config, {key: str(value) for key, value in overrides.items()})
    folder = place.folder(f"{name}{seed}") / "stage1"
    pretrain(config, place.training(method.speeds, emodb), folder, progress=False)
    return folder / "checkpoints" / "model.safetensors"


def transfer_folds(
    place: Place, row: str, encoder: str, checkpoint: Path, config: str, settings: Settings
) -> None:
    """Run stage 2 for each fold with a frozen or fine-tuned encoder."""
    read = load_config(TransferConfig, CONFIGS / config, {key: str(value) for key, value in settings.items()})
    for fold in FOLDS:
        transfer(
            read,
            place.interviews(fold),
            encoder=encoder,
            checkpoint=checkpoint,
            run_dir=place.folder(row) / f"fold{fold}",
            embeddings=place.folder(row) / "embeddings",
            progress=False,
        )


def score_features(
    place: Place, row: str, features: Callable[[Manifest], NDArray[np.float64]], settings: Settings
) -> None:
    """Run the same probe on other features, one vector a sentence, for each fold.

    Args:
        place: Of the rotation.
        row: Name of the row.
        features: Gives the sentences of a manifest their features, shape ``(sentences, columns)``.
        settings: Of stage 2; standardisation, folds and the choice of C are those of every probe.
    """
    config = load_config(
        TransferConfig, CONFIGS / "ser_probe.yaml", {key: str(value) for key, value in settings.items()}
    )
    for fold in FOLDS:
        folder = place.folder(row) / f"fold{fold}"
        if (folder / "choice.json").exists():
            continue
        table = (manifest := place.interviews(fold)).table
        stored = EmbeddingSet(
            table["id"].tolist(),
            (table["end"] - table["start"]).to_numpy(np.float64),
            features(manifest).astype(np.float32),
            [],
            folder,
        )
        found = probe_subjects(take_parts(manifest, config), stored, config)
        write_text(folder / "sentences.csv", found.sentences[SENTENCES].to_csv(index=False))
        write_text(folder / "subjects.csv", found.subjects[SUBJECTS].to_csv(index=False))
        write_json(
            folder / "choice.json", {"probe": {"c": found.selection.c}, "warnings": found.selection.warnings}
        )


def embeddings(
    place: Place, row: str, encoder: str, checkpoint: Path, pooling: str
) -> Callable[[Manifest], NDArray[np.float64]]:
    """Return what gives sentences their embeddings by a frozen encoder; all folds share one set of them.

    With :func:`score_features` this is mode ``probe`` without the report, the audit and the calibration that
    'sertransfer transfer' adds to each fold.
    """

    def features(manifest: Manifest) -> NDArray[np.float64]:
        folder = place.folder(row) / "embeddings"
        whole = place.interviews(1)  # each fold has the sentences of all five actors, in other splits
        stored = embed(whole, open_encoder(encoder, checkpoint), folder, pooling=pooling, progress=False)
        return stored.select(manifest.table["id"].tolist()).astype(np.float64)

    return features


def class_scores(vectors: NDArray[np.float64], checkpoint: Path) -> NDArray[np.float64]:
    """Return stage 1's scores before the softmax, ``(sentences, classes)``, from embeddings by ``mean``.

    The mean over frames is what stands before the classifier, and that is linear.
    """
    state = read_checkpoint(checkpoint).state
    weight, bias = (state[f"fc.{name}"].double().numpy() for name in ("weight", "bias"))
    return np.asarray(np.einsum("nd,cd->nc", vectors, weight) + bias, dtype=np.float64)


def durations(manifest: Manifest) -> NDArray[np.float64]:
    """Return each sentence's length in seconds, shape ``(sentences, 1)``."""
    return (manifest.table["end"] - manifest.table["start"]).to_numpy(np.float64)[:, None]


def peer_features(place: Place) -> Callable[[Manifest], NDArray[np.float64]]:
    """Return what gives sentences openSMILE's functionals; all folds of a rotation share one file of them."""

    def features(manifest: Manifest) -> NDArray[np.float64]:
        sessions = place.data / "interviews" / "sessions"
        rows = manifest.table.sort_values(["audio", "start"])
        places = zip(rows["audio"], rows["start"], rows["end"], strict=True)
        segments = [Segment(sessions / str(audio), float(start), float(end)) for audio, start, end in places]
        cache = place.work / "functionals"
        cache.mkdir(parents=True, exist_ok=True)
        found = functionals(segments, FEATURE_SET, cache=cache).set_axis(rows["id"])
        return np.asarray(found.loc[manifest.table["id"]], dtype=np.float64)

    return features


def chosen(place: Place, row: str) -> Iterator[float]:
    """Yield the C that each fold's probe was chosen to have."""
    for fold in FOLDS:
        folder = place.folder(row) / f"fold{fold}"
        path = folder / "choice.json" if (folder / "choice.json").exists() else folder / "metrics.json"
        yield json.loads(path.read_text())["probe"]["c"]
