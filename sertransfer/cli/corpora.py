"""Commands about corpora: prepare, describe, list, and generate those of the demo."""

from __future__ import annotations

import argparse
from pathlib import Path

from sertransfer.cli.options import (
    CommandResult,
    Commands,
    Overrides,
    command_line,
    entry,
    place,
    skip_bad,
    table_output,
)
from sertransfer.errors import bad_input, choose


def add_to(commands: Commands) -> None:
    """Add the commands."""
    command = commands.add(
        "prepare",
        run_prepare,
        "read a corpus in its own layout and write its manifest",
        settings="Settings of the corpus, as --name VALUE: 'sertransfer corpora CORPUS' lists them.",
    )
    command.add_argument("corpus", help="name; 'sertransfer corpora' lists them")
    command.add_argument("root", type=Path, help="folder of the corpus (only read)")
    command.add_argument("-o", "--output", type=Path, required=True, help="manifest.csv to write")
    command.add_argument("--config", type=Path, help="YAML with settings of the corpus")
    skip_bad(command)

    command = commands.add(
        "describe",
        run_describe,
        "print the paper's Tables 1 to 3 and its Figure 1, of several manifests side by side",
    )
    command.add_argument(
        "manifests", type=Path, nargs="+", metavar="MANIFEST", help="manifest.csv that 'prepare' wrote"
    )
    command.add_argument("--root", type=Path, help="corpus root of one manifest, if it was moved")
    table_output(command)
    command.add_argument("--figure", type=Path, help="draw Figure 1 to this PNG or SVG")

    commands.add("corpora", run_corpora, "list the corpora, or the settings of one").add_argument(
        "name", nargs="?"
    )

    command = commands.add("demo", run_demo, "generate the demo corpora, which are no real speech")
    command.add_argument("folder", type=Path)
    command.add_argument("--seed", type=int, default=0)


def run_prepare(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Read a corpus and write its manifest."""
    from sertransfer.config import load_config
    from sertransfer.corpora.prepare import prepare, summary
    from sertransfer.corpora.registry import CORPORA
    from sertransfer.io.progress import showing
    from sertransfer.manifest import notes_path

    corpus = CORPORA[choose("corpus", args.corpus, CORPORA)]
    options = load_config(corpus.options, args.config, overrides)
    with showing(not args.quiet):
        manifest = prepare(args.corpus, args.root, options, args.output, skip_bad=args.skip_bad)
    table = manifest.table
    values = {
        "corpus": manifest.notes["corpus"],
        "utterances": len(table),
        "speakers": int(table["speaker"].nunique()),
        "recordings": int(table["audio"].nunique()),
        "labels": {str(label): int(count) for label, count in table["label"].value_counts().items()},
        "generated": manifest.generated,
        "notes": {**manifest.notes},
    }
    return CommandResult(
        values,
        summary(manifest),
        {"manifest": args.output, "notes": notes_path(args.output)},
        (command_line("describe", args.output),),
    )


def run_describe(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Print the paper's tables for a manifest, or for several side by side."""
    from sertransfer.corpora.statistics import describe_files
    from sertransfer.io.progress import showing
    from sertransfer.reporting.corpus_tables import corpus_tables
    from sertransfer.reporting.plots import plot_label_shares
    from sertransfer.reporting.tables import format_description, format_tables

    for option in ("root", "figure"):
        if len(args.manifests) > 1 and getattr(args, option) is not None:
            raise bad_input(
                f"--{option}",
                found=f"{len(args.manifests)} manifests",
                expected="one manifest with this option",
                remedy="describe them one by one",
            )
    with showing(not args.quiet):
        descriptions = describe_files(args.manifests, root=args.root)
    if args.format == "text" and len(descriptions) == 1:
        tables = format_description(descriptions[0]) + "\n"
    else:
        tables = format_tables(corpus_tables(descriptions), args.format)
    text, files = place(tables, args.output)
    if args.figure is not None:
        plot_label_shares(descriptions[0].label_shares, args.figure)
        files["figure 1"] = args.figure
    corpora = [{"corpus": one.name, **one.as_dict()} for one in descriptions]
    return CommandResult({"corpora": corpora}, text, files)


def run_corpora(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """List the corpora, or the settings of one."""
    from sertransfer.config import config_dict, describe_settings
    from sertransfer.corpora.registry import CORPORA

    if args.name is None:
        entries = {name: corpus.summary for name, corpus in CORPORA.items()}
        return CommandResult({"corpora": entries}, "\n".join(entry(*one) for one in entries.items()))
    corpus = CORPORA[choose("corpus", args.name, CORPORA)]
    return CommandResult(
        {"corpora": {corpus.name: corpus.summary}, "settings": config_dict(corpus.options())},
        f"{entry(corpus.name, corpus.summary)}\n{describe_settings(corpus.options)}",
    )


def run_demo(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Generate the demo corpora."""
    from sertransfer.demo.corpora import make_demo

    folders = make_demo(args.folder, seed=args.seed, progress=not args.quiet)
    text = "\n".join(f"{name}: {folder} (generated, not real speech)" for name, folder in folders.items())
    first = folders.get("lssed", args.folder / "lssed")
    return CommandResult(
        {"corpora": {name: str(folder) for name, folder in folders.items()}, "generated": True},
        text,
        following=(command_line("prepare", "lssed", first, "-o", "lssed.csv"),),
    )
