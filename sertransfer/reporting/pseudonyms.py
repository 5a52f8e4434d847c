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
_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/:'\",;]+/)+([^\s/:'\",;]*)")


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


def without_folders(text: str) -> str:
    """Return *text* with absolute paths cut to their last part."""
    return _FOLDERS.sub(r"\1", text)


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
        short = {found[1]: name for subject, name in self.names.items() if (found := _numbered(subject))}
        self._known = {**short, **self.names}
        told = sorted((name for name in self._known if len(name) >= _SHORTEST), key=len, reverse=True)
        words = "|".join(map(re.escape, told)) or "(?!)"
        # an underscore parts words here, as in 302_AUDIO.wav; the digits of a fraction are none
        self._pattern = re.compile(rf"(?<![A-Za-z0-9])(?<!\d\.)(?:{words})(?![A-Za-z0-9]|\.\d)")

    def _name(self, subject: str) -> str:
        digest = hmac.new(self._key, subject.encode(), hashlib.sha256).digest()
        return "p" + b32encode(digest[:5]).decode("ascii").lower()

    def of(self, subject: str) -> str:
        """Return the pseudonym of *subject*, known or not."""
        return self._known.get(subject) or self._name(subject)

    def in_text(self, text: str) -> str:
        """Return *text* with every known subject replaced, and absolute paths cut to their last part."""
        return self._pattern.sub(lambda match: self._known[match[0]], without_folders(text))

    def in_values(self, value: Any, *, people: Collection[str] = (), keep: Collection[str] = ()) -> Any:
        """Return nested plain values with their texts replaced.

        Args:
            value: Of mappings, lists and scalars.
            people: Keys whose texts, or lists of texts, are subjects whatever they say.
            keep: Texts that stay, such as names of classes.
        """
        if isinstance(value, dict):
            return {
                self.in_values(key, keep=keep): self._members(below)
                if key in people and not isinstance(below, dict)
                else self.in_values(below, people=people, keep=keep)
                for key, below in value.items()
            }
        if isinstance(value, list):
            return [self.in_values(one, people=people, keep=keep) for one in value]
        return self.in_text(value) if isinstance(value, str) and value not in keep else value

    def _members(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._members(one) for one in value]
        return self.of(value) if isinstance(value, str) else value


def _numbered(subject: str) -> re.Match[str] | None:
    return _NUMBERED.fullmatch(subject)
