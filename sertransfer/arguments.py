"""The command line's parser, and the settings that are given beside a command's options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sertransfer import __version__
from sertransfer.commands import completion, corpora, prediction, results, stage1, stage2
from sertransfer.commands.options import Commands, Overrides
from sertransfer.errors import bad_input

GROUPS = (corpora, stage1, stage2, prediction, results, completion)
"""The modules of commands, in the order of ``--help``."""

EPILOG = """\
settings: any setting of a config or corpus can be given as --group.key VALUE;
          an unknown one fails with the nearest valid name.
status:   0 done, 2 bad input (the message says what to do), 1 a disk, a worker, a training or
          sertransfer itself failed, 130 stopped by Ctrl-C: the same command resumes.
start:    sertransfer demo demo_corpora; or see recipes/lssed_pretrain.sh and recipes/daic_transfer.sh
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; ``args.run`` is the command's function."""
    parser = argparse.ArgumentParser(
        prog="sertransfer",
        description="Transfer from speech emotion recognition to depression detection.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sertransfer {__version__}")
    commands = Commands(parser)
    for group in GROUPS:
        group.add_to(commands)
    return parser


def parse_overrides(rest: Sequence[str]) -> Overrides:
    """Read ``--group.key value``, ``--group.key=value`` and a lone ``--flag`` (true).

    Raises:
        BadInput: If something stands there that is no setting.
    """
    overrides: Overrides = {}
    position = 0
    while position < len(rest):
        word = rest[position]
        if not word.startswith("--") or len(word) == 2:
            raise bad_input(
                "command line",
                found=f"'{word}'",
                expected="--setting VALUE",
                remedy="see --help of the command",
            )
        name, given, value = word[2:].partition("=")
        if not given:
            has_value = position + 1 < len(rest) and not rest[position + 1].startswith("--")
            value = rest[position + 1] if has_value else "true"
            position += has_value
        overrides[name.replace("-", "_")] = value
        position += 1
    return overrides
