"""What each command does: it imports what it needs, calls one function, and prints what came of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sertransfer.errors import bad_input, choose

if TYPE_CHECKING:
    from sertransfer.front_end import FrontEnd

Overrides = dict[str, str]


def run_prepare(args: argparse.Namespace, overrides: Overrides) -> None:
    """Read a corpus and write its manifest."""
    from sertransfer.config import load_config
    from sertransfer.corpora.prepare import prepare, summary
    from sertransfer.corpora.registry import CORPORA

    corpus = CORPORA[choose("corpus", args.corpus, CORPORA)]
    options = load_config(corpus.options, args.config, overrides)
    manifest = prepare(args.corpus, args.root, options, args.output, skip_bad=args.skip_bad)
    print(summary(manifest))
    print(f"wrote {args.output}; next: sertransfer describe {args.output}")


def run_describe(args: argparse.Namespace, overrides: Overrides) -> None:
    """Print the paper's tables for a manifest, or for several side by side."""
    from sertransfer.corpora.statistics import describe_files
    from sertransfer.reporting.corpus_tables import corpus_tables
    from sertransfer.reporting.plots import plot_label_shares
    from sertransfer.reporting.result_table import format_tables
    from sertransfer.reporting.tables import format_description

    for option in ("root", "figure"):
        if len(args.manifests) > 1 and getattr(args, option) is not None:
            raise bad_input(
                f"--{option}",
                found=f"{len(args.manifests)} manifests",
                expected="one manifest with this option",
                remedy="describe them one by one",
            )
    descriptions = describe_files(args.manifests, root=args.root)
    if args.format == "text" and len(descriptions) == 1:
        text = format_description(descriptions[0]) + "\n"
    else:
        text = format_tables(corpus_tables(descriptions), args.format)
    write_or_print(text, args.output)
    if args.figure is not None:
        plot_label_shares(descriptions[0].label_shares, args.figure)
        print(f"wrote {args.figure}")


def run_pretrain(args: argparse.Namespace, overrides: Overrides) -> None:
    """Run stage 1."""
    from sertransfer.config import load_config
    from sertransfer.manifest import read_manifest
    from sertransfer.training.pretrain import pretrain
    from sertransfer.training.settings import PretrainConfig

    if args.model is not None:
        overrides = {"model.name": args.model, **overrides}
    config = load_config(PretrainConfig, args.config, overrides)
    manifest = read_manifest(args.manifest, root=args.root)
    metrics = pretrain(config, manifest, args.run_dir, skip_bad=args.skip_bad, progress=not args.quiet)
    say_scores(metrics, "utterance", args.run_dir)
    print(f"next: sertransfer transfer --checkpoint {args.run_dir}/checkpoints/model.safetensors ...")


def run_evaluate(args: argparse.Namespace, overrides: Overrides) -> None:
    """Score a checkpoint on a split."""
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
    say_scores(metrics, "utterance", args.run_dir)


def run_import_checkpoint(args: argparse.Namespace, overrides: Overrides) -> None:
    """Convert published weights."""
    from sertransfer.encoders.importing import import_checkpoint

    chosen = chosen_front_end(args, overrides)
    classes = {} if args.classes is None else {"classes": args.classes.split(",")}
    report = import_checkpoint(
        args.file, args.output, front_end=chosen, calibrate_on=args.calibrate_on, **classes
    )
    print(report["text"])


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


def _stage_2_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Return what every command of stage 2 is given besides its settings and the manifest."""
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


def run_transfer(args: argparse.Namespace, overrides: Overrides) -> None:
    """Run stage 2."""
    from sertransfer.config import load_config
    from sertransfer.encoders.registry import ENCODERS
    from sertransfer.manifest import read_manifest
    from sertransfer.transfer.settings import TransferConfig
    from sertransfer.transfer.workflow import transfer

    choose("encoder", args.encoder, ENCODERS)
    for setting in ("mode", "split"):
        if getattr(args, setting) is not None:
            overrides = {setting: getattr(args, setting), **overrides}
    config = load_config(TransferConfig, args.config, overrides)
    manifest = read_manifest(args.manifest, root=args.root)
    metrics = transfer(config, manifest, **_stage_2_arguments(args))
    say_scores(metrics, "subject", args.run_dir)


def run_tune(args: argparse.Namespace, overrides: Overrides) -> None:
    """Search for the head of stage 2, or for the settings of fine-tuning."""
    from sertransfer.config import load_config
    from sertransfer.encoders.registry import ENCODERS
    from sertransfer.manifest import read_manifest

    choose("encoder", args.encoder, ENCODERS)
    choose("mode", args.mode, ("probe", "finetune"))
    if args.split is not None:
        overrides = {"transfer.split": args.split, **overrides}
    given: dict[str, Any] = {"storage": args.storage, **_stage_2_arguments(args)}
    if args.mode == "finetune":
        from sertransfer.transfer.finetune_space import FinetuneTuneConfig
        from sertransfer.transfer.finetune_tuning import tune_finetuning

        searched = load_config(FinetuneTuneConfig, args.config, overrides)
        metrics = tune_finetuning(searched, read_manifest(args.manifest, root=args.root), **given)
    else:
        from sertransfer.transfer.search_space import TuneConfig
        from sertransfer.transfer.tune import tune

        config = load_config(TuneConfig, args.config, overrides)
        metrics = tune(config, read_manifest(args.manifest, root=args.root), **given)
    say_scores(metrics, "subject", args.run_dir)
    print(f"best settings: {args.run_dir / 'best.yaml'}; next: sertransfer transfer --config that file ...")


def run_compare(args: argparse.Namespace, overrides: Overrides) -> None:
    """Compare two runs of stage 2."""
    from sertransfer.transfer.compare import compare, comparison_text

    print(comparison_text(compare(args.run_a, args.run_b, resamples=args.resamples, seed=args.seed)))


def run_seeds(args: argparse.Namespace, overrides: Overrides) -> None:
    """Summarise runs that differ in their seed."""
    from sertransfer.transfer.seeds import seed_summary, seeds_text

    print(seeds_text(seed_summary(args.runs)))


def run_tables(args: argparse.Namespace, overrides: Overrides) -> None:
    """Set finished runs, and corpora, beside the paper's tables."""
    from sertransfer.corpora.statistics import describe_files
    from sertransfer.reporting.benchmark import tables_of
    from sertransfer.reporting.bundle import write_bundle
    from sertransfer.reporting.corpus_tables import corpus_tables
    from sertransfer.reporting.grid import grid_table
    from sertransfer.reporting.result_table import format_tables
    from sertransfer.reporting.runs import read_runs

    runs = read_runs(args.runs)
    descriptions = describe_files(args.describe)
    results = [grid_table(runs)] if args.grid else tables_of(runs)
    tables = [*(corpus_tables(descriptions) if descriptions else []), *results]
    write_or_print(format_tables(tables, args.format), args.output)
    if args.into is not None:
        for path in write_bundle(args.into, tables, descriptions=descriptions, runs=runs):
            print(f"wrote {path}")


def run_share(args: argparse.Namespace, overrides: Overrides) -> None:
    """Copy a run for others, with pseudonyms."""
    from sertransfer.reporting.share import share

    for path in share(args.run_dir, args.output, key=args.key):
        print(f"wrote {path}")
    print("pseudonyms are no anonymity: see docs/privacy.md before this leaves the machine")


def write_or_print(text: str, path: Path | None) -> None:
    """Write *text* to *path*, or print it where there is none."""
    from sertransfer.files import write_text

    if path is None:
        print(text, end="")
    else:
        write_text(path, text)
        print(f"wrote {path}")


def run_demo(args: argparse.Namespace, overrides: Overrides) -> None:
    """Generate the demo corpora."""
    from sertransfer.corpora.demo import make_demo

    for name, folder in make_demo(args.folder, seed=args.seed, progress=not args.quiet).items():
        print(f"{name}: {folder} (generated, not real speech)")


def run_demo_recogniser(args: argparse.Namespace, overrides: Overrides) -> None:
    """Train the demo's recogniser."""
    from sertransfer.training.demo_recogniser import train_demo_recogniser
    from sertransfer.training.recogniser import EXPERIMENT

    result = train_demo_recogniser(args.folder)
    print(
        f"character error rate {result['cer']:.3f} after {result['epochs']} epochs, {result['seconds']:.0f} s"
    )
    print(f"{result['note']}\nencoder: --encoder asr --checkpoint {args.folder / EXPERIMENT}")


def run_models(args: argparse.Namespace, overrides: Overrides) -> None:
    """List the models, or tell more of some."""
    from sertransfer.models.summary import summarise
    from sertransfer.models.zoo import MODELS
    from sertransfer.timebase import Framing

    for name, builder in MODELS.items() if not args.names else ():
        say_entry(name, builder.__doc__)
    framing = Framing()
    for summary in [summarise(name) for name in args.names]:
        say_entry(summary.name, summary.text)
        seconds = (summary.least - 1) * framing.hop / framing.sample_rate
        short = f"fills up what is shorter than {summary.least} frames ({seconds:.2f} s at {framing.name})"
        parts = [
            f"{summary.parameters:,} parameters with 4 classes",
            f"{short} or {summary.least} mels" if summary.least > 1 else "takes any length",
            f"{summary.num_features} features a frame",
            f"ImageNet weights: {'from a file' if summary.image_weights else 'none'}",
            "options: " + ", ".join(f"{key} {value}" for key, value in summary.options.items()),
        ]
        print("  " + "; ".join(parts))


def run_corpora(args: argparse.Namespace, overrides: Overrides) -> None:
    """List the corpora, or the settings of one."""
    from sertransfer.config import describe_settings
    from sertransfer.corpora.registry import CORPORA

    if args.name is None:
        for name, corpus in CORPORA.items():
            say_entry(name, corpus.summary)
        return
    corpus = CORPORA[choose("corpus", args.name, CORPORA)]
    say_entry(corpus.name, corpus.summary)
    print(describe_settings(corpus.options))


def run_encoders(args: argparse.Namespace, overrides: Overrides) -> None:
    """List the encoders."""
    from sertransfer.encoders.registry import ENCODERS

    for name, opener in ENCODERS.items():
        say_entry(name, opener.__doc__)


def say_entry(name: str, text: str | None) -> None:
    """Print one line of a list: the name first, then the first line of what explains it."""
    first = (text or "").strip().splitlines()[:1]
    print(f"{name:<24} {first[0] if first else ''}".rstrip())


def say_scores(metrics: dict[str, Any], level: str, run_dir: Path) -> None:
    """Print WA and UA with their intervals, the majority row, and where the report is."""
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
