"""The command line: parses, calls one function, maps errors to exit statuses.

Nothing heavier than argparse is imported here; each command imports what it calls. A setting of a
config is given as ``--group.key value``; what argparse does not know is taken for such a setting.
Standard output holds the result and where it is; progress, warnings and errors go to standard error.
Of several processes (torchrun, srun) process 0 runs the command and speaks; the others join its training.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import importlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence

from sertransfer import __version__
from sertransfer.cli import completion, corpora, prediction, pretraining, results, transfer
from sertransfer.cli.options import Commands, Overrides
from sertransfer.errors import BadInput, FailedElsewhere, SertransferError, bad_input, nearest
from sertransfer.io.files import memory_error, storage_error
from sertransfer.io.scratch import signal_received, signals_raise
from sertransfer.io.spelling import LINES, LogLine, mask_secrets, printable


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for bad input, 1 for a full disk or a failure of ours.

    What is written meanwhile, by libraries too (databases, event files), is its owner's alone.
    """
    _fit_surroundings()
    before = os.umask(0o077)
    try:
        return _main(argv)
    finally:
        os.umask(before)


_SETTINGS = {
    "MPLBACKEND": "Agg",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Variables of libraries that hold whatever the user's say: no module is a display, nothing is downloaded."""


def _fit_surroundings() -> None:
    """Make do with a terminal that lacks characters, and with a user who has no name or no home.

    In a container started with ``--user 23456``, no name belongs to the user's number: torch would fail where
    it asks for one. matplotlib makes a private cache where the home is not writable; it need not say so.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the work is done: a name must not end it
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"uid{os.getuid()}"
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    os.environ.update(_SETTINGS)
    if os.path.lexists("matplotlibrc"):
        _import_matplotlib_elsewhere()


def _import_matplotlib_elsewhere() -> None:
    """Import matplotlib where it finds no settings: it obeys those of the current folder, or fails at them.

    A pipe of that name would be waited for.
    """
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir("/")
        importlib.import_module("matplotlib")
    finally:
        os.fchdir(here)
        os.close(here)


def _main(argv: Sequence[str] | None) -> int:
    rank, together = _find_rank()
    try:
        refuse_removed(sys.argv[1:] if argv is None else argv)
    except SertransferError as error:
        return error.exit_status if rank else _fail(str(error), error.exit_status, verbose=False)
    args, rest = _parse(argv, speaks=rank == 0)
    together = together and args.command == "pretrain"
    if rank and not together:
        return 0  # process 0 is enough
    try:
        if together:
            from sertransfer.training.distributed import connected

            with connected():
                _run(args, rest, shows=rank == 0)
        else:
            with signals_raise():
                _run(args, rest)
    except FailedElsewhere as error:
        return error.exit_status
    except SertransferError as error:
        text = str(error)
        if isinstance(error, BadInput) and error.skippable and "skip_bad" in args:
            text += f"\n  --skip-bad leaves {'it' if len(error.faults) == 1 else 'them'} out and records that"
        return _fail(text, error.exit_status, verbose=args.verbose)
    except KeyboardInterrupt:
        return _fail(STOPPED, 130, verbose=False)
    except SystemExit as stop:  # TERM, or HUP, after which there is no terminal to write to
        with contextlib.suppress(OSError):
            _fail(STOPPED, 0, verbose=False)
        return stop.code if isinstance(stop.code, int) else 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        trouble = storage_error(error) or memory_error(error)
        if trouble is not None:
            return _fail(str(trouble), trouble.exit_status, verbose=args.verbose)
        what = " ".join(str(error).split()) or "no message"
        text = f"{type(error).__name__}: {what}; a failure of sertransfer, -v shows where"
        return _fail(text, 1, verbose=args.verbose)
    return 0


def _find_rank() -> tuple[int, bool]:
    """Return the number of this process, and whether torchrun or srun started it as one of several.

    ``WORLD_SIZE`` and ``SLURM_NTASKS`` alone mean nothing: the one is set in many a container, the other in a
    batch script before ``srun`` starts anything.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]) > 1
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return int(os.environ["SLURM_PROCID"]), True
    return 0, False


def _parse(argv: Sequence[str] | None, *, speaks: bool) -> tuple[argparse.Namespace, list[str]]:
    """Parse the command line, which is the same for all processes: only the first complains, or logs."""
    if speaks:
        args, rest = build_parser().parse_known_args(argv)
    else:
        logging.disable()
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            args, rest = build_parser().parse_known_args(argv)
    shown = logging.StreamHandler()
    if args.quiet:  # a run tells its steps, which are progress
        shown.setLevel(logging.WARNING)
    level = logging.INFO if args.verbose else logging.WARNING
    shown.setFormatter(LogLine("%(message)s"))
    logging.basicConfig(level=level, handlers=[shown])
    return args, rest


def _run(args: argparse.Namespace, rest: list[str], *, shows: bool = True) -> None:
    """Run the command that was parsed, and show its result."""
    if rest and not args.takes_settings:
        options = [option for option in vars(args) if option not in ("run", "command", "takes_settings")]
        raise bad_input(
            "command line",
            found=f"'{rest[0]}'",
            expected="an option of this command",
            remedy=nearest(rest[0].lstrip("-").replace("-", "_"), options),
        )
    overrides = parse_overrides(rest)
    if not shows:
        args.run(args, overrides)
        return
    # flushed here, where a closed pipe is caught: at the interpreter's exit it would be an error
    if args.json is not True:  # 'predict' takes a file there too, which it writes itself
        result = args.run(args, overrides)
        print(printable(result.ended_text(), keep=LINES), end="", flush=True)
        result.write_pages()
        print(printable(result.closing(briefly=args.quiet), keep=LINES), end="", flush=True)
        return
    with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
        result = args.run(args, overrides)
    print(result.as_json(args.command), end="", flush=True)
    with contextlib.redirect_stdout(sys.stderr):
        result.write_pages()


def _fail(text: str, status: int, *, verbose: bool) -> int:
    if (number := signal_received()) is not None:  # whatever came of it on the way
        text, status, verbose = STOPPED, 128 + number, False
    if verbose:
        print(mask_secrets(traceback.format_exc()), end="", file=sys.stderr)
    print(f"sertransfer: error: {mask_secrets(printable(text, keep=LINES))}", file=sys.stderr)
    return status


STOPPED = "stopped; the same command resumes"

GROUPS = (corpora, pretraining, transfer, prediction, results, completion)
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


def refuse_removed(words: Sequence[str]) -> None:
    """Refuse what divided work among machines in earlier versions, and say what to do instead.

    Args:
        words: The command line, without the program.

    Raises:
        BadInput: For the command ``merge``, and for ``--shard`` and ``--merge`` of other commands.
    """
    command = words[0] if words else ""
    options = sorted({word.partition("=")[0] for word in words} & _REMOVED.get(command, set()))
    if command != "merge" and not options:
        return
    raise bad_input(
        f"sertransfer {command}",
        found=f"'{options[0]}', which was removed" if options else "a command that was removed",
        expected="one run for all of it",
        remedy="leave the option out and give --workers N"
        if command == "features"
        else "run 'sertransfer prepare' without --shard: it takes seconds at LSSED's size",
    )


_REMOVED = {"prepare": {"--shard"}, "features": {"--shard", "--merge"}}
"""Options of earlier versions, by command. ``--merge`` of ``prepare`` is a setting of DAIC-WOZ."""


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
