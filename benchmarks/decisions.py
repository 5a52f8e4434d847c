"""Whether a trained model decides the same from our features and from another chain's of the same sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sertransfer.audio.reading import read_segment
from sertransfer.manifest import AudioSource

HELD_OUT = 3
"""Speakers whose files are decided on; the model is trained on those of the others."""


def compare_decisions(
    emodb: Path,
    ours: Callable[[torch.Tensor], torch.Tensor],
    theirs: Callable[[np.ndarray], torch.Tensor],
) -> str:
    """Train a model on our features of EmoDB, and compare what it decides from ours and from *theirs*.

    The model is a logistic regression on each mel band's mean and deviation over the frames.

    Args:
        emodb: The folder that holds ``wav/``.
        ours: Log-mels ``(mels, frames)`` of a waveform.
        theirs: The same of the other chain.

    Returns:
        The outcome in words.
    """
    files = sorted((emodb / "wav").glob("*.wav"))
    speakers = np.array([file.stem[:2] for file in files])
    emotions = np.array([file.stem[5] for file in files])
    waves = [read_segment(AudioSource(file)) for file in files]
    pooled = [
        np.stack([_pool(ours(torch.from_numpy(wave))) for wave in waves]),
        np.stack([_pool(theirs(wave)) for wave in waves]),
    ]
    names = np.unique(speakers)
    test = np.isin(speakers, names[-HELD_OUT:])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    model.fit(pooled[0][~test], emotions[~test])
    one, other = (model.predict(features[test]) for features in pooled)
    right = [np.mean(decided == emotions[test]) for decided in (one, other)]
    return (
        f"a logistic regression trained on our features of {len(names) - HELD_OUT} speakers decides on "
        f"{HELD_OUT} others: {np.sum(one == other)} of {test.sum()} decisions equal, "
        f"WA {right[0]:.3f} from ours against {right[1]:.3f} from the plain chain's"
    )


def _pool(mel: torch.Tensor) -> np.ndarray:
    return torch.cat([mel.mean(dim=1), mel.std(dim=1)]).numpy()
