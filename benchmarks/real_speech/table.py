"""The table of PROTOCOL2.md: each row's figures and the paired differences, with intervals over actors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from scores import CLASSES, RESAMPLES, Scored, actor_aurocs

from sertransfer.evaluation.aggregation import aggregate

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Takes how often each actor was drawn, ``(draws, actors)``; gives ``(draws,)``, NaN where undefined."""
Measure = Callable[[Scored, Sequence[str]], Statistic]
"""Takes scored sentences and sessions and the actors in order; gives the statistic of whole actors drawn."""

PEER, RIVAL = "peer", "random"
DECIDING = ("ser_classes_ensemble", "ser_finetune_ensemble")
"""The rows whose difference from the peer decides."""
ENSEMBLES = ("ser_probe", "ser_classes", "ser_finetune", "random")


def measures() -> dict[str, Measure]:
    """Return the columns of the table by name."""
    found: dict[str, Measure] = {"sentence_auroc": _pooled_auroc, "mean_actor_auroc": _mean_actor_auroc}
    for level in ("sentence", "session"):
        for name, classes in (("wa", False), ("ua", True)):
            found[f"{level}_{name}"] = _accuracy(level, by_class=classes)
    return found


def _pooled_auroc(scored: Scored, actors: Sequence[str]) -> Statistic:
    """Pairs of a positive and a negative sentence won (ties half), counted once for each pair of actors."""
    score, label, own = _arrays(scored.sentences, actors)
    sides = [[score[mine & (label == name)] for mine in own] for name in CLASSES[::-1]]
    wins = np.array([[_wins(above, below) for below in sides[1]] for above in sides[0]])  # (actors, actors)
    positives, negatives = (np.array([len(scores) for scores in side], dtype=float) for side in sides)

    def statistic(counts: Floats) -> Floats:
        pairs = (counts @ positives) * (counts @ negatives)
        return _ratio(np.einsum("da,ab,db->d", counts, wins, counts), pairs)

    return statistic


def _wins(above: Floats, below: Floats) -> float:
    return float((above[:, None] > below).sum() + 0.5 * (above[:, None] == below).sum())


def _mean_actor_auroc(scored: Scored, actors: Sequence[str]) -> Statistic:
    known = actor_aurocs(scored.sentences)
    held = np.array([actor in known for actor in actors], dtype=float)
    values = np.array([known.get(actor, 0.0) for actor in actors])
    return lambda counts: _ratio(counts @ values, counts @ held)


def _accuracy(level: str, *, by_class: bool) -> Measure:
    def measure(scored: Scored, actors: Sequence[str]) -> Statistic:
        table = scored.sessions if level == "session" else scored.sentences
        score, label, own = _arrays(table, actors)
        decided = (table["prediction"] == CLASSES[1]).to_numpy() if level == "session" else score >= 0.5
        right = decided == (label == CLASSES[1])
        parts = [label == name for name in CLASSES] if by_class else [np.ones(len(label), dtype=bool)]
        tallies = [
            np.array([[(right & part & mine).sum(), (part & mine).sum()] for mine in own]) for part in parts
        ]
        return lambda counts: np.mean([_ratio(*(counts @ tally).T) for tally in tallies], axis=0)

    return measure


def _arrays(
    table: pd.DataFrame, actors: Sequence[str]
) -> tuple[Floats, NDArray[np.str_], list[NDArray[np.bool_]]]:
    """Return scores, labels, and for each actor which rows are his or hers."""
    names = table["actor"].to_numpy(np.str_)
    return (
        table["score"].to_numpy(float),
        table["label"].to_numpy(np.str_),
        [names == actor for actor in actors],
    )


def _ratio(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part / whole, dtype=np.float64)


def combine(runs: Sequence[Scored]) -> Scored:
    """Return the runs' scores averaged sentence by sentence, sessions decided anew by majority vote.

    Raises:
        ValueError: If they did not score the same sentences of the same sessions.
    """
    first = runs[0]
    for run in runs:
        if run.sentences["id"].tolist() != first.sentences["id"].tolist():
            raise ValueError("the runs scored different sentences")
    score = np.mean([run.sentences["score"] for run in runs], axis=0)
    sentences = first.sentences.assign(score=score)
    voted = aggregate(sentences.assign(subject=sentences["session"]), "majority").set_index("subject")[
        "score"
    ]
    shares = first.sessions["session"].map(voted)
    decided = np.where(shares >= 0.5, CLASSES[1], CLASSES[0])
    return Scored(sentences, first.sessions.assign(score=shares, prediction=decided))


def constant(scored: Scored) -> Scored:
    """Return what always answering the more frequent class gives."""
    tables = []
    for table in (scored.sentences, scored.sessions):
        label = str(table["label"].value_counts().idxmax())
        tables.append(table.assign(score=float(label == CLASSES[1]), prediction=label))
    return Scored(*tables)


def estimate(runs: Sequence[Scored], measure: Measure) -> dict[str, Any]:
    """Return the mean of *measure* over the runs with its interval over actors, and each run's own value."""
    names = _actors(runs[0])
    statistics = [measure(run, names) for run in runs]
    own = [float(statistic(np.ones((1, len(names))))[0]) for statistic in statistics]
    return _bootstrap(statistics, len(names), {"ci95": 0.95}) | {"runs": own}


def paired(first: Sequence[Scored], second: Sequence[Scored], measure: Measure) -> dict[str, Any]:
    """Return *measure* of *first* minus *second*, means over the runs, with 95 % and 97.5 % intervals.

    Whole actors are resampled, the same ones for both rows and all runs.

    Raises:
        ValueError: If the rows are not of the same sentences.
    """
    if len({tuple(run.sentences["id"]) for run in (*first, *second)}) > 1:
        raise ValueError("the rows scored different sentences")
    names = _actors(first[0])
    left, right = ([measure(run, names) for run in runs] for runs in (first, second))

    def difference(counts: Floats) -> Floats:
        means = [np.mean([statistic(counts) for statistic in side], axis=0) for side in (left, right)]
        return np.asarray(means[0] - means[1], dtype=np.float64)

    return _bootstrap([difference], len(names), {"ci95": 0.95, "ci975": 0.975})


def _actors(scored: Scored) -> list[str]:
    return sorted(set(scored.sentences["actor"].astype(str)))


def _bootstrap(statistics: Sequence[Statistic], actors: int, levels: Mapping[str, float]) -> dict[str, Any]:
    """Return the mean of *statistics*, and its percentile intervals over whole actors drawn.

    An interval is ``None`` where more than one draw in twenty leaves it undefined.
    """
    drawn = np.random.default_rng(0).integers(actors, size=(RESAMPLES, actors))
    counts = (drawn[:, :, None] == np.arange(actors)).sum(axis=1).astype(float)  # (draws, actors)
    values = np.mean([statistic(counts) for statistic in statistics], axis=0)
    whole = np.mean([statistic(np.ones((1, actors)))[0] for statistic in statistics])
    found: dict[str, Any] = {"value": float(whole)}
    for name, confidence in levels.items():
        tail = (1 - confidence) / 2
        bounds = np.nanquantile(values, [tail, 1 - tail]).tolist()
        found[name] = None if np.isnan(values).mean() > 0.05 else tuple(bounds)
    return found


def summarise(rows: Mapping[str, Sequence[Scored]]) -> dict[str, Any]:
    """Return the whole table: counts, rows, differences and the verdicts, as plain values.

    Args:
        rows: The scored rows by name; ``peer`` and ``random`` among them.
    """
    every = dict(rows) | {f"{name}_ensemble": [combine(rows[name])] for name in ENSEMBLES if name in rows}
    first = every[PEER][0]
    every = {"majority": [constant(first)], **every}
    columns = measures()
    differences: dict[str, Any] = {}
    for name in every:
        if not name.startswith("ser_"):
            continue
        rival = f"{RIVAL}_ensemble" if name.endswith("_ensemble") else RIVAL
        for other in (PEER, rival, "asr"):
            if other in every:
                differences[f"{name} - {other}"] = {
                    column: paired(every[name], every[other], measure) for column, measure in columns.items()
                }
    return {
        "counts": {
            "actors": int(first.sentences["actor"].nunique()),
            "sessions": len(first.sessions),
            "sentences": {str(k): int(v) for k, v in first.sentences["label"].value_counts().items()},
        },
        "rows": {
            name: {column: estimate(runs, measure) for column, measure in columns.items()}
            | {"actor_auroc": _by_actor(runs)}
            for name, runs in every.items()
        },
        "differences": differences,
        "verdicts": {
            name: verdict(differences[f"{name} - {PEER}"]["sentence_auroc"])
            for name in DECIDING
            if name in every
        },
    }


def _by_actor(runs: Sequence[Scored]) -> dict[str, float]:
    found = [actor_aurocs(run.sentences) for run in runs]
    return {actor: float(np.mean([one[actor] for one in found])) for actor in found[0]}


def verdict(difference: Mapping[str, Any]) -> str:
    """Return ``above``, ``above, not beyond chance`` or ``not above``, as the protocol defines them."""
    if difference["value"] <= 0:
        return "not above"
    bounds = difference["ci975"]
    return "above" if bounds is not None and bounds[0] > 0 else "above, not beyond chance"


def markdown(results: Mapping[str, Any]) -> str:
    """Return the table and the differences as Markdown."""
    columns = list(measures())
    lines = ["| | " + " | ".join(name.replace("_", " ") for name in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name, row in results["rows"].items():
        lines.append(_line(name, [_cell(row[column]) for column in columns]))
    lines += ["", "| difference | sentence AUROC | 97.5 % | mean actor AUROC | sentence UA | session UA |"]
    lines.append("|---|---|---|---|---|---|")
    for name, found in results["differences"].items():
        cells = [_cell(found["sentence_auroc"]), _bounds(found["sentence_auroc"]["ci975"])]
        cells += [_cell(found[column]) for column in ("mean_actor_auroc", "sentence_ua", "session_ua")]
        lines.append(_line(name, cells))
    lines += ["", *(f"{name} against the peer: {text}" for name, text in results["verdicts"].items())]
    return "\n".join(lines)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name.replace('_', ' ')} | {' | '.join(cells)} |"


def _cell(entry: Mapping[str, Any]) -> str:
    return f"{entry['value']:.3f} {_bounds(entry['ci95'])}"


def _bounds(bounds: Sequence[float] | None) -> str:
    return "[undefined]" if bounds is None else f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"
