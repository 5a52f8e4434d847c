"""The classifier that both sides share: standardise, linear SVM, C tuned by leaving training speakers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import recall_score
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

Features = NDArray[np.float64]
Names = NDArray[np.object_]

GRID = tuple(float(10 ** (step / 2)) for step in range(-4, 6))
"""Values of C, 0.01 to 316 in half decades, for inner products divided by the number of features."""


@dataclass(frozen=True)
class Fold:
    """What was predicted of a test part, and how C was found.

    Attributes:
        predicted: Class of each test item.
        c: The value chosen.
        inner_ua: UA of the training items at each value of :data:`GRID`, each scored by a machine that was
            trained without its speaker.
    """

    predicted: Names
    c: float
    inner_ua: tuple[float, ...]


def tuned_svm(
    features: Features, labels: Names, speakers: Names, test: Features, *, copies: Sequence[Features] = ()
) -> Fold:
    """Train on *features*, with C chosen among their speakers, and predict *test*.

    Columns are standardised over the items at hand, in each inner fold too. Among values of C with the
    same inner UA the smallest is taken.

    Args:
        features: Shape ``(items, dim)``.
        labels: Shape ``(items,)``.
        speakers: Shape ``(items,)``; none of them may be of the test part.
        test: Shape ``(test items, dim)``.
        copies: Changed versions of *features*, each of its shape: learnt from as well, never scored.
    """
    versions = np.stack([features, *copies])  # (versions, items, dim)
    inner = np.empty((len(GRID), len(labels)), dtype=object)
    for kept, held in LeaveOneGroupOut().split(features, labels, speakers):
        inner[:, held] = _predict(versions[:, kept], labels[kept], features[held], GRID)
    scores = tuple(float(recall_score(labels, row, average="macro")) for row in inner)
    c = GRID[int(np.argmax(np.round(scores, 9)))]
    return Fold(_predict(versions, labels, test, (c,))[0], c, scores)


def _predict(versions: Features, labels: Names, test: Features, values: tuple[float, ...]) -> Names:
    """Return the predictions at each value of C, shape ``(values, test items)``."""
    learnt, truth = versions.reshape(-1, versions.shape[-1]), np.tile(labels, len(versions))
    scaler = StandardScaler().fit(learnt)
    known, asked = scaler.transform(learnt), scaler.transform(test)
    products, crossed = known @ known.T / known.shape[1], asked @ known.T / known.shape[1]
    machines = (SVC(kernel="precomputed", C=c).fit(products, truth) for c in values)
    return np.stack([machine.predict(crossed) for machine in machines]).astype(object)
