"""Level normalisation of an interview: one gain, so that the participant's speech has a stated level."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sertransfer.audio.reading import read_segment
from sertransfer.corpora.interviews.segments import Utterance
from sertransfer.errors import bad_input
from sertransfer.manifest import AudioSource


def speech_gain(source: AudioSource, utterances: Iterable[Utterance], level_dbfs: float) -> float:
    """Return the factor that brings the utterances' common RMS to *level_dbfs* (full scale = 1 = 0 dB).

    Raises:
        BadInput: If the audio can not be read, or the utterances are silent.
    """
    energy, samples = 0.0, 0
    for utterance in utterances:
        waveform = read_segment(source, utterance.start, utterance.end).astype(np.float64)
        energy += float(waveform @ waveform)
        samples += len(waveform)
    if energy == 0:
        raise bad_input(
            source,
            found="silence in every row of the participant",
            expected="speech whose level can be normalised",
            remedy="leave the session out, or switch level_normalise off",
        )
    return float(10 ** (level_dbfs / 20) / np.sqrt(energy / samples))
