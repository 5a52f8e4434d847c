"""The sessions of E-DAIC: folders ``data/<id>_P``, and archives ``data/<id>_P.tar.gz`` read as a stream.

A tar.gz can not be read in the middle, so nothing is cut from it in place: the transcript is read from it
each time (it is never written out), and the audio is extracted into a folder that the user names.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from sertransfer.audio.reading import inspect
from sertransfer.corpora.daic_sessions import TRANSCRIPT_LIMIT, Session, open_session
from sertransfer.corpora.e_daic_transcript import LEAVE_OUT, as_daic_woz
from sertransfer.errors import BadInput, Faults
from sertransfer.files import atomic_path
from sertransfer.manifest import AudioSource

FOLDER = "data"
AUDIO_LIMIT, LARGEST_MEMBER = 2**32, 2**36
"""Bytes of a recording, which is what a WAV file can hold, and of any member that is read past."""

_NAME = re.compile(r"([1-9]\d{0,8})_P(\.tar\.gz|\.tgz)?", re.IGNORECASE | re.ASCII)


def find_sessions(root: Path) -> dict[int, list[Path]]:
    """Return the containers of each session, its folder before its archive."""
    sessions: dict[int, list[Path]] = {}
    folder = root / FOLDER
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _NAME.fullmatch(entry.name)
        if match is not None and (entry.is_file() if match[2] else entry.is_dir()):
            sessions.setdefault(int(match[1]), []).append(entry)
    for containers in sessions.values():
        containers.sort(key=lambda path: (path.is_file(), path.name))
    return sessions


@dataclass(frozen=True)
class EDaicSession(Session):
    """A session of E-DAIC.

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
    """

    audio_folder: Path | None
    faults: Faults

    def open(self, number: int, containers: list[Path]) -> EDaicSession | None:
        """Return session *number*, from its folder if that is complete, else from its archive."""
        archives = [container for container in containers if container.is_file()]
        problems = Faults()
        for folder in (container for container in containers if container.is_dir()):
            session = open_session(number, [folder], problems)
            if session is not None and (session.complete or not archives):
                self.faults.extend(problems, skippable=True)
                return self._from_folder(session)
        return self._from_archive(number, archives[0]) if archives else None

    def _from_folder(self, session: Session) -> EDaicSession:
        table = None
        if session.transcript is not None:
            try:
                data = session.read_transcript()
            except OSError as error:
                self._bad(session.transcript_name, str(error), "a readable transcript")
            else:
                table = as_daic_woz(data, session.transcript_name, self.faults)
        wav = session.container / session.audio if session.audio is not None else None
        transcript = session.transcript if table is not None else None
        return EDaicSession(
            session.name, session.container, session.audio, transcript, False, wav, table or b""
        )

    def _from_archive(self, number: int, archive: Path) -> EDaicSession | None:
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
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            self._bad(archive, f"an archive that can not be extracted ({error})", "a whole tar.gz")
            return None
        table = None
        if members.transcript is None:
            self._bad(archive, f"no {number}_Transcript.csv", "audio and transcript of the session")
        else:
            table = as_daic_woz(members.transcript, f"{archive}!{members.transcript_name}", self.faults)
        if members.audio_name is None:
            self._bad(archive, f"no {number}_AUDIO.wav", "audio and transcript of the session")
        transcript = members.transcript_name if table is not None else None
        return EDaicSession(name, archive, members.audio_name, transcript, True, wav, table or b"")

    def _bad(self, where: object, found: str, expected: str, remedy: str = LEAVE_OUT) -> None:
        self.faults.add(where, found=found, expected=expected, remedy=remedy, skippable=True)


@dataclass
class _Members:
    audio_name: str | None = None
    transcript_name: str | None = None
    transcript: bytes | None = None


def _read_archive(archive: Path, number: int, wav: Path) -> _Members:
    """Read the transcript and extract the audio to *wav*, unless it is there and newer than the archive.

    Raises:
        BadInput: If the audio is not whole.
        OSError, EOFError, zlib.error, tarfile.TarError: If the archive can not be read, or *wav* not written.
    """
    members = _Members()
    current = _is_current(wav, archive)
    with tarfile.open(archive, "r|gz") as stream:
        for member in stream:
            _check_size(member, LARGEST_MEMBER)
            name = PurePosixPath(member.name).name.casefold()
            content = stream.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            if name == f"{number}_transcript.csv":
                members.transcript_name = member.name
                _check_size(member, TRANSCRIPT_LIMIT)
                members.transcript = content.read()
            elif name == f"{number}_audio.wav":
                members.audio_name = member.name
                _check_size(member, AUDIO_LIMIT)
                if not current:
                    _write(content, wav)
            if members.audio_name is not None and members.transcript is not None:
                break
    return members


def _check_size(member: tarfile.TarInfo, most: int) -> None:
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
