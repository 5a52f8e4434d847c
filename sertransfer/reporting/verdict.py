"""What a comparison with the majority class means: one statement about UA and one about WA.

Always answering the most frequent class has UA 1 / classes, whatever the shares, and the highest WA that
one answer for all can have. A run may be better by UA and not by WA: it then finds the rarer class, at the
price of as many errors in the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sertransfer.evaluation.chance import against_constant
from sertransfer.evaluation.intervals import Clusters
from sertransfer.reporting.tables import number, scored

State = Literal["beyond", "below", "open"]

LEVEL = 0.05
"""A two-sided p below it is taken for a difference, as an interval of 95 % would."""

_STATES: dict[str, State] = {"above": "beyond", "below": "below", "open": "open"}


@dataclass(frozen=True)
class Verdict:
    """*headline* says it in short, *text* with the figures; *state* is for the colour."""

    state: State
    headline: str
    text: str


def verdict(scores: Mapping[str, Any], majority: Mapping[str, Any], unit: str) -> Verdict:
    """Compare a block of scores with the majority class of the same items.

    Args:
        scores: ``ua`` and ``ua_ci95``, ``n``, ``confusion`` (rows = truth), and ``against_majority``. It is
            computed from the confusion where a run folder of before has none and its items are independent.
        majority: ``wa`` and ``ua``.
        unit: What is counted.
    """
    ua, chance = scores.get("ua"), majority.get("ua")
    if ua is None or chance is None:
        return Verdict(
            "open", "No comparison with the majority class", "UA is undefined: a class has no item."
        )
    text = f"UA is {scored(scores, 'ua')}, over {scores['n']} {unit}s; always answering the most frequent "
    text += f"class has {number(chance)}. "
    found = scores.get("against_majority") or _from_confusion(scores)
    if found is None:
        return Verdict(
            "open",
            "No statement on chance",
            f"{text}The run was scored by an earlier version, whose interval over clusters was too narrow.",
        )
    by_ua, by_wa = found["ua"], found["wa"]
    if by_ua.get("reason"):
        return Verdict("open", "No statement on chance", f"{text}{_sentence(by_ua['reason'])}")
    text += f"WA is {number(scores.get('wa'))}, against {number(majority.get('wa'))}{_gained(by_wa, unit)}."
    text += f" By UA: {_test(by_ua)}; by WA: {_test(by_wa)}."
    states = by_ua["state"], by_wa["state"]
    if by_ua["state"] == "above":  # interviews can be told apart by much that is no emotion
        text += " What the scores follow it does not say: see what the corpus gives away."
    return Verdict(_STATES[by_ua["state"]], _headline(*states, unit), text)


def _headline(ua: str, wa: str, unit: str) -> str:
    by_ua = {
        "above": f"UA: better than the majority class on these {unit}s",
        "below": f"UA: worse than the majority class on these {unit}s",
        "open": f"UA: not shown to differ from the majority class on these {unit}s",
    }[ua]
    by_wa = {"above": "WA: better", "below": "WA: worse", "open": "WA: no difference shown"}[wa]
    return f"{by_ua}. {by_wa}"


def _test(found: Mapping[str, Any]) -> str:
    p = "" if found.get("p") is None else f" p = {found['p']:.2g}"
    return f"{found['test']}{p}"


def _gained(found: Mapping[str, Any], unit: str) -> str:
    return f" ({found['gained']} {unit}s that the run alone has right, {found['lost']} the other alone)"


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."


def _from_confusion(scores: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the comparison for items that are independent, as a run folder of before says; else ``None``."""
    if "Clopper-Pearson" not in (scores.get("intervals") or {}).values():
        return None
    counts = np.asarray(scores["confusion"], dtype=np.int64)
    rows, columns = np.indices(counts.shape)
    truth, predicted = (np.repeat(places.ravel(), counts.ravel()) for places in (rows, columns))
    clusters = Clusters([str(item) for item in range(len(truth))], "subjects")
    return against_constant(truth, predicted, len(counts), clusters)
