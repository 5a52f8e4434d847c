from __future__ import annotations

import pandas as pd
import pytest

from sertransfer.corpora.division import CollectionOptions, describe_division, divide
from sertransfer.corpora.splits import shared_speakers
from sertransfer.errors import Faults


@pytest.fixture
def rows() -> pd.DataFrame:
    labels = ("angry", "neutral", "happy", "sad")
    return pd.DataFrame(
        {
            "id": [f"{speaker}-{label}" for speaker in "abcdefgh" for label in labels],
            "speaker": [speaker for speaker in "abcdefgh" for _ in labels],
            "session": [str("abcdefgh".index(speaker) // 2) for speaker in "abcdefgh" for _ in labels],
            "label": labels * 8,
            "gender": ["female" if speaker < "e" else "male" for speaker in "abcdefgh" for _ in labels],
            "split": ["train", "dev", "test", "train"] * 8,
        }
    )


def split_of(rows: pd.DataFrame, **options: object) -> pd.DataFrame:
    faults = Faults()
    split = divide(rows, CollectionOptions(**options), faults)  # type: ignore[arg-type]
    faults.raise_if_any()
    return rows.assign(split=split)


def faults_of(rows: pd.DataFrame, **options: object) -> list[str]:
    faults = Faults()
    divide(rows, CollectionOptions(**options), faults)  # type: ignore[arg-type]
    return [str(fault) for fault in faults]


def members(rows: pd.DataFrame, part: str, column: str = "speaker") -> set[str]:
    return set(rows.loc[rows["split"] == part, column])


def test_speakers_are_drawn_for_a_part_that_names_none(rows: pd.DataFrame) -> None:
    drawn = split_of(rows, test_share=0.25, dev_share=0.25)
    assert (len(members(drawn, "test")), len(members(drawn, "dev"))) == (2, 2)
    assert shared_speakers(drawn) == {}
    mixed = split_of(rows, test_speakers=("a", "h"), dev_share=0.25)
    assert members(mixed, "test") == {"a", "h"}
    assert len(members(mixed, "dev")) == 2
    assert not members(mixed, "dev") & {"a", "h"}


def test_sessions_stay_whole(rows: pd.DataFrame) -> None:
    drawn = split_of(rows, split="session", test_share=0.25)
    assert len(members(drawn, "test", "session")) == 1
    assert len(members(drawn, "test")) == 2
    assert shared_speakers(drawn.assign(speaker=drawn["session"])) == {}


def test_paper_spreads_speakers_over_both_sides(rows: pd.DataFrame) -> None:
    drawn = split_of(rows, split="paper", test_share=0.25)
    assert drawn.loc[drawn["split"] == "test", "label"].value_counts().to_dict() == dict.fromkeys(
        ("angry", "neutral", "happy", "sad"), 2
    )
    assert shared_speakers(drawn)


def test_own_split_and_none(rows: pd.DataFrame) -> None:
    assert split_of(rows, split="corpus")["split"].equals(rows["split"].astype(object))
    assert set(split_of(rows, split="none")["split"]) == {""}
    assert set(split_of(rows, split="speaker", test_share=0.0)["split"]) == {"train"}
    assert split_of(rows.iloc[:0])["split"].tolist() == []


def test_the_seed_decides(rows: pd.DataFrame) -> None:
    draws = [frozenset(members(split_of(rows, seed=seed), "test")) for seed in (0, 0, 1, 2, 3, 4)]
    assert draws[0] == draws[1]
    assert len(set(draws)) > 1


def test_every_wrong_name_is_a_fault(rows: pd.DataFrame) -> None:
    faults = faults_of(rows, test_speakers=("a", "aa", "b"), dev_speakers=("b", "z"))
    assert len(faults) == 3
    assert "option test_speakers: found speaker 'aa'" in faults[0]
    assert "option dev_speakers: found speaker 'z'" in faults[1]
    assert "speaker 'b', also named for the test set" in faults[2]
    for rule in ("paper", "corpus", "none"):
        (fault,) = faults_of(rows, split=rule, dev_speakers=("a",))
        assert f"speakers named for the split '{rule}'" in fault


def test_shares_that_are_none_are_faults(rows: pd.DataFrame) -> None:
    (fault,) = faults_of(rows, test_share=1.5)
    assert "shares from 0 to 1" in fault
    (fault,) = faults_of(rows[rows["speaker"] == "a"])
    assert "1 speaker(s): a" in fault


def test_the_record_says_what_was_done(rows: pd.DataFrame) -> None:
    options = CollectionOptions(test_speakers=("a",))
    record = describe_division(split_of(rows, test_speakers=("a",)), options)
    assert record == {
        "rule": "speaker", "test_share": 0.2, "dev_share": 0.0, "seed": 0,
        "speakers_in_two_splits": 0, "test_speakers": ["a"], "dev_speakers": [],
    }  # fmt: skip
    assert describe_division(rows, CollectionOptions(split="corpus")) == {
        "rule": "corpus",
        "speakers_in_two_splits": 8,
    }
