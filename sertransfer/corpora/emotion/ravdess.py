"""RAVDESS (Livingstone and Russo 2018): 1440 spoken utterances of 24 North American actors, two sentences.

Layout: ``<root>/Actor_NN/03-01-EE-II-SS-RR-AA.wav``: modality (03 audio only), channel (01 speech, 02 song),
emotion, intensity, statement, repetition, actor; odd actors are male. Songs are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sertransfer.corpora.collection import Collection, Emotions, check_root
from sertransfer.corpora.splits import CollectionOptions
from sertransfer.errors import Faults
from sertransfer.manifest import Manifest

EMOTIONS = Emotions(
    {
        "01": "neutral",
        "02": "calm",
        "03": "happy",
        "04": "sad",
        "05": "angry",
        "06": "fearful",
        "07": "disgusted",
        "08": "surprised",
    }
)
"""``calm`` is no class of LSSED and is left out, unless ``label_map`` says ``calm=neutral``."""

UTTERANCES = 1440
_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)", re.ASCII)
_FOLDER = re.compile(r"Actor_(\d\d)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Options(CollectionOptions):
    """Options of RAVDESS, besides those of every collection.

    Attributes:
        split: ``speaker`` (disjoint), ``paper`` (utterances shuffled) or ``none``.
        test_speakers: Actors (``01``) of the test set; empty = drawn with ``seed``.
    """

    split: Literal["speaker", "paper", "none"] = "speaker"


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read RAVDESS at *root*.

    Raises:
        BadInput: If the root is not one of RAVDESS, or an option has no valid value.
    """
    collection = Collection("ravdess", root, options, EMOTIONS, faults)
    check_root(root, _is_root, "Actor_01/ ... and in them files such as 03-01-05-01-01-01-01.wav")
    for folder in collection.folders(root):
        actor = _FOLDER.fullmatch(folder.name)
        if actor is None:
            collection.leave_out(folder, "not a folder of an actor (Actor_NN)")
            continue
        for path in collection.recordings(folder, ".wav"):
            _add(collection, path, actor[1])
    return collection.manifest(whole=UTTERANCES)


def _is_root(folder: Path) -> bool:
    return any(_FOLDER.fullmatch(path.name) and path.is_dir() for path in folder.iterdir())


def _add(collection: Collection, path: Path, actor: str) -> None:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        expected = (
            "modality, channel, emotion, intensity, statement, repetition, actor, as 03-01-05-01-01-01-01"
        )
        collection.bad(path, f"the name '{path.name}'", expected, "rename the file, or move it away")
        return
    _, channel, emotion, intensity, statement, _, speaker = match.groups()
    if channel != "01":
        collection.leave_out(path, "not speech (channel 02 is song)")
    elif speaker != actor:
        collection.bad(path, f"actor {speaker} in the name", f"{actor}, as the folder says", "move the file")
    else:
        collection.add(
            path,
            path,
            id=path.stem,
            audio=path.relative_to(collection.root).as_posix(),
            speaker=actor,
            code=emotion,
            gender="male" if int(actor) % 2 else "female",
            sentence=statement,
            intensity={"01": "normal", "02": "strong"}.get(intensity, intensity),
        )
