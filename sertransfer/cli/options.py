"""What several commands share: options, how one is added to the parser, and what it leaves to be said."""

from __future__ import annotations

import argparse
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


Overrides = dict[str, str]
"""Settings that are given beside the options, by their dotted name."""

Run = Callable[[argparse.Namespace, Overrides], CommandResult]


class Commands:
    """The commands of a *parser*; ``args.run`` of what is parsed is the command's function."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser
        self._parsers = parser.add_subparsers(
            title="commands", metavar="COMMAND", required=True, dest="command"
        )
        self._common = argparse.ArgumentParser(add_help=False)
        self._common.add_argument(
            "-v", "--verbose", action="store_true", help="show tracebacks and more of the log"
        )
        self._common.add_argument("-q", "--quiet", action="store_true", help="no progress, only the result")
        self._json = argparse.ArgumentParser(add_help=False, parents=[self._common])
        self._json.add_argument(
            "--json", action="store_true", help="the result as JSON, and nothing else on standard output"
        )

    def add(
        self, name: str, run: Run, text: str, *, settings: str = "", own_json: bool = False
    ) -> argparse.ArgumentParser:
        """Add a command.

        Args:
            name: The command.
            run: Its function.
            text: What it does, in one line.
            settings: Which settings can be given beside its options; none for nothing.
            own_json: It has a ``--json`` of its own.
        """
        command = self._parsers.add_parser(
            name,
            help=text,
            description=text,
            epilog=settings,
            parents=[self._common if own_json else self._json],
            allow_abbrev=False,
        )
        command.set_defaults(run=run, takes_settings=bool(settings))
        return command


def skip_bad(command: argparse.ArgumentParser) -> None:
    """Add ``--skip-bad``."""
    command.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave faulty items out and record them, instead of stopping",
    )


def manifest(command: argparse.ArgumentParser, *, positional: bool) -> None:
    """Add the manifest and its root."""
    if positional:
        command.add_argument("manifest", type=Path, help="manifest.csv that 'prepare' wrote")
    else:
        command.add_argument("--manifest", type=Path, required=True, help="manifest.csv that 'prepare' wrote")
    command.add_argument("--root", type=Path, help="corpus root, if it is no longer where it was")


def table_output(command: argparse.ArgumentParser) -> None:
    """Add in which form tables are given, and where."""
    command.add_argument("--format", default="text", choices=["text", "csv", "latex", "html"])
    command.add_argument("-o", "--output", type=Path, help="file to write (default: standard output)")


def place(text: str, path: Path | None) -> tuple[str, dict[str, Path]]:
    """Write *text* to *path*, or leave it to be printed where there is none; return text and files."""
    from sertransfer.io.files import write_text

    if path is None:
        return text, {}
    write_text(path, text)
    return "", {"tables": path}
