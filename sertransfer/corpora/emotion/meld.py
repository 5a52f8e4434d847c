"""MELD (Poria et al. 2019): 13,708 utterances from the television series Friends, seven emotions.

Layout: ``{train,dev,test}_sent_emo.csv`` (Dialogue_ID, Utterance_ID, Speaker, Emotion) in the root or in the
part's folder, and clips ``dia{D}_utt{U}.mp4``, whose folders carry other names in each part. The corpus's own
split has the same speakers on both sides. The audio is extracted with ffmpeg (see
:mod:`sertransfer.corpora.video`); the manifest's root is the audio folder. What is said is not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sertransfer.corpora.collection import Collection, Emotions, check_root
from sertransfer.corpora.splits import CollectionOptions
from sertransfer.corpora.tables import pick_columns
from sertransfer.corpora.video import Extraction, VideoOptions
from sertransfer.errors import BadInput, Faults
from sertransfer.io.csv_tables import read_text_table
from sertransfer.manifest import Manifest

EMOTIONS = Emotions(
    {
        "neutral": "neutral",
        "joy": "happy",
        "anger": "angry",
        "sadness": "sad",
        "surprise": "surprised",
        "fear": "fearful",
        "disgust": "disgusted",
    }
)

MEDIA = {
    "train": ("train_splits", "train/train_splits", "train"),
    "dev": ("dev_splits_complete", "dev/dev_splits_complete", "dev_splits", "dev"),
    "test": ("output_repeated_splits_test", "test/output_repeated_splits_test", "test_splits", "test"),
}
"""Folders in which each part's clips are looked for."""

KNOWN_BAD = {
    ("dev", "110", "7"): "the corpus lacks this clip",
    ("train", "125", "3"): "the corpus's clip is corrupt",
}
GENDERS = dict.fromkeys(("Monica", "Rachel", "Phoebe"), "female") | dict.fromkeys(
    ("Ross", "Joey", "Chandler"), "male"
)
"""Of the six main characters; the corpus does not say it of the others."""

UTTERANCES = 13_708 - len(KNOWN_BAD)
_COLUMNS = {
    "dialogue": "Dialogue_ID",
    "utterance": "Utterance_ID",
    "speaker": "Speaker",
    "label": "Emotion",
}


@dataclass(frozen=True)
class Options(VideoOptions, CollectionOptions):
    """Options of MELD, besides those of every collection and every video corpus.

    Attributes:
        split: ``corpus`` (its own, speakers on both sides), ``speaker`` (disjoint), ``paper`` or ``none``.
        media: Folder of the clips, relative to the root, with ``{part}`` for train, dev, test; empty = the
            folders that the corpus comes with.
    """

    split: Literal["corpus", "speaker", "paper", "none"] = "corpus"
    media: str = ""


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read MELD at *root*.

    Raises:
        BadInput: If the root is not one of MELD, or an option has no valid value.
    """
    return _collect(root, options, faults).manifest(whole=UTTERANCES, audio_folder=options.audio_folder)


def extractions(root: Path, options: Options) -> list[Extraction]:
    """Return the clips whose audio :func:`read` needs.

    Raises:
        BadInput: As :func:`read`.
    """
    return _collect(root, options, Faults()).extractions()


def _collect(root: Path, options: Options, faults: Faults) -> Collection:
    collection = Collection("meld", root, options, EMOTIONS, faults)
    check_root(root, _is_root, "train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv and the clips")
    for part in MEDIA:
        table, clips = _table(root, part), _clips(root, part, options.media)
        if table is None:
            remedy = "copy it from the corpus's distribution, or leave the part out"
            collection.bad(root / f"{part}_sent_emo.csv", "no such file", f"the {part} part", remedy)
        elif clips is None:
            places = ", ".join([options.media] if options.media else MEDIA[part])
            remedy = "unpack the part's clips, or name their folder with --media"
            collection.bad(root, f"no folder of the {part} clips", f"one of {places}", remedy)
        else:
            _read_part(collection, part, table, clips)
    return collection


def _is_root(folder: Path) -> bool:
    return any(_table(folder, part) is not None for part in MEDIA)


def _table(root: Path, part: str) -> Path | None:
    name = f"{part}_sent_emo.csv"
    return next((path for path in (root / name, root / part / name) if path.is_file()), None)


def _clips(root: Path, part: str, media: str) -> Path | None:
    places = [media.replace("{part}", part)] if media else MEDIA[part]
    folders = [root / place for place in places if (root / place).is_dir()]
    # A part's folder may hold the folder of the clips: the one that has clips comes first.
    return next((folder for folder in folders if any(folder.glob("dia*.mp4"))), None)


def _read_part(collection: Collection, part: str, path: Path, clips: Path) -> None:
    try:
        table = read_text_table(path, faults=collection.faults)
        rows = pick_columns(table, str(path), _COLUMNS, {}, collection.faults)
    except BadInput as error:
        collection.faults.extend(error.faults, skippable=True)
        return
    named = set()
    for number, dialogue, utterance, speaker, label in rows[list(_COLUMNS)].itertuples(name=None):
        where = f"{path}, row {number}"
        if not (dialogue.isdecimal() and utterance.isdecimal() and speaker):
            found = f"Dialogue_ID '{dialogue}', Utterance_ID '{utterance}', Speaker '{speaker}'"
            collection.bad(where, found, "two whole numbers and a name", "correct the row")
            continue
        name = f"dia{dialogue}_utt{utterance}"
        clip = clips / f"{name}.mp4"
        named.add(name)
        reason = KNOWN_BAD.get((part, dialogue, utterance))
        if reason is not None:
            collection.leave_out(f"{part}/{name}.mp4", reason)
            continue
        collection.add(
            where,
            clip,
            id=f"{part}_{name}",
            audio=f"{part}/{name}.wav",
            speaker=speaker,
            code=label.casefold(),
            split=part,
            gender=GENDERS.get(speaker, ""),
            dialog=f"{part}_{dialogue}",
        )
    for clip in collection.recordings(clips, ".mp4"):
        if clip.stem not in named:
            collection.leave_out(clip, f"{path.name} does not name it")
