"""Inputs that are nearly right: bytes of real files, changed a little in ways that parsers stumble over."""

from __future__ import annotations

import random
from collections.abc import Sequence

NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**63 - 1,
    2**64 - 1,
)
TOKENS = (
    b"nan", b"inf", b"-1", b"1e999", b"99999999999999999999", b"0", b"", b"null", b"true", b"[]", b"{}",
    b'""', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r", b"\n", b"\t", b",", b";", b'"',
    b"'", b":", b"../../x", b"/", b"&a", b"*a", b"!!python/object/apply:os.system", b"!!timestamp",
    b"!!int", b"!!binary", b"---", b"[" * 4000, b'{"a":' * 3000, b"a: &a [*a]",
    "\u202e\u0130\u00df".encode(), b"cos\nsystem\n", b"PK\x03\x04",
)  # fmt: skip


def mutate(seeds: Sequence[bytes], generator: random.Random, tokens: Sequence[bytes] = TOKENS) -> bytes:
    """Return one of *seeds* after a few changes; now and then as it is, or nothing like it."""
    data = bytearray(generator.choice(seeds))
    for _ in range(generator.choice((0, 1, 1, 1, 2, 2, 3, 5, 10))):
        _change(data, seeds, generator, tokens)
    return bytes(data)


def _change(
    data: bytearray, seeds: Sequence[bytes], generator: random.Random, tokens: Sequence[bytes]
) -> None:
    if not data:
        data += generator.randbytes(generator.randint(0, 64))
        return
    # headers and ends decide more than what lies between
    reach = generator.choice((64, 512, len(data)))
    place = generator.randrange(min(reach, len(data)))
    if generator.random() < 0.2:
        place = len(data) - 1 - place
    length = min(generator.choice((1, 2, 4, 8, 30, 300)), len(data) - place)
    kind = generator.randrange(9)
    if kind == 0:
        data[place] ^= 1 << generator.randrange(8)
    elif kind == 1:
        data[place : place + length] = generator.randbytes(length)
    elif kind == 2:
        size = generator.choice((1, 2, 4, 8))
        number = generator.choice(NUMBERS) & (256**size - 1)
        data[place : place + size] = number.to_bytes(size, generator.choice(("little", "big")))
    elif kind == 3:
        del data[place : place + length]
    elif kind == 4:
        data[place:place] = data[place : place + length] * generator.choice((1, 2, 50))
    elif kind == 5:
        data[place:place] = generator.choice(tokens)
    elif kind == 6:
        data[place : place + length] = generator.choice(tokens)
    elif kind == 7:
        del data[place:]
    else:
        other = generator.choice(seeds)
        begin = generator.randrange(len(other) + 1)
        data[place : place + length] = other[begin : begin + generator.choice((1, 8, 100, 10_000))]
