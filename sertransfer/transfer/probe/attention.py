"""A learned head from a subject's sentences to the subject: attention over instances.

Multiple-instance learning with attention (Ilse, Tomczak and Welling, 2018), in its plain form: a sentence's
attention is ``softmax(u . tanh(V x + c))`` within its subject. The gated form has twice the parameters, which
a hundred subjects would have to determine. The classifier is linear, so that the class of the pooled features
is the pooled log-odds of the sentences: the head gives each sentence a probability and a weight, and
:func:`sertransfer.evaluation.aggregation.attention_pool` puts them together.

One C holds everything back: the loss is that of the subjects, and the L2 penalty covers ``V``, ``u`` and the
classifier. The stronger it is, the nearer the attention is to the plain mean, which it reaches. Decision and
attention have the same scale, set by the length of the training columns, so that C means to this head what
it means to a probe of sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from sertransfer.transfer.probe.classifiers import Booleans, Floats, LinearMachine
from sertransfer.transfer.settings import ProbeConfig

AXES = 64
"""Principal axes that the head works on where the settings keep all columns."""

_PRECISION = {"ftol": 1e-7, "gtol": 1e-7}
"""The solver stops where a step gains less of the mean loss, or the gradient is smaller."""


@dataclass(frozen=True)
class Attention:
    """Log-weights ``tanh(x @ hidden + shift) @ out``, before the softmax over a subject's sentences.

    Attributes:
        hidden: Shape ``(columns, units)``.
        shift: Shape ``(units,)``.
        out: Shape ``(units,)``.
    """

    hidden: Floats
    shift: Floats
    out: Floats

    def energies(self, columns: Floats) -> Floats:
        """Return log-weights of shape ``(sentences,)``; a row depends on itself alone."""
        active = np.tanh(np.einsum("nd,dh->nh", columns, self.hidden) + self.shift)
        return np.asarray(np.einsum("nh,h->n", active, self.out), dtype=np.float64)

    def arrays(self) -> dict[str, Floats]:
        """Return all that :func:`read_attention` needs."""
        return {_PREFIX + name: getattr(self, name) for name in _NAMES}


_PREFIX, _NAMES = "attention.", ("hidden", "shift", "out")


def read_attention(arrays: dict[str, Floats]) -> Attention | None:
    """Return the attention among *arrays*, if there is any; a ``KeyError`` names a missing part."""
    if not any(name.startswith(_PREFIX) for name in arrays):
        return None
    return Attention(*(arrays[_PREFIX + name] for name in _NAMES))


def attention_weights(energies: Floats, subjects: Sequence[str] | NDArray[np.str_]) -> Floats:
    """Return the softmax of *energies* over each subject's sentences, shape ``(sentences,)``."""
    _, members = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    highest = np.full(members.max(initial=-1) + 1, -np.inf)
    np.maximum.at(highest, members, energies)
    weights = np.exp(energies - highest[members])
    return np.asarray(weights / np.bincount(members, weights)[members], dtype=np.float64)


def fit_attention(
    columns: Floats,
    positive: Booleans,
    subjects: NDArray[np.str_],
    weights: Floats,
    grid: Sequence[float],
    config: ProbeConfig,
    *,
    seed: int = 0,
) -> Iterator[tuple[LinearMachine, Attention, list[str]]]:
    """Fit the head for each C of *grid*, each from the same start, at which attention is the plain mean.

    Args:
        columns: Shape ``(sentences, columns)``.
        positive: Of the sentences' subjects, shape ``(sentences,)``, both classes present.
        subjects: Of the sentences; one is a bag.
        weights: Of the sentences, of mean 1; a subject weighs what its sentences do together.
        grid: Inverse regularisation strengths.
        config: Hidden units and the limit of the solver.
        seed: Of the start of ``V``.

    Yields:
        The classifier of sentences, their attention, and the solver's warnings.
    """
    order = np.argsort(subjects, kind="stable")
    _, starts = np.unique(subjects[order], return_index=True)
    bags = _Bags(
        columns[order],
        starts,
        positive[order][starts].astype(np.float64),
        np.add.reduceat(weights[order], starts),
        config.hidden,
    )
    begin, total = bags.start(seed), float(weights.sum())

    def mean_objective(values: Floats, c: float) -> tuple[float, Floats]:
        # of a sentence's weight, so that the solver stops at the same precision of the loss at any C
        value, gradient = bags.objective(values, c)
        return value / (c * total), gradient / (c * total)

    limits = {**_PRECISION, "maxiter": config.max_iterations, "maxfun": 2 * config.max_iterations}
    for c in grid:
        found = minimize(mean_objective, begin, float(c), jac=True, method="L-BFGS-B", options=limits)
        messages = [] if found.success else [f"attention: {found.message}"]
        yield *bags.fitted(found.x), messages


@dataclass(frozen=True)
class _Bags:
    """Training sentences, subject by subject.

    Attributes:
        columns: Shape ``(sentences, columns)``.
        starts: First sentence of each subject.
        truth: 1 for a positive subject, else 0.
        weights: Of the subjects.
        units: Hidden units.
    """

    columns: Floats
    starts: NDArray[np.int64]
    truth: Floats
    weights: Floats
    units: int

    @cached_property
    def length(self) -> float:
        """Root mean square length of a sentence's columns."""
        return float(np.sqrt(np.mean(np.einsum("nd,nd->n", self.columns, self.columns)))) or 1.0

    def start(self, seed: int) -> Floats:
        """Return parameters of no effect, but for random directions in ``V``."""
        dim = self.columns.shape[1]
        hidden = np.random.default_rng(seed).normal(size=dim * self.units) / self.length
        return np.concatenate([np.zeros(dim + 1), hidden, np.zeros(2 * self.units)])

    def parts(self, values: Floats) -> tuple[Floats, float, Floats, Floats, Floats]:
        """Return classifier, intercept, ``V`` ``(columns, units)``, ``c`` and ``u`` of the flat *values*."""
        dim, units = self.columns.shape[1], self.units
        weights, intercept, hidden, shift, out = np.split(values, np.cumsum([dim, 1, dim * units, units]))
        return weights, float(intercept[0]), hidden.reshape(dim, units), shift, out

    def fitted(self, values: Floats) -> tuple[LinearMachine, Attention]:
        """Return what the flat *values* stand for."""
        weights, intercept, hidden, shift, out = self.parts(values)
        return LinearMachine(weights, intercept), Attention(hidden, shift, out * self._scale)

    @property
    def _scale(self) -> float:
        """What brings ``u . tanh`` to the scale of the decision, whatever the number of units."""
        return self.length / float(np.sqrt(self.units))

    def objective(self, values: Floats, c: float) -> tuple[float, Floats]:
        """Return ``c * loss + penalty`` and its gradient."""
        weights, intercept, hidden, shift, out = self.parts(values)
        scale = self._scale
        active = np.tanh(self.columns @ hidden + shift)  # (sentences, units)
        decision = self.columns @ weights + intercept
        energies = scale * (active @ out)
        counts = np.diff(self.starts, append=len(energies))
        raised = np.exp(energies - np.repeat(np.maximum.reduceat(energies, self.starts), counts))
        attention = raised / np.repeat(np.add.reduceat(raised, self.starts), counts)
        pooled = np.add.reduceat(attention * decision, self.starts)  # (subjects,)
        loss = float(self.weights @ (np.logaddexp(0, pooled) - self.truth * pooled))
        penalty = 0.5 * float(weights @ weights + np.vdot(hidden, hidden) + out @ out)

        # the same backwards: by the pooled log-odds, then the decision and the energy of each sentence
        by_pooled = np.repeat(c * self.weights * (expit(pooled) - self.truth), counts)
        by_decision = by_pooled * attention
        by_energy = scale * by_decision * (decision - np.repeat(pooled, counts))
        by_active = by_energy[:, None] * out * (1 - active**2)
        gradient = [
            self.columns.T @ by_decision + weights,
            by_decision.sum(keepdims=True),
            (self.columns.T @ by_active + hidden).ravel(),
            by_active.sum(axis=0),
            active.T @ by_energy + out,
        ]
        return c * loss + penalty, np.concatenate(gradient)
