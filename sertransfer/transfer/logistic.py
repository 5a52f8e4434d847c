"""Logistic regression with an L2 penalty, solved in coordinates that make all directions alike.

The minimum is that of scikit-learn's ``LogisticRegression`` with sample weights, whose solver needs thousands
of passes over thousands of columns: embeddings spread far along a few directions and little along the others.
Where all scores are 0.5 the second derivative is ``C / 4 * X' S X + 1``. Here a step along one of the leading
principal axes is divided by the root of that, a step across them by the root of the last, and a dozen passes
do. The axes need not be exact: they change the way to the minimum, not the minimum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from sertransfer.transfer.preparation import principal_axes

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

_AXES = 128
"""Leading principal axes with a scale of their own."""

_PRECISION = 1e-4
"""About how far an undecided training sentence's log-odds may be from those at the minimum."""

_SHARE = 1e-3
"""Of the largest slope at zero, what may be left: at a tiny C all log-odds are precise at once."""

_ROUNDING = 64 * np.finfo(np.float64).eps
"""The solver stops where a step gains less, relative to the loss: rounding hides what is left."""


def fit_logistic(
    columns: Floats, positive: Booleans, weights: Floats, grid: Sequence[float], *, limit: int, seed: int = 0
) -> Iterator[tuple[Floats, float, list[str]]]:
    """Minimise ``C * weighted loss + |w|^2 / 2`` for each C of *grid*, each from where the last ended.

    Args:
        columns: Shape ``(sentences, columns)``, best of mean 0.
        positive: Shape ``(sentences,)``, both classes present.
        weights: Shape ``(sentences,)``.
        grid: Inverse regularisation strengths, ascending.
        limit: Most iterations for one C.
        seed: Of the search for the axes.

    Yields:
        ``w`` of shape ``(columns,)``, the intercept, which is not penalised, and the solver's warnings.
    """
    axes = principal_axes(columns, weights, _AXES, seed, passes=1)
    problem = _Problem(columns, np.where(positive, 1.0, -1.0), weights, axes)
    coefficients, intercept = np.zeros(columns.shape[1]), 0.0
    left = _SHARE * float(np.abs((problem.signs * weights / 2) @ columns).max()) / problem.total
    for c in grid:
        scales = problem.scales(float(c))
        begin = np.append(scales.divide(coefficients), intercept / scales.intercept)
        precision = _PRECISION * np.sqrt(scales.c) / 2 / (scales.c * problem.total)
        options = {"gtol": min(precision, left), "ftol": _ROUNDING, "maxiter": limit, "maxfun": 2 * limit}
        found = minimize(problem.objective, begin, scales, jac=True, method="L-BFGS-B", options=options)
        coefficients, intercept = scales.multiply(found.x[:-1]), float(found.x[-1]) * scales.intercept
        yield coefficients, intercept, [] if found.success else [f"did not converge: {found.message}"]


@dataclass(frozen=True)
class _Scales:
    """What a solver's step is multiplied by at one C: ``r + axes diag(along - r) axes'``.

    Attributes:
        c: Inverse regularisation strength.
        axes: Shape ``(columns, axes)``, orthonormal.
        along: Of each axis, shape ``(axes,)``; ``r``, that of all directions across them, is the last.
        intercept: Of the intercept.
    """

    c: float
    axes: Floats
    along: Floats
    intercept: float

    def multiply(self, step: Floats) -> Floats:
        """Return the coefficients of *step*; the map is its own transpose."""
        across = self.along[-1]
        return np.asarray(across * step + self.axes @ ((self.along - across) * (step @ self.axes)))

    def divide(self, coefficients: Floats) -> Floats:
        """Return the step that gives *coefficients*."""
        across = 1 / self.along[-1]
        change = (1 / self.along - across) * (coefficients @ self.axes)
        return np.asarray(across * coefficients + self.axes @ change)


@dataclass(frozen=True)
class _Problem:
    """Training sentences.

    Attributes:
        columns: Shape ``(sentences, columns)``.
        signs: 1 for a positive sentence, else -1.
        weights: Of the sentences.
        axes: Leading principal axes, shape ``(columns, axes)``.
    """

    columns: Floats
    signs: Floats
    weights: Floats
    axes: Floats

    @cached_property
    def total(self) -> float:
        """Sum of the weights."""
        return float(self.weights.sum())

    @cached_property
    def spread(self) -> Floats:
        """Weighted sum of squares along each axis."""
        return np.asarray(self.weights @ (self.columns @ self.axes) ** 2)

    def scales(self, c: float) -> _Scales:
        """Return the scales of steps at *c*."""
        along = 1 / np.sqrt(1 + c / 4 * self.spread)
        return _Scales(c, self.axes, along, 1 / np.sqrt(c / 4 * self.total))

    def objective(self, values: Floats, scales: _Scales) -> tuple[float, Floats]:
        """Return loss and penalty, over ``C * total``, at the step *values*, and the gradient."""
        coefficients = scales.multiply(values[:-1])
        margins = self.signs * (self.columns @ coefficients + values[-1] * scales.intercept)
        loss = float(self.weights @ np.logaddexp(0, -margins))
        slopes = -scales.c * self.weights * self.signs * expit(-margins)
        gradient = scales.multiply(slopes @ self.columns + coefficients)
        value = scales.c * loss + 0.5 * float(coefficients @ coefficients)
        mean = scales.c * self.total
        return value / mean, np.append(gradient, slopes.sum() * scales.intercept) / mean
