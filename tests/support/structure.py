"""The shape of the package: modules, lines, importers and class names, and the limits that it keeps to.

``python tests/support/structure.py`` prints the figures; exit status 1 if one of them is beyond its limit.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "sertransfer"

LIMITS = {
    "modules": 150,
    "lines": 38_500,
    "modules with a single importer": 30,
    "modules in the fullest folder": 22,
    "public class names used twice": 0,
}
"""The most of each; lower what can be lowered, and never raise it without a reason in the commit.

28,000 lines were aimed at when the package had 33,000. What deletions saved went into safety, audio
formats and statistics, and a fifth are docstrings: the aim needs less function, not tidier code.

Plug-ins (a corpus, a model, an encoder, a command, a page) have one importer."""

PLUG_INS = ("cli.", "corpora.emotion.", "corpora.interviews.", "demo.", "encoders.", "models.", "reporting.")
"""Packages whose modules are found by a registry or a command, and need no second importer."""


def module_name(path: Path, package: Path = PACKAGE) -> str:
    """Return the dotted name of the module in *path*."""
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, name: str) -> set[str]:
    """Return the package's own modules that *source* imports, at any depth of nesting."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import in line {node.lineno}"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {imported for imported in found if imported and imported.startswith("sertransfer.")}


def sources(package: Path = PACKAGE) -> dict[str, str]:
    """Return the text of each module by its name."""
    return {module_name(path, package): path.read_text() for path in sorted(package.rglob("*.py"))}


def import_graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Return, for each module, those of the package that it imports.

    The package's own ``__init__`` is left out: its lazy attributes are the public face of every floor.
    """
    texts = sources(package)
    return {
        name: {imported for imported in imports_of(text, name) if imported in texts} - {name}
        for name, text in texts.items()
        if name != "sertransfer"
    }


def figures(package: Path = PACKAGE) -> dict[str, list[str]]:
    """Return what each limit counts, as names."""
    texts, importers = sources(package), defaultdict(set)
    for name, imported in import_graph(package).items():
        for one in imported:
            importers[one].add(name)
    packages = {module_name(path, package) for path in package.rglob("__init__.py")}
    modules = [name for name in texts if name not in packages]
    single = [
        name
        for name in modules
        if len(importers[name]) == 1 and not name.removeprefix("sertransfer.").startswith(PLUG_INS)
    ]
    folders = Counter(name.rpartition(".")[0] for name in modules)
    fullest = max(folders, key=lambda folder: folders[folder])
    classes = Counter(
        node.name
        for text in texts.values()
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    plug_in_names = {"Options"}  # each corpus has options of its own, as its registry asks
    return {
        "modules": modules,
        "lines": [line for text in texts.values() for line in text.splitlines()],
        "modules with a single importer": single,
        "modules in the fullest folder": [name for name in modules if name.rpartition(".")[0] == fullest],
        "public class names used twice": sorted(
            name for name, count in classes.items() if count > 1 and name not in plug_in_names
        ),
    }


def main() -> int:
    """Print each figure beside its limit, and what is beyond it."""
    beyond = False
    for what, found in figures().items():
        over = len(found) > LIMITS[what]
        beyond = beyond or over
        print(f"{len(found):6d} {what} (at most {LIMITS[what]}){'  <- beyond' if over else ''}")
        if over and what != "lines" and what != "modules":
            print("".join(f"         {name}\n" for name in sorted(found)), end="")
    return int(beyond)


if __name__ == "__main__":
    sys.exit(main())
