"""RML (Wang and Guan 2008): 720 acted video clips of eight subjects in six languages, six emotions.

Layout, as far as it is known: ``<root>/<speaker>/an1.avi``: a folder for each speaker, and in a clip's name
the emotion as one of the two-letter codes an, di, fe, ha, sa, su, set off from other letters. No primary
source confirmed the names, so a clip that tells no emotion, or two, is a fault. There is no neutral. The
audio is extracted with ffmpeg (see :mod:`sertransfer.corpora.video`), whose folder is the manifest's root.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sertransfer.corpora.collection import Collection, Emotions, check_root
from sertransfer.corpora.emotion.enterface import EMOTIONS as ENTERFACE
from sertransfer.corpora.splits import CollectionOptions
from sertransfer.corpora.video import Extraction, VideoOptions
from sertransfer.errors import Faults
from sertransfer.manifest import Manifest

EMOTIONS = Emotions(ENTERFACE.names)
"""The codes are those of eNTERFACE'05."""

UTTERANCES = 720
_CODE = re.compile(rf"(?<![a-z])({'|'.join(EMOTIONS.names)})(?![a-z])", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Options(VideoOptions, CollectionOptions):
    """Options of RML, besides those of every collection and every video corpus.

    Attributes:
        split: ``speaker`` (disjoint), ``paper`` (utterances shuffled) or ``none``.
        test_speakers: Speakers (names of folders) of the test set; empty = drawn with ``seed``.
    """

    split: Literal["speaker", "paper", "none"] = "speaker"


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read RML at *root*.

    Raises:
        BadInput: If the root is not one of RML, or an option has no valid value.
    """
    return _collect(root, options, faults).manifest(whole=UTTERANCES, audio_folder=options.audio_folder)


def extractions(root: Path, options: Options) -> list[Extraction]:
    """Return the clips whose audio :func:`read` needs.

    Raises:
        BadInput: As :func:`read`.
    """
    return _collect(root, options, Faults()).extractions()


def _collect(root: Path, options: Options, faults: Faults) -> Collection:
    collection = Collection("rml", root, options, EMOTIONS, faults)
    check_root(root, _is_root, "a folder for each speaker and in them clips such as an1.avi")
    collection.assume("a clip's emotion is the two-letter code in its name, its speaker the folder's name")
    for folder in collection.folders(root):
        for clip in collection.recordings(folder, ".avi"):
            codes = {code.lower() for code in _CODE.findall(clip.stem)}
            if len(codes) != 1:
                expected = f"one of the codes {', '.join(EMOTIONS.names)}, as in an1.avi"
                collection.bad(clip, f"the name '{clip.name}'", expected, "rename the file, or move it away")
                continue
            collection.add(
                clip,
                clip,
                id=f"{folder.name}_{clip.stem}",
                audio=f"{folder.name}/{clip.stem}.wav",
                speaker=folder.name,
                code=codes.pop(),
            )
    return collection


def _is_root(folder: Path) -> bool:
    return any(
        _CODE.search(clip.stem)
        for child in folder.iterdir()
        if child.is_dir()
        for clip in child.glob("*.[aA][vV][iI]")
    )
