"""Faults in what a user gave us, and the exceptions that carry them.

A *fault* names the file and row, what was found, what was expected and what to do. Readers collect
faults in a :class:`Faults` and raise them together, so that one run shows everything that is wrong.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sertransfer.io.spelling import mask_secrets, printable

SHOWN = 50
"""Faults that a message lists where a file holds all of them; without such a file it lists every one."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an input; passwords in URLs are masked."""

    where: str
    found: str
    expected: str
    remedy: str

    def __post_init__(self) -> None:
        for name in ("where", "found", "expected", "remedy"):
            object.__setattr__(self, name, mask_secrets(getattr(self, name)))

    def __str__(self) -> str:
        text = f"{self.where}: found {self.found}; expected {self.expected}; {self.remedy}"
        return printable(text)  # what comes from files may hold line ends, or move a terminal's cursor

    def as_dict(self) -> dict[str, str]:
        """Return the fault as plain values, for JSON reports."""
        return asdict(self)


class SertransferError(Exception):
    """Base of every error that this package raises on purpose. ``exit_status`` is the CLI's."""

    exit_status = 1


class BadInput(SertransferError):
    """An input is not what it must be; carries every fault that was found.

    Attributes:
        faults: All of them.
        report: JSON file in which all of them are written; ``None`` if there is none.
        skippable: Whether all of them are of single items that ``skip_bad`` leaves out.
    """

    exit_status = 2

    def __init__(self, faults: Fault | Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        self.report: Path | None = None
        self.skippable = False
        super().__init__(self.faults)

    def __str__(self) -> str:
        shown = len(self.faults) if self.report is None else SHOWN
        if len(self.faults) == 1:
            lines = [str(self.faults[0])]
        else:
            lines = [f"{len(self.faults)} faults in the input"]
            lines += [f"  {fault}" for fault in self.faults[:shown]]
        if len(self.faults) > shown:
            lines.append(f"  and {len(self.faults) - shown} more in {self.report}")
        elif self.report is not None:
            lines.append(f"  also in {printable(str(self.report))}")
        return "\n".join(lines)


class FailedElsewhere(SertransferError):
    """Another process of the run failed and says why; this one ends in silence."""

    def __init__(self) -> None:
        super().__init__("another process of this run failed, and says why")


def bad_input(where: object, *, found: object, expected: object, remedy: str) -> BadInput:
    """Build the exception for a single fault (raise what is returned)."""
    return BadInput(Fault(str(where), str(found), str(expected), remedy))


class Faults:
    """Collects faults so that they are raised all at once.

    A *skippable* fault concerns one item (an utterance, a session) that can be left out; with
    ``skip_bad`` these are kept for the record in :attr:`skipped` instead of being raised.
    """

    def __init__(self, *, skip_bad: bool = False) -> None:
        self.skip_bad = skip_bad
        self._fatal: list[Fault] = []
        self._skippable: list[Fault] = []

    def add(
        self, where: object, *, found: object, expected: object, remedy: str, skippable: bool = False
    ) -> None:
        """Record one fault."""
        fault = Fault(str(where), str(found), str(expected), remedy)
        (self._skippable if skippable else self._fatal).append(fault)

    def extend(self, faults: Iterable[Fault], *, skippable: bool = False) -> None:
        """Record faults that were found elsewhere, such as those a :class:`BadInput` carries."""
        (self._skippable if skippable else self._fatal).extend(faults)

    def __len__(self) -> int:
        return len(self._fatal) + len(self._skippable)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._fatal + self._skippable)

    @property
    def skipped(self) -> list[Fault]:
        """The faults whose items were left out because ``skip_bad`` was asked for."""
        return list(self._skippable) if self.skip_bad else []

    def raise_if_any(self) -> None:
        """Raise :class:`BadInput` with every fault that may not be skipped.

        Raises:
            BadInput: If a fatal fault was recorded, or a skippable one without ``skip_bad``.
        """
        faults = self._fatal if self.skip_bad else self._fatal + self._skippable
        if faults:
            refusal = BadInput(faults)
            refusal.skippable = not self._fatal
            raise refusal


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return a remedy that names the valid choice nearest to *name*, and all of them if they are few.

    Examples:
        >>> nearest("resnet5", ["vgg11", "resnet50"])
        "did you mean 'resnet50'? valid: vgg11, resnet50"
    """
    options = list(choices)
    close = difflib.get_close_matches(name, options, n=8, cutoff=0.4)
    close = list(dict.fromkeys([*swapped(name, options), *close]))
    hint = f"did you mean '{close[0]}'? " if close else ""
    if len(options) > 30:
        return f"{hint}near it: {', '.join(close)}" if close else f"one of {len(options)} names"
    return f"{hint}valid: {', '.join(options)}"


def swapped(name: str, choices: Iterable[str]) -> list[str]:
    """Return the choices that are *name* with two neighbouring letters swapped.

    That is one slip of the typist, but two differences to difflib, which finds ``rule`` nearer to ``rl``.

    Examples:
        >>> swapped("rl", ["rule", "lr"])
        ['lr']
    """
    slips = {f"{name[:at]}{name[at + 1]}{name[at]}{name[at + 2 :]}" for at in range(len(name) - 1)}
    return [choice for choice in choices if choice in slips - {name}]


def choose(what: str, name: str, choices: Iterable[str]) -> str:
    """Return *name* if it is one of *choices*.

    Raises:
        BadInput: Otherwise, naming the nearest valid choice.
    """
    options = list(choices)
    if name not in options:
        raise bad_input(what, found=f"'{name}'", expected=f"a known {what}", remedy=nearest(name, options))
    return name
