"""Databases of Optuna's studies: an SQLite file, or PostgreSQL for several machines.

A file may come from someone else. SQLite would run the views and triggers that it holds, and follow the
journals beside it, so that a file is looked at before Optuna opens it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from sertransfer.errors import Faults, SertransferError, bad_input
from sertransfer.io.files import make_folder, open_own, refuse_links, regular_file, storage_error
from sertransfer.io.spelling import mask_secrets

HEARTBEAT = 5
"""Seconds between two heartbeats of a trial."""

GRACE = 15
"""Seconds without a heartbeat after which a trial counts as failed."""

_RETRY_SECONDS = 0.5
_LOCK_SECONDS = 60.0
"""Most seconds to wait while another process writes to an SQLite file."""

_TURNS = 5
_MADE_BY_ANOTHER = ("already exists", "UNIQUE constraint")
"""What databases say when two workers make the same tables."""

_SQLITE = b"SQLite format 3\0"
_JOURNALS = ("-journal", "-wal", "-shm")
"""Ends of the names of what SQLite keeps beside a database while it writes, and after a kill."""

_NAMES_A_FILE = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
"""End of a journal that names a file for SQLite to remove, as one over several databases does."""

_MOST_OBJECTS = 100
"""More than the tables and indexes of Optuna."""

_MOST_TRIALS = 100_000
"""Most trials in a file: Optuna reads them all at each step."""

_LOOKS = 20_000
"""How many thousand instructions SQLite may take to list a file's tables and count its trials."""

_ALEMBIC = """CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)"""
"""The table that Alembic adds to Optuna's."""

_SAFELY = "PRAGMA trusted_schema = OFF"


class StudyStorage(RDBStorage):
    """A database of studies that knows its place for messages."""

    def __init__(self, url: str, place: str | Path, **engine: Any) -> None:
        self.place = place
        with no_experimental_warnings():
            super().__init__(
                url,
                engine_kwargs=engine,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
            )

    def record_heartbeat(self, trial_id: int) -> None:
        """Record that a trial is at work; in Optuna's thread, an error is left to the trial's own writes.

        The thread would print a traceback beside the message that the failing disk gets.
        """
        try:
            super().record_heartbeat(trial_id)
        except Exception:  # not logged either: the log lies on the same disk
            if threading.current_thread() is threading.main_thread():
                raise


def open_storage(where: str | Path) -> StudyStorage:
    """Open a study storage.

    Args:
        where: An SQLite file, made where there is none, or the URL of a database (``postgresql://...``).

    Raises:
        BadInput: If it cannot be opened; a password in the URL is not printed.
        StorageError: If the disk does not take the file.
    """
    text = str(where)
    path = _sqlite_path(text)
    if path is None and text.startswith("sqlite"):
        raise bad_input(
            f"storage {mask_secrets(text)}",
            found="an SQLite URL with options or a driver",
            expected="the path of a file, or postgresql://...",
            remedy="give the path alone",
        )
    if path is None:
        # a connection may have been closed by the server while a trial was running
        driver = "check the URL and the server; PostgreSQL needs a driver: pip install 'psycopg[binary]'"
        return _open(text, f"storage {mask_secrets(text)}", driver, pool_pre_ping=True)
    make_folder(path.parent)
    with reading(path), os.fdopen(open_own(path, os.O_RDWR | os.O_CREAT), "rb") as stream:
        head = stream.read(len(_SQLITE))
    if head not in (b"", _SQLITE):
        old = head.startswith(b'{"op_code"')
        raise bad_input(
            path,
            found="the study journal of an earlier version"
            if old
            else "a file that is not an SQLite database",
            expected="an SQLite file of 'sertransfer tune', or a path where one can be made",
            remedy="give another --storage",
        )
    with reading(path):
        _check_journals(path)
        if head:
            _check_tables(path)
    # the path goes past the URL, whose characters it need not have
    return _open("sqlite:///study.db", path, "give another --storage", creator=partial(_connect, path))


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_LOCK_SECONDS, check_same_thread=False)
    database.execute(_SAFELY)
    return database


def _check_journals(path: Path) -> None:
    """Refuse journals beside a database that would lead SQLite to write or remove other files."""
    journals = [path.with_name(path.name + end) for end in _JOURNALS]
    refuse_links(*journals)
    with contextlib.suppress(FileNotFoundError), regular_file(journals[0]).open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - len(_NAMES_A_FILE)))
        if stream.read() == _NAMES_A_FILE:
            raise bad_input(
                journals[0],
                found="a journal that names another file, which SQLite would remove",
                expected="a journal of 'sertransfer tune', which names none",
                remedy="remove it if the folder came from someone else",
            )


def _check_tables(path: Path) -> None:
    """Refuse a database that holds anything but Optuna's tables, before Optuna runs what it holds.

    A view or trigger is a program: one that calls itself never ends. What a killed process left half
    written is taken back here first, so that what is looked at is what Optuna will read.
    """
    left = iter(range(_LOOKS))
    with contextlib.closing(_connect(path)) as database:
        database.execute("PRAGMA query_only = ON")
        database.set_progress_handler(lambda: next(left, None) is None, 1000)
        objects = database.execute(f"SELECT type, name, sql FROM sqlite_master LIMIT {_MOST_OBJECTS}")
        faults, own = Faults(), _own_tables()
        names = set()
        for kind, name, sql in objects.fetchall():
            names.add(name)
            implied = kind == "index" and sql is None and str(name).startswith("sqlite_autoindex_")
            if not implied and own.get(name) != _bare(sql):
                faults.add(
                    path,
                    found=f"the {str(kind)[:20]} '{str(name)[:60]}', which Optuna does not make"
                    + (" like this" if name in own else ""),
                    expected="the tables of Optuna, and no views, triggers or others",
                    remedy="give another --storage; do not use this file",
                )
        faults.raise_if_any()
        if "trials" in names:
            counted = database.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM trials LIMIT {_MOST_TRIALS + 1})"
            )
            if counted.fetchone()[0] > _MOST_TRIALS:
                raise bad_input(
                    path,
                    found=f"more than {_MOST_TRIALS} trials",
                    expected=f"at most {_MOST_TRIALS}",
                    remedy="give another --storage",
                )


@cache
def _own_tables() -> dict[str, str]:
    """Return the definition of each of Optuna's tables and indexes, by name, as :func:`_bare` gives it."""
    tables = models.BaseModel.metadata.sorted_tables
    made: dict[str, CreateTable | CreateIndex] = {table.name: CreateTable(table) for table in tables}
    made |= {str(index.name): CreateIndex(index) for table in tables for index in table.indexes}
    own = {name: _bare(sql.compile(dialect=sqlite.dialect())) for name, sql in made.items()}
    return own | {"alembic_version": _bare(_ALEMBIC)}


def _bare(sql: object) -> str:
    """Return a definition without what versions of SQLAlchemy write differently: spaces and quotes."""
    return "".join(str(sql).replace('"', "").split())


def _sqlite_path(text: str) -> Path | None:
    if "://" not in text:
        return Path(text).absolute()
    if text.startswith("sqlite:///") and "?" not in text:
        return Path(text.removeprefix("sqlite:///")).absolute()
    return None


def _open(url: str, place: str | Path, remedy: str, **engine: Any) -> StudyStorage:
    for turn in range(1, _TURNS + 1):
        try:
            return StudyStorage(url, place, **engine)
        except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own
            if turn < _TURNS and any(words in str(error) for words in _MADE_BY_ANOTHER):
                time.sleep(_RETRY_SECONDS)
                continue
            trouble = storage_error(error, place)
            if trouble is not None:
                raise trouble from error
            reason = " ".join(str(error).split()).replace(url, "the URL").split(" (Background")[0]
            raise bad_input(
                place,
                found=f"{type(error).__name__}: {reason}",
                expected="a database that can be reached and read",
                remedy=remedy,
            ) from None
    raise AssertionError("not reached")


@contextmanager
def no_experimental_warnings() -> Iterator[None]:
    """Keep Optuna's remark that its heartbeats are experimental out of the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


@contextmanager
def reading(place: str | Path) -> Iterator[None]:
    """Turn what goes wrong with the storage at *place* into :func:`study_error`."""
    try:
        yield
    except SertransferError:
        raise
    except Exception as error:  # a damaged database is taken at its word, so that any may come
        raise study_error(error, place) from error


def study_error(error: Exception, place: str | Path) -> SertransferError:
    """Return what went wrong with the storage at *place* as an error that says what to do."""
    trouble = storage_error(error, mask_secrets(str(place)))
    if trouble is not None:
        return trouble
    reason: BaseException = error
    while (link := reason.__cause__ or reason.__context__) is not None:
        reason = link
    text = " ".join(str(reason).split())[:200]
    return bad_input(
        place,
        found=f"studies that cannot be read or written ({type(reason).__name__}: {text})",
        expected="an undamaged database of 'sertransfer tune' that can be reached",
        remedy="give another --storage",
    )
