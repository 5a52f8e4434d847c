"""Spelling of names that come from files: one form of each, and nothing in it that cannot be seen."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# Unpaired surrogates are how Python writes the bytes of a file name that is not UTF-8.
_CONTROLS = f"\\x00-\\x1f\\x7f-\\x9f\u2028\u2029\\ud800-\\udfff\ufffe\uffff{_BIDI}"
# The code points that Unicode calls default ignorable, without the marks of direction above.
_JOINERS = "\u200c\u200d"
_INVISIBLE = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff"
)
_NOT_LATIN = "[^\x00-\u02ff]"

CONTROL = re.compile(f"[{_CONTROLS}]")
"""A character that moves, hides or ends text: C0, C1, line ends, marks of direction, broken UTF-8."""

LINES = "\n\t"
"""What :func:`printable` keeps in a text of several lines."""

_IGNORED = re.compile(f"[{_INVISIBLE}{_JOINERS}]")
# A joiner between letters of Persian, Hindi and others is part of the word; elsewhere it is invisible.
_STRAY = re.compile(
    f"[{_INVISIBLE}]|(?<!{_NOT_LATIN})[{_JOINERS}]|[{_JOINERS}](?!{_NOT_LATIN})",
)
_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_UNPRINTABLE = re.compile(f"[{_CONTROLS}{_INVISIBLE}]")


def clean(text: str) -> str:
    """Return *text* in one spelling: composed (NFC), without invisible characters and outer spaces.

    Every kind of space becomes a plain one. Control characters stay, so that they can be refused by name.

    Examples:
        >>> clean(" Ame\u0301lie\u200b\u00a0") == "Am\u00e9lie"
        True
    """
    if text.isascii():
        return text.strip(" \t")
    return unicodedata.normalize("NFC", _SPACE.sub(" ", _STRAY.sub("", text))).strip(" \t")


def all_clean(texts: Iterable[str]) -> bool:
    """Return whether all of many *texts* are as :func:`clean` leaves them; ``False`` if it must be asked."""
    lines = "\n".join(["", *texts, ""])
    return lines.isascii() and not any(edge in lines for edge in ("\n ", "\n\t", " \n", "\t\n"))


def spelling_key(text: str) -> str:
    """Return what two spellings of one name have in common.

    They may differ in case, in width (NFKC), in spaces and in characters that cannot be seen.

    Examples:
        >>> spelling_key("P01\u200b") == spelling_key(" p01 ")
        True
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _IGNORED.sub("", _SPACE.sub(" ", text)))
    return " ".join(text.casefold().split())


def printable(text: str, keep: str = "") -> str:
    r"""Return *text* with every character that cannot be seen escaped, as in ``\x1b`` or ``\u202e``.

    Args:
        text: Any text, such as a name from a file.
        keep: Characters that stay, such as the line ends of a text of several lines.
    """
    if text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


# By OWASP's list (CSV injection): four signs and their full-width forms, at the beginning, after blanks and
# quotes, or after what ends a cell somewhere: line ends, tabs, the semicolon of many countries. A plus before
# digits is no formula, and a minus without a call or a pipe runs nothing.
_FORMULA = re.compile(
    r"(^|[;\t\r\n])(?=[\s\"]*(?:[=@\uff1d\uff20]|[+\uff0b](?![\d.,]+(?:$|[;\t\r\n]))|[-\uff0d][^;\t\r\n]*[|(!])"
    r"|^[\t\r\n])"
)


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet may run *text*, or a part of it, as a formula.

    Examples:
        >>> [is_formula(text) for text in ("=1+1", "a;=cmd", "\uff1dSUM(1)", "+4.5", "-1.5", "a = b")]
        [True, True, True, False, False, False]
    """
    return _FORMULA.search(text) is not None


def may_hold_formula(text: str) -> bool:
    """Return whether *text*, or one of the cells that it is joined from, may be one for :func:`is_formula`.

    Much quicker than the pattern, and never wrong when it says no.
    """
    if any(sign in text for sign in "=@\uff1d\uff20+\uff0b\t\r\n"):
        return True
    return any(sign in text for sign in "-\uff0d") and any(sign in text for sign in "|(!")


def as_cell(text: str) -> str:
    """Return *text* as a cell that no spreadsheet runs: an apostrophe before each part that one may run.

    What cannot be seen is escaped.
    """
    return _FORMULA.sub(r"\1'", printable(text))


_MASK = "***"

# A user may be "anna@server", and a password may hold an @, as the libraries of databases read them.
_LOGIN = re.compile(r"([\w+.-]+://[^\s:/]*):\S*@")
_WHOLE_LOGIN = re.compile(r"\A((?:-[\w.-]*=)?[\w+.-]+://[^:/]*):.*@", re.DOTALL)
_TOKEN_LOGIN = re.compile(r"(\b(?:git\+)?https?://)[^\s:/@]+@", re.IGNORECASE)
_PARAMETER = re.compile(
    r"([?&;](?:[\w.-]*(?:password|passwd|passphrase|pwd|secret|token|signature|credential|key)|pass|auth|sig)=)"
    r"[^&;#\s'\"]+",
    re.IGNORECASE,
)


def mask_secrets(text: str) -> str:
    """Return *text* with the passwords and tokens of the URLs in it replaced by ``***``.

    In a text that is one URL, as an argument of a command, a password may hold blanks too.

    Examples:
        >>> mask_secrets("postgresql://anna:pass@host/studies?sslpassword=x")
        'postgresql://anna:***@host/studies?sslpassword=***'
    """
    if "://" not in text:
        return text
    for login in (_WHOLE_LOGIN, _LOGIN):
        text = login.sub(rf"\1:{_MASK}@", text)
    return _PARAMETER.sub(rf"\1{_MASK}", _TOKEN_LOGIN.sub(rf"\1{_MASK}@", text))


class LogLine(logging.Formatter):
    """Format of log lines: what cannot be seen is escaped, no text can begin a line of its own, and the
    passwords of URLs are masked.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text; lines after the first are indented."""
        return mask_secrets(printable(super().format(record).replace("\n", "\n  "), keep=LINES))


def name_control(text: str) -> str:
    """Return what the first control character of *text* is; empty if there is none.

    Examples:
        >>> name_control("a\x1b[31m")
        'a control character (U+001B)'
    """
    found = None if text.isprintable() else CONTROL.search(text)
    if found is None:
        return ""
    code = f"U+{ord(found[0]):04X}"
    if found[0] in "\n\r\u2028\u2029\x85":
        return f"a line end ({code})"
    if re.match(f"[{_BIDI}]", found[0]):
        return f"a mark of writing direction ({code})"
    if unicodedata.category(found[0]) == "Cs":
        return "bytes that are not UTF-8"
    return f"a control character ({code})"


def _escape(character: str) -> str:
    return ascii(character)[1:-1]
