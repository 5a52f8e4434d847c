"""CREMA-D (Cao et al. 2014): 7442 utterances of 91 actors, twelve sentences, six emotions.

Layout: ``<root>/AudioWAV/1001_IEO_ANG_XX.wav`` (actor, sentence, emotion, level) and, for gender and age,
``<root>/VideoDemographics.csv`` (ActorID, Age, Sex).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sertransfer.corpora.collection import Collection, Emotions, check_root
from sertransfer.corpora.labels import GENDER_OF
from sertransfer.corpora.splits import CollectionOptions
from sertransfer.corpora.tables import pick_columns
from sertransfer.errors import BadInput, Faults
from sertransfer.io.csv_tables import bad_ages, number_remedy, read_text_table
from sertransfer.manifest import Manifest

EMOTIONS = Emotions(
    {
        "ANG": "angry",
        "DIS": "disgusted",
        "FEA": "fearful",
        "HAP": "happy",
        "NEU": "neutral",
        "SAD": "sad",
    }
)

SILENT = ("1076_MTI_SAD",)
"""Beginnings of the names of recordings that are known to hold nothing."""

UTTERANCES = 7442
DEMOGRAPHICS = "VideoDemographics.csv"
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})", re.ASCII)


@dataclass(frozen=True)
class Options(CollectionOptions):
    """Options of CREMA-D, besides those of every collection.

    Attributes:
        split: ``speaker`` (disjoint), ``paper`` (utterances shuffled) or ``none``.
        test_speakers: Actors (``1001``) of the test set; empty = drawn with ``seed``.
    """

    split: Literal["speaker", "paper", "none"] = "speaker"


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read CREMA-D at *root*.

    Raises:
        BadInput: If the root is not one of CREMA-D, or an option has no valid value.
    """
    collection = Collection("crema-d", root, options, EMOTIONS, faults)
    check_root(root, _is_root, f"AudioWAV/ (1001_IEO_ANG_XX.wav ...) and {DEMOGRAPHICS}")
    actors = _demographics(collection)
    unknown = set()
    for path in collection.recordings(root / "AudioWAV", ".wav"):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            expected = "actor, sentence, emotion, level, as in 1001_IEO_ANG_XX.wav"
            collection.bad(path, f"the name '{path.name}'", expected, "rename the file, or move it away")
        elif path.stem.startswith(SILENT):
            collection.leave_out(path, "known to be silent")
        else:
            actor, sentence, emotion, level = match.groups()
            if actor not in actors:
                unknown.add(actor)
            gender, age = actors.get(actor, ("", ""))
            collection.add(
                path,
                path,
                id=path.stem,
                audio=f"AudioWAV/{path.name}",
                speaker=actor,
                code=emotion,
                gender=gender,
                age=age,
                sentence=sentence,
                intensity=level,
            )
    if actors:
        for actor in sorted(unknown):
            collection.assume(f"gender and age of actor {actor} are not known: no row in {DEMOGRAPHICS}")
    return collection.manifest(whole=UTTERANCES - len(SILENT))


def _is_root(folder: Path) -> bool:
    wav = folder / "AudioWAV"
    return wav.is_dir() and any(_NAME.fullmatch(path.stem) for path in wav.iterdir())


def _demographics(collection: Collection) -> dict[str, tuple[str, str]]:
    """Return gender and age of each actor; none, with an assumption or a fault, if the table is not there."""
    path = collection.root / DEMOGRAPHICS
    if not path.is_file():
        collection.assume(f"gender and age are not known: there is no {DEMOGRAPHICS}")
        return {}
    columns = {"actor": "ActorID", "age": "Age", "gender": "Sex"}
    try:
        table = read_text_table(path)
        rows = pick_columns(table, str(path), columns, {})
    except BadInput as error:
        collection.faults.extend(error.faults)
        return {}
    actors: dict[str, tuple[str, str]] = {}
    wrong = bad_ages(rows["age"]) | ~rows["age"].str.contains(r"\d", regex=True)
    for row, actor, age, gender in rows[list(columns)].itertuples(name=None):
        name = GENDER_OF.get(gender.casefold(), "")
        if name == "" or wrong[row]:
            collection.faults.add(
                f"{path}, row {row}",
                found=f"Age '{age}', Sex '{gender}'",
                expected="years, and Male or Female",
                remedy=number_remedy(age, "correct the row"),
            )
        elif actors.get(actor, (name, age)) != (name, age):
            collection.faults.add(
                f"{path}, row {row}",
                found=f"actor '{actor}' again, with another age or sex",
                expected="each actor once",
                remedy="remove one of the rows",
            )
        actors[actor] = (name, age)
    return actors
