"""Splits of an utterance table into train, dev and test: pure functions, same seed same split.

*paper* is the paper's rule (section 2.2): utterances are shuffled and a fifth becomes the test set,
each class in the same share. The same speakers then stand on both sides. *speaker* keeps every speaker
on one side, and the classes as evenly spread as that allows. Neither depends on the order of the rows.
"""

from __future__ import annotations

import itertools
import math
import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import ShuffleSplit

from sertransfer.errors import Faults, bad_input

DRAWS = 200
"""Random speaker splits among which :func:`speaker_split` chooses."""


def paper_split(
    table: pd.DataFrame, *, test_share: float = 0.2, dev_share: float = 0.0, seed: int = 0
) -> pd.Series[str]:
    """Return the split of each row, utterances shuffled, each class in the same share.

    Every class gives its share of utterances rounded down or up, so that the total is the share of the
    table (largest remainder, ties to the rarer class). On the class totals of the paper's Table 3 this
    gives the very counts of that table. A class is shuffled by a generator of its own: leaving another
    class out changes nothing but the rounding.

    Args:
        table: Columns ``id`` (unique) and ``label``.
        test_share: Share of the test set.
        dev_share: Share of the development set, taken from what is not test.
        seed: Of the shuffle.

    Raises:
        BadInput: If the shares are not shares.
    """
    _check_shares(test_share, dev_share)
    labels, codes = np.unique(table["label"].to_numpy(str), return_inverse=True)
    counts = np.bincount(codes, minlength=len(labels))
    tests = _seats(counts, test_share, counts)
    devs = _seats(counts, dev_share, counts - tests)
    order = np.lexsort((table["id"].to_numpy(str), codes))
    split = np.full(len(table), "train", dtype=object)
    start = 0
    for label, count, test, dev in zip(labels, counts, tests, devs, strict=True):
        members = order[start : start + count]
        generator = np.random.default_rng([seed, zlib.crc32(str(label).encode())])
        shuffled = generator.permutation(members)
        split[shuffled[:test]] = "test"
        split[shuffled[test : test + dev]] = "dev"
        start += count
    return pd.Series(split, index=table.index, dtype=object)


def _seats(counts: NDArray[np.int64], share: float, free: NDArray[np.int64]) -> NDArray[np.int64]:
    """Share out ``share`` of the total by largest remainder, no class more than it has *free*."""
    exact = np.round(counts * share, 9)
    seats = np.floor(exact).astype(np.int64)
    missing = int(np.floor(round(float(counts.sum()) * share, 9) + 0.5)) - int(seats.sum())
    by_remainder = np.lexsort((counts, -np.round(exact - seats, 9)))
    takers = [index for index in by_remainder if seats[index] < free[index]][: max(0, missing)]
    seats[takers] += 1
    return seats


def speaker_split(
    table: pd.DataFrame,
    *,
    test_share: float = 0.2,
    dev_share: float = 0.0,
    seed: int = 0,
    remarks: list[str] | None = None,
) -> pd.Series[str]:
    """Return the split of each row, every speaker on one side only.

    The shares are shares of the speakers; among :data:`DRAWS` random choices that one is taken whose
    test set comes nearest to its share of every class and gender (mean relative deviation). Where there are
    no more choices than that, all are looked at; the seed then decides between equally good ones alone.

    Args:
        table: Columns ``speaker`` and ``label``, and ``gender`` if it is to be balanced.
        test_share: Share of the test speakers.
        dev_share: Share of the development speakers, chosen likewise from the rest.
        seed: Of the draws.
        remarks: Receives a sentence if the seed has no effect, because one choice is the best of all.

    Raises:
        BadInput: If the shares are not shares, or there are too few speakers.
    """
    _check_shares(test_share, dev_share)
    traits = [trait for trait in ("label", "gender") if trait in table]
    counts = pd.concat([pd.crosstab(table["speaker"], table[trait]) for trait in traits], axis=1).sort_index()
    split = pd.Series("train", index=counts.index, dtype=object)
    wanted = {name: share for name, share in (("test", test_share), ("dev", dev_share)) if share > 0}
    if len(counts) <= len(wanted):
        raise bad_input(
            "speaker split",
            found=f"{len(counts)} speaker(s): {', '.join(map(str, counts.index[:5]))}",
            expected=f"at least {len(wanted) + 1}, one for each of train, {', '.join(wanted)}",
            remedy="choose another split rule, or correct the speaker column",
        )
    draws: dict[str, _Draw] = {}
    for position, (name, share) in enumerate(wanted.items()):
        rest = split.index[split == "train"]
        size = max(1, round(share * len(counts)))
        size = min(size, len(rest) - (len(wanted) - position))
        draw = _nearest_draw(counts.loc[rest], share * counts.sum(axis=0), size, seed + position)
        split[draw.speakers] = name
        draws[name] = draw
    if remarks is not None and draws and all(draw.best == 1 for draw in draws.values()):
        choices = " and ".join(f"{draw.choices} choices of {name} speakers" for name, draw in draws.items())
        remarks.append(f"the seed has no effect: of {choices}, one has the best balance whatever the seed")
    return table["speaker"].map(split).astype(object)


@dataclass(frozen=True)
class _Draw:
    """Speakers that were chosen among *choices*, of which *best* are equally good (0 = not known)."""

    speakers: pd.Index[str]
    choices: int
    best: int


def _nearest_draw(counts: pd.DataFrame, target: pd.Series[float], size: int, seed: int) -> _Draw:
    """Choose *size* speakers (rows of *counts*) whose totals (columns) come nearest to *target*."""
    matrix = counts.to_numpy(float)
    aims = target.to_numpy(float)

    def deviations(chosen: list[NDArray[np.int64]]) -> NDArray[np.float64]:
        return np.array([np.mean(np.abs(matrix[test].sum(axis=0) - aims) / aims) for test in chosen])

    draws = ShuffleSplit(n_splits=DRAWS, test_size=size, random_state=seed)  # a row is a speaker
    drawn = [test for _, test in draws.split(matrix)]
    found = deviations(drawn)
    nearest, least = drawn[int(np.argmin(found))], found.min()
    choices = math.comb(len(counts), size)
    if choices > DRAWS:
        return _Draw(counts.index[nearest], choices, 0)
    every = [np.array(test) for test in itertools.combinations(range(len(counts)), size)]
    found = deviations(every)
    if found.min() < least - _EQUAL:  # the draws can miss the best of them
        nearest = every[int(np.argmin(found))]
    return _Draw(counts.index[nearest], choices, int((found <= found.min() + _EQUAL).sum()))


_EQUAL = 1e-12
"""Deviations this close are equal but for rounding."""


def _check_shares(test_share: float, dev_share: float) -> None:
    if not (0 <= test_share < 1 and 0 <= dev_share < 1 and test_share + dev_share < 1):
        raise bad_input(
            "split",
            found=f"test share {test_share}, development share {dev_share}",
            expected="shares from 0 to 1 whose sum is below 1",
            remedy="correct the shares",
        )


def shared_speakers(table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return the speakers that stand in more than one split, each with its splits."""
    pairs = table.loc[table["split"] != "", ["speaker", "split"]].drop_duplicates()
    both = pairs[pairs["speaker"].duplicated(keep=False)]
    return {str(name): tuple(sorted(group)) for name, group in both.groupby("speaker")["split"]}


def check_disjoint(table: pd.DataFrame, where: str = "manifest") -> None:
    """Refuse a table in which a speaker (subject) stands in more than one split.

    Raises:
        BadInput: With one fault for each such speaker, naming it.
    """
    faults = Faults()
    for speaker, splits in shared_speakers(table).items():
        faults.add(
            where,
            found=f"speaker '{speaker}' in {' and '.join(splits)}",
            expected="each speaker in one split",
            remedy="prepare the corpus with a speaker-disjoint split",
        )
    faults.raise_if_any()
