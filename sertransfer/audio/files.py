"""Recordings that a user names on the command line, one by one or by folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sertransfer.errors import Faults
from sertransfer.io.spelling import printable

ENDINGS = (
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd",
    ".caf", ".w64", ".rf64", ".sph", ".nist", ".voc",
)  # fmt: skip
"""What counts as a recording in a folder: the endings of the formats that can be read."""

BESIDE = ("_transcript.csv",)
"""Ends of names, in small letters, that belong to a recording beside them."""


def find_audio(given: Sequence[Path]) -> dict[str, Path]:
    """Return recordings by name; those of a folder are found in it and below it, through links too.

    A name that is not UTF-8 is escaped. Hidden files, such as macOS's ``._x.wav``, and folders are passed
    over.

    Raises:
        BadInput: If a path is not there, a folder holds none, or two would have one name.
    """
    faults = Faults()
    found: dict[str, Path] = {}
    for path in given:
        files = [path]
        if path.is_dir():
            files = [file for file in _files_below(path) if _is_recording(file)]
        if not files or not files[0].exists():
            lacking = f"no audio in the folder{_others(path)}" if path.is_dir() else "no such file"
            remedy = f"check the path; endings that are read: {' '.join(ENDINGS)}"
            faults.add(path, found=lacking, expected="a recording", remedy=remedy)
            continue
        for file in files:
            name = printable(file.stem)
            if name in found:
                faults.add(
                    file,
                    found=f"the name of {found[name]} again",
                    expected="recordings of different names",
                    remedy="rename one, or score them one by one",
                )
            found[name] = file
    faults.raise_if_any()
    return found


def readable_path(path: Path, folder: Path, name: str) -> str:
    """Return *path*, or a link to it in *folder*, called *name*, where tables cannot hold its own name."""
    resolved = path.resolve()
    if printable(str(resolved)) == str(resolved):
        return str(resolved)
    link = folder / f"{name.replace(os.sep, '_')}{resolved.suffix}"
    link.symlink_to(resolved)
    return str(link)


def name_others(given: Sequence[Path]) -> list[str]:
    """Return a line for each folder of *given* that says what in it is no recording, and is not scored."""
    lines = []
    for path in given:
        others = _others(path) if path.is_dir() else ""
        lines += [printable(f"{path}{others}")] if others else []
    return lines


def _others(folder: Path) -> str:
    """Return which files of *folder* are no recordings, and how many of each ending; maybe nothing."""
    others = [
        file
        for file in _files_below(folder)
        if not _is_recording(file) and not file.name.lower().endswith(BESIDE)
    ]
    if not others:
        return ""
    counts = Counter(file.suffix.lower() or "no ending" for file in others)
    kinds = ", ".join(f"{count} {ending}" for ending, count in counts.most_common())
    first = ", ".join(str(file.relative_to(folder)) for file in others[:5])
    more = ", ..." if len(others) > 5 else ""
    return f": no recordings ({kinds}): {first}{more}"


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in and below *folder*, sorted; a folder that links lead to again is read once."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(place, name)


def _is_recording(file: Path) -> bool:
    return file.suffix.lower() in ENDINGS and file.is_file()
