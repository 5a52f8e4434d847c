"""A corpus prepared in shares ``i/n``, on as many machines, and merged to the manifest of a single run.

A shard's CSV has one row for each recording of its share, with what its header says and the gain that was
measured (where one was asked for); the JSON beside it says of which corpus, with which settings, and holds
the faults. The merge reads the corpus's tables once more and takes from the shards what only the recordings
tell: see :mod:`sertransfer.corpora.looking`. So the manifest and its notes are, byte for byte, those of a
single run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer import __version__
from sertransfer.config import load_config
from sertransfer.corpora.looking import Found, Seen, Share, look_with
from sertransfer.corpora.prepare import check_output, prepare, reporting
from sertransfer.corpora.registry import find_corpus
from sertransfer.errors import BadInput, Fault, Faults, bad_input
from sertransfer.io.files import hash_file, write_json, write_text
from sertransfer.io.plain_values import parse_json
from sertransfer.manifest import Manifest, notes_path
from sertransfer.sharding import Shard

COLUMNS = ["recording", "sample_rate", "samples", "channels", "gain"]

SAME = ("corpus", "root", "options", "skip_bad", "sertransfer")
"""What all shards of a corpus must have in common, besides their number."""


@dataclass(frozen=True)
class ShardFile:
    """What one shard left behind.

    Attributes:
        path: Its CSV.
        shard: Which share it is.
        about: The values of :data:`SAME`, and ``given``, the root as it was typed.
        values: What its recordings told, and
        faults: what was wrong with them; by recording, relative to the root.
    """

    path: Path
    shard: Shard
    about: dict[str, Any]
    values: dict[Found, Any]
    faults: dict[Found, tuple[Fault, ...]]

    @property
    def recordings(self) -> int:
        """Number of recordings that were looked at."""
        return len({name for name, _ in [*self.values, *self.faults]})


def prepare_shard(
    corpus: str, root: Path, options: Any, output: Path, shard: Shard, *, skip_bad: bool = False
) -> ShardFile:
    """Look at the recordings of *shard* alone and write what they tell.

    Args:
        corpus: Name in :data:`sertransfer.corpora.registry.CORPORA`.
        root: The corpus root; it is only ever read.
        options: The corpus's ``Options``; ``None`` for the defaults.
        output: The shard's CSV.
        shard: Which share.
        skip_bad: Note what is wrong with single recordings, for the merge to leave them out.

    Raises:
        BadInput: With every fault of the tables and of the recordings of this share, which are also written
            to ``*.faults.json``.
    """
    entry = find_corpus(corpus)
    root, output = Path(root), Path(output)
    options = entry.options() if options is None else options
    check_output(output)
    faults, share = Faults(skip_bad=skip_bad), Share(shard, _base(root))
    with reporting(faults, output), look_with(share):
        entry.read(root, options, faults)
        faults.raise_if_any()
    about = {
        "corpus": corpus,
        "root": str(root.resolve()),
        "options": json.loads(json.dumps(asdict(options))),
        "skip_bad": skip_bad,
        "sertransfer": __version__,
        "given": str(root),
    }
    made = ShardFile(output, shard, about, share.values, share.faults)
    _write(made)
    return made


def _base(root: Path) -> Path:
    return root.parent if root.is_file() else root


def _write(made: ShardFile) -> None:
    rows: dict[str, dict[str, Any]] = {}
    for (name, kind), value in sorted(made.values.items()):
        row = rows.setdefault(name, dict.fromkeys(COLUMNS, "") | {"recording": name})
        row |= {"gain": repr(value)} if kind == "gain" else dict(zip(COLUMNS[1:4], value, strict=True))
    table = pd.DataFrame(list(rows.values()), columns=COLUMNS)
    write_text(made.path, table.to_csv(index=False, lineterminator="\n"))
    faults = [
        {"recording": name, "asked": kind, "faults": [fault.as_dict() for fault in found]}
        for (name, kind), found in sorted(made.faults.items())
    ]
    notes = {"shard": asdict(made.shard), **made.about, "faults": faults, "sha256": hash_file(made.path)}
    write_json(notes_path(made.path), notes)


def read_shard(path: Path) -> ShardFile:
    """Read what :func:`prepare_shard` wrote.

    Raises:
        BadInput: If that is not what is there, or it was changed.
    """
    try:
        notes = parse_json(notes_path(path).read_text(encoding="utf-8"))
        shard = Shard(**notes["shard"])
        if notes["sha256"] != hash_file(path):
            raise ValueError("a table that was changed since it was written")
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        values: dict[Found, Any] = {}
        for name, rate, samples, channels, gain in table[COLUMNS].itertuples(index=False, name=None):
            if rate:
                values[name, "header"] = (int(rate), int(samples), int(channels))
            if gain:
                values[name, "gain"] = float(gain)
        faults = {
            (entry["recording"], entry["asked"]): tuple(Fault(**fault) for fault in entry["faults"])
            for entry in notes["faults"]
        }
        about = {key: notes[key] for key in (*SAME, "given")}
        return ShardFile(path, shard, about, values, faults)
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"no file {error.filename}" if isinstance(error, FileNotFoundError) else str(error)
        if isinstance(error, KeyError):
            found = f"notes without {error}"
        raise bad_input(
            path,
            found=found,
            expected="a shard's CSV with its JSON beside it",
            remedy="name what 'sertransfer prepare ... --shard I/N' wrote, or run that shard again",
        ) from None


def merge_shards(paths: Sequence[Path], output: Path) -> Manifest:
    """Write the manifest of the corpus whose shards are at *paths*, in any order.

    Raises:
        BadInput: If a shard is missing, there twice, or of another corpus, root or settings than the
            first; if the corpus was changed since; and with every fault of the corpus.
    """
    output = Path(output)
    check_output(output)
    shards = _read_all([Path(path) for path in paths])
    about = shards[0].about
    entry = find_corpus(about["corpus"])
    given = Path(about["given"])
    root = given if str(given.resolve()) == about["root"] else Path(about["root"])
    seen = Seen(
        _base(root),
        {what: value for shard in shards for what, value in shard.values.items()},
        {what: faults for shard in shards for what, faults in shard.faults.items()},
    )

    def read(root: Path, options: Any, faults: Faults) -> Manifest:
        with look_with(seen):
            manifest = entry.read(root, options, faults)
        _check_seen(seen, len(shards))
        return manifest

    options = load_config(entry.options, None, about["options"])
    return prepare(about["corpus"], root, options, output, skip_bad=about["skip_bad"], read=read)


def _read_all(paths: Sequence[Path]) -> list[ShardFile]:
    """Read the shards and refuse what is not one whole set of them; all that is wrong at once."""
    faults = Faults()
    shards: list[ShardFile] = []
    for path in paths:
        try:
            shards.append(read_shard(path))
        except BadInput as error:
            faults.extend(error.faults)
    places: dict[Shard, Path] = {}
    for shard in shards:
        first = shards[0]
        for key in SAME:
            if shard.about[key] != first.about[key]:
                faults.add(
                    shard.path,
                    found=f"{key} {_shown(shard.about[key], first.about[key])}",
                    expected=f"{_shown(first.about[key], shard.about[key])}, as in {first.path}",
                    remedy="merge shards of one corpus and of the same settings",
                )
        if shard.shard.count != first.shard.count:
            faults.add(
                shard.path,
                found=f"shard {shard.shard}",
                expected=f"a shard of {first.shard.count}, as {first.path} is",
                remedy="merge shards of one division",
            )
        elif shard.shard in places:
            faults.add(
                shard.path,
                found=f"shard {shard.shard} again (first in {places[shard.shard]})",
                expected="each shard once",
                remedy="leave one of the two out",
            )
        places.setdefault(shard.shard, shard.path)
    if shards:
        count = shards[0].shard.count
        missing = [index for index in range(1, count + 1) if Shard(index, count) not in places]
        if missing:
            names = ", ".join(str(Shard(index, count)) for index in missing)
            faults.add(
                "merge",
                found=f"no shard {names}",
                expected=f"all {count} shards",
                remedy=f"run 'sertransfer prepare ... --shard {Shard(missing[0], count)}', or name its file",
            )
    elif not len(faults):
        faults.add("merge", found="no shards", expected="their CSVs", remedy="name them")
    faults.raise_if_any()
    return shards


def _shown(value: Any, other: Any) -> str:
    """Return *value* as text; of settings only those that differ from *other*."""
    if isinstance(value, dict) and isinstance(other, dict):
        return ", ".join(
            f"{key} {value.get(key)}" for key in value | other if value.get(key) != other.get(key)
        )
    return f"'{value}'"


def _check_seen(seen: Seen, shards: int) -> None:
    """Refuse a corpus that is not the one that the shards looked at.

    Raises:
        BadInput: Naming recordings.
    """
    faults = Faults()
    for names, found in (
        (seen.unknown, "{} recordings that no shard looked at"),
        (seen.unasked, "shards that looked at {} recordings which the corpus no longer has"),
    ):
        if names:
            shown = ", ".join(names[:3])
            more = ", ..." if len(names) > 3 else ""
            faults.add(
                seen.base,
                found=f"{found.format(len(names))} ({shown}{more})",
                expected="the corpus as it was when its shards were prepared",
                remedy=f"run all {shards} shards again",
            )
    faults.raise_if_any()
