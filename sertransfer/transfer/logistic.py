"""Logistic regression with an L2 penalty, solved in coordinates that make all directions alike.

The minimum is that of scikit-learn's ``LogisticRegression`` with sample weights, whose solver needs thousands
of passes over thousands of columns: embeddings spread far along a few directions and little along the others.
Where all scores are 0.5 the second derivative is ``C / 4 * X' S X + 1``. Here a step along one of the leading
principal axes is divided by the root of that, a step across them by the root of the last, and a dozen passes
do. The axes need not be exact: they change the way to the minimum, not the minimum.

Where C is so large that the sentences are separated, scores are near 0 and 1 and the second derivative is
much smaller, so that a small gradient is still far from the minimum. The gradient is therefore judged again
by the second derivative at the solution, and the solver goes on in its coordinates until the log-odds are
precise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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

_TOLERANCE = 1e-2
"""Estimated error of the training sentences' log-odds, from which on the solver goes on."""

_ROUNDS = 8
"""Most changes of coordinates for one C."""

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
        precision = _PRECISION * np.sqrt(scales.c) / 2 / (scales.c * problem.total)
        options = {"gtol": min(precision, left), "ftol": _ROUNDING, "maxiter": limit, "maxfun": 2 * limit}
        messages: list[str] = []
        for _ in range(_ROUNDS):
            begin = np.append(scales.divide(coefficients), intercept / scales.intercept)
            found = minimize(problem.objective, begin, scales, jac=True, method="L-BFGS-B", options=options)
            coefficients, intercept = scales.multiply(found.x[:-1]), float(found.x[-1]) * scales.intercept
            if not found.success and found.status == 1:  # the limit of iterations
                messages = [f"did not converge: {found.message}"]
                break
            gradient = np.append(scales.divide(found.jac[:-1]), found.jac[-1] / scales.intercept)
            step, margins = problem.latest[-1]
            if not np.array_equal(step, found.x):  # the solver nearly always ends where it looked last
                margins = problem.margins(coefficients, intercept)
            scales = problem.scales_at(float(c), margins)
            error, reach = problem.error(gradient * scales.c * problem.total, scales)
            if error <= _TOLERANCE:
                break
            wanted = _TOLERANCE / 10 / reach / np.sqrt(len(found.x)) / (scales.c * problem.total)
            options |= {"gtol": wanted, "ftol": 0.0}
        else:
            messages = [f"did not reach the minimum: log-odds may be off by more than {_TOLERANCE}"]
        yield coefficients, intercept, messages


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
        latest: Step and margins of the sentences where the objective was computed last.
    """

    columns: Floats
    signs: Floats
    weights: Floats
    axes: Floats
    latest: list[tuple[Floats, Floats]] = field(default_factory=list)

    @cached_property
    def total(self) -> float:
        """Sum of the weights."""
        return float(self.weights.sum())

    @cached_property
    def turned(self) -> Floats:
        """Squares of the sentences' coordinates along the axes, shape ``(sentences, axes)``."""
        return np.asarray((self.columns @ self.axes) ** 2)

    @cached_property
    def spread(self) -> Floats:
        """Weighted sum of squares along each axis."""
        return np.asarray(self.weights @ self.turned)

    @cached_property
    def across(self) -> Floats:
        """Squared length of each sentence's part across all axes."""
        whole = np.einsum("nd,nd->n", self.columns, self.columns)
        return np.asarray(np.maximum(whole - self.turned.sum(axis=1), 0))

    def scales(self, c: float) -> _Scales:
        """Return the scales of steps at *c*."""
        along = 1 / np.sqrt(1 + c / 4 * self.spread)
        return _Scales(c, self.axes, along, 1 / np.sqrt(c / 4 * self.total))

    def margins(self, coefficients: Floats, intercept: float) -> Floats:
        """Return the signed log-odds of the sentences, positive where they are right."""
        return np.asarray(self.signs * (self.columns @ coefficients + intercept))

    def scales_at(self, c: float, margins: Floats) -> _Scales:
        """Return the scales of steps at *c* by the second derivative where sentences have these *margins*."""
        scores = expit(margins)  # or 1 less them, which is the same here
        curved = self.weights * scores * (1 - scores)
        along = 1 / np.sqrt(1 + c * (curved @ self.turned))
        curvature = max(float(curved.sum()), _ROUNDING * self.total)
        return _Scales(c, self.axes, along, 1 / np.sqrt(c * curvature))

    def error(self, gradient: Floats, scales: _Scales) -> tuple[float, float]:
        """Return about how far a training sentence's log-odds may be off, and that for a step of length 1.

        The step to the minimum is about ``scales**2 * gradient``, which in the coordinates of *scales* has
        the length of the gradient there.
        """
        step = np.append(scales.multiply(gradient[:-1]), gradient[-1] * scales.intercept)
        squares = self.turned @ scales.along**2 + self.across * scales.along[-1] ** 2 + scales.intercept**2
        reach = float(np.sqrt(squares.max()))
        return float(np.linalg.norm(step)) * reach, reach

    def objective(self, values: Floats, scales: _Scales) -> tuple[float, Floats]:
        """Return loss and penalty, over ``C * total``, at the step *values*, and the gradient."""
        coefficients = scales.multiply(values[:-1])
        margins = self.margins(coefficients, float(values[-1]) * scales.intercept)
        self.latest[:] = [(values.copy(), margins)]
        loss = float(self.weights @ np.logaddexp(0, -margins))
        slopes = -scales.c * self.weights * self.signs * expit(-margins)
        gradient = scales.multiply(slopes @ self.columns + coefficients)
        value = scales.c * loss + 0.5 * float(coefficients @ coefficients)
        mean = scales.c * self.total
        return value / mean, np.append(gradient, slopes.sum() * scales.intercept) / mean
