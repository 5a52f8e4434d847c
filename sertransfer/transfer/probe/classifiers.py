"""The classifiers behind a probe: logistic regression, SVMs, and a small network; and their preprocessing.

Embeddings are standardised and perhaps rotated to fewer columns first.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils import gen_batches
from sklearn.utils.extmath import randomized_svd, svd_flip

from sertransfer.transfer.settings import ProbeConfig

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


SLOPES = {"logistic": 1.0, "linear_svm": 2.0, "rbf_svm": 2.0, "mlp": 1.0}
"""From a decision value to the log-odds of the score."""

_SOLVER_STEPS = 100
"""Steps of the kernel machine's solver, which moves two sentences at a time, for one iteration."""


class Machine(Protocol):
    """A fitted learner."""

    def decision(self, columns: Floats) -> Floats:
        """Return decision values of shape ``(sentences,)`` for columns ``(sentences, columns)``."""
        ...

    def arrays(self) -> dict[str, Floats]:
        """Return all that :func:`read_machine` needs."""
        ...


@dataclass(frozen=True)
class LinearMachine:
    """``columns @ weights + intercept``."""

    weights: Floats
    intercept: float

    def decision(self, columns: Floats) -> Floats:
        """Return decision values, row by row."""
        values = np.einsum("nd,d->n", columns, self.weights) + self.intercept
        return np.asarray(values, dtype=np.float64)

    def arrays(self) -> dict[str, Floats]:
        """Return the parameters."""
        return {"weights": self.weights, "intercept": np.array([self.intercept])}


@dataclass(frozen=True)
class KernelMachine:
    """``sum_i dual_i exp(-gamma |x - support_i|^2) + intercept``.

    Attributes:
        support: Shape ``(vectors, columns)``.
        dual: Shape ``(vectors,)``.
        gamma: Of the radial basis function.
        intercept: Of the decision value.
    """

    support: Floats
    dual: Floats
    gamma: float
    intercept: float

    def decision(self, columns: Floats) -> Floats:
        """Return decision values, row by row."""
        squares = np.einsum("nd,nd->n", columns, columns)[:, None] + np.einsum(
            "md,md->m", self.support, self.support
        )
        distances = np.maximum(squares - 2 * np.einsum("nd,md->nm", columns, self.support), 0)
        values = np.einsum("nm,m->n", np.exp(-self.gamma * distances), self.dual) + self.intercept
        return np.asarray(values, dtype=np.float64)

    def arrays(self) -> dict[str, Floats]:
        """Return the parameters."""
        numbers = {"gamma": np.array([self.gamma]), "intercept": np.array([self.intercept])}
        return {"support": self.support, "dual": self.dual, **numbers}


@dataclass(frozen=True)
class NetworkMachine:
    """One hidden layer of rectified units: ``max(x @ hidden + shift, 0) @ out + intercept``.

    Attributes:
        hidden: Shape ``(columns, units)``.
        shift: Shape ``(units,)``.
        out: Shape ``(units,)``.
        intercept: Of the decision value.
    """

    hidden: Floats
    shift: Floats
    out: Floats
    intercept: float

    def decision(self, columns: Floats) -> Floats:
        """Return decision values, row by row."""
        active = np.maximum(np.einsum("nd,dh->nh", columns, self.hidden) + self.shift, 0)
        values = np.einsum("nh,h->n", active, self.out) + self.intercept
        return np.asarray(values, dtype=np.float64)

    def arrays(self) -> dict[str, Floats]:
        """Return the parameters."""
        numbers = {"intercept": np.array([self.intercept])}
        return {"hidden": self.hidden, "shift": self.shift, "out": self.out, **numbers}


def read_machine(arrays: dict[str, Floats]) -> Machine:
    """Return the machine of :meth:`Machine.arrays`; a ``KeyError`` names a missing one."""
    intercept = float(arrays["intercept"][0])
    if "support" in arrays:
        return KernelMachine(arrays["support"], arrays["dual"], float(arrays["gamma"][0]), intercept)
    if "hidden" in arrays:
        return NetworkMachine(arrays["hidden"], arrays["shift"], arrays["out"], intercept)
    return LinearMachine(arrays["weights"], intercept)


def fit_machines(
    columns: Floats,
    positive: Booleans,
    weights: Floats,
    grid: Sequence[float],
    config: ProbeConfig,
    *,
    seed: int = 0,
) -> Iterator[tuple[Machine, list[str]]]:
    """Fit a machine of ``config.kind`` for each C of *grid*; logistic regression starts from the last.

    Args:
        columns: Shape ``(sentences, columns)``.
        positive: Shape ``(sentences,)``, both classes present.
        weights: Shape ``(sentences,)``, of mean 1.
        grid: Inverse regularisation strengths, ascending.
        config: Kind of probe and iterations.
        seed: Of the solver.

    Yields:
        The machine, and the solver's warnings, each text once.
    """
    if config.kind == "logistic":
        path = fit_logistic(columns, positive, weights, grid, limit=config.max_iterations, seed=seed)
        yield from ((LinearMachine(found, intercept), messages) for found, intercept, messages in path)
        return
    estimator = _estimator(columns, config, seed)
    for c in grid:
        estimator.set_params(**({"alpha": 1 / float(c)} if config.kind == "mlp" else {"C": float(c)}))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            estimator.fit(columns, positive, sample_weight=weights)
        yield (
            _machine(estimator),
            list(dict.fromkeys(str(warning.message).splitlines()[0] for warning in caught)),
        )


def _estimator(columns: Floats, config: ProbeConfig, seed: int) -> Any:
    limit = config.max_iterations
    if config.kind == "linear_svm":
        return LinearSVC(max_iter=limit, random_state=seed, dual="auto")
    if config.kind == "rbf_svm":
        spread = float(columns.var(axis=0).sum()) or 1.0
        return SVC(gamma=config.gamma / spread, max_iter=limit * _SOLVER_STEPS, cache_size=500)
    # by full batches: few sentences, and no step size to choose
    return MLPClassifier((config.hidden,), solver="lbfgs", max_iter=limit, random_state=seed)


def _machine(estimator: Any) -> Machine:
    if isinstance(estimator, SVC):
        return KernelMachine(
            np.array(estimator.support_vectors_, dtype=np.float64),
            np.array(estimator.dual_coef_[0], dtype=np.float64),
            float(estimator.gamma),
            float(estimator.intercept_[0]),
        )
    if isinstance(estimator, MLPClassifier):
        (hidden, out), (shift, last) = estimator.coefs_, estimator.intercepts_
        return NetworkMachine(hidden.copy(), shift.copy(), out[:, 0].copy(), float(last[0]))
    return LinearMachine(np.array(estimator.coef_[0], dtype=np.float64), float(estimator.intercept_[0]))
