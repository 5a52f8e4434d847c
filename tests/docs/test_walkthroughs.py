"""CONTRIBUTING's three walkthroughs, followed to the letter in a copy of the repository."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from blocks import PROJECT, blocks_of

PAGE = PROJECT / "CONTRIBUTING.md"
COMMAND = ".venv/bin/pytest "
COPIED = ("sertransfer", "tests", "configs", "pyproject.toml")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository with every file of the page made, and every addition added."""
    place = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / name, place / name)
    for block in blocks_of(PAGE):
        if block.file:
            target = place / block.file
            assert target.exists() == block.added, f"{block.where}: {block.file}"
            with target.open("a" if block.added else "w", encoding="utf-8") as file:
                file.write("\n\n" + block.code if block.added else block.code)
    return place


def commands():
    lines = "\n".join(block.code for block in blocks_of(PAGE)).splitlines()
    return [line.removeprefix(COMMAND).split("#")[0].strip() for line in lines if line.startswith(COMMAND)]


def test_the_walkthroughs_pass_their_own_tests(copy):
    """One process runs all three: each would wait for torch by itself."""
    ours = [words for words in commands() if words != "tests/corpora"]
    assert len(ours) == 3
    paths, names = [], []
    for words in map(shlex.split, ours):
        paths.append(words[0])
        names += words[2:] if words[1:2] == ["-k"] else [words[0].split("/")[-1].removesuffix(".py")]
    path = f"{copy}:{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths, "-k", " or ".join(names)],
        cwd=copy, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    assert "skipped" not in said


def test_the_walkthroughs_are_in_the_projects_style(copy):
    made = [
        str(copy / block.file) for block in blocks_of(PAGE) if block.file.endswith(".py") and not block.added
    ]
    assert len(made) == 5
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, *made],
            cwd=copy, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", ["own_corpus", "own_encoder"])
def test_the_scripts_of_the_pages_are_in_the_projects_style(page, tmp_path):
    for block in blocks_of(PROJECT / "docs" / f"{page}.md"):
        if block.file.endswith(".py"):
            (tmp_path / block.file).write_text(block.code)
            command = [
                sys.executable,
                "-m",
                "ruff",
                "check",
                "--config",
                PROJECT / "pyproject.toml",
                tmp_path,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


def test_the_map_names_what_is_there():
    text = PAGE.read_text(encoding="utf-8")
    text = text[text.index("## The map") : text.index("A module is a noun")]
    named = re.findall(r"`((?:sertransfer|tests)/[\w/.]+)`", text)
    assert len(named) > 20
    assert [name for name in named if not (PROJECT / name).exists()] == []
    packages = {path.parent.name for path in (PROJECT / "sertransfer").glob("*/__init__.py")}
    assert [name for name in sorted(packages) if f"| `{name}` |" not in text] == []
