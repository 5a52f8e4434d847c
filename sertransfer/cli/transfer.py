"""Commands of stage 2: from interviews and an encoder to decisions about subjects."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

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
from sertransfer.encoders import DEFAULT
from sertransfer.errors import choose


def add_to(commands: Commands) -> None:
    """Add the commands."""
    command = commands.add(
        "transfer",
        run_transfer,
        "stage 2: from interviews to subject-level decisions",
        settings="Settings: see configs/transfer; any can be given as --group.key VALUE."
        " A run's config.yaml lists all of them.",
    )
    _encoder(command)
    command.add_argument("--mode", help="probe (default) or finetune; see configs/transfer")

    command = commands.add(
        "tune",
        run_tune,
        "search for the head of stage 2 by nested cross-validation over the training subjects",
        settings="Settings: see configs/transfer/ser_tune.yaml, with --mode finetune"
        " configs/transfer/ser_finetune_tune.yaml; any can be given as --group.key VALUE.",
    )
    _encoder(command)
    command.add_argument(
        "--mode", default="probe", help="probe (default), or finetune: compare trainings by their inner loss"
    )
    command.add_argument(
        "--storage",
        help="where the trials are kept: an SQLite file (default: study.db in the run folder) or postgresql://...",
    )

    commands.add("encoders", run_encoders, "list the encoders")

    command = commands.add(
        "demo-recogniser",
        run_demo_recogniser,
        "train a tiny ESPnet recogniser on generated vowels, in two minutes, to stand for a real one",
    )
    command.add_argument("folder", type=Path, help="a new folder, or one to go on in")


def _encoder(command: argparse.ArgumentParser) -> None:
    """Add what every command that trains on an encoder takes."""
    manifest(command, positional=False)
    command.add_argument("--config", type=Path, help="YAML with settings")
    command.add_argument("--encoder", default=DEFAULT, help="name; 'sertransfer encoders' lists them")
    command.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        help="weights of the encoder: a file, or a folder (of a run, too)",
    )
    command.add_argument("--framing", help="demand this framing of the checkpoint")
    command.add_argument("--split", help="split to report: dev (default) or test")
    command.add_argument("--run-dir", type=Path, required=True)
    command.add_argument(
        "--embeddings", type=Path, help="folder of stored embeddings (default: in the run folder)"
    )
    skip_bad(command)


def _arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Return what both workflows are given besides their settings and the manifest."""
    from sertransfer.timebase import parse_framing

    return {
        "encoder": args.encoder,
        "checkpoint": args.checkpoint,
        "run_dir": args.run_dir,
        "framing": None if args.framing is None else parse_framing(args.framing),
        "embeddings": args.embeddings,
        "skip_bad": args.skip_bad,
        "progress": not args.quiet,
    }


def run_transfer(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Run stage 2."""
    from sertransfer.config import load_config
    from sertransfer.encoders.registry import choose_encoder
    from sertransfer.manifest import read_manifest
    from sertransfer.transfer.settings import TransferConfig
    from sertransfer.transfer.workflow import transfer

    choose_encoder(args.encoder)
    for setting in ("mode", "split"):
        if getattr(args, setting) is not None:
            overrides = {setting: getattr(args, setting), **overrides}
    config = load_config(TransferConfig, args.config, overrides)
    metrics = transfer(config, read_manifest(args.manifest, root=args.root), **_arguments(args))
    return CommandResult(
        metrics,
        "\n".join(filter(None, [scores_text(metrics, "subject"), config.seed_remark])),
        _files(args.run_dir),
        _after(args.run_dir),
    )


def _after(run_dir: Path) -> tuple[str, ...]:
    return (
        command_line("predict", run_dir, "AUDIO", "--transcript", "FILE", "--html", "scores.html"),
        command_line("tables", run_dir),
    )


def _files(run_dir: Path) -> dict[str, Path]:
    return {
        "report": run_dir / "report.html",
        "scores of subjects": run_dir / "subjects.csv",
        "scores of sentences": run_dir / "sentences.csv",
        "log": run_dir / "log.txt",
    }


def run_tune(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Search for the head of stage 2, or for the settings of fine-tuning."""
    from sertransfer.config import load_config
    from sertransfer.encoders.registry import choose_encoder
    from sertransfer.manifest import read_manifest
    from sertransfer.transfer.tuning.space import FinetuneTuneConfig, TuneConfig
    from sertransfer.transfer.tuning.workflow import tune

    choose_encoder(args.encoder)
    choose("mode", args.mode, ("probe", "finetune"))
    if args.split is not None:
        overrides = {"transfer.split": args.split, **overrides}
    config: TuneConfig | FinetuneTuneConfig
    if args.mode == "finetune":
        config = load_config(FinetuneTuneConfig, args.config, overrides)
    else:
        config = load_config(TuneConfig, args.config, overrides)
    metrics = tune(
        config,
        read_manifest(args.manifest, root=args.root),
        storage=args.storage,
        **_arguments(args),
    )
    best = args.run_dir / "best.yaml"
    again = ("--encoder", args.encoder, "--checkpoint", args.checkpoint, "--manifest", args.manifest)
    return CommandResult(
        metrics,
        scores_text(metrics, "subject"),
        {**_files(args.run_dir), "best settings": best, "trials": args.run_dir / "trials.csv"},
        (
            command_line("transfer", "--config", best, *again, "--run-dir", "DIR"),
            *_after(args.run_dir),
        ),
    )


def run_encoders(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """List the encoders."""
    from sertransfer.encoders.registry import ENCODERS

    entries = {name: first_line(opener.__doc__) for name, opener in ENCODERS.items()}
    return CommandResult({"encoders": entries}, "\n".join(entry(*one) for one in entries.items()))


def run_demo_recogniser(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Train the demo's recogniser."""
    import sys

    from sertransfer.demo.recogniser import ENCODER, EXPERIMENT, train_demo_recogniser

    def say(text: str) -> None:
        if not args.quiet:
            print(text, file=sys.stderr)

    found = train_demo_recogniser(args.folder, say=say)
    checkpoint = args.folder / EXPERIMENT
    return CommandResult(
        found,
        f"character error rate {found['cer']:.3f} after {found['epochs']} epochs, {found['seconds']:.0f} s\n"
        f"{found['note']}\nencoder: --encoder {ENCODER} --checkpoint {checkpoint}",
        following=(
            command_line(
                *("transfer", "--encoder", ENCODER, "--checkpoint", checkpoint),
                *("--manifest", "INTERVIEWS.csv", "--run-dir", "DIR"),
            ),
        ),
    )
