"""The options of every command, and of the settings that are given beside them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from sertransfer import __version__, commands
from sertransfer.errors import bad_input

Command = Callable[[argparse.Namespace, commands.Overrides], None]

EPILOG = """\
settings: any setting of a config or corpus can be given as --group.key VALUE;
          an unknown one fails with the nearest valid name.
status:   0 done, 2 bad input (the message says what to do), 1 a failure of ours.
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
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="show tracebacks and more of the log")
    common.add_argument("-q", "--quiet", action="store_true", help="no progress bars")
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, run: Command, text: str, *, settings: str = "") -> argparse.ArgumentParser:
        command = parsers.add_parser(
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

    def table_output(command: argparse.ArgumentParser) -> None:
        command.add_argument("--format", default="text", choices=["text", "csv", "latex", "html"])
        command.add_argument("-o", "--output", type=Path, help="file to write (default: standard output)")

    def encoder(command: argparse.ArgumentParser) -> None:
        manifest(command, positional=False)
        command.add_argument("--config", type=Path, help="YAML with settings")
        command.add_argument("--encoder", default="ser", help="name; 'sertransfer encoders' lists them")
        command.add_argument("--checkpoint", type=Path, required=True, help="weights of the encoder")
        command.add_argument("--framing", help="demand this framing of the checkpoint")
        command.add_argument("--split", help="split to report: dev (default) or test")
        command.add_argument("--run-dir", type=Path, required=True)
        command.add_argument(
            "--embeddings", type=Path, help="folder of stored embeddings (default: in the run folder)"
        )
        skip_bad(command)

    command = add(
        "prepare",
        commands.run_prepare,
        "read a corpus in its own layout and write its manifest",
        settings="Settings of the corpus, as --name VALUE: 'sertransfer corpora CORPUS' lists them.",
    )
    command.add_argument("corpus", help="name; 'sertransfer corpora' lists them")
    command.add_argument("root", type=Path, help="folder of the corpus (only read)")
    command.add_argument("-o", "--output", type=Path, required=True, help="manifest.csv to write")
    command.add_argument("--config", type=Path, help="YAML with settings of the corpus")
    skip_bad(command)

    command = add(
        "describe",
        commands.run_describe,
        "print the paper's Tables 1 to 3 and its Figure 1, of several manifests side by side",
    )
    command.add_argument(
        "manifests", type=Path, nargs="+", metavar="MANIFEST", help="manifest.csv that 'prepare' wrote"
    )
    command.add_argument("--root", type=Path, help="corpus root of one manifest, if it was moved")
    table_output(command)
    command.add_argument("--figure", type=Path, help="draw Figure 1 to this PNG or SVG")

    command = add(
        "pretrain",
        commands.run_pretrain,
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

    command = add("evaluate", commands.run_evaluate, "score a checkpoint on a split of a manifest")
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
        commands.run_import_checkpoint,
        "convert the authors' published PyResNet file, without running anything in it",
        settings="The file does not say how its features were made, and stage 2 refuses the model until"
        " that is chosen: rank candidates with --calibrate-on, then import with the options of one line."
        " Settings of the front end can be given as --name VALUE beside --front-end.",
    )
    command.add_argument("file", type=Path, help="the .pth file: a whole pickled model, or a state dict")
    command.add_argument("-o", "--output", type=Path, required=True, help="model.safetensors to write")
    command.add_argument(
        "--front-end", help="front end of the weights: default, power, log, db or a YAML file"
    )
    command.add_argument("--framing", help="framing of the weights: 65ms, 25ms or WINDOW/HOPms")
    command.add_argument(
        "--classes", metavar="A,B,...", help="what the outputs stand for (default: angry,neutral,happy,sad)"
    )
    command.add_argument(
        "--calibrate-on", type=Path, metavar="DIR", help="rank candidate front ends on the WAV files in DIR"
    )

    command = add(
        "transfer",
        commands.run_transfer,
        "stage 2: from interviews to subject-level decisions",
        settings="Settings: see configs/transfer; any can be given as --group.key VALUE.",
    )
    encoder(command)
    command.add_argument("--mode", help="probe (default) or finetune; see configs/transfer")

    command = add(
        "tune",
        commands.run_tune,
        "search for the head of stage 2 by nested cross-validation over the training subjects",
        settings="Settings: see configs/transfer/ser_tune.yaml, with --mode finetune"
        " configs/transfer/ser_finetune_tune.yaml; any can be given as --group.key VALUE.",
    )
    encoder(command)
    command.add_argument(
        "--mode", default="probe", help="probe (default), or finetune: compare trainings by their inner loss"
    )
    command.add_argument(
        "--storage", help="where the trials are kept: a journal file, sqlite:///FILE or postgresql://..."
    )

    command = add(
        "compare",
        commands.run_compare,
        "compare two stage-2 runs by McNemar and paired bootstrap",
    )
    command.add_argument("run_a", type=Path)
    command.add_argument("run_b", type=Path)
    command.add_argument("--resamples", type=int, default=2000)
    command.add_argument("--seed", type=int, default=0)

    command = add(
        "seeds",
        commands.run_seeds,
        "mean, deviation and every value over runs of several seeds",
    )
    command.add_argument("runs", type=Path, nargs="+")

    command = add("tables", commands.run_tables, "set finished runs beside the paper's Tables 4, 5 and 6")
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR", help="folders of finished runs")
    command.add_argument(
        "--describe",
        type=Path,
        action="append",
        default=[],
        metavar="MANIFEST",
        help="Tables 1 to 3 of this manifest too; may be given several times",
    )
    command.add_argument(
        "--into", type=Path, metavar="DIR", help="also write tables.txt, .csv, .tex, .html and figures/ there"
    )
    command.add_argument(
        "--grid",
        action="store_true",
        help="runs of stage 2 by encoder, framing and mode, instead of Table 6",
    )
    table_output(command)

    command = add(
        "share", commands.run_share, "copy a finished run for others, with pseudonyms for its subjects"
    )
    command.add_argument("run_dir", type=Path, help="folder of a finished run of either stage")
    command.add_argument("-o", "--output", type=Path, required=True, help="new folder to write")
    command.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="key of the pseudonyms, for several runs (default: the run's own)",
    )

    command = add("demo", commands.run_demo, "generate the demo corpora, which are no real speech")
    command.add_argument("folder", type=Path)
    command.add_argument("--seed", type=int, default=0)

    command = add(
        "demo-recogniser",
        commands.run_demo_recogniser,
        "train a tiny ESPnet recogniser on generated vowels, in two minutes, to stand for a real one",
    )
    command.add_argument("folder", type=Path, help="a new folder, or one to go on in")

    add("models", commands.run_models, "list the models, or tell more of those named").add_argument(
        "names", nargs="*", metavar="NAME"
    )
    add("corpora", commands.run_corpora, "list the corpora, or the settings of one").add_argument(
        "name", nargs="?"
    )
    add("encoders", commands.run_encoders, "list the encoders")
    return parser


def parse_overrides(rest: Sequence[str]) -> commands.Overrides:
    """Read ``--group.key value``, ``--group.key=value`` and a lone ``--flag`` (true).

    Raises:
        BadInput: If something stands there that is no setting.
    """
    overrides: commands.Overrides = {}
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
