"""A share ``i/n`` of some work, so that several machines can divide it and know who has what."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from sertransfer.errors import bad_input

_FORM = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


@dataclass(frozen=True, order=True)
class Shard:
    """Share *index* of *count*, counted from 1.

    Examples:
        >>> str(Shard(2, 8))
        '2/8'
        >>> [list(Shard(index, 3).rows(7)) for index in (1, 2, 3)]
        [[0, 1], [2, 3], [4, 5, 6]]
    """

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, key: str) -> bool:
        """Return whether *key* belongs to this share: by its name alone, whatever else there is.

        Every key belongs to one share. Shares are of like size where keys are many.
        """
        return zlib.crc32(key.encode()) % self.count == self.index - 1

    def rows(self, count: int) -> range:
        """Return which of *count* rows belong to this share: rows in a row, shares differ by one at most."""
        return range((self.index - 1) * count // self.count, self.index * count // self.count)


def parse_shard(text: str) -> Shard:
    """Read ``i/n``.

    Raises:
        BadInput: If that is not what stands there, or there is no such share.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise bad_input(
            "--shard",
            found=f"'{text}'",
            expected="I/N, two whole numbers with 1 <= I <= N",
            remedy="write 1/8 for the first of eight, 8/8 for the last",
        )
    return Shard(int(match[1]), int(match[2]))
