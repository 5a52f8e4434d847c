"""Pages that are made from the code when the site is built: commands, settings, the Python API.

Nothing of them is kept in the repository, so that none can be out of date. Called by mkdocs (``hooks`` in
``mkdocs.yml``); ``tests/docs/test_reference.py`` checks that every command and setting is in them.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any, get_type_hints

import sertransfer
from sertransfer.cli.main import build_parser
from sertransfer.config import config_dict
from sertransfer.corpora.registry import CORPORA
from sertransfer.front_end import FrontEnd
from sertransfer.pretraining.settings import PretrainConfig
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.tuning.space import FinetuneTuneConfig, TuneConfig

MADE = "*Made from the code when the site is built.*\n"

WORKFLOWS: dict[str, type] = {
    "sertransfer pretrain": PretrainConfig,
    "sertransfer transfer": TransferConfig,
    "sertransfer tune": TuneConfig,
    "sertransfer tune --mode finetune": FinetuneTuneConfig,
    "sertransfer import-checkpoint": FrontEnd,
}
"""Commands that take settings, and their dataclass; ``import-checkpoint`` takes those of its front end."""

MODULES = (
    "sertransfer.manifest",
    "sertransfer.timebase",
    "sertransfer.evaluation.metrics",
    "sertransfer.evaluation.aggregation",
    "sertransfer.front_end",
    "sertransfer.config",
    "sertransfer.errors",
    "sertransfer.models.checkpoint",
    "sertransfer.models.registry",
    "sertransfer.encoders.base",
    "sertransfer.encoders.base",
    "sertransfer.encoders.registry",
    "sertransfer.corpora.prepare",
    "sertransfer.corpora.collection",
    "sertransfer.pretraining.workflow",
    "sertransfer.pretraining.evaluate",
    "sertransfer.transfer.workflow",
    "sertransfer.transfer.tuning.workflow",
    "sertransfer.encoders.sentence_model",
)
"""Modules whose public names the API page shows, after those of ``sertransfer`` itself."""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to the site."""
    from mkdocs.structure.files import File  # so that tests read the pages without mkdocs

    for path, make in PAGES.items():
        files.append(File.generated(config, path, content=make()))
    return files


def commands_page() -> str:
    """Return every command with its options, as ``--help`` prints them."""
    parser = build_parser()
    parts = ["# Commands\n", MADE, f"```text\n{_help(parser)}```\n"]
    for name, command in subcommands(parser).items():
        text = command.description or ""
        parts += [f"## {name}\n", f"{text[:1].upper()}{text[1:]}.\n", f"```text\n{_help(command)}```\n"]
    return "\n".join(parts)


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of *parser* by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def settings_page() -> str:
    """Return every setting with its default, type and meaning."""
    parts = [
        "# Settings\n",
        MADE,
        "Each is given as `--name VALUE` on the command line, or nested in the YAML file of `--config`. "
        "The command line goes over the file, the file over the default. An unknown name fails with the "
        "nearest valid one.\n",
    ]
    for command, kind in WORKFLOWS.items():
        parts += [f"## {command}\n", *_settings(kind)]
    parts.append(
        "## sertransfer prepare\n\nThe settings of each corpus; `sertransfer corpora NAME` prints them too.\n"
    )
    for name, corpus in CORPORA.items():
        parts += [f"### {name}\n", f"{corpus.summary}\n", *_settings(corpus.options)]
    return "\n".join(parts)


def api_page() -> str:
    """Return what mkdocstrings turns into the reference of the public API."""
    homes = sertransfer._HOMES
    parts = [
        "# Python API\n",
        MADE,
        "What `import sertransfer` offers is loaded when it is first used. Shapes and units stand in each "
        "docstring.\n",
        "## sertransfer\n",
    ]
    names = [name for name in sertransfer.__all__ if name in homes]
    parts += [f"::: {homes[name]}.{name}\n    options:\n      heading_level: 3\n" for name in names]
    for module in MODULES:
        shown = [
            home.rpartition(".")[2]
            for home in (f"{homes[n]}.{n}" for n in names)
            if home.startswith(f"{module}.")
        ]
        filters = json.dumps(["!^_", *(f"!^{name}$" for name in shown)])
        parts.append(f"## {module}\n\n::: {module}\n    options:\n      filters: {filters}\n")
    return "\n".join(parts)


def messages_page() -> str:
    """Return every message about bad input, as the code says it."""
    parts = [
        "# Messages\n",
        MADE,
        "Every message about bad input, by module; `…` stands for what differs. Cause and remedy of the "
        "usual ones: [Troubleshooting](../troubleshooting.md).\n",
    ]
    for module, rows in messages().items():
        table = [f"| {' | '.join(_cell(part) for part in row)} |" for row in rows]
        head = ["| found | expected | what to do |", "|---|---|---|"]
        parts += [f"## {module}\n", "\n".join([*head, *table]) + "\n"]
    return "\n".join(parts)


def messages() -> dict[str, list[tuple[str, str, str]]]:
    """Return what was found, what was expected and what to do of each message, by module."""
    home = Path(sertransfer.__file__).parent
    found: dict[str, list[tuple[str, str, str]]] = {}
    for path in sorted(home.rglob("*.py")):
        rows = []
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                given = {word.arg: said(word.value) for word in node.keywords}
                if {"found", "expected", "remedy"} <= given.keys():
                    rows.append((given["found"], given["expected"], given["remedy"]))
        told = [row for row in dict.fromkeys(rows) if row[0].strip("…' ")]
        if told:
            found[".".join(path.relative_to(home.parent).with_suffix("").parts)] = told
    return found


def said(node: ast.expr) -> str:
    """Return a text of the code, with … for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(said(part) for part in node.values)
    return "…"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


PAGES = {
    "reference/commands.md": commands_page,
    "reference/settings.md": settings_page,
    "reference/api.md": api_page,
    "reference/messages.md": messages_page,
}
"""The pages, and what makes each."""


def _help(parser: argparse.ArgumentParser) -> str:
    parser.formatter_class = lambda prog: _Wide(prog, width=100, max_help_position=30)  # type: ignore[assignment]
    return parser.format_help()


class _Wide(argparse.RawDescriptionHelpFormatter):
    """Help of one width, whatever the terminal's is."""


def _settings(kind: type, prefix: str = "") -> list[str]:
    """Return the docstring and table of *kind*, then those of the groups in it."""
    text, meanings = _docstring(kind)
    hints, defaults = get_type_hints(kind), config_dict(kind())
    rows, groups = [], []
    for field in dataclasses.fields(kind):
        name, hint = f"{prefix}{field.name}", hints[field.name]
        if dataclasses.is_dataclass(hint):
            below = _settings(hint, f"{name}.")  # type: ignore[arg-type]
            groups += [
                f"**`{name}`**" + (f": {meanings[field.name]}" if field.name in meanings else "") + "\n",
                *below,
            ]
            continue
        cells = (f"`--{name}`", f"`{json.dumps(defaults[field.name])}`", f"`{_type_name(hint)}`")
        meaning = meanings.get(field.name, "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (*cells, meaning)) + " |")
    table = ["| setting | default | type | |", "|---|---|---|---|", *rows]
    return [f"{text}\n", *(["\n".join(table) + "\n"] if rows else []), *groups]


def _type_name(hint: Any) -> str:
    return (
        hint.__name__
        if isinstance(hint, type) and not hasattr(hint, "__args__")
        else re.sub(r"typing\.", "", str(hint))
    )


def _docstring(kind: type) -> tuple[str, dict[str, str]]:
    """Return what a dataclass's docstring says of the whole, and of each attribute, bases included."""
    meanings: dict[str, str] = {}
    text = ""
    for base in reversed([each for each in kind.__mro__ if dataclasses.is_dataclass(each)]):
        before, _, attributes = _as_markdown(inspect.cleandoc(base.__doc__ or "")).partition(
            "\nAttributes:\n"
        )
        text = before.strip() or text
        for entry in re.split(r"\n(?=    \S)", "\n" + attributes):
            names, colon, meaning = entry.strip().partition(": ")
            if colon:
                meanings |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return text, meanings


def _as_markdown(text: str) -> str:
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)
