"""The command line: parses, calls one function, maps errors to exit statuses.

Nothing heavier than argparse is imported here; each command imports what it calls. A setting of a
config is given as ``--group.key value``; what argparse does not know is taken for such a setting.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sertransfer import __version__
from sertransfer.errors import SertransferError, bad_input, choose, nearest

if TYPE_CHECKING:
    from sertransfer.front_end import FrontEnd

Overrides = dict[str, str]
Command = Callable[[argparse.Namespace, Overrides], None]

EPILOG = """\
settings: any setting of a config or corpus can be given as --group.key VALUE;
          an unknown one fails with the nearest valid name.
status:   0 done, 2 bad input (the message says what to do), 1 a failure of ours.
start:    sertransfer demo demo_corpora; or see recipes/lssed_pretrain.sh and recipes/daic_transfer.sh
"""


def _prepare(args: argparse.Namespace, overrides: Overrides) -> None:
    from sertransfer.config import load_config
    from sertransfer.corpora.prepare import prepare, summary
    from sertransfer.corpora.registry import CORPORA

    corpus = CORPORA[choose("corpus", args.corpus, CORPORA)]
    options = load_config(corpus.options, args.config, overrides)
    manifest = prepare(args.corpus, args.root, options, args.output, skip_bad=args.skip_bad)
    print(summary(manifest))
    print(f"wrote {args.output}; next: sertransfer describe {args.output}")


def _describe(args: argparse.Namespace, overrides: Overrides) -> None:
    from sertransfer.corpora.statistics import describe
    from sertransfer.manifest import read_manifest
    from sertransfer.reporting.plots import plot_label_shares
    from sertransfer.reporting.tables import format_description

    description = describe(read_manifest(args.manifest, root=args.root))
    print(format_description(description))
    if args.figure is not None:
        plot_label_shares(description.label_shares, args.figure)
        print(f"wrote {args.figure}")


def _pretrain(args: argparse.Namespace, overrides: Overrides) -> None:
    from sertransfer.config import load_config
    from sertransfer.manifest import read_manifest
    from sertransfer.training.pretrain import pretrain
    from sertransfer.training.settings import PretrainConfig

    if args.model is not None:
        overrides = {"model.name": args.model, **overrides}
    config = load_config(PretrainConfig, args.config, overrides)
    manifest = read_manifest(args.manifest, root=args.root)
    metrics = pretrain(config, manifest, args.run_dir, skip_bad=args.skip_bad, progress=not args.quiet)
    _say_scores(metrics, "utterance", args.run_dir)
    print(f"next: sertransfer transfer --checkpoint {args.run_dir}/checkpoints/model.safetensors ...")


def _evaluate(args: argparse.Namespace, overrides: Overrides) -> None:
    from sertransfer.manifest import read_manifest
    from sertransfer.training.evaluate import evaluate

    manifest = read_manifest(args.manifest, root=args.root)
    metrics = evaluate(
        args.checkpoint,
        manifest,
        split=args.split,
        run_dir=args.run_dir,
        absent=args.absent,
        skip_bad=args.skip_bad,
        progress=not args.quiet,
    )
    _say_scores(metrics, "utterance", args.run_dir)


def _import_checkpoint(args: argparse.Namespace, overrides: Overrides) -> None:
    from sertransfer.encoders.importing import import_checkpoint

    front_end = _front_end(args, overrides)
    classes = {} if args.classes is None else {"classes": args.classes.split(",")}
    report = import_checkpoint(
        args.file, args.output, front_end=front_end, calibrate_on=args.calibrate_on, **classes
    )
    print(report["text"])


def _front_end(args: argparse.Namespace, overrides: Overrides) -> FrontEnd | None:
    """Return the front end that the options of ``import-checkpoint`` choose; ``None`` if none does."""
    from sertransfer.config import load_config
    from sertransfer.front_end import PRESETS, FrontEnd

    if args.framing is not None:
        overrides = {"framing": args.framing, **overrides}
    if args.front_end is None:
        if overrides:
            raise bad_input(
                "command line",
                found=f"{', '.join(overrides)} without --front-end",
                expected="--front-end too, since the file does not say how its features were made",
                remedy=f"add --front-end {'|'.join(PRESETS)}, or a YAML file",
            )
        return None
    if args.front_end.endswith((".yaml", ".yml")):
        return load_config(FrontEnd, args.front_end, overrides)
    preset = PRESETS[choose("front end", args.front_end, PRESETS)]
    return load_config(FrontEnd, None, {**preset, **overrides})


def _transfer(args: argparse.Namespace, overrides: Overrides) -> None:
    from sertransfer.config import load_config
    from sertransfer.encoders.registry import ENCODERS
    from sertransfer.manifest import read_manifest
    from sertransfer.timebase import parse_framing
    from sertransfer.transfer.settings import TransferConfig
    from sertransfer.transfer.workflow import transfer

    choose("encoder", args.encoder, ENCODERS)
    for setting in ("mode", "split"):
        if getattr(args, setting) is not None:
            overrides = {setting: getattr(args, setting), **overrides}
    config = load_config(TransferConfig, args.config, overrides)
    manifest = read_manifest(args.manifest, root=args.root)
    metrics = transfer(
        config,
        manifest,
        encoder=args.encoder,
        checkpoint=args.checkpoint,
        run_dir=args.run_dir,
        framing=None if args.framing is None else parse_framing(args.framing),
        embeddings=args.embeddings,
        skip_bad=args.skip_bad,
        progress=not args.quiet,
    )
    _say_scores(metrics, "subject", args.run_dir)


def _demo(args: argparse.Namespace, overrides: Overrides) -> None:
    from sertransfer.corpora.demo import make_demo

    for name, folder in make_demo(args.folder, seed=args.seed, progress=not args.quiet).items():
        print(f"{name}: {folder} (generated, not real speech)")


def _models(args: argparse.Namespace, overrides: Overrides) -> None:
    from sertransfer.models.zoo import MODELS

    for name, builder in MODELS.items():
        _say_entry(name, builder.__doc__)


def _corpora(args: argparse.Namespace, overrides: Overrides) -> None:
    from sertransfer.config import describe_settings
    from sertransfer.corpora.registry import CORPORA

    if args.name is None:
        for name, corpus in CORPORA.items():
            _say_entry(name, corpus.summary)
        return
    corpus = CORPORA[choose("corpus", args.name, CORPORA)]
    _say_entry(corpus.name, corpus.summary)
    print(describe_settings(corpus.options))


def _encoders(args: argparse.Namespace, overrides: Overrides) -> None:
    from sertransfer.encoders.registry import ENCODERS

    for name, opener in ENCODERS.items():
        _say_entry(name, opener.__doc__)


def _say_entry(name: str, text: str | None) -> None:
    first = (text or "").strip().splitlines()[:1]
    print(f"{name:<24} {first[0] if first else ''}".rstrip())


def _say_scores(metrics: dict[str, Any], level: str, run_dir: Path) -> None:
    scores, majority = metrics[level], metrics["majority"]
    note = " on generated data, which says nothing about people" if metrics.get("generated") else ""
    print(f"{scores['n']} {level}s{note}")
    for name in ("wa", "ua"):
        interval = scores.get(f"{name}_ci95")
        bounds = f"[{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "[no interval]"
        value = "undefined" if scores[name] is None else f"{scores[name]:.3f}"
        baseline = "" if majority[name] is None else f"  majority class {majority[name]:.3f}"
        print(f"  {name.upper()} {value} {bounds}{baseline}")
    print(f"report: {run_dir / 'report.html'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sertransfer",
        description="Transfer from speech emotion recognition to depression detection.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sertransfer {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="show tracebacks and more of the log")
    common.add_argument("-q", "--quiet", action="store_true", help="no progress bars")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, run: Command, text: str, *, settings: str = "") -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=text, description=text, epilog=settings, parents=[common], allow_abbrev=False
        )
        command.set_defaults(run=run, takes_settings=bool(settings))
        return command

    def skip_bad(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--skip-bad",
            action="store_true",
            help="leave faulty items out and record them, instead of stopping",
        )

    def manifest(command: argparse.ArgumentParser, *, positional: bool) -> None:
        if positional:
            command.add_argument("manifest", type=Path, help="manifest.csv that 'prepare' wrote")
        else:
            command.add_argument(
                "--manifest", type=Path, required=True, help="manifest.csv that 'prepare' wrote"
            )
        command.add_argument("--root", type=Path, help="corpus root, if it is no longer where it was")

    command = add(
        "prepare",
        _prepare,
        "read a corpus in its own layout and write its manifest",
        settings="Settings of the corpus, as --name VALUE: 'sertransfer corpora CORPUS' lists them.",
    )
    command.add_argument("corpus", help="name; 'sertransfer corpora' lists them")
    command.add_argument("root", type=Path, help="folder of the corpus (only read)")
    command.add_argument("-o", "--output", type=Path, required=True, help="manifest.csv to write")
    command.add_argument("--config", type=Path, help="YAML with settings of the corpus")
    skip_bad(command)

    command = add("describe", _describe, "print the paper's Tables 1 to 3 and Figure 1 for a manifest")
    manifest(command, positional=True)
    command.add_argument("--figure", type=Path, help="draw Figure 1 to this PNG or SVG")

    command = add(
        "pretrain",
        _pretrain,
        "stage 1: train a speech emotion recogniser",
        settings="Settings: see configs/pretrain; any can be given as --group.key VALUE.",
    )
    manifest(command, positional=False)
    command.add_argument("--config", type=Path, help="YAML with settings (default: the paper's protocol)")
    command.add_argument("--model", help="model name; 'sertransfer models' lists them")
    command.add_argument(
        "--run-dir", type=Path, required=True, help="folder of the run, resumed if it is there"
    )
    skip_bad(command)

    command = add("evaluate", _evaluate, "score a checkpoint on a split of a manifest")
    command.add_argument("checkpoint", type=Path)
    manifest(command, positional=True)
    command.add_argument("--split", default="test", choices=["train", "dev", "test"])
    command.add_argument("--run-dir", type=Path, required=True)
    command.add_argument(
        "--absent",
        default="error",
        choices=["error", "skip"],
        help="what a class without utterances does to UA",
    )
    skip_bad(command)

    command = add(
        "import-checkpoint",
        _import_checkpoint,
        "convert the authors' published PyResNet file, without running anything in it",
        settings="Settings of the front end can be given as --name VALUE beside --front-end.",
    )
    command.add_argument("file", type=Path)
    command.add_argument("-o", "--output", type=Path, required=True, help="model.safetensors to write")
    command.add_argument("--front-end", help="front end of the weights: a preset's name or a YAML file")
    command.add_argument("--framing", help="framing of the weights: 65ms, 25ms or WINDOW/HOPms")
    command.add_argument(
        "--classes", metavar="A,B,...", help="what the outputs stand for (default: angry,neutral,happy,sad)"
    )
    command.add_argument(
        "--calibrate-on", type=Path, metavar="DIR", help="rank candidate front ends on the WAV files in DIR"
    )

    command = add(
        "transfer",
        _transfer,
        "stage 2: from interviews to subject-level decisions",
        settings="Settings: see configs/transfer; any can be given as --group.key VALUE.",
    )
    manifest(command, positional=False)
    command.add_argument("--config", type=Path, help="YAML with settings")
    command.add_argument("--encoder", default="ser", help="name; 'sertransfer encoders' lists them")
    command.add_argument("--checkpoint", type=Path, required=True, help="weights of the encoder")
    command.add_argument("--framing", help="demand this framing of the checkpoint")
    command.add_argument("--mode", help="probe")
    command.add_argument("--split", help="split to report: dev (default) or test")
    command.add_argument("--run-dir", type=Path, required=True)
    command.add_argument(
        "--embeddings", type=Path, help="folder of stored embeddings (default: in the run folder)"
    )
    skip_bad(command)

    command = add("demo", _demo, "generate the two demo corpora (speech-like sound, not real speech)")
    command.add_argument("folder", type=Path)
    command.add_argument("--seed", type=int, default=0)

    add("models", _models, "list the models")
    add("corpora", _corpora, "list the corpora, or the settings of one").add_argument("name", nargs="?")
    add("encoders", _encoders, "list the encoders")
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for bad input, 1 for a failure of ours."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO if args.verbose else logging.WARNING)
    try:
        if rest and not args.takes_settings:
            options = [option for option in vars(args) if option not in ("run", "takes_settings")]
            raise bad_input(
                "command line",
                found=f"'{rest[0]}'",
                expected="an option of this command",
                remedy=nearest(rest[0].lstrip("-").replace("-", "_"), options),
            )
        args.run(args, parse_overrides(rest))
    except SertransferError as error:
        return _fail(str(error), error.exit_status, verbose=args.verbose)
    except KeyboardInterrupt:
        return _fail("stopped; the same command resumes", 130, verbose=False)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        what = " ".join(str(error).split()) or "no message"
        text = f"{type(error).__name__}: {what}; a failure of sertransfer, -v shows where"
        return _fail(text, 1, verbose=args.verbose)
    return 0


def _fail(text: str, status: int, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    print(f"sertransfer: error: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
