"""AFEW (Dhall et al. 2012; the EmotiW challenges): short clips from films, seven emotions.

Layout: ``<root>/Train_AFEW/<Emotion>/*.avi`` and ``<root>/Val_AFEW/<Emotion>/*.avi``. The names of the clips
do not tell who speaks, so one speaker stands for all. ``Test_AFEW`` has no labels and is left out. The audio
is extracted with ffmpeg (see :mod:`sertransfer.corpora.video`); the manifest's root is the audio folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sertransfer.corpora.collection import Collection, Emotions, check_root
from sertransfer.corpora.splits import CollectionOptions
from sertransfer.corpora.video import Extraction, VideoOptions
from sertransfer.errors import Faults
from sertransfer.manifest import UNKNOWN_SPEAKER, Manifest

EMOTIONS = Emotions(
    {
        "Angry": "angry",
        "Disgust": "disgusted",
        "Fear": "fearful",
        "Happy": "happy",
        "Neutral": "neutral",
        "Sad": "sad",
        "Surprise": "surprised",
    }
)
PARTS = {"Train_AFEW": "train", "Val_AFEW": "dev"}


@dataclass(frozen=True)
class Options(VideoOptions, CollectionOptions):
    """Options of AFEW, besides those of every collection and every video corpus.

    Attributes:
        split: ``corpus`` (Train_AFEW trains, Val_AFEW is the development set), ``paper`` or ``none``.
        test_speakers, dev_speakers: Stay empty: the speakers are not known.
    """

    split: Literal["corpus", "paper", "none"] = "corpus"


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read AFEW at *root*.

    Raises:
        BadInput: If the root is not one of AFEW, or an option has no valid value.
    """
    return _collect(root, options, faults).manifest(audio_folder=options.audio_folder)


def extractions(root: Path, options: Options) -> list[Extraction]:
    """Return the clips whose audio :func:`read` needs.

    Raises:
        BadInput: As :func:`read`.
    """
    return _collect(root, options, Faults()).extractions()


def _collect(root: Path, options: Options, faults: Faults) -> Collection:
    collection = Collection("afew", root, options, EMOTIONS, faults)
    check_root(root, _is_root, "Train_AFEW/ and Val_AFEW/, in them Angry/*.avi and six other emotions")
    collection.assume(
        "speakers are not known: one speaker stands for all, so intervals over them are undefined"
    )
    for folder in collection.folders(root):
        if folder.name not in PARTS:
            collection.leave_out(folder, f"not one of {', '.join(PARTS)}, which have labels")
    for part in PARTS:
        if (root / part).is_dir():
            _read_part(collection, root / part)
        else:
            remedy = "unpack it, or leave the part out"
            collection.bad(root / part, "no such folder", "both parts of the corpus", remedy)
    return collection


def _is_root(folder: Path) -> bool:
    return any((folder / part).is_dir() for part in PARTS)


def _read_part(collection: Collection, part: Path) -> None:
    split = PARTS[part.name]
    for folder in collection.folders(part):
        for clip in collection.recordings(folder, ".avi"):
            collection.add(
                clip,
                clip,
                id=f"{split}_{folder.name.lower()}_{clip.stem}",
                audio=f"{part.name}/{folder.name}/{clip.stem}.wav",
                speaker=UNKNOWN_SPEAKER,
                code=folder.name.capitalize(),
                split=split,
            )
