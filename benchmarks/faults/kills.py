"""SIGKILL at random moments: nothing unreadable, nothing finished lost, and the run ends as undisturbed."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.forks import KILL_AFTER, KILL_BEFORE, Ended, fork, run_command
from faults.jobs import JOBS, Job, small_steps
from faults.whole import finished, hashes, lost, result, temporaries, unreadable

KILLS_A_RUN = 4
"""A run is killed up to as many times before it may go on to its end."""


def in_fork(call: Callable[[], Any], work: Path) -> Any:
    """Return what *call* returns, plain values, from a process of its own."""
    answer = work / "answer.json"
    answer.unlink(missing_ok=True)

    def write() -> int:
        answer.write_text(json.dumps(call()), encoding="utf-8")
        return 0

    child = fork(write, work / "answer.log")
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError((work / "answer.log").read_text(encoding="utf-8"))
    return json.loads(answer.read_text(encoding="utf-8"))


def look(place: Path, run: Path | None) -> dict[str, Any]:
    """Return all that is asked of a place after a kill, or of a finished run."""
    read, wrong = unreadable(place)
    return {
        "read": read,
        "wrong": wrong,
        "finished": {} if wrong else finished(place),
        "temporaries": temporaries(place),
        "result": None if run is None else result(run),
    }


class Trial:
    """One job in one place, killed and resumed; its own counts."""

    def __init__(self, job: Job, work: Path, seed: int, say: Callable[[str], None]) -> None:
        self.job, self.work, self.say = job, work, say
        self.random = random.Random(f"{seed} {job.name}")
        self.place, self.corpora = work / job.name, work / "corpora"
        self.counts: dict[str, Any] = {
            "kills": 0, "by_time": 0, "at_a_write": 0, "runs": 0, "resumed": 0, "files_read": 0,
            "unreadable": [], "lost": [], "differing": [], "temporaries_left": [], "failed": [],
            "clocks_set_back": 0,
        }  # fmt: skip
        self._earlier: dict[str, str] = {}

    def run(self, **fault: Any) -> Ended:
        """Run the job's command in its place."""
        words = self.job.command(self.place, self.corpora)
        return run_command(
            words, self.place, self.work / f"{self.job.name}.log", prepare=small_steps, **fault
        )

    def begin(self, keep: Path | None) -> None:
        """Make the place anew, with what earlier runs left in it."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        if keep is not None:
            shutil.copytree(keep, self.place / "earlier")
        self._earlier = hashes(self.place / "earlier")

    def undisturbed(self) -> tuple[Ended, dict[str, str]]:
        """Run to the end; return how it went, and the result that every killed run must come to."""
        self.begin(None)
        ended = self.run()
        if ended.status:
            raise RuntimeError(f"{self.job.name} fails undisturbed:\n{ended.text}")
        found = in_fork(lambda: look(self.place, self.place / self.job.run), self.work)
        if found["wrong"]:
            raise RuntimeError(f"{self.job.name}, undisturbed: {found['wrong']}")
        return ended, found["result"]

    def kill(self, kills: int) -> dict[str, Any]:
        """Kill the job's runs *kills* times, resume each, and return the counts."""
        start = time.monotonic()
        whole, expected = self.undisturbed()
        kept = self.work / f"{self.job.name}.earlier"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.place / self.job.run, kept)
        while self.counts["kills"] < kills:
            self.begin(kept)
            self._episode(kills, whole, expected)
            self.say(
                f"{self.job.name}: {self.counts['kills']} of {kills} kills, {time.monotonic() - start:.0f} s"
            )
        self.counts["seconds"] = round(time.monotonic() - start, 1)
        self.counts["undisturbed"] = {"seconds": round(whole.seconds, 2), "changes": whole.operations}
        shutil.rmtree(self.place)
        shutil.rmtree(kept)
        return self.counts

    def _episode(self, kills: int, whole: Ended, expected: dict[str, str]) -> None:
        before: dict[str, Any] = {}
        killed = 0
        for _ in range(self.random.randint(1, KILLS_A_RUN)):
            if self.counts["kills"] >= kills:
                break
            moment = self._moment(whole)
            ended = self.run(**moment)
            if not ended.killed:
                if ended.status:
                    self.counts["failed"].append(ended.text[-500:])
                break
            killed += 1
            self.counts["kills"] += 1
            self.counts["by_time" if "kill_after" in moment else "at_a_write"] += 1
            found = in_fork(lambda: look(self.place, None), self.work)
            self.count_files(found, before)
            before = found["finished"] or before
            if self.random.random() < 0.25:
                self._set_clock_back()
        ended = self.run()
        self.counts["runs"] += 1
        if ended.status:
            self.counts["failed"].append(ended.text[-500:])
            return
        self.counts["resumed"] += killed > 0
        found = in_fork(lambda: look(self.place, self.place / self.job.run), self.work)
        self.count_files(found, before)
        self.counts["temporaries_left"] += found["temporaries"]
        differing = [
            name for name in {*expected, *found["result"]} if expected.get(name) != found["result"].get(name)
        ]
        self.counts["differing"] += differing

    def _set_clock_back(self) -> None:
        """Have all that was written seem to be of tomorrow, as it is once a clock was set back by a day."""
        tomorrow = time.time() + 24 * 3600
        for path in self.place.rglob("*"):
            if path.is_file():
                os.utime(path, (tomorrow, tomorrow))
        self.counts["clocks_set_back"] += 1

    def _moment(self, whole: Ended) -> dict[str, Any]:
        """Return when to kill: at some time of the run's, or before or after some change that it makes."""
        if self.random.random() < 0.5:
            return {"kill_after": self.random.uniform(0.0, whole.seconds)}
        return {
            "fault": (self.random.randint(1, whole.operations), self.random.choice([KILL_BEFORE, KILL_AFTER]))
        }

    def count_files(self, found: dict[str, Any], before: dict[str, Any]) -> None:
        self.counts["files_read"] += found["read"]
        self.counts["unreadable"] += found["wrong"]
        if before and found["finished"]:
            self.counts["lost"] += lost(before, found["finished"])
        now = hashes(self.place / "earlier")
        self.counts["lost"] += [
            f"earlier/{name}" for name in self._earlier if now.get(name) != self._earlier[name]
        ]


def kill_all(
    work: Path, kills: int, seed: int, names: list[str], say: Callable[[str], None] = print
) -> dict[str, dict[str, Any]]:
    """Kill the named jobs, together *kills* times; return the counts of each."""
    shares = [kills // len(names) + (number < kills % len(names)) for number in range(len(names))]
    return {
        name: Trial(JOBS[name], work, seed, say).kill(share)
        for name, share in zip(names, shares, strict=True)
        if share
    }


def faulty(counts: dict[str, Any]) -> bool:
    """Return whether anything went wrong."""
    return any(counts[name] for name in ("unreadable", "lost", "differing", "failed"))
