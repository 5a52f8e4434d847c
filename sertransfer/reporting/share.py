"""``sertransfer share``: a copy of a finished run for others, with pseudonyms in place of subjects."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b32encode
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sertransfer.errors import bad_input
from sertransfer.io.checksums import HASH, with_hash
from sertransfer.io.files import hash_file, refuse_links, regular_file, write_json, write_text
from sertransfer.io.run_folder import check_evidence
from sertransfer.io.scratch import replaced_folder
from sertransfer.reporting.report import write_report
from sertransfer.reporting.runs import read_json, read_yaml

KEY_FILE = "pseudonyms.key"
LIST_FILE = "pseudonyms.csv"
"""Files of a run folder; neither is ever shared."""

_SHORTEST = 3
"""Characters of an identity that is looked for inside texts: "11" may be a count as well."""
_KEY = re.compile(r"[0-9a-f]{64}")
_NUMBERED = re.compile(r"[A-Za-z][A-Za-z_. -]*(\d{3,})")
# an underscore parts words here, as in 302_AUDIO.wav; the digits of a fraction are none
_BEGIN = re.compile(r"(?<![A-Za-z0-9])(?<!\d\.)(?=.)", re.DOTALL)
_END = re.compile(r"(?![A-Za-z0-9]|\.\d)")
_PATH_KEY = re.compile(
    r"(?:^|_)(?:checkpoint|path|root|folder|dir|manifest|file|audio|embeddings|recording|run)s?(?:$|_)"
)
# Folders may hold blanks, so nothing tells where a path inside a text ends: everything up to the last
# separator goes. That takes too much of some texts and too little of none.
_ABSOLUTE = re.compile(r"(?:^|(?<=[\s'\"(=,;:]))(?:~|[A-Za-z]:)?[/\\](?=[^\s/\\]).*[/\\]", re.DOTALL)
_RELATIVE = re.compile(
    r"(?:^|(?<=['\"]))[^'\"]*[/\\](?=[^/\\'\"]*\.(?:safetensors|pth|pt|ckpt|bin|wav|flac|mp3|ogg|csv|tsv|jsonl?|"
    r"ya?ml|npz|npy|zip|tar|gz|html|txt|db)\b)",
    re.DOTALL | re.IGNORECASE,
)


def read_key(path: Path) -> bytes:
    """Return the key in *path*, which is made, for its owner alone, if it is not there.

    Raises:
        BadInput: If the file holds something else than a key.
    """
    if not path.exists():
        write_text(path, secrets.token_hex(32) + "\n")
    try:
        text = regular_file(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        text = type(error).__name__
    if not _KEY.fullmatch(text):
        raise bad_input(
            path,
            found="no key",
            expected="64 hexadecimal digits, as 'sertransfer share' writes them",
            remedy="name another file; one that is not there is made",
        )
    return bytes.fromhex(text)


def without_folders(text: str, key: str = "") -> str:
    """Return *text* without the folders that it names.

    Args:
        text: A path, or a sentence that may hold one.
        key: What the text is called; under the key of a path it is one, and its last part remains.
    """
    if _PATH_KEY.search(key):
        return re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    return _RELATIVE.sub("", _ABSOLUTE.sub("", text))


class Pseudonyms:
    """Replaces identities of subjects.

    Args:
        key: Secret; who has it can try identities until one fits.
        subjects: Identities. Where one is a word and a number, such as ``daic302``, the number alone stands
            for the subject too.
    """

    def __init__(self, key: bytes, subjects: Iterable[str]) -> None:
        self._key = key
        self.names = {subject: self._name(subject) for subject in dict.fromkeys(subjects) if subject}
        numbers = Counter(found[1] for subject in self.names if (found := _numbered(subject)))
        short = {
            found[1]: name
            for subject, name in self.names.items()
            if (found := _numbered(subject)) and numbers[found[1]] == 1
        }
        # one identity, one name: a number that is itself an identity is the person of that word and number
        self.names.update({number: name for number, name in short.items() if number in self.names})
        self._known = {**short, **self.names}
        # one pattern of all identities would try each of them at each place of a text
        self._lengths = sorted({len(name) for name in self._known if len(name) >= _SHORTEST}, reverse=True)

    def _name(self, subject: str) -> str:
        digest = hmac.new(self._key, subject.encode(), hashlib.sha256).digest()
        return "p" + b32encode(digest[:5]).decode("ascii").lower()

    def of(self, subject: str) -> str:
        """Return the pseudonym of *subject*, known or not."""
        return self._known.get(subject) or self._name(subject)

    def in_text(self, text: str, key: str = "") -> str:
        """Return *text* with every known subject replaced, and without the folders that it names."""
        text = without_folders(text, key)
        parts, done = [], 0
        for place in _BEGIN.finditer(text):
            start = place.start()
            if start < done:
                continue
            for length in self._lengths:  # the longest first
                found = text[start : start + length]
                if found in self._known and _END.match(text, start + length):
                    parts += [text[done:start], self._known[found]]
                    done = start + length
                    break
        return "".join([*parts, text[done:]])

    def in_values(
        self, value: Any, *, people: Collection[str] = (), keep: Collection[str] = (), key: str = ""
    ) -> Any:
        """Return nested plain values with their texts replaced.

        Args:
            value: Of mappings, lists and scalars.
            people: Keys whose texts, or lists of texts, are subjects whatever they say.
            keep: Texts that stay, such as names of classes.
            key: What the value is called; see :func:`without_folders`.
        """
        if isinstance(value, dict):
            return {
                self.in_values(name, keep=keep): self._members(below)
                if name in people and not isinstance(below, dict)
                else self.in_values(below, people=people, keep=keep, key=str(name))
                for name, below in value.items()
            }
        if isinstance(value, list):
            return [self.in_values(one, people=people, keep=keep, key=key) for one in value]
        return self.in_text(value, key) if isinstance(value, str) and value not in keep else value

    def _members(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._members(one) for one in value]
        return self.of(value) if isinstance(value, str) else value


def _numbered(subject: str) -> re.Match[str] | None:
    return _NUMBERED.fullmatch(subject)


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

_RECORD = ".copy.json"
"""File of a copy that lists what was written into it, so that no other file goes when it is replaced."""

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
        target: New or empty folder, or an earlier copy of this run, which is written over.
        key: Key file, made if it is not there; ``run_dir/pseudonyms.key`` if not given.

    Raises:
        BadInput: If there is no finished run, or *target* holds something else.
    """
    metrics = read_json(run_dir / "metrics.json", "the metrics of a finished run")
    refuse_links(*run_dir.iterdir())  # else a private file that one leads to would be in the copy
    check_evidence(run_dir, metrics)
    _check_target(run_dir, target)
    tables = {name: _read(run_dir / name) for name in TABLES if (run_dir / name).is_file()}
    subjects = {
        value for table in tables.values() for column in PEOPLE if column in table for value in table[column]
    }
    subjects |= set(_named(metrics))
    secret = read_key(key or run_dir / KEY_FILE)
    mark = _mark(run_dir, secret)
    _check_mark(target, mark)
    names = Pseudonyms(secret, sorted(subjects))
    listed = pd.DataFrame(sorted(names.names.items()), columns=["subject", "pseudonym"])
    write_text(run_dir / LIST_FILE, listed.to_csv(index=False, lineterminator="\n"))

    keep = frozenset(_classes(metrics))
    with replaced_folder(target, "share") as folder:
        for name, table in tables.items():
            write_text(folder / name, _renamed(table, names).to_csv(index=False, lineterminator="\n"))
        for name in PLAIN:
            if (run_dir / name).is_file():
                write_text(folder / name, regular_file(run_dir / name).read_text(encoding="utf-8"))
        settings = names.in_values(read_yaml(run_dir / "config.yaml"), keep=keep)
        write_text(folder / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
        if (run_dir / "inputs.json").is_file():
            write_json(folder / "inputs.json", read_json(run_dir / "inputs.json", "the inputs of a run"))
        hashes = {path.name: hash_file(path) for path in sorted(folder.glob("*.csv"))}
        shared = {**_metrics(metrics, names, keep), "pseudonyms": True, "files": hashes}
        write_json(folder / "metrics.json", with_hash({key: shared[key] for key in shared if key != HASH}))
        write_report(folder)
        written = sorted(path.name for path in folder.iterdir() if path.is_file())
        write_json(folder / _RECORD, {"files": sorted(_names(folder)), "run": mark})
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


def _mark(run_dir: Path, key: bytes) -> str:
    """Return what recognises the run by its settings and inputs, for those alone who hold the key."""
    told = (run_dir / name for name in ("config.yaml", "inputs.json"))
    texts = [regular_file(path).read_text(encoding="utf-8") for path in told if path.is_file()]
    return hmac.new(key, repr(texts).encode(), hashlib.sha256).hexdigest()[:32]


def _check_mark(target: Path, mark: str) -> None:
    if _recorded(target).get("run", mark) != mark:
        raise bad_input(
            target,
            found="a copy of another run, or one under another key",
            expected="a new folder, or an earlier copy of this run",
            remedy="name another place: -o DIR",
        )


def _others(folder: Path) -> list[str]:
    """Return what in *folder* no earlier copy has written; all of it where none is recorded."""
    listed = _recorded(folder).get("files")
    ours = set(map(str, listed)) if isinstance(listed, list) else set()
    return sorted(_names(folder) - ours - {_RECORD})[:_NAMED]


def _recorded(folder: Path) -> dict[str, Any]:
    """Return what an earlier copy in *folder* says of itself, nothing where there is none."""
    record = folder / _RECORD
    return read_json(record, "the record of a copy") if record.is_file() else {}


def _names(folder: Path) -> set[str]:
    """Return the files below *folder*, by their paths from there, and what else is no folder."""
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    }


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(regular_file(path), dtype=str, keep_default_na=False)
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
