"""Sessions of E-DAIC: folders ``data/<id>_P``, and archives ``data/<id>_P.tar.gz`` that are read as a stream.

A tar.gz cannot be read in the middle, so nothing is cut from it in place: 'prepare' extracts the audio into a
folder that the user names, and the transcript is read from the archive (it is never written out). What an
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
from functools import partial
from pathlib import Path
from typing import IO

from sertransfer.audio.reading import inspect
from sertransfer.corpora.interviews.sessions import (
    SESSION_NAME,
    TRANSCRIPT_LIMIT,
    Session,
    member_of,
    open_session,
    preference,
)
from sertransfer.corpora.interviews.transcript import LEAVE_OUT, as_daic_woz
from sertransfer.corpora.video import Extraction
from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.io.files import regular_file
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
        archive = needed_archive(number, containers)
        if archive is not None:
            return self.from_archive(number, archive)
        problems = Faults()
        session = open_session(number, [path for path in containers if path.is_dir()], problems)
        self.faults.extend(problems, skippable=True)
        return self._from_folder(session) if session is not None else None

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
        """Return session *number*, its audio from the audio folder; ``None`` with a fault."""
        if self.audio_folder is None:
            remedy = (
                "name a folder for the audio with --audio_folder DIR, or unpack the archive beside itself"
            )
            self._bad(archive, "a session that is not unpacked", "a folder of the session", remedy)
            return None
        told = any(fault.where == str(archive) for fault in self.faults)  # by the extraction
        place = audio_place(number)
        wav = self.audio_folder / place
        try:
            member, data = _read_transcript(archive, number)
        except BadInput as error:
            self.faults.extend(error.faults, skippable=True)
            member, data = "", b""
        except _DAMAGE as error:
            self.faults.extend([] if told else _damaged(archive, error).faults, skippable=True)
            return None
        if not wav.is_file() and not told:
            expected = f"its audio in {self.audio_folder}"
            self._bad(archive, f"no {place} there", expected, "run 'sertransfer prepare', which extracts it")
        table = self.convert(data, f"{archive}!{member}", self.faults) if member else None
        audio = place if wav.is_file() else None
        transcript = member if table is not None else None
        return ConvertedSession(f"{number}_P", archive, audio, transcript, True, wav, table or b"")

    def _bad(self, where: object, found: str, expected: str, remedy: str = LEAVE_OUT) -> None:
        self.faults.add(where, found=found, expected=expected, remedy=remedy, skippable=True)


@dataclass(frozen=True)
class _Member:
    """A member of an archive; one that is not *plain* is a link, a folder or a device."""

    name: str
    size: int
    plain: bool
    open: Callable[[], IO[bytes]]


def needed_archive(number: int, containers: list[Path], in_place: tuple[str, ...] = ()) -> Path | None:
    """Return the archive that the audio of session *number* has to be extracted from, ``None`` if from none.

    Args:
        number: The session.
        containers: Its folders and archives.
        in_place: Endings of archives that are read where they are, as folders are.
    """
    direct = [path for path in containers if path.is_dir() or path.suffix.lower() in in_place]
    session = open_session(number, direct, Faults())
    archives = [path for path in containers if path not in direct]
    return archives[0] if archives and (session is None or not session.complete) else None


def archive_extraction(number: int, archive: Path) -> Extraction:
    """Return the extraction of the audio of session *number* from its archive."""
    return Extraction(archive, audio_place(number), partial(extract_session, number))


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


@contextmanager
def _find(archive: Path, number: int, name: str) -> Iterator[_Member]:
    """Open the archive at its member *name*, in any case of letters, of session *number*.

    Raises:
        BadInput: If there is none, or only a link.
        OSError, EOFError, and others of _DAMAGE: If the archive cannot be read.
    """
    passed, link = 0, False
    with _members_of(archive) as stream:
        for member in stream:
            passed += member.size
            if passed > LARGEST_ARCHIVE:
                raise OSError(f"{passed} bytes up to {member.name}")
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


@contextmanager
def _members_of(archive: Path) -> Iterator[Iterator[_Member]]:
    """Open an archive, of whichever kind its content is."""
    archive = regular_file(archive)
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
