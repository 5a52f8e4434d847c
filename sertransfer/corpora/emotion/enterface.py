"""eNTERFACE'05 (Martin et al. 2006): acted video clips of some 44 subjects in English, six emotions.

Layout: ``<root>/subject N/<emotion>/sentence K/sN_an_K.avi``. Subject 6 has no folders of sentences: its
clips lie in the emotion's folder, and their names tell the sentence. Some files are misnamed: the folders are
trusted, and each such file is recorded. There is no neutral. The audio is extracted with ffmpeg (see
:mod:`sertransfer.corpora.video`); the manifest's root is the audio folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sertransfer.corpora.collection import Collection, Emotions, check_root
from sertransfer.corpora.splits import CollectionOptions
from sertransfer.corpora.video import Extraction, VideoOptions
from sertransfer.errors import Faults, nearest
from sertransfer.manifest import Manifest

EMOTIONS = Emotions(
    {"an": "angry", "di": "disgusted", "fe": "fearful", "ha": "happy", "sa": "sad", "su": "surprised"}
)
FOLDERS = {
    "anger": "an",
    "disgust": "di",
    "fear": "fe",
    "happiness": "ha",
    "sadness": "sa",
    "surprise": "su",
}
"""Names of the emotions' folders, in any case."""

_SUBJECT = re.compile(r"subject[ _]?(\d+)", re.IGNORECASE | re.ASCII)
_SENTENCE = re.compile(r"sentence[ _]?(\d+)", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"_(\d+)", re.ASCII)


@dataclass(frozen=True)
class Options(VideoOptions, CollectionOptions):
    """Options of eNTERFACE'05, besides those of every collection and every video corpus.

    Attributes:
        split: ``speaker`` (disjoint), ``paper`` (utterances shuffled) or ``none``.
        test_speakers: Subjects (``1``) of the test set; empty = drawn with ``seed``.
    """

    split: Literal["speaker", "paper", "none"] = "speaker"


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read eNTERFACE'05 at *root*; the notes list misnamed files under ``misnamed``.

    Raises:
        BadInput: If the root is not one of eNTERFACE'05, or an option has no valid value.
    """
    return _collect(root, options, faults).manifest(audio_folder=options.audio_folder)


def extractions(root: Path, options: Options) -> list[Extraction]:
    """Return the clips whose audio :func:`read` needs.

    Raises:
        BadInput: As :func:`read`.
    """
    return _collect(root, options, Faults()).extractions()


def _collect(root: Path, options: Options, faults: Faults) -> Collection:
    collection = Collection("enterface", root, options, EMOTIONS, faults)
    check_root(root, _is_root, "'subject 1/' ..., in them 'anger/sentence 1/s1_an_1.avi'")
    collection.notes["misnamed"] = []
    for folder in sorted(collection.folders(root), key=_by_number):
        subject = _SUBJECT.fullmatch(folder.name)
        if subject is None:
            collection.leave_out(folder, "not a folder of a subject ('subject N')")
            continue
        for inside in collection.folders(folder):
            code = FOLDERS.get(inside.name.casefold())
            if code is None:
                remedy = nearest(inside.name, FOLDERS)
                collection.bad(inside, f"the folder '{inside.name}'", "an emotion of eNTERFACE'05", remedy)
            else:
                _read_emotion(collection, inside, str(int(subject[1])), code)
    return collection


def _is_root(folder: Path) -> bool:
    return any(_SUBJECT.fullmatch(path.name) and path.is_dir() for path in folder.iterdir())


def _by_number(folder: Path) -> tuple[Any, ...]:
    match = _SUBJECT.fullmatch(folder.name)
    return (int(match[1]) if match else -1, folder.name)


def _read_emotion(collection: Collection, folder: Path, subject: str, code: str) -> None:
    for clip in collection.recordings(folder, ".avi"):
        numbers = _NUMBER.findall(clip.stem)
        if not numbers:
            expected = f"a name that ends in the sentence's number, such as s{subject}_{code}_1.avi"
            collection.bad(clip, f"the name '{clip.name}'", expected, "rename the file")
        else:
            _add(collection, clip, subject, code, str(int(numbers[-1])))
    for inside in collection.folders(folder):
        sentence = _SENTENCE.fullmatch(inside.name)
        if sentence is None:
            found = f"the folder '{inside.name}'"
            collection.bad(inside, found, "a folder such as 'sentence 1'", "rename it, or move it away")
            continue
        clips = list(collection.recordings(inside, ".avi"))
        for clip in clips:
            _add(collection, clip, subject, code, str(int(sentence[1])))
        if not clips:
            collection.bad(inside, "no clip (.avi)", "the sentence's clip", "copy it again, or leave it out")


def _add(collection: Collection, clip: Path, subject: str, code: str, sentence: str) -> None:
    name = f"s{subject}_{code}_{sentence}"
    if clip.stem.casefold() != name:
        item = clip.relative_to(collection.root).as_posix()
        collection.notes["misnamed"].append({"item": item, "reason": f"its folders say {name}"})
    collection.add(
        clip,
        clip,
        id=name,
        audio=f"subject{subject}/{name}.wav",
        speaker=subject,
        code=code,
        sentence=sentence,
    )
