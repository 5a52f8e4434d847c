"""The learners behind a probe, over prepared columns: linear, kernel, and a small network.

A decision value is signed and 0 at the learner's own boundary. All are regularised by C, which multiplies
the weighted sum of the sentences' losses: the network's L2 penalty is 1 / C.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC, LinearSVC

from sertransfer.transfer.logistic import fit_logistic
from sertransfer.transfer.settings import ProbeConfig

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

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
