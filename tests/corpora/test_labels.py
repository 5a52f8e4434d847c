from __future__ import annotations

import pandas as pd
import pytest

from sertransfer.corpora import labels
from sertransfer.errors import BadInput


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("anger", "angry"),
        ("Angry", "angry"),
        ("normal", "neutral"),
        ("Neutral", "neutral"),
        ("happiness", "happy"),
        ("sadness", "sad"),
        ("Disappointed", "disappointed"),
        ("boredom", "bored"),
        ("Disgust", "disgusted"),
        ("excitement", "excited"),
        ("Surprise", "surprised"),
        ("Fear", "fearful"),
        (" OTHER ", "other"),
    ],
)
def test_the_papers_spellings_have_one_name(spelling: str, name: str) -> None:
    assert labels.canonical_label(spelling) == name


def test_every_class_is_spelt_and_no_spelling_serves_two_classes() -> None:
    assert tuple(labels.SPELLINGS) == labels.CLASSES
    spellings = [spelling for names in labels.SPELLINGS.values() for spelling in names]
    assert len(spellings) == len(set(spellings))
    assert all(spelling == spelling.casefold().strip() for spelling in spellings)
    assert labels.FOUR == ("angry", "neutral", "happy", "sad")


def test_an_unknown_label_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"'hapiness'.*did you mean 'happiness'"):
        labels.canonical_label("hapiness")


def test_canonical_maps_a_column_and_leaves_unknown_ones_empty() -> None:
    values = pd.Series(["Anger", "rage", "sad "], index=[4, 7, 9])
    result = labels.canonical(values, labels.LABEL_OF)
    assert result.to_dict() == {4: "angry", 7: "", 9: "sad"}


def test_genders_are_named_by_codes_first_and_otherwise_kept() -> None:
    values = pd.Series(["F", "man", "0", "1", "diverse", ""])
    named = labels.canonical_genders(values, {"0": "female"})
    assert named.tolist() == ["female", "male", "female", "1", "diverse", ""]


def test_labels_are_ordered_as_in_the_paper_then_by_name() -> None:
    assert labels.label_order(pd.Series(["zeal", "sad", "awe", "angry", "sad"])) == [
        "angry",
        "sad",
        "awe",
        "zeal",
    ]


@pytest.mark.parametrize("text", ["joy", "=happy", "a=b,a=c"])
def test_a_broken_mapping_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="option label_map"):
        labels.parse_mapping(text, "label_map")


def test_a_mapping_may_be_empty_and_may_map_to_nothing() -> None:
    assert labels.parse_mapping("", "genders") == {}
    assert labels.parse_mapping(" a = b ,c=,", "genders") == {"a": "b", "c": ""}
