"""Coverage of the intervals and false alarms of the headline: ``python -m benchmarks.interval_coverage``.

Two classes of independent items are enumerated exactly (all pairs of hits); everything else is drawn with a
fixed seed. Items of a cluster agree by a beta-binomial (decisions) or a common normal shift (scores). Writes
``benchmarks/results/coverage.json`` and ``coverage.md``; takes about two minutes on one core.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sertransfer.evaluation import chance, intervals

RESULTS = Path(__file__).parent / "results"
RECALLS = (0.02, 0.05, 0.1, 0.17, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
SIZES = ((12, 23), (6, 6), (5, 30), (14, 33), (10, 10), (32, 75))
CLUSTERS = (6, 12, 20, 60)
AGREEMENT = (0.1, 0.5)
PAIRS = ((0.05, 0.98), (0.17, 0.98), (0.5, 0.5), (0.7, 0.7), (0.8, 0.9), (0.95, 0.95), (1.0, 0.9))
CHANCE = (0.0, 0.02, 0.1, 0.35, 0.5)
DRAWS = 800

CLASS_DRAWS = 2000
"""Draws of the headline with four classes."""

Floats = NDArray[np.float64]
Row = dict[str, Any]


def covers(bounds: tuple[Floats, Floats], truth: Any) -> NDArray[np.bool_]:
    """Return whether *truth* lies within *bounds*; undefined ones count as covering nothing."""
    return (bounds[0] <= truth + 1e-12) & (truth <= bounds[1] + 1e-12)


def outcomes(positives: int, negatives: int) -> tuple[Floats, Floats, Floats]:
    """Return hits and sizes, (outcomes, items, classes), of all pairs of hits, and these pairs."""
    pairs = np.array([(b, a) for a in range(positives + 1) for b in range(negatives + 1)], dtype=np.float64)
    n = positives + negatives
    sizes = np.zeros((n, 2))
    sizes[:negatives, 0] = sizes[negatives:, 1] = 1
    rank = np.concatenate([np.arange(negatives), np.arange(positives)])
    hits = sizes * (rank[None, :, None] < pairs[:, None, :])
    return hits, np.broadcast_to(sizes, hits.shape), pairs


def figures_of(hits: Floats, sizes: Floats) -> dict[str, tuple[Floats, Floats]]:
    """Return the bounds of every figure of two classes, (draws, clusters, 2) hits and sizes."""
    wrong = sizes - hits
    touched = np.stack([sizes[..., 0] + wrong[..., 1], sizes[..., 1] + wrong[..., 0]], axis=-1)
    return {
        "WA": intervals.share_bounds(hits.sum(axis=-1), sizes.sum(axis=-1)),
        "UA": intervals.recall_mean_bounds(hits, sizes),
        "sensitivity": intervals.share_bounds(hits[..., 1], sizes[..., 1]),
        "specificity": intervals.share_bounds(hits[..., 0], sizes[..., 0]),
        "F1": intervals.f1_bounds(hits[..., 1], touched[..., 1]),
        "macro-F1": intervals.f1_mean_bounds(hits, touched),
    }


def true_figures(
    sensitivity: float, specificity: float, positives: float, negatives: float
) -> dict[str, float]:
    """Return what the figures estimate, of so many items."""
    hit, kept = positives * sensitivity, negatives * specificity
    wrong = positives - hit + negatives - kept
    f1, other = 2 * hit / max(2 * hit + wrong, 1e-12), 2 * kept / max(2 * kept + wrong, 1e-12)
    return {
        "WA": (hit + kept) / (positives + negatives),
        "UA": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "F1": f1,
        "macro-F1": (f1 + other) / 2,
    }


def independent() -> Iterator[Row]:
    """Yield the exact coverage for two classes, every item its own cluster."""
    for positives, negatives in SIZES:
        hits, sizes, pairs = outcomes(positives, negatives)
        bounds = figures_of(hits, sizes)
        for sensitivity in RECALLS:
            for specificity in RECALLS:
                weight = stats.binom.pmf(pairs[:, 1], positives, sensitivity)
                weight = weight * stats.binom.pmf(pairs[:, 0], negatives, specificity)
                truth = true_figures(sensitivity, specificity, positives, negatives)
                covered = {name: float(weight @ covers(bounds[name], truth[name])) for name in bounds}
                yield {
                    "design": "independent",
                    "n": [positives, negatives],
                    "recalls": [sensitivity, specificity],
                    "coverage": covered,
                }


def draw(generator: np.random.Generator, sizes: Floats, recalls: Floats, agreement: float) -> Floats:
    """Draw hits, (draws, clusters, classes), of (clusters, classes) *sizes*."""
    shape = (DRAWS, *sizes.shape)
    share = np.broadcast_to(recalls, shape)
    if agreement > 0:
        weight = 1 / agreement - 1
        inner = np.clip(recalls, 1e-9, 1 - 1e-9)
        # one uniform a cluster: the recalls of a speaker move together
        rank = generator.random((DRAWS, len(sizes), 1))
        grid = np.linspace(0, 1, 2001)  # quantiles are slow to compute one by one
        drawn = np.empty(shape)
        for number, mean in enumerate(inner):
            quantiles = stats.beta.ppf(grid, mean * weight, (1 - mean) * weight)
            drawn[..., number] = np.interp(rank[..., 0], grid, quantiles)
        share = np.where((recalls > 0) & (recalls < 1), drawn, share)
    return generator.binomial(np.broadcast_to(sizes, shape).astype(int), share).astype(np.float64)


def cluster_sizes(clusters: int, kind: str, classes: int = 2) -> Floats:
    """Return items of each cluster and class: sessions of persons, or utterances of speakers."""
    sizes = np.zeros((clusters, classes))
    unequal = np.resize([2, 9, 4, 6, 3, 12, 5, 7], clusters)
    if kind == "persons":  # one label a person; a third have it
        positive = np.arange(clusters) % 3 == 0
        sizes[:, 1], sizes[:, 0] = np.where(positive, 5, 0), np.where(positive, 0, 5)
    elif kind == "unequal persons":
        positive = np.arange(clusters) % 3 == 0
        sizes[:, 1], sizes[:, 0] = np.where(positive, unequal, 0), np.where(positive, 0, unequal)
    elif kind == "speakers":
        sizes[:] = np.resize([20, 10], classes)
    else:
        sizes[:] = unequal[:, None] * np.resize([3, 1], classes)
    return sizes


KINDS = ("persons", "unequal persons", "speakers", "unequal speakers")


def clustered() -> Iterator[Row]:
    """Yield the coverage where clusters hold several items."""
    generator = np.random.default_rng(1)
    for kind in KINDS:
        for clusters in CLUSTERS:
            sizes = cluster_sizes(clusters, kind)
            totals = sizes.sum(axis=0)
            for agreement in AGREEMENT:
                for sensitivity, specificity in PAIRS:
                    hits = draw(generator, sizes, np.array([specificity, sensitivity]), agreement)
                    bounds = figures_of(hits, np.broadcast_to(sizes, hits.shape))
                    truth = true_figures(sensitivity, specificity, totals[1], totals[0])
                    held = (sizes > 0).sum(axis=0)
                    fewest = intervals.FEWEST_CLUSTERS
                    printed = {"sensitivity": held[1] >= fewest, "specificity": held[0] >= fewest}
                    covered = {
                        name: float(covers(bounds[name], truth[name]).mean())
                        for name in bounds
                        if printed.get(name, True)
                    }
                    yield {
                        "design": kind,
                        "clusters": clusters,
                        "agreement": agreement,
                        "recalls": [sensitivity, specificity],
                        "coverage": covered,
                    }


def several_classes() -> Iterator[Row]:
    """Yield the coverage of UA for four and seven classes, with and without clusters."""
    generator = np.random.default_rng(2)
    for classes in (4, 7):
        for recall in ((0.3,), (0.6,), (0.95,), (0.99, 0.2), (1.0, 0.9, 0.5)):
            recalls = np.resize(np.array(recall), classes)
            items = np.repeat(np.eye(classes), np.resize([12, 30, 6, 18], classes), axis=0)
            for kind, sizes, agreement in [
                ("independent", items, 0.0),
                *(
                    (kind, cluster_sizes(clusters, kind, classes), agreement)
                    for kind in ("speakers", "unequal speakers")
                    for clusters in CLUSTERS
                    for agreement in AGREEMENT
                ),
            ]:
                hits = draw(generator, sizes, recalls, agreement)
                bounds = intervals.recall_mean_bounds(hits, np.broadcast_to(sizes, hits.shape))
                yield {
                    "design": f"{kind}, {classes} classes",
                    "clusters": len(sizes),
                    "agreement": agreement,
                    "recalls": list(recall),
                    "coverage": {"UA": float(covers(bounds, recalls.mean()).mean())},
                }


def areas() -> Iterator[Row]:
    """Yield the coverage of the AUROC of normal scores."""
    generator = np.random.default_rng(3)
    for kind in ("independent", "unequal spread", *KINDS):
        for clusters in (12, 23, 35, 107) if kind in ("independent", "unequal spread") else CLUSTERS:
            if kind in ("independent", "unequal spread"):
                positive = np.arange(clusters) % 3 == 0
                members = np.arange(clusters)
            else:
                sizes = cluster_sizes(clusters, kind).astype(int)
                members = np.repeat(np.arange(clusters), sizes.sum(axis=1))
                positive = np.concatenate([np.repeat([False, True], row) for row in sizes])
            for agreement in (0.0,) if len(set(members)) == len(members) else AGREEMENT:
                for area in (0.5, 0.7, 0.85, 0.95, 0.99):
                    spread = np.where(positive & (kind == "unequal spread"), 2.0, 1.0)
                    shift = stats.norm.ppf(area) * np.sqrt(1 + spread.max() ** 2)
                    # agreement in a class of a cluster; half of it is common to both classes
                    own, common = (generator.normal(size=(400, clusters, width)) for width in (2, 1))
                    moved = np.sqrt(agreement / 2) * (own + common)
                    noise = generator.normal(size=(400, len(members))) * np.sqrt(1 - agreement)
                    scores = noise + moved[:, members, positive.astype(int)]
                    scores = scores * spread + shift * positive
                    bounds = intervals.auroc_bounds(positive, scores, members)
                    true = area if len(set(members)) == len(members) else _pooled(shift, agreement, sizes)
                    yield {
                        "design": kind,
                        "clusters": clusters,
                        "agreement": agreement,
                        "recalls": [area],
                        "coverage": {"AUROC": float(covers(bounds, true).mean())},
                    }


def _pooled(shift: float, agreement: float, sizes: NDArray[np.int64]) -> float:
    """Return the expected AUROC: pairs within a cluster share half of the agreement."""
    within = (sizes[:, 0] * sizes[:, 1]).sum() / (sizes[:, 0].sum() * sizes[:, 1].sum())
    alone = stats.norm.cdf(shift / np.sqrt(2))
    together = stats.norm.cdf(shift / np.sqrt(2 - agreement))
    return float(within * together + (1 - within) * alone)


def false_alarms() -> Iterator[Row]:
    """Yield how often the two statements are made, a side, where they are untrue."""
    for positives, negatives in SIZES:
        rule = statements(positives, negatives)
        for rate in CHANCE:
            for flipped in (rate, 1 - rate):
                weight = pair_weight(positives, negatives, flipped, 1 - flipped)
                yield _alarm("independent", [positives, negatives], flipped, "UA", rule["UA"], weight)
        common, other = max(positives, negatives), min(positives, negatives)
        for recall in (0.02, 0.1, 0.3, 0.5, 0.8):  # as many gained as lost on average
            lost = recall * other / common
            recalls = (recall, 1 - lost) if positives == other else (1 - lost, recall)
            weight = pair_weight(positives, negatives, *recalls)
            yield _alarm("independent", [positives, negatives], recall, "WA", rule["WA"], weight)
    generator = np.random.default_rng(4)
    for kind in KINDS:
        for number in CLUSTERS:
            sizes = cluster_sizes(number, kind)
            totals = sizes.sum(axis=0)
            for agreement in AGREEMENT:
                for rate in CHANCE:
                    hits = draw(generator, sizes, np.array([1 - rate, rate]), agreement)
                    low, high = intervals.recall_mean_bounds(
                        hits, np.broadcast_to(sizes, hits.shape), confidence=chance.UA_CONFIDENCE
                    )
                    signs = (low > 0.5).astype(int) - (high < 0.5)
                    yield _alarm(kind, number, rate, "UA", signs, np.full(DRAWS, 1 / DRAWS), agreement)
                    common = int(totals.argmax())
                    recalls = np.full(2, rate)
                    recalls[common] = 1 - rate * totals[1 - common] / totals[common]
                    hits = draw(generator, sizes, recalls, agreement)
                    gained, lost = hits[..., 1 - common], sizes[:, common] - hits[..., common]
                    with np.errstate(invalid="ignore", divide="ignore"):
                        low, high = intervals.share_bounds(
                            gained, gained + lost, confidence=chance.WA_CONFIDENCE
                        )
                    signs = (low > 0.5).astype(int) - (high < 0.5)
                    yield _alarm(kind, number, rate, "WA", signs, np.full(DRAWS, 1 / DRAWS), agreement)


def several_class_alarms() -> Iterator[Row]:
    """Yield the same for four classes, where the tests are drawn, too.

    The permutation test is exact: what is above 0.025 here is the noise of the draws, 0.0035 each way.
    """
    generator = np.random.default_rng(5)
    truth = np.repeat(np.arange(4), [12, 20, 6, 10])
    clusters = intervals.Clusters([str(item) for item in range(len(truth))])
    for shares in (
        (0.25, 0.25, 0.25, 0.25),
        (0.9, 0.1, 0.0, 0.0),
        (0.4, 0.4, 0.1, 0.1),
        (0.0, 0.02, 0.98, 0.0),
    ):
        signs = []
        for _ in range(CLASS_DRAWS):
            predicted = generator.choice(4, size=len(truth), p=shares)
            state = chance.against_constant(truth, predicted, 4, clusters)["ua"]["state"]
            signs.append({"above": 1, "below": -1, "open": 0}[state])
        yield _alarm(
            "independent, 4 classes",
            48,
            shares[0],
            "UA",
            np.array(signs),
            np.full(CLASS_DRAWS, 1 / CLASS_DRAWS),
        )


def _alarm(
    design: str, n: Any, rate: float, what: str, signs: NDArray[Any], weight: Floats, agreement: float = 0.0
) -> Row:
    return {
        "design": design,
        "n": n,
        "rate": rate,
        "agreement": agreement,
        "statement": what,
        "above": float(weight @ (signs > 0)),
        "below": float(weight @ (signs < 0)),
    }


def pair_weight(positives: int, negatives: int, sensitivity: float, specificity: float) -> Floats:
    """Return the probability of every pair of hits, in the order of :func:`outcomes`."""
    a = stats.binom.pmf(np.arange(positives + 1), positives, sensitivity)
    b = stats.binom.pmf(np.arange(negatives + 1), negatives, specificity)
    return np.asarray(np.outer(a, b).ravel())


def statements(positives: int, negatives: int) -> dict[str, NDArray[np.int64]]:
    """Return what the headline says (1 above, -1 below, 0 nothing) of every pair of hits."""
    found: dict[str, list[int]] = {"UA": [], "WA": []}
    truth = np.repeat([0, 1], [negatives, positives])
    clusters = intervals.Clusters([str(item) for item in range(len(truth))])
    sign = {"above": 1, "below": -1, "open": 0}
    _, _, pairs = outcomes(positives, negatives)
    table = chance.boschloo_table(positives, negatives)
    hits, sizes, _ = outcomes(positives, negatives)
    low, high = intervals.recall_mean_bounds(hits, sizes)
    for (kept, hit), lower, upper in zip(pairs.astype(int), low, high, strict=True):
        over = lower > 0.5 and table[hit, negatives - kept] <= chance.TAIL
        under = upper < 0.5 and table[positives - hit, kept] <= chance.TAIL
        found["UA"].append(int(over) - int(under))
        gained, lost = (hit, negatives - kept) if negatives >= positives else (kept, positives - hit)
        p = stats.binomtest(int(gained), int(gained + lost), 0.5).pvalue if gained + lost else 1.0
        found["WA"].append(0 if p > 2 * chance.TAIL else 1 if gained > lost else -1)
    # the rules above are the product's: compared on some pairs
    for index in range(0, len(pairs), max(1, len(pairs) // 40)):
        kept, hit = pairs[index].astype(int)
        predicted = np.zeros(len(truth), dtype=int)
        predicted[kept:negatives] = 1
        predicted[negatives : negatives + hit] = 1
        said = chance.against_constant(truth, predicted, 2, clusters)
        if [sign[said[name.lower()]["state"]] for name in found] != [found[name][index] for name in found]:
            raise AssertionError(f"the benchmark's rule differs from the product's at {kept}, {hit}")
    return {name: np.array(values) for name, values in found.items()}


def power() -> Iterator[Row]:
    """Yield how often each statement is made where it is true; sensitivity and specificity alike."""
    for positives, negatives in ((12, 23), (14, 33), (32, 75)):
        rule = statements(positives, negatives)
        for ua in (0.65, 0.7, 0.8, 0.9):
            weight = pair_weight(positives, negatives, ua, ua)
            yield {
                "n": positives + negatives,
                "positive": positives,
                "ua": ua,
                "UA above": float(weight @ (rule["UA"] > 0)),
                "WA above": float(weight @ (rule["WA"] > 0)),
            }


def summary(rows: list[Row]) -> str:
    """Return the lowest and mean coverage of each figure by design, as a table."""
    lines = ["| design | figure | settings | lowest | mean |", "|---|---|---|---|---|"]
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for name, value in row["coverage"].items():
            values.setdefault((row["design"], name), []).append(value)
    for (design, name), found in values.items():
        lines.append(f"| {design} | {name} | {len(found)} | {min(found):.3f} | {np.mean(found):.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate, and write both files."""
    rows = [*independent(), *clustered(), *several_classes(), *areas()]
    alarms = [*false_alarms(), *several_class_alarms()]
    strength = list(power())
    worst: dict[tuple[str, str], list[float]] = {}
    for row in alarms:
        entry = worst.setdefault((row["design"], row["statement"]), [0.0, 0.0])
        entry[:] = [max(entry[0], row["above"]), max(entry[1], row["below"])]
    text = [
        "# Coverage of 95 % intervals",
        "",
        summary(rows),
        "",
        "# Largest share of false alarms a side (nominal at most 0.025)",
        "",
        "| design | statement | better | worse |",
        "|---|---|---|---|",
        *(f"| {d} | {s} | {above:.3f} | {below:.3f} |" for (d, s), (above, below) in worst.items()),
        "",
        "# Power",
        "",
        "| subjects | positive | sensitivity = specificity | UA better | WA better |",
        "|---|---|---|---|---|",
        *(
            f"| {r['n']} | {r['positive']} | {r['ua']:.2f} | {r['UA above']:.2f} | {r['WA above']:.2f} |"
            for r in strength
        ),
        "",
    ]
    (RESULTS / "coverage.md").write_text("\n".join(text))
    result = {"coverage": rows, "false_alarms": alarms, "power": strength}
    (RESULTS / "coverage.json").write_text(json.dumps(result) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
