"""What the readers of emotional-speech corpora share: from the files that were found to a manifest.

A reader walks through its layout and adds what it finds to a :class:`Collection`, which does the rest in
one order: labels by the corpus's own names, ``label_map``, split over all of them, then the task merges
names and leaves labels out (so the four-class sets are part of the eleven-class ones), and the audio last
(a damaged file that is skipped moves no other utterance to another split).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.corpora import labels
from sertransfer.corpora.recordings import check_headers
from sertransfer.corpora.splits import CollectionOptions, describe_division, divide
from sertransfer.corpora.tables import leave_out, leave_out_labels, one_spelling, records
from sertransfer.corpora.video import Extraction, find_audio_folder
from sertransfer.errors import Faults, bad_input, nearest
from sertransfer.io.spelling import clean, name_control
from sertransfer.manifest import AudioSource, Manifest, make_table, none_found


def check_root(root: Path, is_root: Callable[[Path], bool], layout: str) -> None:
    """Refuse a *root* that does not hold the corpus, saying where it seems to be.

    Args:
        root: The folder that the user named.
        is_root: Whether a folder looks like the corpus's root.
        layout: What the root holds, for the message.

    Raises:
        BadInput: If the folder is missing, or one level too high or too low, or something else.
    """
    if not root.is_dir():
        raise bad_input(
            root,
            found="a file" if root.exists() else "no such folder",
            expected=f"the corpus root, a folder with {layout}",
            remedy="name the corpus root",
        )
    if is_root(root):
        return
    inside = [child for child in sorted(root.iterdir()) if child.is_dir() and is_root(child)]
    parent = root.absolute().parent
    if inside:
        found, remedy = "a folder one level too high", f"name {' or '.join(map(str, inside[:3]))}"
    elif is_root(parent):
        found, remedy = "a folder one level too low", f"name {parent}"
    else:
        names = sorted(child.name for child in root.iterdir())
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        found = f"a folder with {shown}" if names else "an empty folder"
        remedy = "name the corpus root, or set the options that name its parts"
    raise bad_input(root, found=found, expected=f"the corpus root, a folder with {layout}", remedy=remedy)


_COLUMNS = ("id", "audio", "start", "end", "speaker", "label", "split", "gender", "age", "corpus")


@dataclass(frozen=True)
class Emotions:
    """A corpus's labels.

    Attributes:
        names: The corpus's code -> its name, as in LSSED where LSSED has such a class, else the corpus's own.
        merged: Task -> {name: class of that task}, for names that are not classes of LSSED themselves or
            that a task of fewer classes counts to another. A name that is neither is left out.
    """

    names: Mapping[str, str]
    merged: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class Collection:
    """The utterances of a corpus, as they are found.

    Args:
        corpus: Name of the corpus.
        root: The corpus root.
        options: The corpus's options; a value that is not among an option's choices is refused.
        emotions: The corpus's labels.
        faults: Receives every fault.
        task_first: Split over the labels of the task alone, and not over all.

    Raises:
        BadInput: If an option has no valid value.
    """

    def __init__(
        self,
        corpus: str,
        root: Path,
        options: CollectionOptions,
        emotions: Emotions,
        faults: Faults,
        *,
        task_first: bool = False,
    ) -> None:
        self._task_first = task_first
        self.corpus, self.root, self.options, self.faults = corpus, root, options, faults
        self.notes: dict[str, Any] = {"task": options.task, "assumptions": [], "errata": [], "left_out": []}
        self._emotions = emotions
        self._mapping = labels.parse_mapping(options.label_map, "label_map")
        self._check_mapping()
        self._rows: list[dict[str, Any]] = []
        self._sources: dict[str, Path] = {}
        self._first: dict[str, str] = {}

    def assume(self, text: str) -> None:
        """Note an assumption."""
        self.notes["assumptions"].append(text)

    def leave_out(self, item: object, reason: str) -> None:
        """Note an item that a rule leaves out; a path is named relative to the root."""
        shown = item.relative_to(self.root) if isinstance(item, Path) else item
        self.notes["left_out"].append({"item": str(shown), "reason": reason})

    def bad(self, where: object, found: str, expected: str, remedy: str) -> None:
        """Add the fault of an item that can be left out."""
        self.faults.add(where, found=found, expected=expected, remedy=remedy, skippable=True)

    def folders(self, folder: Path) -> list[Path]:
        """Return the folders in *folder* by name, without hidden ones."""
        return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]

    def recordings(self, folder: Path, suffix: str) -> Iterator[Path]:
        """Yield the files of *folder* with the ending *suffix*, in any case; other files are left out."""
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                continue
            if path.suffix.lower() == suffix and not path.name.startswith("."):
                yield path
            else:
                self.leave_out(path, f"not a recording ({suffix})")

    def add(
        self, where: object, source: Path, *, id: str, audio: str, speaker: str, code: str, **more: str
    ) -> None:
        """Add an utterance; an unknown label, an id for the second time, or a broken name is its fault.

        Args:
            where: File, or file and row, for the messages.
            source: The recording: the audio itself, or a video that it is to be extracted from.
            id: Of the utterance.
            audio: Relative to the manifest's root.
            speaker: Who speaks.
            code: The label, as the corpus writes it.
            more: Further columns.
        """
        id, speaker = clean(id), clean(speaker)
        unfit = next(filter(None, map(name_control, (audio, id, speaker, *more.values()))), "")
        if unfit:
            expected, remedy = "names of printable characters, in UTF-8", "rename the file or folder"
            self.bad(where, f"{unfit} in '{audio}' of speaker '{speaker}'", expected, remedy)
        elif code not in self._emotions.names:
            self.bad(
                where,
                f"label '{code}'",
                f"an emotion of {self.corpus}",
                nearest(code, self._emotions.names),
            )
        elif id in self._first:
            self.bad(
                where,
                f"utterance '{id}' again (first in {self._first[id]})",
                "each utterance once",
                "rename or remove one of the two",
            )
        else:
            self._first[id] = str(where)
            self._sources[audio] = source
            name = self._emotions.names[code]
            row = {"id": id, "audio": audio, "speaker": speaker, "label": name, "corpus": self.corpus}
            self._rows.append({"split": "", "gender": "", "age": "", **row, **more})

    def manifest(self, *, whole: int = 0, audio_folder: str | None = None) -> Manifest:
        """Return the manifest of what was added.

        Args:
            whole: Utterances that the whole corpus has; fewer are noted. 0 = not known.
            audio_folder: Folder for the audio of a video corpus, which then is the manifest's root;
                ``None`` where the recordings are audio.
        """
        if whole and len(self._rows) != whole:
            self.assume(f"the whole corpus has {whole} utterances; {len(self._rows)} are here")
        rows, remarks = self._kept()
        rows, root = self._with_audio(rows, audio_folder)
        self.notes["split"] = describe_division(rows, self.options, remarks)
        return Manifest(make_table(records(rows)), root, self.notes)

    def extractions(self) -> list[Extraction]:
        """Return the videos whose audio the manifest needs: not those that the task leaves out."""
        rows, _ = self._kept()
        videos = [Extraction(self._sources[audio], audio) for audio in rows["audio"].unique()]
        return videos if any(video.source.is_file() for video in videos) else []

    def _kept(self) -> tuple[pd.DataFrame, list[str]]:
        """Return the rows that mapping and task leave, with their split, and remarks on the split."""
        rows = pd.DataFrame(self._rows, columns=None if self._rows else list(_COLUMNS))
        rows["start"] = rows["end"] = float("nan")
        rows["speaker"] = one_spelling(rows["speaker"], self.notes)
        mapped = rows["label"].map(lambda name: self._mapping.get(name, name)).astype(object)
        rows = leave_out(rows.assign(label=mapped), mapped == "", "label is mapped to nothing", self.notes)
        remarks: list[str] = []
        if self._task_first:
            rows = self._of_task(rows)
        rows = rows.assign(split=divide(rows, self.options, self.faults, remarks))
        return (rows if self._task_first else self._of_task(rows)), remarks

    def _of_task(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the task, names merged to its classes."""
        merged = self._emotions.merged.get(self.options.task, {})
        rows = rows.assign(label=rows["label"].map(lambda name: merged.get(name, name)).astype(object))
        return rows if self.options.task == "all" else leave_out_labels(rows, self.options.task, self.notes)

    def _with_audio(self, rows: pd.DataFrame, audio_folder: str | None) -> tuple[pd.DataFrame, Path]:
        """Return the rows whose recording is sound, and the folder that ``audio`` is relative to."""
        sources = {audio: self._sources[audio] for audio in rows["audio"].unique()}
        if len(sources) > 1 and not any(source.is_file() for source in sources.values()):
            names = [os.path.relpath(source, self.root) for source in sources.values()]
            self.faults.extend(none_found(self.root, names, self.root).faults)
            return rows, self.root
        root = self.root
        if audio_folder is not None:
            folder = find_audio_folder(audio_folder, self.corpus, self.root, self.faults)
            if folder is None:
                return rows.iloc[:0], root
            root = folder
            told = {fault.where for fault in self.faults}
            for audio, video in sources.items():
                if not (root / audio).is_file() and str(video) not in told:
                    remedy = "run 'sertransfer prepare', which extracts it"
                    self.bad(video, f"no audio of this video in {root}", f"{root / audio}", remedy)
            sources = {audio: root / audio for audio in sources if (root / audio).is_file()}
            rows = rows[rows["audio"].isin(list(sources))]
        places = {audio: AudioSource(source) for audio, source in sources.items()}
        return check_headers(rows, places, None, self.faults, notes=self.notes), root

    def _check_mapping(self) -> None:
        own = sorted({*self._emotions.names.values()} - {""})
        known = [*labels.CLASSES, *(name for name in own if name not in labels.CLASSES)]
        for source, target in self._mapping.items():
            what = f" in '{source}={target}'"
            if source not in own:
                self._unknown(f"'{source}'{what}", f"a label of {self.corpus}", nearest(source, own))
            if target and target not in known:
                expected = f"a class of LSSED, a label of {self.corpus}, or nothing"
                self._unknown(f"'{target}'{what}", expected, nearest(target, known))

    def _unknown(self, found: str, expected: str, remedy: str) -> None:
        self.faults.add("option label_map", found=found, expected=expected, remedy=remedy)
