"""What is public says what it takes, gives and refuses: docstrings of the package, walked over."""

import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import sertransfer

PROJECT = Path(__file__).parents[1]
MODULES = [found.name for found in pkgutil.walk_packages(sertransfer.__path__, "sertransfer.")]
ERRORS = re.compile(r"\braise (?:bad_input|BadInput|[a-z_]+\.raise_if_any)")


def public(module):
    """Yield names and what they stand for: functions and classes that *module* defines, and their methods."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield name, value
            for method, function in vars(value).items():
                plain = getattr(function, "fget", None) or getattr(function, "__func__", function)
                if not method.startswith("_") and inspect.isfunction(plain):
                    yield f"{name}.{method}", plain
        elif inspect.isfunction(value):
            yield name, value


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_has_a_docstring(name):
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), name
    bare = [what for what, value in public(module) if not (inspect.getdoc(value) or "").strip()]
    assert not bare, name


def api():
    """Yield the functions that ``import sertransfer`` offers."""
    for name in sertransfer.__all__:
        value = getattr(sertransfer, name)
        if inspect.isfunction(value):
            yield pytest.param(value, id=name)


def sections(function):
    return set(re.findall(r"^(Args|Returns|Raises|Yields):$", inspect.getdoc(function), re.M))


@pytest.mark.parametrize("function", api())
def test_the_public_api_says_what_it_takes_gives_and_refuses(function):
    text, said = inspect.getdoc(function), sections(function)
    assert {"Args", "Returns", "Raises"} <= said, said
    for name in inspect.signature(function).parameters:
        assert re.search(rf"^    \*{{0,2}}{name}: ", text, re.M), f"{name} is not in Args"


def documented():
    """Yield the functions of the modules that the page of the Python API shows."""
    text = (PROJECT / "docs/hooks/reference.py").read_text()
    listed = re.search(r"^MODULES = \((.*?)^\)", text, re.S | re.M)[1]
    for module in re.findall(r'"([\w.]+)"', listed):
        for name, value in public(importlib.import_module(module)):
            if inspect.isfunction(value):
                yield pytest.param(value, id=f"{module.removeprefix('sertransfer.')}.{name}")


@pytest.mark.parametrize("function", documented())
def test_the_documented_modules_say_what_they_refuse(function):
    text = inspect.getdoc(function)
    if ERRORS.search(inspect.getsource(function)):
        assert "BadInput" in text, "a function that refuses input says so"
    if "Args" in sections(function):
        parameters = set(inspect.signature(function).parameters) - {"self", "cls"}
        missing = [name for name in parameters if not re.search(rf"\b{name}\b", text)]
        assert not missing, f"{missing} are not spoken of"
