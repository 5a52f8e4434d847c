"""From a template to one HTML file: everything escaped, figures inline, nothing fetched, nothing else run."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sertransfer.io.run_folder import GENERATED_BOTH, GENERATED_DATA, GENERATED_MODEL
from sertransfer.io.spelling import LINES, printable

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_FONT = re.compile(r"(?P<before>.*?)(?P<size>[\d.]+px)")
_KEPT = ("viewBox",)
_COORDINATES = ("d", "x", "y", "width", "height")


def inline_svg(path: Path, *, ink: str, prefix: str) -> Markup:
    """Return the figure in *path*, which matplotlib wrote, to be put into a page.

    Args:
        path: SVG.
        ink: Colour of text and lines, exchanged for the page's own.
        prefix: Begins the names inside the figure; another one for each figure of a page.
    """
    drawing = ElementTree.parse(path).getroot()
    for parent in drawing.iter():
        for child in list(parent):
            if child.tag == f"{_SVG}style" or not str(child.tag).startswith(_SVG) or _is_metadata(child):
                parent.remove(child)
    names = _referenced(drawing, re.sub(r"\W", "_", prefix))
    for element in drawing.iter():
        element.tag = element.tag.removeprefix(_SVG)
        # the drawing's words are kept, its line ends are not
        element.text = element.text if element.tag in ("text", "tspan") else None
        element.tail = None
        attributes = dict(element.attrib)
        element.attrib.clear()
        element.attrib |= _attributes(attributes, names, ink)
    kept = {name: value for name, value in drawing.attrib.items() if name in _KEPT}
    drawing.attrib.clear()
    drawing.attrib |= {
        **kept,
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
        "aria-hidden": "true",
        "focusable": "false",
    }
    return Markup(ElementTree.tostring(drawing, encoding="unicode"))  # the tree's own escaping


def _is_metadata(element: ElementTree.Element) -> bool:
    return element.tag == f"{_SVG}metadata"


def _referenced(drawing: ElementTree.Element, prefix: str) -> dict[str, str]:
    """Return a new name for each that the figure refers to, in the order of the references."""
    found: dict[str, str] = {}
    for element in drawing.iter():
        for value in element.attrib.values():
            for name in _REFERENCE.findall(value):
                found.setdefault(name, f"{prefix}-{len(found)}")
        if (target := element.get(_HREF, "")).startswith("#"):
            found.setdefault(target[1:], f"{prefix}-{len(found)}")
    return found


def _font(shorthand: str) -> dict[str, str]:
    """Return a style's ``font`` as attributes; the page has its own families.

    Examples:
        >>> _font("italic 700 10px 'DejaVu Sans'")
        {'font-size': '10px', 'font-style': 'italic', 'font-weight': '700'}
    """
    found = _FONT.match(shorthand)
    if found is None:
        return {}
    words = found["before"].split()
    new = {"font-size": found["size"]}
    for word in words:
        if word in ("italic", "oblique"):
            new["font-style"] = word
        elif word == "bold" or word.isdecimal():
            new["font-weight"] = word
    return new


def _attributes(old: dict[str, str], names: dict[str, str], ink: str) -> dict[str, str]:
    new: dict[str, str] = {}
    for key, value in old.items():
        if key == "id":
            if value in names:
                new["id"] = names[value]
        elif key == _HREF:
            new["href"] = f"#{names[value[1:]]}" if value.startswith("#") else value
        elif key == "style":
            pairs = (pair.partition(":") for pair in value.split(";") if pair.strip())
            style = {name.strip(): text.strip().replace(ink, "currentColor") for name, _, text in pairs}
            style.pop("font-family", None)  # the page has its own
            new |= _font(style.pop("font", "")) | style
        elif key in _COORDINATES:
            new[key] = " ".join(_LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", value).split())
        else:
            new[key] = _REFERENCE.sub(lambda found: f"url(#{names[found[1]]})", value)
    return new


TEMPLATES = Path(__file__).parent / "templates"


BANNERS = {
    GENERATED_DATA: "Generated data. The corpus was made by a program: the scores show that the software"
    " works, and say nothing about people.",
    GENERATED_MODEL: "Model of generated data. The model was trained on a corpus that was made by a program:"
    " its scores say nothing about people, whatever recordings it is given.",
    GENERATED_BOTH: "Generated data and model. The corpus was made by a program, and so was what the model"
    " was trained on: the scores show that the software works, and say nothing about people.",
}
"""What a page says at its top, by what of the run is generated."""


def render(template: str, *, title: str, generated: bool | str, version: str = "", **values: Any) -> str:
    """Return the page that *template*, which extends ``base.html.jinja``, makes of *values*.

    Args:
        template: Name of a file in ``templates/``.
        title: Heading and title of the page.
        generated: What was made by a program, as
            :func:`sertransfer.io.run_folder.generated_remark` says it, or whether the data were; the page
            says so at its top.
        version: Of sertransfer, for the footer.
        values: What the template names; one that it lacks is an error.
    """
    remark = generated if isinstance(generated, str) else GENERATED_DATA if generated else ""
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    page = (
        _environment()
        .get_template(template)
        .render(
            title=title,
            generated=remark,
            banner=BANNERS.get(remark, f"{remark.capitalize()}: the scores say nothing about people."),
            version=version,
            # our own files: as they are, since inside these elements nothing is unescaped
            style=Markup(style),
            script=Markup(script),
            policy=Markup(policy),
            **values,
        )
    )
    return printable(page, keep=LINES)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return the source expression by which a policy names an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
