"""A linear probe: one score in [0, 1] per sentence from its embedding.

Logistic regression gives its probability. A linear support vector machine gives ``1 / (1 + exp(-2 d))`` of
its decision value ``d``: Platt's form with a fixed slope, so that the score is monotone in ``d`` and 0.5 at
the machine's own boundary; it is no calibrated probability.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.linalg import qr
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sertransfer.errors import bad_input
from sertransfer.files import atomic_path
from sertransfer.transfer.settings import ProbeConfig

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Vectors = NDArray[np.float32]

SLOPES = {"logistic": 1.0, "linear_svm": 2.0}
_ROWS_AT_ONCE = 4096
_FORMAT = "sertransfer probe 1"


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe: ``expit(slope * (((x - mean) / scale) @ weights + intercept))``.

    Attributes:
        mean: Shape ``(dim,)``.
        scale: Shape ``(dim,)``.
        weights: Shape ``(dim,)``.
        intercept: Of the decision value.
        slope: From the decision value to the score.
        about: How it was fitted and what its scores mean, as plain values.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    intercept: float
    slope: float
    about: dict[str, Any] = field(default_factory=dict)

    def decision(self, vectors: Vectors) -> Floats:
        """Return the signed decision values of embeddings of shape ``(sentences, dim)``."""
        if vectors.ndim != 2 or vectors.shape[1] != len(self.weights):
            raise bad_input(
                "embeddings",
                found=f"shape {vectors.shape}",
                expected=f"(sentences, {len(self.weights)})",
                remedy="use the encoder that the probe was trained with",
            )
        values = np.empty(len(vectors))
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            block = np.asarray(vectors[start : start + _ROWS_AT_ONCE], dtype=np.float64)
            # row by row sums, so that a score does not depend on how many sentences are scored at once
            values[start : start + len(block)] = np.einsum(
                "nd,d->n", (block - self.mean) / self.scale, self.weights
            )
        return values + self.intercept

    def score(self, vectors: Vectors) -> Floats:
        """Return scores in [0, 1], higher = positive class, shape ``(sentences,)``."""
        return np.asarray(expit(self.slope * self.decision(vectors)), dtype=np.float64)


def sentence_weights(
    positive: Booleans, subjects: Sequence[str], *, balance_subjects: bool, balance_classes: bool
) -> Floats:
    """Return one weight a sentence, of mean 1.

    Args:
        positive: Each sentence's class, shape ``(sentences,)``.
        subjects: Each sentence's subject.
        balance_subjects: Every subject has the same total weight (before the classes are balanced).
        balance_classes: Both classes have the same total weight.
    """
    _, members, sizes = np.unique(np.asarray(subjects, dtype=str), return_inverse=True, return_counts=True)
    weights = 1.0 / sizes[members] if balance_subjects else np.ones(len(members))
    if balance_classes:
        for which in (positive, ~positive):
            if which.any():
                weights[which] /= weights[which].sum()
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def fit_path(
    vectors: Vectors,
    positive: Booleans,
    weights: Floats,
    grid: Sequence[float],
    config: ProbeConfig,
    *,
    seed: int = 0,
    rotate: bool | None = None,
) -> Iterator[tuple[LinearProbe, list[str]]]:
    """Fit a probe for each C of *grid*, strongest regularisation first, each starting from the last.

    With fewer sentences than dimensions the columns are first rotated onto the sentences' own span. An
    L2-regularised linear model does not change by that, and the fit is smaller.

    Args:
        vectors: Shape ``(sentences, dim)``.
        positive: Shape ``(sentences,)``, both classes present.
        weights: Shape ``(sentences,)``, of mean 1.
        grid: Inverse regularisation strengths, ascending.
        config: Kind of probe, standardisation and iterations.
        seed: Of the support vector machine's solver.
        rotate: Whether to rotate; ``None`` decides by the shape.

    Yields:
        The probe, and the solver's warnings, each text once.
    """
    columns, mean, scale = _standardised(vectors, weights, config.standardise)
    basis = None
    if rotate if rotate is not None else len(columns) < columns.shape[1]:
        basis, triangle = qr(columns.T, mode="economic")  # (dim, n), (n, n)
        columns = np.ascontiguousarray(triangle.T)  # (n, n) = columns @ basis
    estimator = _estimator(config, seed)
    for c in grid:
        estimator.set_params(C=float(c))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            estimator.fit(columns, positive, sample_weight=weights)
        direction = estimator.coef_[0] if basis is None else basis @ estimator.coef_[0]
        probe = LinearProbe(
            mean,
            scale,
            np.asarray(direction, dtype=np.float64),
            float(estimator.intercept_[0]),
            SLOPES[config.kind],
            {"kind": config.kind, "c": float(c)},
        )
        yield probe, list(dict.fromkeys(str(warning.message).splitlines()[0] for warning in caught))


def _standardised(vectors: Vectors, weights: Floats, standardise: bool) -> tuple[Floats, Floats, Floats]:
    columns = np.array(vectors, dtype=np.float64)  # a copy, the only one: it may be a gigabyte
    dim = columns.shape[1]
    if not standardise:
        return columns, np.zeros(dim), np.ones(dim)
    scaler = StandardScaler().fit(columns, sample_weight=weights)
    columns -= scaler.mean_
    columns /= scaler.scale_
    return columns, scaler.mean_, scaler.scale_


def _estimator(config: ProbeConfig, seed: int) -> Any:
    if config.kind == "linear_svm":
        return LinearSVC(max_iter=config.max_iterations, random_state=seed, dual="auto")
    return LogisticRegression(max_iter=config.max_iterations, tol=1e-6, warm_start=True)


def write_probe(probe: LinearProbe, path: Path) -> None:
    """Write *probe* to one safetensors file, ``about`` as JSON in its metadata."""
    arrays = {
        "mean": probe.mean,
        "scale": probe.scale,
        "weights": probe.weights,
        "intercept": np.array([probe.intercept]),
        "slope": np.array([probe.slope]),
    }
    # one key only: several are written in an order that changes from run to run
    about = json.dumps({"format": _FORMAT, "about": probe.about})
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, {"probe": about})


def read_probe(path: Path) -> LinearProbe:
    """Read a probe that :func:`write_probe` wrote; it scores exactly as the one that was written.

    Raises:
        BadInput: If there is no such file or it is no probe.
    """
    try:
        with safe_open(path, framework="np") as stored:
            metadata = json.loads((stored.metadata() or {})["probe"])
            if metadata["format"] != _FORMAT:
                raise ValueError(f"format {metadata['format']!r}")
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
        return LinearProbe(
            arrays["mean"],
            arrays["scale"],
            arrays["weights"],
            float(arrays["intercept"][0]),
            float(arrays["slope"][0]),
            metadata["about"],
        )
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise bad_input(
            path,
            found=f"no probe that can be read ({type(error).__name__}: {error})",
            expected="checkpoints/probe.safetensors of a finished run",
            remedy="run 'sertransfer transfer' again",
        ) from None
