"""The split of a corpus whose speakers have names: drawn, named by the user, or the corpus's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from sertransfer.corpora.splits import paper_split, shared_speakers, speaker_split
from sertransfer.errors import BadInput, Faults, nearest


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
