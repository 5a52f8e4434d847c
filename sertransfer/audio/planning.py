"""Which utterance's features go where in a file, known from the headers of the recordings alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sertransfer.audio.contents import LFS_FOUND
from sertransfer.audio.reading import AudioInfo, inspect, resampled_length, segment_bounds
from sertransfer.audio.resting import RestingState, Speaker, no_state, speakers_of, uses_rest
from sertransfer.errors import BadInput, Fault, bad_input
from sertransfer.front_end import FrontEnd
from sertransfer.manifest import AudioSource, Manifest

Failure = tuple[str, Fault]
"""An utterance's id, and why it has no features."""

Entry = tuple[str, int, int]
"""An utterance's id, and its offset and length in frames."""


@dataclass(frozen=True)
class Job:
    """One utterance, and its place in the file in frames; times in seconds, ``None`` = to the end.

    ``state`` is its speaker's at rest, where the front end asks for it.
    """

    id: str
    source: AudioSource
    start: float | None
    end: float | None
    gain: float
    offset: int
    frames: int
    state: RestingState | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be computed, and what is known beforehand not to work: together, all of ``ids``."""

    front_end: FrontEnd
    ids: list[str]
    jobs: list[Job]
    failures: list[Failure]

    @property
    def frames(self) -> int:
        """Number of frames of all jobs."""
        return self.jobs[-1].offset + self.jobs[-1].frames if self.jobs else 0

    @property
    def dtype(self) -> str:
        """Half precision for logarithmic features; single for linear power, which overflows half."""
        return "float32" if self.front_end.log == "none" else "float16"

    def entries(self, failures: Iterable[Failure]) -> list[Entry]:
        """Return the entries of all utterances but those of *failures*."""
        failed = {identity for identity, _ in failures}
        return [(job.id, job.offset, job.frames) for job in self.jobs if job.id not in failed]


def make_plan(
    manifest: Manifest, front_end: FrontEnd, states: Mapping[Speaker, RestingState] | None = None
) -> Plan:
    """Give every utterance of *manifest* its place; recordings are looked at, not read.

    Args:
        manifest: The utterances.
        front_end: How their features are computed.
        states: The resting states of the speakers, for a front end that asks for them: an utterance whose
            speaker has none is a failure.

    Raises:
        BadInput: If there are no utterances.
    """
    table = manifest.table
    if len(table) == 0:
        raise bad_input(
            manifest.root, found="no utterances", expected="at least one", remedy="check splits and labels"
        )
    sources = {audio: manifest.source(audio) for audio in table["audio"].unique()}
    infos = {audio: _look(source) for audio, source in sources.items()}
    gains = table["gain"].fillna(1.0) if "gain" in table else [1.0] * len(table)
    jobs: list[Job] = []
    failures: list[Failure] = []
    offset = 0
    rate = front_end.framing.sample_rate
    for identity, audio, start, end, gain, speaker in zip(
        table["id"], table["audio"], table["start"], table["end"], gains, speakers_of(table), strict=True
    ):
        info, source = infos[audio], sources[audio]
        state = (states or {}).get(speaker)
        if uses_rest(front_end) and state is None:
            failures.append((identity, no_state(speaker)))
            continue
        if isinstance(info, Fault):
            failures.append((identity, info))
            continue
        times = [None if math.isnan(time) else float(time) for time in (start, end)]
        try:
            first, last = segment_bounds(info, times[0], times[1], source)
        except BadInput as error:
            failures.append(failure_of(identity, error))
            continue
        frames = front_end.framing.frames(resampled_length(last - first, info.sample_rate, rate))
        jobs.append(Job(identity, source, times[0], times[1], float(gain), offset, frames, state))
        offset += frames
    return Plan(front_end, table["id"].tolist(), jobs, failures)


def _look(source: AudioSource) -> AudioInfo | Fault:
    try:
        return inspect(source)
    except BadInput as error:
        return error.faults[0]


def failure_of(identity: str, error: BadInput) -> Failure:
    """Return what the utterance *identity* is left out for."""
    fault = error.faults[0]
    if fault.found == LFS_FOUND:  # one fault for all of them
        return identity, fault
    return identity, replace(fault, where=f"utterance '{identity}', {fault.where}")
