"""The statistics that PROTOCOL.md states, from the tables that the runs of stage 2 wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sertransfer.evaluation import metrics

CLASSES = ("not depressed", "depressed")
"""Happy and angry, as the layout of DAIC-WOZ names them."""
RESAMPLES = 5000

Rows = NDArray[np.int64]
Statistic = Callable[[Rows], float | None]
"""Takes the positions of (resampled) rows; ``None`` where it is undefined."""


@dataclass(frozen=True)
class Scored:
    """What one model and seed gave over all folds: columns ``id, session, actor, label, score, duration``
    by sentence, and ``session, actor, label, score, prediction`` by session."""

    sentences: pd.DataFrame
    sessions: pd.DataFrame


def gather(folds: list[tuple[Path, Path]]) -> Scored:
    """Read the runs of all folds.

    Args:
        folds: Run folder, and the ``sessions.csv`` that tells whose the sessions are.

    Raises:
        ValueError: If an actor is in two folds, or a sentence in none or two.
    """
    sentences, sessions = [], []
    for run, mapping in folds:
        known = pd.read_csv(mapping, dtype=str)
        actors = dict(zip("daic" + known["session"], known["real_speaker"], strict=True))
        for name, kept in (("sentences", sentences), ("subjects", sessions)):
            rows = pd.read_csv(run / f"{name}.csv").rename(columns={"subject": "session"})
            # the same session id may occur in both rotations
            rows["actor"] = rows["session"].map(actors)
            rows["session"] = rows["actor"] + "-" + rows["session"]
            rows["fold"] = str(run)
            kept.append(rows)
    by_sentence, by_session = (pd.concat(parts, ignore_index=True) for parts in (sentences, sessions))
    if by_sentence["actor"].isna().any() or (by_sentence.groupby("actor")["fold"].nunique() > 1).any():
        raise ValueError("an actor is unknown or stands in two folds")
    by_sentence["id"] = by_sentence["actor"] + "-" + by_sentence["id"]
    if by_sentence["id"].duplicated().any():
        raise ValueError("a sentence was scored twice")
    return Scored(
        by_sentence.sort_values("id", ignore_index=True), by_session.sort_values("session", ignore_index=True)
    )


def pooled_auroc(table: pd.DataFrame) -> Statistic:
    """Return the statistic "AUROC over the sentences of all folds" of *table*'s rows."""
    truth, values = (table["label"] == CLASSES[1]).to_numpy(), table["score"].to_numpy(float)
    return lambda rows: metrics.auroc(truth[rows], values[rows])


def mean_actor_auroc(table: pd.DataFrame) -> Statistic:
    """Return the statistic "mean of the actors' AUROC"; an actor that was drawn twice counts twice."""
    known = actor_aurocs(table)
    actors = table["actor"].to_numpy()
    sizes = table["actor"].value_counts()

    def statistic(rows: Rows) -> float | None:
        drawn, counts = np.unique(actors[rows], return_counts=True)
        pairs = [(known[a], n / sizes[a]) for a, n in zip(drawn, counts, strict=True) if a in known]
        values, weights = zip(*pairs, strict=True) if pairs else ((), ())
        return float(np.average(values, weights=weights)) if pairs else None

    return statistic


def actor_aurocs(table: pd.DataFrame, column: str = "score") -> dict[str, float]:
    """Return the AUROC within each actor who has both classes, which each fold's test part is one of."""
    found = {
        str(actor): metrics.auroc(rows["label"] == CLASSES[1], rows[column])
        for actor, rows in table.groupby("actor")
    }
    return {actor: value for actor, value in found.items() if value is not None}


def difference(
    first: list[Scored], second: list[Scored], statistic: Callable[[pd.DataFrame], Statistic]
) -> dict[str, Any]:
    """Return the mean over seeds of *statistic* of *first* minus *second*, with its interval over actors.

    Whole actors are resampled, the same ones for both models and all seeds (a paired bootstrap).

    Raises:
        ValueError: If the models did not score the same sentences.
    """
    names = first[0].sentences["id"].tolist()
    if any(scored.sentences["id"].tolist() != names for scored in (*first, *second)):
        raise ValueError("the models scored different sentences")
    pairs = [(statistic(a.sentences), statistic(b.sentences)) for a, b in zip(first, second, strict=True)]

    def mean_difference(rows: Rows) -> float | None:
        values = [(a(rows), b(rows)) for a, b in pairs]
        known = [a - b for a, b in values if a is not None and b is not None]
        return float(np.mean(known)) if len(known) == len(values) else None

    actors = first[0].sentences["actor"].tolist()
    return {
        "value": mean_difference(np.arange(len(actors))),
        "ci95": metrics.cluster_bootstrap(mean_difference, actors, resamples=RESAMPLES),
    }


def figures(runs: list[Scored]) -> dict[str, Any]:
    """Return one model's figures: means over seeds, each seed's own beside them."""
    every = [_figures(scored) for scored in runs]
    return {
        name: {"mean": float(np.mean([f[name]["value"] for f in every])), "seeds": [f[name] for f in every]}
        for name in every[0]
    } | {"actor_auroc": _mean_by_actor([actor_aurocs(scored.sentences) for scored in runs])}


def _figures(scored: Scored) -> dict[str, dict[str, Any]]:
    sentences, sessions = scored.sentences, scored.sessions
    found: dict[str, dict[str, Any]] = {
        "sentence_auroc": {
            "value": pooled_auroc(sentences)(np.arange(len(sentences))),
            "ci95": metrics.cluster_bootstrap(
                pooled_auroc(sentences), sentences["actor"].tolist(), resamples=RESAMPLES
            ),
        },
        "mean_actor_auroc": {"value": float(np.mean(list(actor_aurocs(sentences).values())))},
    }
    decided = pd.Series(np.where(sentences["score"] >= 0.5, CLASSES[1], CLASSES[0]))
    for level, table, predicted in (
        ("sentence", sentences, decided),
        ("session", sessions, sessions["prediction"]),
    ):
        truth, actors = table["label"].tolist(), table["actor"].tolist()
        confusion = metrics.confusion_matrix(truth, predicted.tolist(), CLASSES)
        intervals = metrics.accuracy_intervals(truth, predicted.tolist(), CLASSES, actors)
        found[f"{level}_wa"] = {
            "value": metrics.weighted_accuracy(confusion),
            "ci95": intervals["wa_ci95"],
        }
        found[f"{level}_ua"] = {
            "value": metrics.unweighted_accuracy(confusion),
            "ci95": intervals["ua_ci95"],
        }
    return found


def _mean_by_actor(seeds: list[dict[str, float]]) -> dict[str, float]:
    return {actor: float(np.mean([seed[actor] for seed in seeds])) for actor in seeds[0]}


def majority(scored: Scored) -> dict[str, float]:
    """Return what always answering the more frequent class gives."""
    row: dict[str, float] = {"sentence_auroc": 0.5, "mean_actor_auroc": 0.5}
    for level, table in (("sentence", scored.sentences), ("session", scored.sessions)):
        counts = metrics.confusion_matrix(table["label"].tolist(), table["label"].tolist(), CLASSES)
        row |= {f"{level}_{name}": value for name, value in metrics.majority_row(counts).items()}
    return row


def summarise(trained: list[Scored], rival: list[Scored]) -> dict[str, Any]:
    """Return everything that the protocol asks for, as plain values."""
    sentences = trained[0].sentences
    durations = actor_aurocs(sentences, "duration")
    return {
        "counts": {
            "actors": int(sentences["actor"].nunique()),
            "sessions": len(trained[0].sessions),
            "sentences": {str(k): int(v) for k, v in sentences["label"].value_counts().items()},
            "seeds": len(trained),
        },
        "deciding": {
            "statistic": "pooled sentence AUROC, trained - random",
            **difference(trained, rival, pooled_auroc),
        },
        "second": {
            "statistic": "mean of the actors' AUROC, trained - random",
            **difference(trained, rival, mean_actor_auroc),
        },
        "trained": figures(trained),
        "random": figures(rival),
        "majority": majority(trained[0]),
        "duration_alone": {
            "sentence_auroc": metrics.auroc(sentences["label"] == CLASSES[1], sentences["duration"]),
            "mean_actor_auroc": float(np.mean(list(durations.values()))),
        },
    }
