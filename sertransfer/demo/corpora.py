"""Demo corpora: generated sound in the layouts of LSSED, IEMOCAP and DAIC-WOZ, to run all of it unlicensed.

The sound is made by :mod:`sertransfer.demo.synthesis` in numpy rather than by espeak-ng: every sample
follows from a seed, no binary and no voice data are needed, and the prosody that carries the emotion is
under control. The same settings give the same bytes (on the same releases of numpy and scipy). Every
corpus carries ``DEMO.txt``, which says that it is generated and with which settings; no score on it says
anything about people.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sertransfer.demo import daic_woz, emotion
from sertransfer.errors import bad_input
from sertransfer.io.files import regular_file, write_text
from sertransfer.io.progress import tracked
from sertransfer.manifest import GENERATED_MARKER

GENERATOR = 1
"""Raised whenever the same settings give other bytes."""

_TEXT = (
    "Generated, not real speech. This folder was written by sertransfer's demo generator in the layout of"
    " {corpus}; it holds nothing of that corpus, and a score on it says nothing about people.\n"
    "settings: {settings}\n"
)

Job = Callable[[], None]


def make_lssed(
    folder: Path,
    *,
    speakers: int = 24,
    utterances_per_speaker: int = 24,
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Make the emotion corpus in LSSED's layout, unless it is there already; return *folder*.

    Args:
        folder: The corpus root; it must not exist, be empty, or hold this very demo.
        speakers: Number of speakers, every other one female.
        utterances_per_speaker: Four classes in turn, two of 24 utterances in other classes.
        seed: Of everything that is drawn.
        progress: Whether to show a progress bar on standard error.

    Raises:
        BadInput: If *folder* holds something else, or a number is not positive.
    """
    settings = {"speakers": speakers, "utterances_per_speaker": utterances_per_speaker, "seed": seed}
    _check(settings)

    def plan(root: Path) -> list[Job]:
        return emotion.plan_lssed(root, speakers, utterances_per_speaker, seed)

    return _make_once(Path(folder), "LSSED", settings, plan, progress)


def make_iemocap(
    folder: Path, *, dialogs: int = 2, turns: int = 16, seed: int = 0, progress: bool = False
) -> Path:
    """Make the dialogues in IEMOCAP's layout, unless they are there already; return *folder*.

    Args:
        folder: The corpus root; it must not exist, be empty, or hold this very demo.
        dialogs: Number of dialogs in each of the five sessions.
        turns: Number of turns in a dialog; from 9 on, each dialog holds all four classes.
        seed: Of everything that is drawn.
        progress: Whether to show a progress bar on standard error.

    Raises:
        BadInput: If *folder* holds something else, or a number is not positive.
    """
    settings = {"dialogs": dialogs, "turns": turns, "seed": seed}
    _check(settings)

    def plan(root: Path) -> list[Job]:
        return emotion.plan_iemocap(root, dialogs, turns, seed)

    return _make_once(Path(folder), "IEMOCAP", settings, plan, progress)


def make_daic_woz(
    folder: Path, *, sessions: tuple[int, int, int] = (20, 12, 4), seed: int = 0, progress: bool = False
) -> Path:
    """Make the interviews in DAIC-WOZ's layout, unless they are there already; return *folder*.

    Args:
        folder: The corpus root; it must not exist, be empty, or hold this very demo.
        sessions: Number of sessions in the training, development and test split.
        seed: Of everything that is drawn.
        progress: Whether to show a progress bar on standard error.

    Raises:
        BadInput: If *folder* holds something else, a number is not positive, or there are more sessions
            than ids.
    """
    counts = dict(zip(("train", "dev", "test"), sessions, strict=True))
    _check({**counts, "seed": seed})
    if sum(sessions) > 150:
        raise bad_input(
            "demo interviews",
            found=f"{sum(sessions)} sessions",
            expected="150 at most, for DAIC-WOZ's ids to suffice",
            remedy="ask for fewer",
        )

    def plan(root: Path) -> list[Job]:
        return daic_woz.plan(root, counts, seed)

    return _make_once(Path(folder), "DAIC-WOZ", {"sessions": counts, "seed": seed}, plan, progress)


def make_demo(folder: Path, *, seed: int = 0, progress: bool = True) -> dict[str, Path]:
    """Make the demo corpora below *folder*; return their roots by corpus name: LSSED, IEMOCAP, DAIC-WOZ.

    Raises:
        BadInput: If a root holds something else.
    """
    home = Path(folder)
    return {
        "lssed": make_lssed(home / "lssed", seed=seed, progress=progress),
        "iemocap": make_iemocap(home / "iemocap", seed=seed, progress=progress),
        "daic-woz": make_daic_woz(home / "daic-woz", seed=seed, progress=progress),
    }


def _check(settings: dict[str, int]) -> None:
    for name, value in settings.items():
        least = 0 if name == "seed" else 1
        if value < least:
            raise bad_input(
                f"demo, {name}",
                found=value,
                expected=f"{least} or more",
                remedy="ask for a number of this range",
            )


def _make_once(
    folder: Path,
    corpus: str,
    settings: dict[str, Any],
    plan: Callable[[Path], Sequence[Job]],
    progress: bool,
) -> Path:
    """Run the jobs of *plan* in a temporary folder and rename it, or keep a complete demo that is there."""
    text = _TEXT.format(corpus=corpus, settings=json.dumps({"generator": GENERATOR, **settings}))
    if _is_complete(folder, text):
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise bad_input(
            folder,
            found="a demo of other settings, an incomplete one, or something else",
            expected="no such folder, an empty one, or this very demo",
            remedy="remove it or name another folder",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        _run(plan(temporary), f"demo {corpus}", progress)
        write_text(temporary / GENERATED_MARKER, text + _inventory(temporary))
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _run(jobs: Sequence[Job], description: str, progress: bool) -> None:
    """Run the jobs on every core; numpy and scipy compute outside the interpreter's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in tracked(futures, description, unit="files", shown=progress):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _inventory(folder: Path) -> str:
    sizes = [
        path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != GENERATED_MARKER
    ]
    return f"files: {len(sizes)}, bytes: {sum(sizes)}\n"


def _is_complete(folder: Path, text: str) -> bool:
    marker = folder / GENERATED_MARKER
    return marker.is_file() and regular_file(marker).read_text(encoding="utf-8") == text + _inventory(folder)
