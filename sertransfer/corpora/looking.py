"""How the recordings of a corpus are looked at while it is read: all of them, a share, or not again.

Looking is what takes time and what is divided among machines: opening headers, unpacking archives, measuring
levels. Tables and transcripts are small. So a corpus reader stays one function of root and options, and asks
:func:`looking` for what only the sound can tell. A shard looks at its share and keeps what it saw
(:class:`Share`); the merge reads the corpus once more with what all shards saw (:class:`Seen`). Whatever
depends on all rows, such as the split, is so decided by the same code on the same values as in a single run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from sertransfer.audio.reading import AudioInfo, inspect
from sertransfer.errors import BadInput, Fault
from sertransfer.manifest import AudioSource
from sertransfer.sharding import Shard
from sertransfer.timebase import SAMPLE_RATE

UNSEEN = AudioInfo(SAMPLE_RATE, 2**53, 1)
"""Stands for a recording that another shard looks at: so long that no time is past its end."""

Found = tuple[str, str]
"""A recording, and what was asked of it: ``header`` or ``gain``."""


class Recordings:
    """Looks at every recording."""

    def holds(self, key: str) -> bool:
        """Return whether the recording, or session, *key* is to be looked at."""
        return True

    def inspect(self, source: AudioSource) -> AudioInfo:
        """Return the header of *source*.

        Raises:
            BadInput: As :func:`sertransfer.audio.reading.inspect`.
        """
        return AudioInfo(*self._take(source, "header", lambda: astuple(inspect(source))[:3]))

    def gain(self, source: AudioSource, measure: Callable[[], float]) -> float:
        """Return the gain of *source*, which *measure* takes from its sound.

        Raises:
            BadInput: What *measure* raises.
        """
        return float(self._take(source, "gain", measure))

    def _take(self, source: AudioSource, kind: str, look: Callable[[], Any]) -> Any:
        return look()


@dataclass
class Share(Recordings):
    """Looks at the recordings of *shard*, and keeps what it saw.

    Attributes:
        shard: Which share.
        base: Folder that the recordings' names are relative to.
        values: What was found.
        faults: What was wrong instead.
    """

    shard: Shard
    base: Path
    values: dict[Found, Any] = field(default_factory=dict)
    faults: dict[Found, tuple[Fault, ...]] = field(default_factory=dict)

    def holds(self, key: str) -> bool:
        """Return whether *key* is in the share."""
        return self.shard.holds(key)

    def _take(self, source: AudioSource, kind: str, look: Callable[[], Any]) -> Any:
        what = _name(source, self.base), kind
        try:
            self.values[what] = look()
        except BadInput as error:
            self.faults[what] = error.faults
            raise
        return self.values[what]


@dataclass
class Seen(Recordings):
    """Looks at nothing: knows what shards saw.

    Attributes:
        base: Folder that the recordings' names are relative to.
        values: What was found.
        faults: What was wrong instead.
        asked: What was asked for.
    """

    base: Path
    values: Mapping[Found, Any]
    faults: Mapping[Found, tuple[Fault, ...]]
    asked: set[Found] = field(default_factory=set)

    @property
    def unknown(self) -> list[str]:
        """The recordings that were asked for and that no shard saw."""
        return sorted({name for name, _ in self.asked - self.values.keys() - self.faults.keys()})

    @property
    def unasked(self) -> list[str]:
        """The recordings that a shard saw and that were not asked for."""
        return sorted({name for name, _ in (self.values.keys() | self.faults.keys()) - self.asked})

    def _take(self, source: AudioSource, kind: str, look: Callable[[], Any]) -> Any:
        what = _name(source, self.base), kind
        self.asked.add(what)
        if what in self.faults:
            raise BadInput(self.faults[what])
        return self.values.get(what, 1.0 if kind == "gain" else astuple(UNSEEN))


def _name(source: AudioSource, base: Path) -> str:
    path = Path(os.path.relpath(source.path, base)).as_posix()
    return path if source.member is None else f"{path}!{source.member}"


_current: ContextVar[Recordings] = ContextVar("recordings", default=Recordings())  # noqa: B039 (has no state)


def looking() -> Recordings:
    """Return how recordings are looked at now."""
    return _current.get()


@contextmanager
def look_with(recordings: Recordings) -> Iterator[None]:
    """Have corpora read with *recordings*."""
    token = _current.set(recordings)
    try:
        yield
    finally:
        _current.reset(token)
