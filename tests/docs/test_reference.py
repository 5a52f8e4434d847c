"""Pages made from the code hold every command and setting; the messages that a page lists exist."""

import ast
import importlib.util
import re
from pathlib import Path

from blocks import PROJECT

import sertransfer
from sertransfer.cli.main import build_parser
from sertransfer.config import setting_names
from sertransfer.corpora.registry import CORPORA

spec = importlib.util.spec_from_file_location("reference", PROJECT / "docs/hooks/reference.py")
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)


def test_every_command_and_option_is_on_its_page():
    page = reference.commands_page()
    commands = reference.subcommands(build_parser())
    assert {"prepare", "pretrain", "transfer"} <= commands.keys()
    for name, command in commands.items():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for action in command._actions:
            for option in action.option_strings:
                assert option in section, (name, option)


def test_every_setting_is_on_its_page():
    page = reference.settings_page()
    for command, kind in reference.WORKFLOWS.items():
        section = page.split(f"\n## {command}\n")[1].split("\n## ")[0]
        missing = [name for name in setting_names(kind) if f"`--{name}`" not in section]
        assert not missing, command
    for name, corpus in CORPORA.items():
        section = page.split(f"\n### {name}\n")[1].split("\n### ")[0]
        assert not [setting for setting in setting_names(corpus.options) if f"`--{setting}`" not in section]


def test_every_command_that_takes_settings_of_its_own_is_listed():
    takes = {
        name
        for name, command in reference.subcommands(build_parser()).items()
        if command.get_default("takes_settings") and name != "prepare"
    }
    listed = {command.split()[1] for command in reference.WORKFLOWS}
    assert takes - UNLISTED <= listed, "name its dataclass in WORKFLOWS of docs/hooks/reference.py"


UNLISTED = {"features", "predict"}
"""Their settings are another's: ``features`` takes those of ``pretrain``, ``predict`` some of DAIC-WOZ."""


def test_the_api_page_names_what_is_public():
    page = reference.api_page()
    for name in set(sertransfer.__all__) - {"__version__"}:
        assert f"::: {sertransfer._HOMES[name]}.{name}\n" in page
    for module in reference.MODULES:
        assert importlib.util.find_spec(module) is not None


def texts() -> list[str]:
    """Return every text of the package and of the recipes, with … for what is put in."""
    found = []
    for path in Path(sertransfer.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant | ast.JoinedStr):
                found.append(reference.said(node))
            if isinstance(node, ast.Call):
                given = {word.arg: reference.said(word.value) for word in node.keywords}
                if {"found", "expected", "remedy"} <= given.keys():
                    found.append("{found}; expected {expected}; {remedy}".format(**given))
                    found.append("{found}; expected a known …".format(**given))
    return found


def test_what_the_troubleshooting_page_lists_is_said_by_the_code():
    page = (PROJECT / "docs/troubleshooting.md").read_text()
    listed = re.findall(r"^\| `([^`]+)` \|", page, re.M)
    assert len(listed) > 40
    said = texts()
    for message in listed:
        pattern = ".*?".join(re.escape(piece) for piece in message.split("…"))
        assert any(re.search(pattern, text) for text in said), f"no text of the code says: {message}"
