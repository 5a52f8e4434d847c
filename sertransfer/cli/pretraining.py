"""Commands of stage 1: train and score speech emotion recognisers, or take published ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sertransfer.cli.options import (
    CommandResult,
    Commands,
    Overrides,
    command_line,
    entry,
    first_line,
    manifest,
    scores_text,
    skip_bad,
)
from sertransfer.errors import bad_input, choose

if TYPE_CHECKING:
    from sertransfer.front_end import FrontEnd
    from sertransfer.models.registry import Summary


def add_to(commands: Commands) -> None:
    """Add the commands."""
    command = commands.add(
        "pretrain",
        run_pretrain,
        "stage 1: train a speech emotion recogniser",
        settings="Settings: see configs/pretrain; any can be given as --group.key VALUE."
        " A run's config.yaml lists all of them.",
    )
    manifest(command, positional=False)
    command.add_argument("--config", type=Path, help="YAML with settings (default: the paper's protocol)")
    command.add_argument("--model", help="model name; 'sertransfer models' lists them")
    command.add_argument(
        "--run-dir", type=Path, required=True, help="folder of the run, resumed if it is there"
    )
    skip_bad(command)

    command = commands.add(
        "features",
        run_features,
        "make the features of stage 1 beforehand",
        settings="Settings: those of 'pretrain', which must be the same there.",
    )
    manifest(command, positional=False)
    command.add_argument("--config", type=Path, help="YAML with settings (default: the paper's protocol)")
    command.add_argument(
        "--into", type=Path, metavar="DIR", help="folder of stores, for 'pretrain --store DIR'"
    )
    skip_bad(command)

    command = commands.add("evaluate", run_evaluate, "score a checkpoint on a split of a manifest")
    command.add_argument(
        "checkpoint", type=Path, help="model.safetensors, or the run folder of 'pretrain' that holds it"
    )
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

    command = commands.add(
        "import-checkpoint",
        run_import_checkpoint,
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

    commands.add("models", run_models, "list the models, or tell more of those named").add_argument(
        "names", nargs="*", metavar="NAME"
    )


def run_pretrain(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Run stage 1."""
    from sertransfer.config import load_config
    from sertransfer.manifest import read_manifest
    from sertransfer.pretraining.settings import PretrainConfig
    from sertransfer.pretraining.workflow import check_model, pretrain

    if args.model is not None:
        overrides = {"model.name": args.model, **overrides}
    config = load_config(PretrainConfig, args.config, overrides)
    check_model(config)
    table = read_manifest(args.manifest, root=args.root)
    metrics = pretrain(config, table, args.run_dir, skip_bad=args.skip_bad, progress=not args.quiet)
    model = args.run_dir / "checkpoints" / "model.safetensors"
    return CommandResult(
        metrics,
        scores_text(metrics, "utterance"),
        {
            "report": args.run_dir / "report.html",
            "scores": args.run_dir / "utterances.csv",
            "model": model,
            "log": args.run_dir / "log.txt",
        },
        (
            command_line(
                "transfer", "--checkpoint", model, "--manifest", "INTERVIEWS.csv", "--run-dir", "DIR"
            ),
            command_line("evaluate", model, "OTHER.csv", "--run-dir", "DIR"),
            command_line("tables", args.run_dir),
        ),
    )


def run_features(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Make the feature store of stage 1."""
    from sertransfer.config import load_config
    from sertransfer.manifest import read_manifest
    from sertransfer.pretraining.data import make_features
    from sertransfer.pretraining.settings import PretrainConfig

    store = make_features(
        load_config(PretrainConfig, args.config, overrides),
        read_manifest(args.manifest, root=args.root),
        args.into,
        skip_bad=args.skip_bad,
        progress=not args.quiet,
    )
    values = {"utterances": len(store), "frames": int(store.frames.sum()), "left_out": store.left_out}
    text = f"{values['utterances']} utterances, {values['frames']} frames; {len(store.left_out)} left out"
    options = ("--manifest", args.manifest, "--store", store.path.parent, "--run-dir", "RUN_DIR")
    return CommandResult(values, text, {"store": store.path}, (command_line("pretrain", *options),))


def run_evaluate(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Score a checkpoint on a split."""
    from sertransfer.manifest import read_manifest
    from sertransfer.pretraining.evaluate import evaluate

    metrics = evaluate(
        args.checkpoint,
        read_manifest(args.manifest, root=args.root),
        split=args.split,
        run_dir=args.run_dir,
        absent=args.absent,
        skip_bad=args.skip_bad,
        progress=not args.quiet,
    )
    return CommandResult(
        metrics,
        scores_text(metrics, "utterance"),
        {"report": args.run_dir / "report.html", "scores": args.run_dir / "utterances.csv"},
        (command_line("tables", args.run_dir),),
    )


def run_import_checkpoint(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Convert published weights."""
    from sertransfer.encoders.importing import import_checkpoint

    chosen = chosen_front_end(args, overrides)
    classes = {} if args.classes is None else {"classes": args.classes.split(",")}
    report = import_checkpoint(
        args.file, args.output, front_end=chosen, calibrate_on=args.calibrate_on, **classes
    )
    return CommandResult({key: value for key, value in report.items() if key != "text"}, report["text"])


def chosen_front_end(args: argparse.Namespace, overrides: Overrides) -> FrontEnd | None:
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


def run_models(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """List the models, or tell more of some."""
    from sertransfer.models.registry import MODELS, summarise

    if not args.names:
        entries = {name: first_line(builder.__doc__) for name, builder in MODELS.items()}
        return CommandResult({"models": entries}, "\n".join(entry(*one) for one in entries.items()))
    summaries = [summarise(name) for name in args.names]
    return CommandResult(
        {"models": {one.name: _model_values(one) for one in summaries}},
        "\n".join(map(_model_text, summaries)),
    )


def _model_values(summary: Summary) -> dict[str, Any]:
    return {
        "summary": first_line(summary.text),
        "parameters": summary.parameters,
        "least": summary.least,
        "features": summary.num_features,
        "image_weights": summary.image_weights,
        "options": {key: str(value) for key, value in summary.options.items()},
    }


def _model_text(summary: Summary) -> str:
    from sertransfer.timebase import Framing

    framing = Framing()
    seconds = (summary.least - 1) * framing.hop / framing.sample_rate
    short = f"fills up what is shorter than {summary.least} frames ({seconds:.2f} s at {framing.name})"
    parts = [
        f"{summary.parameters:,} parameters with 4 classes",
        f"{short} or {summary.least} mels" if summary.least > 1 else "takes any length",
        f"{summary.num_features} features a frame",
        f"ImageNet weights: {'from a file' if summary.image_weights else 'none'}",
        "options: " + ", ".join(f"{key} {value}" for key, value in summary.options.items()),
    ]
    return f"{entry(summary.name, summary.text)}\n  {'; '.join(parts)}"
