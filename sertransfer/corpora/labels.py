"""Names of emotions, genders and splits: one canonical spelling each, from an explicit table.

A spelling that is not in the table is never guessed: it is rejected by name, with the nearest one.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from sertransfer.errors import bad_input, nearest

FOUR = ("angry", "neutral", "happy", "sad")
"""Classes of the paper's experiments (section 3.2), in the order that models and tables use."""

CLASSES = (*FOUR, "disappointed", "bored", "disgusted", "excited", "surprised", "fearful", "other")
"""The eleven classes of LSSED (paper, section 2.1 and Table 3)."""

TASKS = {"four": FOUR, "eleven": CLASSES}

SPELLINGS = {
    "angry": ("anger", "angry", "ang"),
    "neutral": ("normal", "neutral", "neu"),
    "happy": ("happiness", "happy", "hap"),
    "sad": ("sadness", "sad"),
    "disappointed": ("disappointment", "disappointed"),
    "bored": ("boredom", "bored", "boring"),
    "disgusted": ("disgust", "disgusted", "disgusting"),
    "excited": ("excitement", "excited", "exciting", "exc"),
    "surprised": ("surprise", "surprised", "surprising"),
    "fearful": ("fear", "fearful", "afraid"),
    "other": ("other", "others"),
}
"""Spellings of each class: the nouns of the paper's section 2.1, the adjectives of its Table 3, and
those of public code. Case and surrounding space do not count."""

GENDERS = {"female": ("female", "f", "woman"), "male": ("male", "m", "man")}

SPLIT_SPELLINGS = {
    "train": ("train", "training"),
    "dev": ("dev", "devel", "development", "val", "valid", "validation"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def _flat(table: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {spelling: name for name, spellings in table.items() for spelling in spellings}


LABEL_OF = _flat(SPELLINGS)
GENDER_OF = _flat(GENDERS)
SPLIT_OF = _flat(SPLIT_SPELLINGS)


def canonical(values: pd.Series[str], table: dict[str, str]) -> pd.Series[str]:
    """Return the canonical name of each of *values*; empty where *table* has no such spelling."""
    names = {value: table.get(value.strip().casefold(), "") for value in values.unique()}
    return values.map(names).astype(object)


def canonical_label(label: str) -> str:
    """Return the canonical class of one label.

    Examples:
        >>> canonical_label("Happiness")
        'happy'

    Raises:
        BadInput: If the label is unknown, naming the nearest spelling.
    """
    name = LABEL_OF.get(label.strip().casefold())
    if name is None:
        raise bad_input(
            "label", found=f"'{label}'", expected="an emotion of LSSED", remedy=nearest_label(label)
        )
    return name


def nearest_label(label: str) -> str:
    """Return a remedy that names the spelling nearest to *label*, and all of them."""
    return nearest(label.strip().casefold(), LABEL_OF)


def canonical_genders(values: pd.Series[str], codes: dict[str, str]) -> pd.Series[str]:
    """Return ``female`` and ``male`` where they are recognised, other values as they are.

    Args:
        values: Genders as the corpus writes them.
        codes: The corpus's own codes, such as ``{"0": "female", "1": "male"}``; they come first.
    """
    named = values.map(lambda value: codes.get(value, value))
    return named.map(lambda value: GENDER_OF.get(value.strip().casefold(), value)).astype(object)


def label_order(labels: pd.Series[str]) -> list[str]:
    """Return the labels that occur: those of :data:`CLASSES` in its order, then others by name."""
    present = set(labels.unique())
    return [name for name in CLASSES if name in present] + sorted(present - set(CLASSES))


def parse_mapping(text: str, option: str) -> dict[str, str]:
    """Return the mapping written as ``from=to,from=to`` (an empty text is an empty mapping).

    Examples:
        >>> parse_mapping("joy=happy, rage=angry", "label_map")
        {'joy': 'happy', 'rage': 'angry'}

    Raises:
        BadInput: If a part has no ``=`` or a name stands twice on the left.
    """
    mapping: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        source, equals, target = (piece.strip() for piece in part.partition("="))
        if not equals or not source or source in mapping:
            raise bad_input(
                f"option {option}",
                found=f"'{part}'" + (" (a second time)" if source in mapping else ""),
                expected="from=to,from=to with each name once on the left",
                remedy="correct the option",
            )
        mapping[source] = target
    return mapping
