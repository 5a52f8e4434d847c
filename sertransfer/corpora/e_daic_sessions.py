"""Sessions of E-DAIC: folders ``data/<id>_P``, and archives ``data/<id>_P.tar.gz`` that are read as a stream.

A tar.gz cannot be read in the middle, so nothing is cut from it in place: the transcript is read from it
each time (it is never written out), and the audio is extracted into a folder that the user names. What an
archive is shows in its content and not in its name: browsers unpack ``.tar.gz`` to ``.tar`` and may keep the
ending, and some people pack sessions again as zip. No name in an archive ever becomes a path.
"""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sertransfer.audio.reading import inspect
from sertransfer.corpora.daic_sessions import (
    SESSION_NAME,
    TRANSCRIPT_LIMIT,
    Session,
    member_of,
    open_session,
    preference,
)
from sertransfer.corpora.e_daic_transcript import LEAVE_OUT, as_daic_woz
from sertransfer.errors import BadInput, Faults
from sertransfer.io.files import atomic_path
from sertransfer.manifest import AudioSource

FOLDER = "data"
AUDIO_LIMIT, LARGEST_ARCHIVE = 2**32, 2**36
"""Bytes of a recording, which is what a WAV file can hold, and of all members that are read past."""

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

Convert = Callable[[bytes, str, Faults], bytes | None]
"""Gives a transcript in DAIC-WOZ's form, from the bytes of a file called so; ``None`` with a fault."""


def find_sessions(root: Path) -> dict[int, list[Path]]:
    """Return the containers of each session, its folder before its archive."""
    sessions: dict[int, list[Path]] = {}
    folder = root / FOLDER
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = SESSION_NAME.fullmatch(entry.name)
        if match is not None and (entry.is_file() if match[2] else entry.is_dir()):
            sessions.setdefault(int(match[1]), []).append(entry)
    for containers in sessions.values():
        containers.sort(key=preference)
    return sessions


@dataclass(frozen=True)
class ConvertedSession(Session):
    """A session whose transcript is in DAIC-WOZ's form already.

    Attributes:
        wav: The audio, in the session's folder or extracted from its archive.
        table: The transcript in DAIC-WOZ's form.
    """

    wav: Path | None = None
    table: bytes = b""

    @property
    def audio_source(self) -> AudioSource:
        """Where the audio is read."""
        return super().audio_source if self.wav is None else AudioSource(self.wav)

    def read_transcript(self) -> bytes:
        """Return the transcript in DAIC-WOZ's form."""
        return self.table


@dataclass(frozen=True)
class SessionOpener:
    """Opens sessions.

    Attributes:
        audio_folder: Where the audio of archives goes; ``None`` if there is no such folder.
        faults: Receives skippable faults.
        convert: Brings a transcript to DAIC-WOZ's form.
    """

    audio_folder: Path | None
    faults: Faults
    convert: Convert = as_daic_woz

    def open(self, number: int, containers: list[Path]) -> ConvertedSession | None:
        """Return session *number*, from its folder if that is complete, else from its archive."""
        archives = [container for container in containers if container.is_file()]
        problems = Faults()
        for folder in (container for container in containers if container.is_dir()):
            session = open_session(number, [folder], problems)
            if session is not None and (session.complete or not archives):
                self.faults.extend(problems, skippable=True)
                return self._from_folder(session)
        return self.from_archive(number, archives[0]) if archives else None

    def _from_folder(self, session: Session) -> ConvertedSession:
        table = None
        if session.transcript is not None:
            try:
                data = session.read_transcript()
            except OSError as error:
                self._bad(session.transcript_name, str(error), "a readable transcript")
            else:
                table = self.convert(data, session.transcript_name, self.faults)
        wav = session.container / session.audio if session.audio is not None else None
        transcript = session.transcript if table is not None else None
        return ConvertedSession(
            session.name, session.container, session.audio, transcript, False, wav, table or b""
        )

    def from_archive(self, number: int, archive: Path) -> ConvertedSession | None:
        """Return session *number* with its audio extracted from *archive*; ``None`` with a fault."""
        if self.audio_folder is None:
            remedy = (
                "name a folder for the audio with --audio_folder DIR, or unpack the archive beside itself"
            )
            self._bad(archive, "a session that is not unpacked", "a folder of the session", remedy)
            return None
        name = f"{number}_P"
        wav = self.audio_folder / name / f"{number}_AUDIO.wav"
        try:
            members = _read_archive(archive, number, wav)
        except BadInput as error:
            self._bad(archive, f"in it {wav.name}: {error.faults[0].found}", "a whole recording")
            return None
        except _DAMAGE as error:
            found = f"an archive that cannot be extracted ({error})"
            self._bad(archive, found, "a whole tar.gz, tar or zip")
            return None
        table = None
        expected = "audio and transcript of the session"
        if members.transcript is None:
            self._bad(archive, members.absent(f"{number}_Transcript.csv"), expected)
        else:
            table = self.convert(members.transcript, f"{archive}!{members.transcript_name}", self.faults)
        if members.audio_name is None:
            self._bad(archive, members.absent(f"{number}_AUDIO.wav"), expected)
        transcript = members.transcript_name if table is not None else None
        return ConvertedSession(name, archive, members.audio_name, transcript, True, wav, table or b"")

    def _bad(self, where: object, found: str, expected: str, remedy: str = LEAVE_OUT) -> None:
        self.faults.add(where, found=found, expected=expected, remedy=remedy, skippable=True)


@dataclass(frozen=True)
class _Member:
    """A member of an archive: ``read`` opens it, ``None`` if it is no plain file (a link, a folder)."""

    name: str
    size: int
    read: Callable[[], IO[bytes]] | None


class _Members:
    """What was found in an archive."""

    def __init__(self) -> None:
        self.audio_name: str | None = None
        self.transcript_name: str | None = None
        self.transcript: bytes | None = None
        self.links: set[str] = set()

    def absent(self, name: str) -> str:
        """Return what is said of a file that was not found."""
        return f"{name} as a link" if name.lower() in self.links else f"no {name}"


def _read_archive(archive: Path, number: int, wav: Path) -> _Members:
    """Read the transcript and extract the audio to *wav*, unless it is there, as large and not older.

    Raises:
        BadInput: If the audio is not whole.
        OSError, EOFError, and others of _DAMAGE: If the archive cannot be read, or *wav* not written.
    """
    members = _Members()
    current = _is_current(wav, archive)
    passed = 0
    with _members_of(archive) as stream:
        for member in stream:
            passed += member.size
            if passed > LARGEST_ARCHIVE:
                raise OSError(f"{passed} bytes up to {member.name}")
            name = member_of(number, member.name)
            wanted = name in (f"{number}_transcript.csv", f"{number}_audio.wav")
            if name is None or not wanted:
                continue
            if member.read is None:
                members.links.add(name)
            elif name == f"{number}_transcript.csv":
                members.transcript_name = member.name
                _check_size(member, TRANSCRIPT_LIMIT)
                with member.read() as content:
                    members.transcript = content.read()
            else:
                members.audio_name = member.name
                _check_size(member, AUDIO_LIMIT)
                if not current or wav.stat().st_size != member.size:
                    with member.read() as content:
                        _write(content, wav)
            if members.audio_name is not None and members.transcript is not None:
                break
    return members


@contextmanager
def _members_of(archive: Path) -> Iterator[Iterator[_Member]]:
    """Open an archive, of whichever kind its content is."""
    with archive.open("rb") as file:
        packed_as_zip = file.read(4) == b"PK\x03\x04"
    if packed_as_zip:
        with zipfile.ZipFile(archive) as packed:
            yield (_zip_member(packed, info) for info in packed.infolist() if not info.is_dir())
    else:
        with tarfile.open(archive, "r|*") as stream:
            yield (_tar_member(stream, info) for info in stream)


def _zip_member(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    link = info.external_attr >> 28 == 0o12  # a symbolic link, by the mode of Unix
    return _Member(info.filename, info.file_size, None if link else lambda: packed.open(info))


def _tar_member(stream: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    def read() -> IO[bytes]:
        content = stream.extractfile(info)
        if content is None:
            raise OSError(f"no content of {info.name}")
        return content

    return _Member(info.name, info.size, read if info.isfile() else None)


def _check_size(member: _Member, most: int) -> None:
    if member.size > most:
        raise OSError(f"a member of {member.size} bytes, {member.name}")


def _write(content: IO[bytes], wav: Path) -> None:
    with atomic_path(wav) as temporary:
        with temporary.open("wb") as target:
            shutil.copyfileobj(content, target, 2**20)
        inspect(AudioSource(temporary))


def _is_current(wav: Path, archive: Path) -> bool:
    try:
        inspect(AudioSource(wav))
        return wav.stat().st_mtime_ns >= archive.stat().st_mtime_ns
    except (OSError, BadInput):
        return False
