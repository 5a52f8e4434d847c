"""Splits into train, dev and test: pure functions, same seed same split.

*paper* is the paper's rule (section 2.2): utterances are shuffled and a fifth becomes the test set,
each class in the same share. The same speakers then stand on both sides. *speaker* keeps every speaker
on one side, and the classes as evenly spread as that allows. Neither depends on the order of the rows.
A corpus whose speakers have names can also be split by the names that a user gives.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import ShuffleSplit

from sertransfer.errors import BadInput, Faults, bad_input, nearest

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


@dataclass(frozen=True)
class CollectionOptions:
    """Options of every corpus of named recordings.

    Attributes:
        task: ``four`` emotions of the paper, the ``eleven`` of LSSED, or ``all`` of the corpus's own names;
            labels outside the task are left out, with a record.
        split: ``speaker`` (disjoint), ``paper`` (utterances shuffled, speakers on both sides), ``none``;
            with some corpora also ``corpus`` (its own) or ``session``.
        test_speakers: Speakers of the test set; empty = drawn with ``seed``.
        dev_speakers: Speakers of the development set; empty = ``dev_share`` drawn.
        test_share: Share of the test set where it is drawn.
        dev_share: Share of the development set where it is drawn.
        seed: Of the draw.
        label_map: ``from=to,from=to`` over the corpus's own label names, applied before split and task;
            ``from=`` leaves a label out.
    """

    task: Literal["four", "eleven", "all"] = "four"
    split: Literal["corpus", "speaker", "session", "paper", "none"] = "speaker"
    test_speakers: tuple[str, ...] = ()
    dev_speakers: tuple[str, ...] = ()
    test_share: float = 0.2
    dev_share: float = 0.0
    seed: int = 0
    label_map: str = ""


GROUPS = {"speaker": "speaker", "session": "session"}
"""Rules that keep groups whole, and the column with the groups: ``session`` keeps both speakers of a
recording session, who are heard in each other's turns, on one side."""


def divide(
    rows: pd.DataFrame, options: CollectionOptions, faults: Faults, remarks: list[str] | None = None
) -> pd.Series[str]:
    """Return the split of each row by the rule ``options.split``.

    Args:
        rows: Columns ``id, speaker, label, gender``; ``session`` for that rule; ``split`` for ``corpus``.
        options: The rule: ``speaker`` or ``session`` (disjoint), ``paper`` (utterances shuffled),
            ``corpus`` (its own) or ``none``. Named speakers (or sessions) come first; a part for which
            none are named is drawn.
        faults: Receives what is wrong with the options.
        remarks: Receives what is to be known about the seed.
    """
    named = {"test": options.test_speakers, "dev": options.dev_speakers}
    column = GROUPS.get(options.split)
    if column is None:
        _refuse_names(named, options.split, faults)
    free_parts = [options.test_share * (not named["test"]), options.dev_share * (not named["dev"])]
    if options.seed and (options.split in ("corpus", "none") or not any(free_parts)):
        (remarks if remarks is not None else []).append(
            f"the seed {options.seed} has no effect: nothing is drawn"
        )
    if options.split == "corpus":
        return rows["split"].astype(object)
    if options.split == "none" or rows.empty:
        return pd.Series("", index=rows.index, dtype=object)
    split = pd.Series("train", index=rows.index, dtype=object)
    shares = {"test_share": options.test_share, "dev_share": options.dev_share}
    if column is not None:
        _check_names(named, rows[column], faults)
        for part, groups in named.items():
            split[rows[column].isin(groups)] = part
            shares[f"{part}_share"] *= not groups
    free = split == "train"
    if any(shares.values()):
        drawn = rows[free] if column is None else rows[free].assign(speaker=rows.loc[free, column])
        try:
            if column is None:
                split[free] = paper_split(drawn, **shares, seed=options.seed)
            else:
                split[free] = speaker_split(drawn, **shares, seed=options.seed, remarks=remarks)
        except BadInput as error:  # collected, so that it is reported together with all else
            faults.extend(error.faults)
    return split


def describe_division(
    rows: pd.DataFrame, options: CollectionOptions, remarks: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the rule and what came of it, for the manifest's notes."""
    notes: dict[str, Any] = {"rule": options.split}
    if options.split not in ("corpus", "none"):
        notes |= {
            "test_share": options.test_share,
            "dev_share": options.dev_share,
            "seed": options.seed,
        }
    if remarks:
        notes["seed_without_effect"] = "; ".join(remarks)
    notes["speakers_in_two_splits"] = len(shared_speakers(rows))
    if options.split in GROUPS:
        for part in ("test", "dev"):
            notes[f"{part}_speakers"] = sorted(rows.loc[rows["split"] == part, "speaker"].unique())
    return notes


def _refuse_names(named: Mapping[str, tuple[str, ...]], rule: str, faults: Faults) -> None:
    for part, groups in named.items():
        if groups:
            faults.add(
                f"option {part}_speakers",
                found=f"speakers named for the split '{rule}'",
                expected="the split 'speaker'",
                remedy=f"say --split speaker, or leave --{part}_speakers out",
            )


def _check_names(named: Mapping[str, tuple[str, ...]], groups: pd.Series[str], faults: Faults) -> None:
    """Add a fault for each speaker (session) that is named but absent, or named for both parts."""
    present = sorted(groups.unique())
    for part, names in named.items():
        for name in names:
            if name not in present:
                faults.add(
                    f"option {part}_speakers",
                    found=f"{groups.name} '{name}'",
                    expected=f"a {groups.name} that is there",
                    remedy=nearest(name, present),
                )
    for name in sorted({*named["test"]} & {*named["dev"]}):
        faults.add(
            "option dev_speakers",
            found=f"{groups.name} '{name}', also named for the test set",
            expected=f"each {groups.name} in one split",
            remedy="name it once",
        )
