"""``sertransfer share``: a copy of a finished run for others, with pseudonyms in place of subjects.

The copy is made beside its place and moved there whole. It is a run folder in form, so that ``tables`` and
``compare`` take it, and its report is drawn from the copy alone: what the copy does not hold cannot stand in
it. It has no manifest, log, embeddings or weights.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sertransfer.errors import bad_input
from sertransfer.files import hash_file, write_json, write_text
from sertransfer.reporting.html import write_report
from sertransfer.reporting.pseudonyms import KEY_FILE, LIST_FILE, Pseudonyms, read_key
from sertransfer.reporting.run_files import read_json, read_yaml
from sertransfer.run_folder import check_evidence
from sertransfer.scratch import replaced_folder
from sertransfer.verifying import HASH, with_hash

TABLES = (
    "subjects.csv",
    "sentences.csv",
    "out_of_fold.csv",
    "outer_subjects.csv",
    "utterances.csv",
    "utterances_adversarial.csv",
)
"""Tables of a run folder that name subjects."""

PLAIN = ("epochs.csv", "trials.csv")
"""Tables that name none."""

_WRITTEN = ("config.yaml", "inputs.json", "metrics.json", "report.html", "plots")
_NAMED = 5
"""Files that a message names."""

PEOPLE = ("subject", "speaker", "cluster")
"""Columns that name a subject."""

_MEMBERS = (
    "session",
    "subject",
    "speaker",
    "speakers",
    "train_subjects",
    "undecided_subjects",
    "inner_subjects",
)
"""Keys of ``metrics.json`` whose values name subjects."""


def share(run_dir: Path, target: Path, *, key: Path | None = None) -> list[Path]:
    """Write a copy of the run in *run_dir* to the folder *target*; return its files.

    Sentences and utterances are named after their subject and numbered, and their durations are left out:
    these would lead whoever holds the corpus back to its transcripts. The run folder keeps the key and the
    list of who is who.

    Args:
        run_dir: Folder of a finished run of either stage.
        target: New or empty folder, or an earlier copy, which is written over.
        key: Key file, made if it is not there; ``run_dir/pseudonyms.key`` if not given.

    Raises:
        BadInput: If there is no finished run, or *target* holds something else.
    """
    metrics = read_json(run_dir / "metrics.json", "the metrics of a finished run")
    check_evidence(run_dir, metrics)
    _check_target(run_dir, target)
    tables = {name: _read(run_dir / name) for name in TABLES if (run_dir / name).is_file()}
    subjects = {
        value for table in tables.values() for column in PEOPLE if column in table for value in table[column]
    }
    subjects |= set(_named(metrics))
    names = Pseudonyms(read_key(key or run_dir / KEY_FILE), sorted(subjects))
    listed = pd.DataFrame(sorted(names.names.items()), columns=["subject", "pseudonym"])
    write_text(run_dir / LIST_FILE, listed.to_csv(index=False, lineterminator="\n"))

    keep = frozenset(_classes(metrics))
    with replaced_folder(target, "share") as folder:
        for name, table in tables.items():
            write_text(folder / name, _renamed(table, names).to_csv(index=False, lineterminator="\n"))
        for name in PLAIN:
            if (run_dir / name).is_file():
                write_text(folder / name, (run_dir / name).read_text(encoding="utf-8"))
        settings = names.in_values(read_yaml(run_dir / "config.yaml"), keep=keep)
        write_text(folder / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
        if (run_dir / "inputs.json").is_file():
            write_json(folder / "inputs.json", read_json(run_dir / "inputs.json", "the inputs of a run"))
        hashes = {path.name: hash_file(path) for path in sorted(folder.glob("*.csv"))}
        shared = {**_metrics(metrics, names, keep), "pseudonyms": True, "files": hashes}
        write_json(folder / "metrics.json", with_hash({key: shared[key] for key in shared if key != HASH}))
        write_report(folder)
        written = sorted(path.name for path in folder.iterdir() if path.is_file())
    return [target / name for name in written]


def _check_target(run_dir: Path, target: Path) -> None:
    here, there = run_dir.resolve(), target.resolve()
    if here == there or here.is_relative_to(there):
        found = "the run folder itself, or one around it"
    elif target.is_symlink():
        found = f"a symbolic link to '{target.readlink()}'"
    elif target.is_dir() and any(target.iterdir()) and (others := _others(target)):
        found = f"a folder with other files: {', '.join(others)}"
    else:
        return
    raise bad_input(target, found=found, expected="a new folder", remedy="name another place: -o DIR")


def _others(folder: Path) -> list[str]:
    """Return what in *folder* an earlier copy has not; all of it where it holds none."""
    path = folder / "metrics.json"
    copied = path.is_file() and bool(read_json(path, "metrics").get("pseudonyms"))
    ours = {*TABLES, *PLAIN, *_WRITTEN} if copied else set()
    return sorted({path.name for path in folder.iterdir()} - ours)[:_NAMED]


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise bad_input(
            path, found=f"no table ({type(error).__name__})", expected="a run's table", remedy="run again"
        ) from None


def _named(value: Any, inside: bool = False) -> Iterator[str]:
    """Yield the subjects that *value*, out of ``metrics.json``, names by key."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _named(below, key in _MEMBERS)
    elif isinstance(value, list):
        for below in value:
            yield from _named(below, inside)
    elif inside and isinstance(value, str):
        yield value


def _classes(metrics: dict[str, Any]) -> Iterator[str]:
    """Yield every text that is a class's name, and the blocks that the report is found by."""
    yield from ("subject", "sentence", "utterance", "speaker")
    for block in (metrics, metrics.get("subject"), metrics.get("utterance"), metrics.get("encoder_details")):
        if isinstance(block, dict):
            yield from map(str, block.get("classes") or [])


def _metrics(metrics: dict[str, Any], names: Pseudonyms, keep: frozenset[str]) -> dict[str, Any]:
    """Return *metrics* without the items that were left out, which are counted, and without speakers."""
    left_out = metrics.get("left_out") or {}
    counted = {
        kind: [{"item": "a sentence", "reason": "named in the run's own metrics.json"}] * len(value)
        if isinstance(value, list) and value and isinstance(value[0], dict)
        else value
        for kind, value in left_out.items()
    }
    # a questionnaire's score beside the model's would lead whoever holds the corpus to the subject
    without = {key: value for key, value in metrics.items() if key != "severity"}
    told = {**without, "left_out": counted, "errata": _errata_kinds(metrics.get("errata") or [])}
    changed: dict[str, Any] = names.in_values(told, people=_MEMBERS, keep=keep)
    return changed


def _errata_kinds(errata: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the kinds of *errata* and how many sessions each was applied to.

    The sessions that need one, and by how many seconds, are published: the values would name them.
    """
    kinds = Counter(re.sub(r"-\w*\d+$", "", str(one.get("name", ""))) for one in errata)
    return [{"name": kind, "sessions": count} for kind, count in sorted(kinds.items())]


def _renamed(table: pd.DataFrame, names: Pseudonyms) -> pd.DataFrame:
    """Return *table* with pseudonyms, sorted by them, so that the order says nothing either."""
    renamed = table.drop(columns=[name for name in ("duration",) if name in table])
    for column in PEOPLE:
        if column in renamed:
            renamed[column] = [names.of(value) if value else value for value in renamed[column]]
    whose = next(column for column in PEOPLE if column in renamed)
    if "id" in renamed:
        renamed["id"] = [names.of(f"item {value}") for value in table["id"]]  # an order that tells nothing
        renamed = renamed.sort_values([whose, "id"], kind="stable")
        number = renamed.groupby(whose).cumcount() + 1
        renamed["id"] = renamed[whose] + "-" + number.astype(str).str.zfill(4)
    return renamed.sort_values([whose], kind="stable").reset_index(drop=True)
