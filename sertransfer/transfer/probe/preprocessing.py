"""What is done to embeddings before a probe sees them: standardisation, and rotation to fewer columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches
from sklearn.utils.extmath import randomized_svd, svd_flip

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]

ROWS_AT_ONCE = 4096
_ROWS_OF_A_STEP = 256
"""Of standardisation: what is computed on the way must not be as large as all columns."""

_EXACT_UP_TO = 512
"""Up to so many rows or columns the principal axes are exact; beyond, found by random projection."""


@dataclass(frozen=True)
class Preparation:
    """``((x - mean) / scale) @ basis``.

    Attributes:
        mean: Shape ``(dim,)``.
        scale: Shape ``(dim,)``.
        basis: Shape ``(dim, columns)``; ``None`` leaves the columns as they are.
    """

    mean: Floats
    scale: Floats
    basis: Floats | None = None

    def apply(self, vectors: Vectors) -> Floats:
        """Return the columns of embeddings of shape ``(sentences, dim)``; a row depends on itself alone."""
        columns = (np.asarray(vectors, dtype=np.float64) - self.mean) / self.scale
        # row by row sums, so that a score does not depend on how many sentences are scored at once
        return columns if self.basis is None else np.einsum("nd,dk->nk", columns, self.basis)


def standardised(vectors: Vectors, weights: Floats, standardise: bool) -> tuple[Floats, Floats, Floats]:
    """Return the columns in double precision, and the mean and scale that were taken out of them.

    Args:
        vectors: Shape ``(sentences, dim)``.
        weights: Of the sentences, shape ``(sentences,)``.
        standardise: Otherwise the columns are copied as they are, with mean 0 and scale 1.
    """
    columns = np.array(vectors, dtype=np.float64)  # changed in place from here on: it may be a gigabyte
    dim = columns.shape[1]
    if not standardise:
        return columns, np.zeros(dim), np.ones(dim)
    scaler = StandardScaler()
    with np.errstate(invalid="ignore"):  # a constant column's variance may round to below 0; its scale is 1
        for rows in gen_batches(len(columns), _ROWS_OF_A_STEP):
            scaler.partial_fit(columns[rows], sample_weight=weights[rows])
    columns -= scaler.mean_
    columns /= scaler.scale_
    return columns, scaler.mean_, scaler.scale_


def fit_preparation(
    vectors: Vectors, weights: Floats, *, standardise: bool, pca: int, seed: int, centre: bool = False
) -> tuple[Preparation, Floats]:
    """Fit standardisation, then *pca* principal axes, to weighted sentences; also return their columns.

    Args:
        vectors: Shape ``(sentences, dim)``.
        weights: Of the sentences, shape ``(sentences,)``; a weight counts like repeated sentences.
        standardise: Bring columns to mean 0 and deviation 1.
        pca: Axes to keep, as many as there can be if there are fewer; 0 keeps all columns.
        seed: Of the random projection.
        centre: Take the mean out of columns that are neither standardised nor turned.
    """
    columns, mean, scale = standardised(vectors, weights, standardise)
    if not standardise and (pca or centre):
        mean = np.average(columns, axis=0, weights=weights)
        columns -= mean
    if not pca:
        return Preparation(mean, scale), columns
    basis = principal_axes(columns, weights, pca, seed)
    return Preparation(mean, scale, basis), columns @ basis


def principal_axes(columns: Floats, weights: Floats, count: int, seed: int, passes: int = 4) -> Floats:
    """Return the first *count* principal axes of centred columns, shape ``(dim, count)``, signs fixed.

    Where they are not exact they are the better the more *passes* there are over the columns.
    """
    rows = columns * np.sqrt(weights)[:, None]
    count = min(count, *rows.shape)
    if min(rows.shape) <= _EXACT_UP_TO:
        left, _, axes = svd(rows, full_matrices=False, overwrite_a=True)
    else:
        left, _, axes = randomized_svd(rows, count, n_iter=passes, random_state=seed)
    _, axes = svd_flip(left, axes, u_based_decision=False)
    return np.ascontiguousarray(axes[:count].T, dtype=np.float64)
