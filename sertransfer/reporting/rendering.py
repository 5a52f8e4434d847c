"""A template to one HTML file: everything escaped, nothing fetched, and a policy that lets nothing else run.

The Content-Security-Policy names the page's own style and script by their hash. An attribute or element that
slipped in from a user's file could neither run nor load anything, even if the escaping failed.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sertransfer.run_folder import GENERATED_BOTH, GENERATED_DATA, GENERATED_MODEL
from sertransfer.spelling import LINES, printable

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
        generated: What was made by a program, as :func:`sertransfer.run_folder.generated_remark` says it, or
            whether the data were; the page says so at its top.
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
