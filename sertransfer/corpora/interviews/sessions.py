"""Sessions of DAIC-WOZ: unpacked folders ``<id>_P``, and archives ``<id>_P.zip`` that are read in place.

A session that is there both ways is read from the folder if that holds both files, else from the archive.
The files may lie one folder deeper, in a second ``<id>_P``, as some archives have it. Zips that were made on
Windows may separate folders by backslashes. Sessions that somebody packed again as ``<id>_P.tar`` or
``<id>_P.tar.gz`` are found too; :mod:`sertransfer.corpora.interviews.archives` opens them.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from sertransfer.corpora.interviews.split_files import ALL_SPLIT_FILES
from sertransfer.errors import Faults
from sertransfer.io.files import regular_file
from sertransfer.manifest import AudioSource

SESSION_NAME = re.compile(r"([1-9]\d{0,8})_P(\.zip|\.tar|\.tar\.gz|\.tgz)?", re.IGNORECASE | re.ASCII)
"""A session's folder, or its archive; the second group is the ending of an archive."""
_JUNK = ("._", ".~lock", ".")
"""Beginnings of names that are no data: macOS forks, office locks, hidden files."""

TRANSCRIPT_LIMIT = 64 * 2**20
"""Bytes; a member that says it is larger is no transcript (a real one has some ten thousand)."""


@dataclass(frozen=True)
class Session:
    """The two files of a session; a path that is ``None`` was not found.

    Attributes:
        name: ``300_P``.
        container: The folder or the archive.
        audio, transcript: Paths inside the container.
        archived: Whether the container is a zip archive.
    """

    name: str
    container: Path
    audio: str | None
    transcript: str | None
    archived: bool

    @property
    def complete(self) -> bool:
        """Whether both files are there."""
        return self.audio is not None and self.transcript is not None

    @property
    def audio_value(self) -> str:
        """The manifest's ``audio`` value; from an archive the same as from the unpacked folder."""
        if self.archived:
            return f"{self.name}/{member_path(self.audio or '').name}"
        return f"{self.name}/{PurePosixPath(self.audio or '').as_posix()}"

    @property
    def audio_source(self) -> AudioSource:
        """Where the audio is read."""
        if self.archived:
            return AudioSource(self.container, self.audio)
        return AudioSource(self.container / (self.audio or ""))

    @property
    def transcript_name(self) -> str:
        """The transcript's name for messages."""
        if self.archived:
            return f"{self.container}!{self.transcript}"
        return str(self.container / (self.transcript or ""))

    def read_transcript(self) -> bytes:
        """Return the transcript's bytes.

        Raises:
            OSError: If it can not be read, for whatever reason; the message says which.
        """
        if not self.archived:
            return regular_file(self.container / (self.transcript or "")).read_bytes()
        try:
            with zipfile.ZipFile(regular_file(self.container)) as archive:
                info = archive.getinfo(self.transcript or "")
                if info.file_size > TRANSCRIPT_LIMIT:
                    raise OSError(f"a member of {info.file_size} bytes")
                return archive.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
            raise OSError(f"a broken archive member ({error})") from None
        except (NotImplementedError, RuntimeError) as error:  # unknown compression, encryption
            raise OSError(f"an archive member that can not be read ({error})") from None


@dataclass
class Layout:
    """What stands in a corpus root: containers by session, and split files by their canonical name."""

    sessions: dict[int, list[Path]] = field(default_factory=dict)
    splits: dict[str, Path] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sessions or self.splits)


def scan(folder: Path) -> Layout:
    """Return what stands in *folder*; nothing if it can not be listed."""
    layout = Layout()
    canonical = {name.lower(): name for name in ALL_SPLIT_FILES}
    for entry in _entries(folder):
        match = SESSION_NAME.fullmatch(entry.name)
        if match is not None and (entry.is_file() if match[2] else entry.is_dir()):
            layout.sessions.setdefault(int(match[1]), []).append(entry)
        elif entry.name.lower() in canonical and entry.is_file():
            layout.splits[canonical[entry.name.lower()]] = entry
    for containers in layout.sessions.values():
        containers.sort(key=preference)
    return layout


def preference(container: Path) -> tuple[bool, bool, str]:
    """Return the key that sorts a session's containers: folders, zips (read in place), other archives."""
    return container.is_file(), container.suffix.lower() != ".zip", container.name


def member_path(name: str) -> PurePosixPath:
    """Return the name of an archive's member as a path; archives made on Windows may have backslashes."""
    return PurePosixPath(name.replace("\\", "/"))


def member_of(session: int, name: str) -> str | None:
    """Return the lower-case file name of the archive's member *name*, or ``None`` if it is not the session's.

    A session's file lies at the top of the archive, or in one or two folders called after the session. Names
    that lead elsewhere, out of the archive or to a drive, are not the session's.

    Examples:
        >>> member_of(300, "300_P/300_AUDIO.wav"), member_of(300, "300_P\\\\300_AUDIO.wav")
        ('300_audio.wav', '300_audio.wav')
        >>> member_of(300, "../300_AUDIO.wav") is None
        True
    """
    path = member_path(name)
    folders = [folder.lower() for folder in path.parts[:-1]]
    return path.name.lower() if folders in ([], [f"{session}_p"], [f"{session}_p"] * 2) else None


def find_corpus(root: Path, faults: Faults) -> Layout | None:
    """Return the layout of the corpus root, or ``None`` after a fault that says where the root rather is."""
    expected = "the folder that holds the <id>_P sessions and the split files"
    if not root.is_dir():
        found = "a file" if root.exists() else "no such folder"
        faults.add(root, found=found, expected=expected, remedy="give the corpus root")
        return None
    layout = scan(root)
    if layout.sessions and layout.splits:
        return layout
    inside = SESSION_NAME.fullmatch(root.resolve().name) or any(
        re.fullmatch(r"[1-9]\d*_AUDIO\.wav", entry.name, re.IGNORECASE) for entry in _entries(root)
    )
    above = root.resolve().parent
    below = [entry for entry in _entries(root) if entry.is_dir() and scan(entry).sessions]
    if not layout and inside:
        hint = f"give its parent {above}" if scan(above) else "give the folder that holds the sessions"
        faults.add(root, found="a session: one level too low", expected=expected, remedy=hint)
    elif not layout.sessions and below:
        found = "sessions only in a folder below: one level too high"
        if layout.splits:
            found = "split files here, but sessions only in a folder below"
        paths = " or ".join(map(str, below[:3]))
        move = " with the split files beside the sessions" if layout.splits else ""
        faults.add(root, found=found, expected=expected, remedy=f"give {paths}{move}")
    elif not layout.sessions:
        found = "split files but no session" if layout.splits else "neither sessions nor split files"
        faults.add(root, found=found, expected=expected, remedy="give the corpus root")
    else:
        elsewhere = [folder for folder in (above, *_entries(root)) if folder.is_dir() and scan(folder).splits]
        hint = f"copy them from {elsewhere[0]}" if elsewhere else "copy them from the corpus's distribution"
        faults.add(root, found="sessions but no split file", expected=expected, remedy=hint)
    return None


def open_session(session: int, containers: Iterable[Path], faults: Faults) -> Session | None:
    """Return the files of a session from the first of its containers that is complete, else the first.

    A missing file and an unreadable archive are skippable faults; what is there is returned all the same, so
    that its own faults can be listed too.
    """
    candidates, problems = [], []
    for container in containers:
        try:
            candidate = _session_of(session, container)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            problems.append((container, str(error) or type(error).__name__))
            continue
        if candidate.complete:
            return candidate
        candidates.append(candidate)
    for container, problem in problems:
        faults.add(
            container,
            found=f"an archive or folder that can not be read ({problem})",
            expected=f"session {session}",
            remedy="download it again, or leave the session out",
            skippable=True,
        )
    for candidate in candidates[:1]:
        for path, suffix in ((candidate.audio, "AUDIO.wav"), (candidate.transcript, "TRANSCRIPT.csv")):
            if path is None:
                faults.add(
                    candidate.container,
                    found=f"no {session}_{suffix}",
                    expected=f"{session}_AUDIO.wav and {session}_TRANSCRIPT.csv",
                    remedy="unpack or download the session again, or leave it out",
                    skippable=True,
                )
        return candidate
    return None


def _session_of(session: int, container: Path) -> Session:
    name, archived = f"{session}_P", container.is_file()
    if archived:
        with zipfile.ZipFile(regular_file(container)) as archive:
            members = [member for member in archive.namelist() if not member.endswith(("/", "\\"))]
    else:
        folders = [container, *(entry for entry in container.iterdir() if entry.name.lower() == name.lower())]
        files = [entry for folder in folders if folder.is_dir() for entry in sorted(folder.iterdir())]
        members = [entry.relative_to(container).as_posix() for entry in files if entry.is_file()]
    paths: dict[str, str] = {}
    for member in members:
        inside = member_of(session, member)
        if inside is not None:
            paths.setdefault(inside, member)
    audio, transcript = (paths.get(f"{session}_{kind}") for kind in ("audio.wav", "transcript.csv"))
    return Session(name, container, audio, transcript, archived)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(_JUNK))
    except OSError:
        return []
