"""Pseudonyms for what leaves the machine: the same name for the same person, and no way back without the key.

A pseudonym is a keyed hash (HMAC-SHA-256) of a subject's identity. The key lies in the run folder, for its
owner alone, beside the list of who is who. Two runs that are given one key file name their subjects alike.
This is no anonymisation: a label, a split and a number of sentences can single out a person for somebody who
holds the corpus.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b32encode
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from sertransfer.errors import bad_input
from sertransfer.files import write_text

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
        text = path.read_text(encoding="ascii").strip()
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
