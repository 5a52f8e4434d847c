"""IEMOCAP (Busso et al. 2008): five sessions of two actors each, 10,039 turns of acted dialogue.

Layout::

    <root>/Session{1-5}/dialog/EmoEvaluation/<dialog>.txt     [start - end]<TAB>TURN<TAB>emo<TAB>[V, A, D]
    <root>/Session{1-5}/sentences/wav/<dialog>/<turn>.wav

The speaker of a turn is the session and the letter F or M of the turn's own suffix: the letter in the
dialog's name tells who wore the motion-capture markers. Each of the two is heard in the other's turns, so
the default split keeps sessions whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sertransfer.corpora.collection import Collection, Emotions, check_root
from sertransfer.corpora.splits import CollectionOptions
from sertransfer.errors import Faults
from sertransfer.io.files import regular_file
from sertransfer.manifest import Manifest

NO_AGREEMENT = "xxx"
"""Code of a turn on which the annotators did not agree."""

EMOTIONS = Emotions(
    {
        "neu": "neutral",
        "hap": "happy",
        "exc": "excited",
        "ang": "angry",
        "sad": "sad",
        "fru": "frustrated",
        "sur": "surprised",
        "fea": "fearful",
        "dis": "disgusted",
        "oth": "other",
    },
    {"four": {"excited": "happy"}, "eleven": {"frustrated": "other"}},
)
"""The four-class task of the field counts excited to happy (5531 turns); frustrated is no class of LSSED."""

SESSIONS = 5
_SESSION = re.compile(r"Session(\d)", re.ASCII)
_LINE = re.compile(r"\[(\d+\.?\d*) - (\d+\.?\d*)\]\t(\S+)\t([a-z]+)\t\[[-\d., ]+\]\s*", re.ASCII)
_TURN = re.compile(r"(?P<dialog>Ses(?P<session>\d\d)[FM]_\w+)_(?P<letter>[FM])(?:XX)?\d+", re.ASCII)
_GENDERS = {"F": "female", "M": "male"}


@dataclass(frozen=True)
class Options(CollectionOptions):
    """Options of IEMOCAP, besides those of every collection.

    Attributes:
        task: ``four`` (excited counts as happy), ``eleven`` (frustrated counts as other) or ``all`` ten.
        split: ``session`` (both speakers of a session on one side), ``speaker``, ``paper`` or ``none``.
        test_speakers: Speakers (``Ses05F``) of the test set; with the split ``session``, sessions (``5``).
    """

    split: Literal["session", "speaker", "paper", "none"] = "session"


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read IEMOCAP at *root*.

    Raises:
        BadInput: If the root is not one of IEMOCAP, or an option has no valid value.
    """
    collection = Collection("iemocap", root, options, EMOTIONS, faults)
    check_root(root, _is_root, "Session1/ ... Session5/, in each dialog/EmoEvaluation/ and sentences/wav/")
    for number in range(1, SESSIONS + 1):
        folder = root / f"Session{number}"
        missing = [part for part in ("dialog/EmoEvaluation", "sentences/wav") if not (folder / part).is_dir()]
        if missing:
            remedy = "unpack the session again, or leave it out"
            collection.bad(folder, f"no {' and no '.join(missing)}", "both folders of each session", remedy)
        else:
            _read_session(collection, folder, str(number))
    return collection.manifest()


def _is_root(folder: Path) -> bool:
    return any(_SESSION.fullmatch(path.name) and path.is_dir() for path in folder.iterdir())


def _read_session(collection: Collection, folder: Path, session: str) -> None:
    named: set[str] = set()
    for path in sorted((folder / "dialog" / "EmoEvaluation").glob("*.txt")):
        if path.name.startswith("."):
            collection.leave_out(path, "not an evaluation (a hidden file)")
            continue
        lines = regular_file(path).read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            if line.startswith("["):
                _add(collection, f"{path}, row {number}", path.stem, line, folder, session, named)
    for dialog in collection.folders(folder / "sentences" / "wav"):
        for path in collection.recordings(dialog, ".wav"):
            if path.stem not in named:
                collection.leave_out(path, "no line of EmoEvaluation names it")


def _add(
    collection: Collection, where: str, dialog: str, line: str, folder: Path, session: str, named: set[str]
) -> None:
    cells = _LINE.fullmatch(line)
    if cells is None:
        expected = "[start - end]<TAB>turn<TAB>emotion<TAB>[valence, activation, dominance]"
        collection.bad(where, f"'{line[:80]}'", expected, "copy the file again, or correct the row")
        return
    turn, code = cells[3], cells[4]
    named.add(turn)
    match = _TURN.fullmatch(turn)
    if match is None or match["dialog"] != dialog or int(match["session"]) != int(session):
        expected = f"a turn of {dialog} in session {session}, such as {dialog}_F000"
        collection.bad(where, f"the turn '{turn}'", expected, "correct the row, or move the file")
        return
    if code == NO_AGREEMENT:
        collection.leave_out(turn, "the annotators did not agree (xxx)")
        return
    path = folder / "sentences" / "wav" / dialog / f"{turn}.wav"
    collection.add(
        where,
        path,
        id=turn,
        audio=path.relative_to(collection.root).as_posix(),
        speaker=f"Ses{match['session']}{match['letter']}",
        code=code,
        gender=_GENDERS[match["letter"]],
        session=session,
        dialog=dialog,
    )
