"""The command ``completion``: what lets a shell complete commands, options and paths."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from sertransfer.cli.options import CommandResult, Commands, Overrides

SHELLS = ("bash", "zsh", "fish")


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = commands.add(
        "completion",
        partial(run_completion, commands.parser),
        "print what lets bash, zsh or fish complete commands, options and paths",
    )
    command.add_argument("shell", choices=SHELLS)


def run_completion(
    parser: argparse.ArgumentParser, args: argparse.Namespace, overrides: Overrides
) -> CommandResult:
    """Print the completion of a shell for the commands of *parser*."""
    import shtab

    _mark_paths(parser)
    script = shtab.complete(parser, shell=args.shell)
    return CommandResult({"shell": args.shell, "script": script}, script)


def _mark_paths(parser: argparse.ArgumentParser) -> None:
    """Have every argument that is a path completed by the files that there are."""
    import shtab

    for action in parser._actions:  # argparse has no public list of them
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark_paths(command)
        elif action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # read by shtab
