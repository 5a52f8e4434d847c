"""Utterances that are shorter than a network takes, counted aloud: the network fills them up with zeros."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import nn

from sertransfer.fitting.batches import Utterances
from sertransfer.front_end import Cropping, FrontEnd

_log = logging.getLogger(__name__)


def count_short(
    network: nn.Module, parts: Mapping[str, Utterances], front_end: FrontEnd, cropping: Cropping
) -> dict[str, Any]:
    """Return the ``filled_up`` block of ``metrics.json``, and log it where there is something to say.

    Args:
        network: Its ``least`` says how many mels and frames it takes; any number where it has none.
        parts: Utterances by the name of their split.
        front_end: Gives the framing and the number of mels.
        cropping: Where it pads, every utterance has the frames of the crop.

    Returns:
        ``least_frames`` and ``least_seconds`` of the network, ``mels`` that are added to every utterance,
        and ``utterances`` that are filled up in time, by split.
    """
    least = int(getattr(network, "least", 1))
    framing = front_end.framing
    longest = cropping.frames(framing)
    counts = {}
    for split, part in parts.items():
        counts[split] = len(part) * (longest < least) if cropping.pad else int((part.frames < least).sum())
    mels = max(0, least - front_end.mels)
    seconds = round((least - 1) * framing.hop / framing.sample_rate, 3)
    if any(counts.values()) or mels:
        shown = ", ".join(f"{split} {count} of {len(parts[split])}" for split, count in counts.items())
        _log.warning(
            "the network takes %d frames (%.2f s) and as many mels at least; filled up with zeros are "
            "utterances of %s; mels added to each: %d",
            least,
            seconds,
            shown,
            mels,
        )
    return {"least_frames": least, "least_seconds": seconds, "mels": mels, "utterances": counts}
