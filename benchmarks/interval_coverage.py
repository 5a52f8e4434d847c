"""Coverage of the intervals and false alarms of the headline: ``python -m benchmarks.interval_coverage``.

Two classes of independent items are enumerated exactly (all pairs of hits); everything else is drawn with a
fixed seed. Items of a cluster agree by a beta-binomial (decisions) or a common normal shift (scores); in the
skewed designs a few clusters are far worse than the others, in all classes alike. Writes
``benchmarks/results/coverage.json`` and ``coverage.md``; takes about ten minutes on one core.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from sertransfer.evaluation import chance, intervals

RESULTS = Path(__file__).parent / "results"
RECALLS = (0.02, 0.05, 0.1, 0.17, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
SIZES = ((12, 23), (6, 6), (5, 30), (14, 33), (10, 10), (32, 75))
CLUSTERS = (6, 12, 20, 60, 100)
AGREEMENT = (0.1, 0.5)
PAIRS = (
    (0.05, 0.98),
    (0.17, 0.98),
    (0.5, 0.5),
    (0.7, 0.7),
    (0.8, 0.9),
    (0.95, 0.95),
    (0.98, 0.98),
    (1.0, 0.9),
)
SKEWED = ("exponential", "one in twenty", "one in ten", "one in five")
"""How clusters differ in skewed designs: log-odds less an exponential value, or one in so many is bad."""

BAD = {"one in twenty": 0.05, "one in ten": 0.1, "one in five": 0.2}
"""Share of clusters that are bad; another where these could not differ as much as they should."""

SKEWED_CLUSTERS = (6, 10, 16, 24, 40, 60, 100)
SKEWED_AGREEMENT = (0.05, 0.1, 0.2)
SKEWED_PAIRS = ((0.5, 0.5), (0.6, 0.95), (0.8, 0.9), (0.9, 0.9), (0.95, 0.98), (0.3, 0.7))
SKEWED_KINDS = ("speakers", "unequal speakers", "talkative speakers", "persons", "talkative persons")
CHANCE = (0.0, 0.02, 0.1, 0.35, 0.5)
DRAWS, AREA_DRAWS = 2000, 1000

AREA_SIZES = ((4, 4), (4, 8), (4, 30), (8, 15), (12, 23), (36, 71))
"""Positive and negative items, independent, of the AUROC."""

CLASS_DRAWS = 2000
"""Draws of the headline with four classes."""

FIGURES = ("WA", "UA", "recalls", "F1", "macro-F1", "AUROC")
"""Columns of the table; recalls are sensitivity and specificity."""

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


GRID = (np.arange(2000) + 0.5) / 2000


@cache
def quantiles(mean: float, agreement: float, effect: str) -> Floats:
    """Return 2000 equally likely shares right of a cluster, ascending.

    Args:
        mean: Their mean, above 0 and below 1.
        agreement: Their variance over ``mean * (1 - mean)``.
        effect: ``beta``, or one of :data:`SKEWED`.
    """
    variance = agreement * mean * (1 - mean)
    if effect == "beta":
        weight = 1 / agreement - 1
        return np.asarray(stats.beta.ppf(GRID, mean * weight, (1 - mean) * weight))
    if effect == "exponential":
        return _logistic(mean, variance)
    # neither kind of cluster has a share below 0 or above 1
    fewest, most = variance / (mean**2 + variance), (1 - mean) ** 2 / ((1 - mean) ** 2 + variance)
    bad = float(np.clip(BAD[effect], fewest, most))
    low, high = mean - np.sqrt(variance * (1 - bad) / bad), mean + np.sqrt(variance * bad / (1 - bad))
    shares = np.where(bad > GRID, low, high)
    # the number of places is whole: the mean is set right
    return np.clip(shares + mean - shares.mean(), 0.0, 1.0)


def _logistic(mean: float, variance: float) -> Floats:
    """Return the shares whose log-odds are a constant less an exponential value, by bisection of both."""
    effects = 1 + np.log(GRID)

    def shares(scale: float) -> Floats:
        low, high = -30.0, 30.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if expit(middle + scale * effects).mean() < mean else (low, middle)
        return np.asarray(expit(low + scale * effects))

    low, high = 0.0, 30.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if shares(middle).var() < variance else (low, middle)
    return shares(low)


def draw(
    generator: np.random.Generator, sizes: Floats, recalls: Floats, agreement: float, effect: str = "beta"
) -> Floats:
    """Draw hits, (draws, clusters, classes), of (clusters, classes) *sizes*."""
    shape = (DRAWS, *sizes.shape)
    share = np.array(np.broadcast_to(recalls, shape))
    if agreement > 0:
        # one place a cluster: the recalls of a speaker move together
        place = generator.integers(len(GRID), size=(DRAWS, len(sizes)))
        for number, mean in enumerate(recalls.tolist()):
            if 0 < mean < 1:
                share[..., number] = quantiles(mean, agreement, effect)[place]
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
    elif kind == "talkative persons":
        positive = np.arange(clusters) % 2 == 0
        sizes[:, 1], sizes[:, 0] = np.where(positive, 40, 0), np.where(positive, 0, 40)
    elif kind == "talkative speakers":
        sizes[:] = 100
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
            for agreement in AGREEMENT:
                for recalls in PAIRS:
                    yield _clustered(generator, kind, clusters, agreement, recalls)


def skewed() -> Iterator[Row]:
    """Yield the coverage where a few clusters are far worse than the others, in both classes alike."""
    generator = np.random.default_rng(6)
    for kind in SKEWED_KINDS:
        for clusters in SKEWED_CLUSTERS:
            for agreement in SKEWED_AGREEMENT:
                for effect in SKEWED:
                    for recalls in SKEWED_PAIRS:
                        yield _clustered(generator, kind, clusters, agreement, recalls, effect)


def _clustered(
    generator: np.random.Generator,
    kind: str,
    clusters: int,
    agreement: float,
    recalls: tuple[float, float],
    effect: str = "beta",
) -> Row:
    sensitivity, specificity = recalls
    sizes = cluster_sizes(clusters, kind)
    totals, held = sizes.sum(axis=0), (sizes > 0).sum(axis=0)
    hits = draw(generator, sizes, np.array([specificity, sensitivity]), agreement, effect)
    bounds = figures_of(hits, np.broadcast_to(sizes, hits.shape))
    truth = true_figures(sensitivity, specificity, totals[1], totals[0])
    fewest = intervals.FEWEST_CLUSTERS
    printed = {
        "sensitivity": held[1] >= fewest,
        "specificity": held[0] >= fewest,
        "F1": held[1] >= fewest,
    }
    return {
        "design": kind if effect == "beta" else f"{kind}, skewed",
        "clusters": clusters,
        "agreement": agreement,
        "effect": effect,
        "recalls": [sensitivity, specificity],
        "coverage": {
            name: float(covers(bounds[name], truth[name]).mean())
            for name in bounds
            if printed.get(name, True)
        },
    }


def several_classes() -> Iterator[Row]:
    """Yield the coverage of UA for four and seven classes, with and without clusters."""
    generator = np.random.default_rng(2)
    for classes in (4, 7):
        for recall in ((0.3,), (0.6,), (0.95,), (0.99, 0.2), (1.0, 0.9, 0.5)):
            recalls = np.resize(np.array(recall), classes)
            items = np.repeat(np.eye(classes), np.resize([12, 30, 6, 18], classes), axis=0)
            cells = [("independent", items, 0.0, "beta")]
            cells += [
                (kind, cluster_sizes(clusters, kind, classes), agreement, "beta")
                for kind in ("speakers", "unequal speakers")
                for clusters in CLUSTERS
                for agreement in AGREEMENT
            ]
            cells += [
                (kind, cluster_sizes(clusters, kind, classes), SKEWED_AGREEMENT[-1], effect)
                for kind in ("speakers", "talkative speakers")
                for clusters in SKEWED_CLUSTERS
                for effect in SKEWED
            ]
            for kind, sizes, agreement, effect in cells:
                hits = draw(generator, sizes, recalls, agreement, effect)
                bounds = intervals.recall_mean_bounds(hits, np.broadcast_to(sizes, hits.shape))
                yield {
                    "design": f"{kind}, {classes} classes{'' if effect == 'beta' else ', skewed'}",
                    "clusters": len(sizes),
                    "agreement": agreement,
                    "effect": effect,
                    "recalls": list(recall),
                    "coverage": {"UA": float(covers(bounds, recalls.mean()).mean())},
                }


def areas() -> Iterator[Row]:
    """Yield the coverage of the AUROC of normal scores."""
    generator = np.random.default_rng(3)
    alone = ("independent", "unequal spread")
    for kind in (*alone, *KINDS):
        for clusters in AREA_SIZES if kind in alone else CLUSTERS:
            if isinstance(clusters, tuple):
                positive = np.repeat([True, False], clusters)
                clusters = len(positive)
                members = np.arange(clusters)
            else:
                sizes = cluster_sizes(clusters, kind).astype(int)
                if (sizes > 0).sum(axis=0).min() < intervals.FEWEST_OF_A_CLASS:
                    continue
                members = np.repeat(np.arange(clusters), sizes.sum(axis=1))
                positive = np.concatenate([np.repeat([False, True], row) for row in sizes])
            for agreement in (0.0,) if len(set(members)) == len(members) else AGREEMENT:
                for area in (0.5, 0.7, 0.85, 0.95, 0.99):
                    spread = np.where(positive & (kind == "unequal spread"), 2.0, 1.0)
                    shift = stats.norm.ppf(area) * np.sqrt(1 + spread.max() ** 2)
                    # agreement in a class of a cluster; half of it is common to both classes
                    own, common = (generator.normal(size=(AREA_DRAWS, clusters, width)) for width in (2, 1))
                    moved = np.sqrt(agreement / 2) * (own + common)
                    noise = generator.normal(size=(AREA_DRAWS, len(members))) * np.sqrt(1 - agreement)
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


def skewed_areas() -> Iterator[Row]:
    """Yield the coverage of the AUROC where a few clusters' classes lie far nearer to each other."""
    generator = np.random.default_rng(7)
    for kind in ("speakers", "unequal speakers", "persons", "talkative persons"):
        for clusters in SKEWED_CLUSTERS[1:]:
            sizes = cluster_sizes(clusters, kind).astype(int)
            if (sizes > 0).sum(axis=0).min() < intervals.FEWEST_OF_A_CLASS:
                continue
            members = np.repeat(np.arange(clusters), sizes.sum(axis=1))
            positive = np.concatenate([np.repeat([False, True], row) for row in sizes])
            for effect in SKEWED:
                effects = 1 + np.log(GRID)
                if effect in BAD:
                    share = BAD[effect]
                    low, high = -np.sqrt((1 - share) / share), np.sqrt(share / (1 - share))
                    effects = np.where(share > GRID, low, high)
                for agreement in (SKEWED_AGREEMENT[0], SKEWED_AGREEMENT[-1]):
                    for area in (0.7, 0.95):
                        spread, shift = np.sqrt(1 - agreement), stats.norm.ppf(area) * np.sqrt(2)
                        own = (
                            effects[generator.integers(len(GRID), size=(AREA_DRAWS, clusters))]
                            * agreement**0.5
                        )
                        scores = generator.normal(size=(AREA_DRAWS, len(members))) * spread
                        scores = scores + (shift + own[:, members]) * positive
                        apart = (shift + effects * agreement**0.5) / (np.sqrt(2) * spread)
                        true = float(stats.norm.cdf(apart).mean())
                        bounds = intervals.auroc_bounds(positive, scores, members)
                        yield {
                            "design": f"{kind}, skewed",
                            "clusters": clusters,
                            "agreement": agreement,
                            "effect": effect,
                            "recalls": [area],
                            "coverage": {"AUROC": float(covers(bounds, true).mean())},
                        }


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
    for effect in ("beta", *SKEWED):
        for kind in KINDS if effect == "beta" else SKEWED_KINDS:
            for number in CLUSTERS:
                for agreement in AGREEMENT if effect == "beta" else SKEWED_AGREEMENT[-1:]:
                    for rate in CHANCE:
                        yield from _clustered_alarms(generator, kind, number, agreement, effect, rate)


def _clustered_alarms(
    generator: np.random.Generator, kind: str, number: int, agreement: float, effect: str, rate: float
) -> Iterator[Row]:
    design = kind if effect == "beta" else f"{kind}, skewed"
    sizes = cluster_sizes(number, kind)
    totals = sizes.sum(axis=0)
    for what in ("UA", "WA"):
        common = int(totals.argmax())
        recalls = np.array([1 - rate, rate])
        if what == "WA":  # as many gained as lost on average
            recalls[1 - common], recalls[common] = rate, 1 - rate * totals[1 - common] / totals[common]
        hits = draw(generator, sizes, recalls, agreement, effect)
        if what == "UA":
            low, high = intervals.recall_mean_bounds(
                hits, np.broadcast_to(sizes, hits.shape), confidence=chance.UA_CONFIDENCE
            )
        else:
            gained, lost = hits[..., 1 - common], sizes[:, common] - hits[..., common]
            with np.errstate(invalid="ignore", divide="ignore"):
                low, high = intervals.share_bounds(gained, gained + lost, confidence=chance.WA_CONFIDENCE)
        signs = (low > 0.5).astype(int) - (high < 0.5)
        yield _alarm(design, number, rate, what, signs, np.full(DRAWS, 1 / DRAWS), agreement, effect)


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
    design: str,
    n: Any,
    rate: float,
    what: str,
    signs: NDArray[Any],
    weight: Floats,
    agreement: float = 0.0,
    effect: str = "",
) -> Row:
    return {
        "design": design,
        "n": n,
        "rate": rate,
        "agreement": agreement,
        "effect": effect,
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


def tables(rows: list[Row], alarms: list[Row], strength: list[Row]) -> str:
    """Return what stands in the documentation: coverage, false alarms and power."""
    lines = [
        "# Coverage of 95 % intervals: the lowest of all settings (the mean)",
        "",
        f"| design | {' | '.join(FIGURES)} |",
        "|" + "---|" * (1 + len(FIGURES)),
    ]
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        for name, value in row["coverage"].items():
            merged = "recalls" if name in ("sensitivity", "specificity") else name
            values.setdefault(row["design"], {}).setdefault(merged, []).append(value)
    for design, found in values.items():
        cells = [
            f"{min(found[name]):.3f} ({np.mean(found[name]):.3f})" if name in found else ""
            for name in FIGURES
        ]
        lines.append(f"| {design} | {' | '.join(cells)} |")
    lines += [
        "",
        "# Largest share of false alarms a side (nominal at most 0.025)",
        "",
        "| design | UA: better | worse | WA: better | worse |",
        "|---|---|---|---|---|",
    ]
    worst: dict[str, dict[str, list[float]]] = {}
    for row in alarms:
        entry = worst.setdefault(row["design"], {}).setdefault(row["statement"], [0.0, 0.0])
        entry[:] = [max(entry[0], row["above"]), max(entry[1], row["below"])]
    for design, sides in worst.items():
        cells = [f"{value:.3f}" for name in ("UA", "WA") for value in sides.get(name, [])]
        lines.append(f"| {design} | {' | '.join([*cells, '', ''][:4])} |")
    lines += [
        "",
        "# Power: how often a run is said to be better, by UA and by WA; sensitivity = specificity = UA",
        "",
    ]
    levels = sorted({row["ua"] for row in strength})
    lines += [f"| subjects (positive) | {' | '.join(f'UA {level:.2f}' for level in levels)} |"]
    lines += ["|" + "---|" * (1 + len(levels))]
    said: dict[str, list[str]] = {}
    for row in strength:
        cells = said.setdefault(f"{row['n']} ({row['positive']})", [])
        cells.append(f"{row['UA above']:.2f}, {row['WA above']:.2f}")
    lines += [f"| {subjects} | {' | '.join(cells)} |" for subjects, cells in said.items()]
    return "\n".join([*lines, ""])


def main() -> None:
    """Simulate, and write both files."""
    rows = [*independent(), *clustered(), *skewed(), *several_classes(), *areas(), *skewed_areas()]
    alarms = [*false_alarms(), *several_class_alarms()]
    result = _rounded({"coverage": rows, "false_alarms": alarms, "power": list(power())})
    (RESULTS / "coverage.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")
    text = tables(result["coverage"], result["false_alarms"], result["power"])
    (RESULTS / "coverage.md").write_text(text)
    print(text)


def _rounded(value: Any) -> Any:
    """Return *value* with four decimals, which is more than the draws give."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
