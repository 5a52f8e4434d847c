"""What a comparison with the majority class means, in a sentence.

UA is compared: always answering the most frequent class has UA 1 / classes, whatever the shares. For subjects
the exact McNemar test says in addition whether WA differs from that of the majority class, on the same items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from sertransfer.reporting.values import number, scored

State = Literal["beyond", "below", "open"]

LEVEL = 0.05
"""A p below it is taken for a difference, as an interval of 95 % would."""


@dataclass(frozen=True)
class Verdict:
    """*headline* says it in short, *text* with the figures; *state* is for the colour."""

    state: State
    headline: str
    text: str


def verdict(scores: Mapping[str, Any], majority: Mapping[str, Any], unit: str, *, paired: bool) -> Verdict:
    """Compare a block of scores with the majority class of the same items.

    Args:
        scores: ``ua`` and ``ua_ci95``, ``n``, and ``confusion`` (rows = truth).
        majority: ``wa`` and ``ua``.
        unit: What is counted.
        paired: Whether items are independent, so that the McNemar test holds (subjects, not utterances).
    """
    ua, bounds, chance = scores.get("ua"), scores.get("ua_ci95"), majority.get("ua")
    if ua is None or chance is None:
        return Verdict(
            "open", "No comparison with the majority class", "UA is undefined: a class has no item."
        )
    beside = f"{number(chance)}, the UA of always answering the most frequent class"
    if not bounds:
        return Verdict(
            "open",
            "No interval: no statement on chance",
            f"UA is {number(ua)}, beside {beside}. Too few {unit}s for an interval.",
        )
    low, high = bounds
    text = f"UA is {scored(scores, 'ua')}, over {scores['n']} {unit}s. Its 95 % interval "
    test, p = _mcnemar(scores["confusion"], unit) if paired else ("", 0.0)
    state: State = "open"
    if low == high:
        headline = "No statement on chance: the interval of UA has no width"
        text += "has no width, since the bootstrap saw no variation; the exact one of WA is the better guide."
    elif low > chance and p < LEVEL:
        state, headline = "beyond", f"Better than the majority class on these {unit}s"
        text += f"lies above {beside}."
    elif low > chance:
        headline = "UA is above that of the majority class, but the number right may be chance"
        text += f"lies above {beside}; so few {unit}s do not show that more of them are decided rightly."
    elif high < chance:
        state, headline = "below", f"Worse than the majority class on these {unit}s"
        text += f"lies below {beside}."
    else:
        headline = f"Not shown to be better than the majority class on these {unit}s"
        text += f"holds {beside}."
    if low > chance and paired:  # interviews can be told apart by much that is no emotion
        text += " What the scores follow it does not say: see what the corpus gives away."
    return Verdict(state, headline, text + test)


def _mcnemar(confusion: list[list[int]], unit: str) -> tuple[str, float]:
    """Return the comparison of WA with the majority class's, which a confusion matrix holds whole."""
    counts = np.asarray(confusion)
    common = int(counts.sum(axis=1).argmax())
    hits = np.diagonal(counts)
    gained = int(hits.sum() - hits[common])
    lost = int(counts[common].sum() - hits[common])
    p = float(stats.binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0
    text = (
        f" By number: {int(hits.sum())} {unit}s right against {int(counts[common].sum())} for the majority "
        f"class (exact McNemar p = {p:.2g})."
    )
    return text, p
