"""What a command leaves to be said: for a person, or as JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class CommandResult:
    """The result of a command.

    Attributes:
        values: Plain values, for JSON.
        text: The same for a person.
        files: What was written, by what it is.
        following: Command lines that may be run next.
        pages: Writes those of *files* that are made for reading; called after the text is printed, so that
            a failure there loses no result.
    """

    values: Mapping[str, Any]
    text: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)
    following: tuple[str, ...] = ()
    pages: Callable[[], None] | None = None

    def said(self, *, briefly: bool = False) -> str:
        """Return the text, where everything is and, unless *briefly*, what to run next."""
        return self.ended_text() + self.closing(briefly=briefly)

    def ended_text(self) -> str:
        """Return the text with a line end."""
        return self.text if self.text.endswith("\n") or not self.text else f"{self.text}\n"

    def write_pages(self) -> None:
        """Write the pages, if there are any."""
        if self.pages is not None:
            self.pages()

    def closing(self, *, briefly: bool = False) -> str:
        """Return where everything is and, unless *briefly*, what to run next."""
        lines = [f"{what}: {path}" for what, path in self.files.items()]
        if not briefly:
            lines += [f"next: {line}" for line in self.following]
        return "".join(f"{line}\n" for line in lines)

    def as_json(self, command: str) -> str:
        """Return one JSON object: ``command``, ``result``, ``files`` and ``next``."""
        whole = {
            "command": command,
            "result": self.values,
            "files": {what: str(path) for what, path in self.files.items()},
            "next": list(self.following),
        }
        return json.dumps(whole, indent=2, allow_nan=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    """Return a scalar of NumPy as Python's, and what else JSON does not know as text."""
    return value.item() if hasattr(value, "item") else str(value)


def command_line(*words: object) -> str:
    """Return a command line of ``sertransfer`` that a shell takes; words in capitals stand for something."""
    return shlex.join(["sertransfer", *map(str, words)])


def entry(name: str, text: str | None) -> str:
    """Return one line of a list: the name first, then the first line of what explains it."""
    return f"{name:<24} {first_line(text)}".rstrip()


def first_line(text: str | None) -> str:
    """Return the first line of a docstring, nothing for none."""
    return next(iter((text or "").strip().splitlines()), "")


def scores_text(metrics: Mapping[str, Any], level: str) -> str:
    """Return WA and UA of *level* with their intervals and the majority row."""
    from sertransfer.io.run_folder import generated_remark

    scores, majority = metrics[level], metrics["majority"]
    remark = generated_remark(metrics)
    note = f" ({remark}: the scores say nothing about people)" if remark else ""
    lines = [f"{scores['n']} {level}s{note}"]
    for name in ("wa", "ua"):
        interval = scores.get(f"{name}_ci95")
        reason = (scores.get("no_interval") or {}).get(name) or "no interval"
        bounds = f"[{interval[0]:.3f}, {interval[1]:.3f}]" if interval else f"[{reason}]"
        value = "undefined" if scores[name] is None else f"{scores[name]:.3f}"
        baseline = "" if majority[name] is None else f"  majority class {majority[name]:.3f}"
        lines.append(f"  {name.upper()} {value} {bounds}{baseline}")
    return "\n".join(lines)
