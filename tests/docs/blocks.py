"""The code blocks of the README and of the pages, as a reader would copy them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("**/*.md"))]
PLAIN = ("text", "console", "csv", "json", "html", "latex")
"""Languages of blocks that show something and are not to be run; a file of theirs is still written."""

_NOT_RUN = re.compile(r"<!-- not run: ((?:(?!-->).)+) -->\s*\Z", re.S)
_FENCED = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.S | re.M
)
_INDENTED = re.compile(r"(?:^|\n\n)(?P<code>(?:    [^\n]*(?:\n|\Z)|\n(?=    ))+)")
_FILE = re.compile(r"\A# (file|add to): (\S+)\n")


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        page: Where it stands.
        line: Its first line there.
        language: As the fence says it; ``bash`` for an indented block.
        code: Without indentation, and without the line that names a file.
        file: The file that it is the content of, or is added to; empty if it is none.
        added: Whether it is added to its file.
        reason: Why it is not run; empty if it is.
    """

    page: Path
    line: int
    language: str
    code: str
    file: str
    reason: str
    added: bool = False

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(PROJECT)}:{self.line}"


def blocks_of(page: Path, text: str | None = None) -> list[Block]:
    """Return the blocks of *page* in their order; indented ones are taken for a shell's."""
    text = page.read_text(encoding="utf-8") if text is None else text
    return sorted(_blocks(page, text), key=lambda block: block.line)


def _blocks(page: Path, text: str) -> Iterator[Block]:
    blank = text
    for match in _FENCED.finditer(text):
        code = re.sub(rf"^{match['indent']}", "", match["code"], flags=re.M)
        yield _block(page, text, match.start(), match["language"] or "text", code)
        hidden = re.sub(r"[^\n]", "x", match[0])
        blank = blank[: match.start()] + hidden + blank[match.end() :]
    for match in _INDENTED.finditer(blank):
        before = blank[: match.start("code")].rstrip("\n").rsplit("\n", 1)[-1]
        if re.match(r"\s*([-*]|\d+\.) |\s{2,}\S", before):
            continue  # the second paragraph of a list item
        code = re.sub(r"^    ", "", text[match.start("code") : match.end("code")], flags=re.M)
        yield _block(page, text, match.start("code"), "bash", code)


def _block(page: Path, text: str, start: int, language: str, code: str) -> Block:
    marked = _NOT_RUN.search(text[:start])
    named = _FILE.match(code)
    return Block(
        page,
        text[:start].count("\n") + 1,
        language,
        code[named.end() :] if named else code,
        named[2] if named else "",
        " ".join(marked[1].split()) if marked else "",
        bool(named) and named[1] == "add to",
    )
