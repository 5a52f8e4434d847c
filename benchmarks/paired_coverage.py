"""Coverage of paired intervals and false alarms of the paired test, by simulation.

Persons have one session or several, and each system a tendency of its own in each person. Prints a Markdown
table; ``docs/method.md`` holds it.

    python benchmarks/paired_coverage.py --draws 1000
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sertransfer.evaluation.significance import paired_interval, sign_flip_test


@dataclass(frozen=True)
class Setting:
    """Persons of each class (depressed first), most sessions of one, and each system's true recalls.

    Sessions are dealt evenly from 1 to the most, or all have the most; ``dependence`` is the correlation of
    a person's sessions, ``alike`` that of the two systems.
    """

    persons: tuple[int, int]
    sessions: int
    recalls_a: tuple[float, float]
    recalls_b: tuple[float, float]
    dependence: float
    alike: float
    uneven: bool = False


@dataclass(frozen=True)
class Found:
    """Shares of the draws: coverage, by score, and false alarms at p <= 0.05 (of equal systems)."""

    ua: float
    wa: float
    ua_width: float
    alarms: float


def simulate(setting: Setting, draws: int, seed: int = 0) -> Found:
    """Return what came out in so many draws; a draw without an interval counts as covered for neither."""
    generator = np.random.default_rng(seed)
    count = sum(setting.persons)
    sessions = np.full(count, setting.sessions)
    if setting.uneven:
        sessions = 1 + np.arange(count) % setting.sessions
    person = np.repeat(np.arange(count), sessions)
    positive = person < setting.persons[0]
    names = person.astype(str).tolist()
    cuts = [
        np.where(positive, *stats.norm.ppf(recalls)) for recalls in (setting.recalls_a, setting.recalls_b)
    ]
    shares = [positive.mean(), 1 - positive.mean()]
    gains = [b - a for a, b in zip(setting.recalls_a, setting.recalls_b, strict=True)]
    truth = {"ua": float(np.mean(gains)), "wa": float(np.dot(shares, gains))}
    covered, widths, alarms = {"ua": 0, "wa": 0}, [], 0

    def latent() -> NDArray[np.float64]:
        own, shared = generator.normal(size=len(person)), generator.normal(size=count)[person]
        return np.asarray(
            np.sqrt(setting.dependence) * shared + np.sqrt(1 - setting.dependence) * own, dtype=np.float64
        )

    for _ in range(draws):
        first = latent()
        second = setting.alike * first + np.sqrt(1 - setting.alike**2) * latent()
        right_a, right_b = first < cuts[0], second < cuts[1]
        gain = right_b.astype(int) - right_a.astype(int)
        for name, strata in (("ua", positive), ("wa", np.zeros(len(person)))):
            bounds = paired_interval(gain, strata, names)
            if bounds is not None:
                covered[name] += bounds[0] <= truth[name] + 1e-12 and bounds[1] >= truth[name] - 1e-12
                if name == "ua":
                    widths.append(bounds[1] - bounds[0])
        alarms += sign_flip_test(right_a, right_b, names).p <= 0.05
    return Found(covered["ua"] / draws, covered["wa"] / draws, float(np.mean(widths)), alarms / draws)


PERSONS = [((12, 23), 1, False), ((30, 77), 1, False), ((2, 4), 5, False), ((4, 6), 5, False)]
PERSONS += [((6, 14), 5, False), ((12, 23), 9, True)]
RECALLS = [((0.5, 0.5), (0.5, 0.5)), ((0.5, 0.5), (0.8, 0.8)), ((0.95, 0.95), (0.95, 0.95))]
RECALLS += [((0.05, 0.98), (0.05, 0.98)), ((0.17, 0.98), (0.6, 0.7))]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print("| persons | sessions | recalls of A | of B | UA | WA | width (UA) | false alarms |")
    print("|---|---|---|---|---|---|---|---|")
    for persons, sessions, uneven in PERSONS:
        for first, second in RECALLS:
            every = [
                simulate(Setting(persons, sessions, first, second, dependence, alike, uneven), draws)
                for alike in (0.0, 0.7)
                for dependence in ((0.0,) if sessions == 1 else (0.2, 0.5, 0.9))
            ]
            alarms = f"{max(found.alarms for found in every):.3f}" if first == second else ""
            print(
                f"| {persons[0]} + {persons[1]} | {f'1 to {sessions}' if uneven else sessions} "
                f"| {first[0]}, {first[1]} | {second[0]}, {second[1]} "
                f"| {min(found.ua for found in every):.3f} | {min(found.wa for found in every):.3f} "
                f"| {np.mean([found.ua_width for found in every]):.2f} | {alarms} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
