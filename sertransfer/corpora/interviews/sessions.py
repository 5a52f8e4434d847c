"""Sessions of an interview corpus: folders ``<id>_P`` and archives of them, found, opened, and extracted.

A session that is there both ways is read from the folder if that holds both files, else from the archive.
The files may lie one folder deeper, in a second ``<id>_P``, as some archives have it. What an archive is
shows in its content and not in its name: browsers unpack ``.tar.gz`` to ``.tar`` and may keep the ending, and
some people pack sessions again. Archives made on Windows may separate folders by backslashes.

A corpus may read zips in place. Nothing can be cut from the middle of a tar.gz: 'prepare' extracts the audio
into a folder that the user names, and the transcript is read from the archive (it is never written out). No
name in an archive ever becomes a path.
"""

from __future__ import annotations

import lzma
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from sertransfer.audio.reading import inspect
from sertransfer.corpora.interviews.transcript import LEAVE_OUT
from sertransfer.corpora.video import Extraction
from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.io.files import refuse_twins, regular_file
from sertransfer.manifest import AudioSource

SESSION_NAME = re.compile(r"([1-9]\d{0,8})_P(\.zip|\.tar|\.tar\.gz|\.tgz)?", re.IGNORECASE | re.ASCII)
"""A session's folder, or its archive; the second group is the ending of an archive."""

TRANSCRIPT_LIMIT = 64 * 2**20
"""Bytes; a member that says it is larger is no transcript (a real one has some ten thousand)."""
AUDIO_LIMIT, LARGEST_ARCHIVE = 2**32, 2**36
"""Bytes of a recording, which is what a WAV file can hold, and of all members that are read past."""
MEMBER_LIMIT, NAME_LIMIT = 10_000, 2**16
"""Members that are read past, and bytes of a name in a tar: zeros of both kinds pack to nearly nothing."""

_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
)
"""Raised by an archive that cannot be read; ``RuntimeError``: encrypted; ``NotImplementedError``: its
coding."""


@dataclass(frozen=True)
class Session:
    """The two files of a session; a path that is ``None`` was not found.

    Attributes:
        name: ``300_P``.
        container: The folder or the archive.
        audio, transcript: Paths inside the container.
        archived: Whether the container is an archive.
        extracted: The audio, where it was extracted from the archive.
        content: The transcript, where it was read when the archive was opened.
    """

    name: str
    container: Path
    audio: str | None
    transcript: str | None
    archived: bool
    extracted: Path | None = None
    content: bytes | None = None

    @property
    def complete(self) -> bool:
        """Whether both files are there."""
        return self.audio is not None and self.transcript is not None

    @property
    def audio_value(self) -> str:
        """The audio relative to the folder of sessions; from an archive the same as from a folder."""
        inside = PurePosixPath(self.audio or "")
        return f"{self.name}/{member_path(self.audio or '').name if self.archived else inside.as_posix()}"

    @property
    def audio_source(self) -> AudioSource:
        """Where the audio is read."""
        if self.extracted is not None:
            return AudioSource(self.extracted)
        if self.archived:
            return AudioSource(self.container, self.audio)
        return AudioSource(self.container / (self.audio or ""))

    @property
    def transcript_name(self) -> str:
        """The transcript's name for messages."""
        separator = "!" if self.archived else "/"
        return f"{self.container}{separator}{self.transcript}"

    def read_transcript(self) -> bytes:
        """Return the transcript's bytes.

        Raises:
            OSError: If it cannot be read, for whatever reason; the message says which.
            BadInput: If it is a pipe or a device.
        """
        if self.content is not None:
            return self.content
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
            raise OSError(f"an archive member that cannot be read ({error})") from None


def find_sessions(folder: Path) -> dict[int, list[Path]]:
    """Return the containers of each session in *folder*: folders, then zips, then other archives."""
    sessions: dict[int, list[Path]] = {}
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return {}
    for entry in entries:
        match = SESSION_NAME.fullmatch(entry.name)
        if match is not None and (entry.is_file() if match[2] else entry.is_dir()):
            sessions.setdefault(int(match[1]), []).append(entry)
    for containers in sessions.values():
        containers.sort(key=lambda path: (path.is_file(), path.suffix.lower() != ".zip", path.name))
    return sessions


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


def extractions(
    sessions: Mapping[int, list[Path]], wanted: Iterable[int], in_place: tuple[str, ...]
) -> list[Extraction]:
    """Return the extractions that the sessions *wanted* need: of those that are there only as archives.

    Args:
        sessions: What :func:`find_sessions` found.
        wanted: Numbers of sessions.
        in_place: Endings of archives that are read where they are, as folders are.
    """
    archives = {number: _needed_archive(number, sessions.get(number, []), in_place) for number in wanted}
    return [
        Extraction(archive, audio_place(number), partial(extract_session, number))
        for number, archive in sorted(archives.items())
        if archive is not None
    ]


def _needed_archive(number: int, containers: list[Path], in_place: tuple[str, ...]) -> Path | None:
    """Return the archive that the audio has to be extracted from, ``None`` if from none."""
    direct = [path for path in containers if path.is_dir() or path.suffix.lower() in in_place]
    archives = [path for path in containers if path not in direct]
    session = _open_direct(number, direct, Faults()) if archives else None
    return archives[0] if archives and (session is None or not session.complete) else None


def open_session(
    number: int,
    containers: list[Path],
    faults: Faults,
    *,
    in_place: tuple[str, ...] = (".zip",),
    audio_folder: Path | None = None,
) -> Session | None:
    """Return session *number* from the first of its containers that is complete, else the first.

    A missing file and an unreadable archive are skippable faults; what is there is returned all the same, so
    that its own faults can be listed too.

    Args:
        number: The session.
        containers: Its folders and archives, those to prefer first.
        faults: Receives the faults.
        in_place: Endings of archives that are read where they are, as folders are.
        audio_folder: Where the audio of other archives was extracted to.
    """
    archive = _needed_archive(number, containers, in_place)
    if archive is not None:
        return _open_extracted(number, archive, audio_folder, faults)
    return _open_direct(number, containers, faults)


def _open_direct(number: int, containers: list[Path], faults: Faults) -> Session | None:
    """Open a folder or a zip that is read in place."""
    candidates, problems = [], []
    for container in containers:
        try:
            candidate = _look_into(number, container)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            problems.append((container, str(error) or type(error).__name__))
            continue
        if candidate.complete:
            return candidate
        candidates.append(candidate)
    for container, problem in problems:
        found = f"an archive or folder that cannot be read ({problem})"
        _bad(faults, container, found, f"session {number}", "download it again, or leave the session out")
    for candidate in candidates[:1]:
        for path, suffix in ((candidate.audio, "AUDIO.wav"), (candidate.transcript, "TRANSCRIPT.csv")):
            if path is None:
                expected = f"{number}_AUDIO.wav and {number}_TRANSCRIPT.csv"
                remedy = "unpack or download the session again, or leave it out"
                _bad(faults, candidate.container, f"no {number}_{suffix}", expected, remedy)
        return candidate
    return None


def _look_into(number: int, container: Path) -> Session:
    name, archived = f"{number}_P", container.is_file()
    if archived:
        with zipfile.ZipFile(regular_file(container)) as archive:
            refuse_twins(archive)
            members = [member for member in archive.namelist() if not member.endswith(("/", "\\"))]
    else:
        folders = [container, *(entry for entry in container.iterdir() if entry.name.lower() == name.lower())]
        files = [entry for folder in folders if folder.is_dir() for entry in sorted(folder.iterdir())]
        members = [entry.relative_to(container).as_posix() for entry in files if entry.is_file()]
    paths: dict[str, str] = {}
    for member in sorted(members, key=lambda member: len(member_path(member).parts)):
        inside = member_of(number, member)
        if inside not in (f"{number}_audio.wav", f"{number}_transcript.csv"):
            continue
        if archived and inside in paths:
            raise ValueError(f"two members of one name, {paths[inside]} and {member}")
        paths.setdefault(inside, member)
    audio, transcript = (paths.get(f"{number}_{kind}") for kind in ("audio.wav", "transcript.csv"))
    return Session(name, container, audio, transcript, archived)


def _open_extracted(number: int, archive: Path, folder: Path | None, faults: Faults) -> Session | None:
    """Open an archive whose audio was extracted."""
    if folder is None:
        remedy = "name a folder for the audio with --audio_folder DIR, or unpack the archive beside itself"
        _bad(faults, archive, "a session that is not unpacked", "a folder of the session", remedy)
        return None
    told = any(fault.where == str(archive) for fault in faults)  # by the extraction
    place = audio_place(number)
    try:
        transcript, content = _read_transcript(archive, number)
    except BadInput as error:
        faults.extend(error.faults, skippable=True)
        transcript, content = None, b""
    except _DAMAGE as error:
        faults.extend([] if told else _damaged(archive, error).faults, skippable=True)
        return None
    there = (folder / place).is_file()
    if not there and not told:
        remedy = "run 'sertransfer prepare', which extracts it"
        _bad(faults, archive, f"no {place} in {folder}", "the session's audio there", remedy)
    audio = place if there else None
    return Session(f"{number}_P", archive, audio, transcript, True, folder / place, content)


def audio_place(number: int) -> str:
    """Return where the extracted audio of session *number* lies in the audio folder."""
    return f"{number}_P/{number}_AUDIO.wav"


def extract_session(number: int, archive: Path, target: Path) -> None:
    """Write the audio of session *number* to *target*.

    Raises:
        BadInput: If there is none in the archive, or it is damaged.
    """
    name = f"{number}_AUDIO.wav"
    try:
        with _find(archive, number, name) as member:
            _check_size(member, AUDIO_LIMIT)
            with member.open() as content, target.open("wb") as stream:
                shutil.copyfileobj(content, stream, 2**20)
    except _DAMAGE as error:
        raise _damaged(archive, error) from None
    try:
        inspect(AudioSource(target))
    except BadInput as error:
        found = f"in it {name}: {error.faults[0].found}"
        raise bad_input(archive, found=found, expected="a whole recording", remedy=LEAVE_OUT) from None


def _read_transcript(archive: Path, number: int) -> tuple[str, bytes]:
    """Return the transcript's name in the archive, and its bytes.

    Raises:
        BadInput: If there is none.
        OSError, EOFError, and others of _DAMAGE: If the archive cannot be read.
    """
    with _find(archive, number, f"{number}_Transcript.csv") as member:
        _check_size(member, TRANSCRIPT_LIMIT)
        with member.open() as content:
            return member.name, content.read()


@dataclass(frozen=True)
class _Member:
    """A member of an archive; one that is not *plain* is a link, a folder or a device."""

    name: str
    size: int
    plain: bool
    open: Callable[[], IO[bytes]]


@contextmanager
def _find(archive: Path, number: int, name: str) -> Iterator[_Member]:
    """Open the archive at its member *name*, in any case of letters, of session *number*.

    Raises:
        BadInput: If there is none, or only a link.
        OSError, EOFError, and others of _DAMAGE: If the archive cannot be read.
    """
    passed, link = 0, False
    with _members_of(archive) as stream:
        for count, member in enumerate(stream, start=1):
            passed += member.size
            if passed > LARGEST_ARCHIVE or count > MEMBER_LIMIT:
                raise OSError(f"{passed} bytes in {count} members up to {member.name}")
            if member_of(number, member.name) == name.lower():
                if member.plain:
                    yield member
                    return
                link = True
    raise bad_input(
        archive,
        found=f"{name} as a link" if link else f"no {name}",
        expected="audio and transcript of the session",
        remedy=LEAVE_OUT,
    )


def _damaged(archive: Path, error: Exception) -> BadInput:
    return bad_input(
        archive,
        found=f"an archive that cannot be extracted ({error})",
        expected="a whole tar.gz, tar or zip",
        remedy=LEAVE_OUT,
    )


class _TarInfo(tarfile.TarInfo):
    """A member whose long name is bounded before it is read, which tarfile does in one piece."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        named_apart = self.type in (
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if named_apart and self.size > NAME_LIMIT:
            raise tarfile.ReadError(f"a name of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]


@contextmanager
def _members_of(archive: Path) -> Iterator[Iterator[_Member]]:
    """Open an archive, of whichever kind its content is."""
    archive = regular_file(archive)
    with archive.open("rb") as file:
        packed_as_zip = file.read(4) == b"PK\x03\x04"
    if packed_as_zip:
        with zipfile.ZipFile(archive) as packed:
            refuse_twins(packed)
            yield (_zip_member(packed, info) for info in packed.infolist() if not info.is_dir())
    else:
        with tarfile.open(archive, "r|*", tarinfo=_TarInfo) as stream:
            yield (_tar_member(stream, info) for info in stream)


def _zip_member(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    link = info.external_attr >> 28 == 0o12  # a symbolic link, by the mode of Unix
    return _Member(info.filename, info.file_size, not link, lambda: packed.open(info))


def _tar_member(stream: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    def read() -> IO[bytes]:
        content = stream.extractfile(info)
        if content is None:
            raise OSError(f"no content of {info.name}")
        return content

    return _Member(info.name, info.size, info.isfile(), read)


def _check_size(member: _Member, most: int) -> None:
    if member.size > most:
        raise OSError(f"a member of {member.size} bytes, {member.name}")


def _bad(faults: Faults, where: Path, found: str, expected: str, remedy: str) -> None:
    faults.add(where, found=found, expected=expected, remedy=remedy, skippable=True)
