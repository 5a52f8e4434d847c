"""Recordings that a user names on the command line, one by one or by folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sertransfer.errors import Faults

ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
"""What counts as a recording in a folder."""


def find_audio(given: Sequence[Path]) -> dict[str, Path]:
    """Return recordings by name; those of a folder are found in it and below it.

    Raises:
        BadInput: If a path is not there, a folder holds none, or two would have one name.
    """
    faults = Faults()
    found: dict[str, Path] = {}
    for path in given:
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS)
        if not files or not files[0].exists():
            lacking = "no audio in the folder" if path.is_dir() else "no such file"
            faults.add(path, found=lacking, expected="a recording", remedy="check the path")
            continue
        for file in files:
            if file.stem in found:
                faults.add(
                    file,
                    found=f"the name of {found[file.stem]} again",
                    expected="recordings of different names",
                    remedy="rename one, or score them one by one",
                )
            found[file.stem] = file
    faults.raise_if_any()
    return found
