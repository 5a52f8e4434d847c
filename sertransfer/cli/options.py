"""Options that several commands share, and how a command is added to the parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from sertransfer.cli.output import CommandResult

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
