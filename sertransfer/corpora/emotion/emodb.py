"""EmoDB, the Berlin database of emotional speech (Burkhardt et al. 2005): 535 utterances of ten actors.

Layout: ``<root>/wav/03a01Wa.wav``. Characters 1 and 2 of a name are the speaker, 3 to 5 the sentence, 6
the emotion's German initial, 7 the take. Any subset of the files will do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sertransfer.corpora.collection import Collection, Emotions, check_root
from sertransfer.corpora.splits import CollectionOptions
from sertransfer.errors import Faults, nearest
from sertransfer.manifest import Manifest

EMOTIONS = {
    "W": "angry",
    "L": "bored",
    "E": "disgusted",
    "A": "fearful",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
"""Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral."""

SPEAKERS = {
    "03": ("male", "31"),
    "08": ("female", "34"),
    "09": ("female", "21"),
    "10": ("male", "32"),
    "11": ("male", "26"),
    "12": ("male", "30"),
    "13": ("female", "32"),
    "14": ("female", "35"),
    "15": ("male", "25"),
    "16": ("female", "31"),
}
"""Gender and age of the actors, as the corpus's own documentation gives them."""

_NAME = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[a-z]\d\d)(?P<emotion>[A-Z])(?P<take>[a-z]?)")


@dataclass(frozen=True)
class Options(CollectionOptions):
    """Options of EmoDB, besides those of every collection.

    Attributes:
        task: ``four`` emotions of the paper, or ``all`` seven.
        split: ``speaker`` (disjoint) or ``paper`` (utterances shuffled, speakers on both sides).
    """

    task: Literal["four", "all"] = "four"
    split: Literal["speaker", "paper"] = "speaker"


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read EmoDB at *root*; the split is made over the labels of the task.

    Raises:
        BadInput: If the root is not one of EmoDB, or an option has no valid value.
    """
    options = replace(
        options,
        test_speakers=tuple(name.zfill(2) for name in options.test_speakers),
        dev_speakers=tuple(name.zfill(2) for name in options.dev_speakers),
    )
    collection = Collection("emodb", root, options, Emotions(EMOTIONS), faults, task_first=True)
    check_root(root, _is_root, "wav/ and in it files such as 03a01Wa.wav")
    for path in collection.recordings(root / "wav", ".wav"):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            expected = "speaker, sentence, emotion, take, as in 03a01Wa.wav"
            remedy = "rename the file, or move it out of the folder"
            collection.bad(path, f"the name '{path.name}'", expected, remedy)
        elif match["speaker"] not in SPEAKERS:
            remedy = nearest(match["speaker"], SPEAKERS)
            collection.bad(path, f"speaker '{match['speaker']}'", "a speaker of EmoDB", remedy)
        else:
            gender, age = SPEAKERS[match["speaker"]]
            collection.add(
                path,
                path,
                id=path.stem,
                audio=f"wav/{path.name}",
                speaker=match["speaker"],
                code=match["emotion"],
                gender=gender,
                age=age,
                sentence=match["sentence"],
            )
    return collection.manifest()


def _is_root(folder: Path) -> bool:
    wav = folder / "wav"
    return wav.is_dir() and any(_NAME.fullmatch(path.stem) for path in wav.iterdir())
