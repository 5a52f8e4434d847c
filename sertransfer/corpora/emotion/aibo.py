"""FAU-AIBO (Steidl 2009; Interspeech 2009 Emotion Challenge): 18,216 chunks of 51 German children.

Layout: ``<root>/wav/<id>.wav`` and ``chunk_labels_5cl_corpus.txt`` or ``chunk_labels_2cl_corpus.txt`` (rows
``id class confidence``, separated by spaces) in the root or in ``labels/``. An id such as ``Ohm_01_005_00``
begins with the school and the speaker. The challenge trains on the school Ohm and tests on Mont.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from sertransfer.corpora.collection import Collection, Emotions, check_root
from sertransfer.corpora.splits import CollectionOptions
from sertransfer.errors import Faults, bad_input
from sertransfer.io.csv_tables import Quantity, number_remedy, read_lines
from sertransfer.manifest import Manifest

FIVE = Emotions(
    {"A": "angry", "E": "emphatic", "N": "neutral", "P": "positive", "R": "rest"},
    {"eleven": {"rest": "other"}},
)
"""Positive is mostly motherese, so it is not happy unless ``label_map`` says ``positive=happy``; emphatic is
no class of LSSED. Sad does not occur."""

TWO = Emotions({"NEG": "negative", "IDL": "idle"})

SCHOOLS = {"Ohm": "train", "Mont": "test"}
UTTERANCES = 18_216
PLACES = ("", "labels", "labels/IS2009EmotionChallenge")
"""Folders in which the label files are looked for."""

CONFIDENCE = Quantity("a share from 0 to 1", 0, 1)
_ID = re.compile(r"(?P<school>Ohm|Mont)_(?P<child>\d+)_\d+_\d+", re.ASCII)


@dataclass(frozen=True)
class Options(CollectionOptions):
    """Options of FAU-AIBO, besides those of every collection.

    Attributes:
        classes: The label file: ``5cl`` (anger, emphatic, neutral, positive, rest) or ``2cl`` (negative,
            idle), which needs the task ``all``.
        task: ``four`` (angry and neutral occur), ``eleven`` (rest counts as other) or ``all`` names.
        split: ``corpus`` (school Ohm trains, school Mont tests), ``speaker``, ``paper`` or ``none``.
        test_speakers: Children (``Mont_01``) of the test set, with the split ``speaker``.
    """

    classes: Literal["5cl", "2cl"] = "5cl"
    split: Literal["corpus", "speaker", "paper", "none"] = "corpus"


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read FAU-AIBO at *root*.

    Raises:
        BadInput: If the root is not one of FAU-AIBO, or an option has no valid value.
    """
    collection = Collection("aibo", root, options, FIVE if options.classes == "5cl" else TWO, faults)
    if options.classes == "2cl" and options.task != "all":
        raise bad_input(
            "option task",
            found=f"'{options.task}' with the two classes",
            expected="the task 'all'",
            remedy="say --task all, or --classes 5cl",
        )
    name = f"chunk_labels_{options.classes}_corpus.txt"
    check_root(root, lambda folder: _label_file(folder, name) is not None, f"wav/ and {name}")
    path = _label_file(root, name) or root / name
    named: set[str] = set()
    remedy = "copy it from the corpus's distribution"
    for number, line in enumerate(read_lines(path, what=f"the labels, {name}", remedy=remedy), 1):
        if line.strip():
            _add(collection, f"{path}, row {number}", line.split(), named)
    for wav in collection.recordings(root / "wav", ".wav"):
        if wav.stem not in named:
            collection.leave_out(wav, f"{path.name} does not name it")
    return collection.manifest(whole=UTTERANCES)


def _label_file(folder: Path, name: str) -> Path | None:
    """Return the label file of a corpus root, ``None`` if it is none."""
    places = [folder / place / name for place in PLACES]
    return next((path for path in places if path.is_file() and (folder / "wav").is_dir()), None)


def _add(collection: Collection, where: str, cells: list[str], named: set[str]) -> None:
    named.update(cells[:1])
    match = _ID.fullmatch(cells[0])
    if match is None or len(cells) != 3:
        found, expected = f"'{' '.join(cells)[:80]}'", "id, class, confidence, as in 'Ohm_01_005_00 N 0.8'"
        collection.bad(where, found, expected, "correct the row")
        return
    if CONFIDENCE.bad(pd.Series([cells[2]])).any():
        remedy = number_remedy(cells[2], "correct the row")
        collection.bad(where, f"confidence '{cells[2]}'", CONFIDENCE.expected, remedy)
        return
    collection.add(
        where,
        collection.root / "wav" / f"{cells[0]}.wav",
        id=cells[0],
        audio=f"wav/{cells[0]}.wav",
        speaker=f"{match['school']}_{match['child']}",
        code=cells[1],
        split=SCHOOLS[match["school"]],
        school=match["school"],
        confidence=cells[2],
    )
