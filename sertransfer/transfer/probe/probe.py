"""A probe: one score in [0, 1] per sentence from its embedding.

Logistic regression and the network give their probability. A support vector machine gives
``1 / (1 + exp(-2 d))`` of its decision value ``d``: Platt's form with a fixed slope, so that the score is
monotone in ``d`` and 0.5 at the machine's own boundary; it is no calibrated probability. The probe of an
attention head gives the probability of a sentence by itself, and its weight among the subject's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.linalg import qr
from scipy.special import expit

from sertransfer.errors import bad_input
from sertransfer.io.checksums import SEAL, UNSEALED, check_seal, seal
from sertransfer.io.files import atomic_path, regular_file
from sertransfer.io.plain_values import parse_json
from sertransfer.transfer.probe.attention import (
    AXES,
    Attention,
    attention_weights,
    fit_attention,
    read_attention,
)
from sertransfer.transfer.probe.classifiers import (
    ROWS_AT_ONCE,
    SLOPES,
    LinearMachine,
    Machine,
    Preparation,
    fit_machines,
    fit_preparation,
    read_machine,
)
from sertransfer.transfer.settings import ProbeConfig

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Vectors = NDArray[np.float32]

_FORMAT = "sertransfer probe 1"


@dataclass(frozen=True)
class Probe:
    """A fitted probe: ``expit(slope * machine.decision(preparation.apply(x)))``.

    Attributes:
        preparation: What is done to embeddings first.
        machine: The learner.
        slope: From the decision value to the log-odds of the score.
        about: How it was fitted and what its scores mean, as plain values.
        attention: How sentences are weighted within a subject, where that is learnt.
    """

    preparation: Preparation
    machine: Machine
    slope: float
    about: dict[str, Any] = field(default_factory=dict)
    attention: Attention | None = None

    @property
    def dim(self) -> int:
        """Number of values in the embeddings that it scores."""
        return len(self.preparation.mean)

    def decision(self, vectors: Vectors) -> Floats:
        """Return the signed decision values of embeddings of shape ``(sentences, dim)``."""
        return self._by_row(vectors, self.machine.decision)

    def attend(self, vectors: Vectors, subjects: Sequence[str] | NDArray[np.str_]) -> Floats:
        """Return each sentence's weight among its subject's, all of whose sentences must be given.

        Raises:
            ValueError: If no attention was learnt.
        """
        if self.attention is None:
            raise ValueError("this probe has learnt no attention")
        return attention_weights(self._by_row(vectors, self.attention.energies), subjects)

    def _by_row(self, vectors: Vectors, compute: Callable[[Floats], Floats]) -> Floats:
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise bad_input(
                "embeddings",
                found=f"shape {vectors.shape}",
                expected=f"(sentences, {self.dim})",
                remedy="use the encoder that the probe was trained with",
            )
        values = np.empty(len(vectors))
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            block = vectors[start : start + ROWS_AT_ONCE]
            values[start : start + len(block)] = compute(self.preparation.apply(block))
        return values

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
    subjects: NDArray[np.str_] | None = None,
) -> Iterator[tuple[Probe, list[str]]]:
    """Fit a probe for each C of *grid*, strongest regularisation first.

    A linear support vector machine with few sentences for its dimensions is fitted to columns rotated onto
    the sentences' own span. An L2-regularised linear model does not change by that; the fit is smaller.

    Args:
        vectors: Shape ``(sentences, dim)``.
        positive: Shape ``(sentences,)``, both classes present.
        weights: Shape ``(sentences,)``, of mean 1.
        grid: Inverse regularisation strengths, ascending.
        config: Kind of probe, standardisation, principal axes and iterations.
        seed: Of the solver, and of the search for principal axes.
        rotate: Whether to rotate a linear probe's columns; ``None`` decides by kind and shape.
        subjects: Of the sentences, for an attention head in place of the probe; it works on
            :data:`sertransfer.transfer.probe.attention.AXES` axes where the settings name none.

    Yields:
        The probe, and the solver's warnings, each text once.
    """
    pca = config.pca if subjects is None else config.pca or AXES
    preparation, columns = fit_preparation(
        vectors,
        weights,
        standardise=config.standardise,
        pca=pca,
        seed=seed,
        centre=config.kind == "logistic",  # changes the intercept alone, which is not penalised there
    )
    if subjects is not None:
        heads = fit_attention(columns, positive, subjects, weights, grid, config, seed=seed)
        for c, (classifier, attention, messages) in zip(grid, heads, strict=True):
            about = {"kind": "attention", "c": float(c)}
            yield Probe(preparation, classifier, SLOPES["logistic"], about, attention), messages
        return
    linear = config.kind in ("logistic", "linear_svm")
    basis = preparation.basis
    if rotate is None:  # takes as long as dozens of passes: logistic regression needs no more than that
        rotate = config.kind == "linear_svm" and 2 * len(columns) <= columns.shape[1]
    if linear and basis is None and rotate:
        basis, triangle = qr(columns.T, mode="economic")  # (dim, n), (n, n)
        columns = np.ascontiguousarray(triangle.T)  # (n, n) = columns @ basis
    if linear:  # the basis goes into the weights
        preparation = Preparation(preparation.mean, preparation.scale)
    for c, (machine, messages) in zip(
        grid, fit_machines(columns, positive, weights, grid, config, seed=seed), strict=True
    ):
        if isinstance(machine, LinearMachine) and basis is not None:
            machine = LinearMachine(np.asarray(basis @ machine.weights, dtype=np.float64), machine.intercept)
        yield Probe(preparation, machine, SLOPES[config.kind], {"kind": config.kind, "c": float(c)}), messages


def write_probe(probe: Probe, path: Path) -> None:
    """Write *probe* to one safetensors file, ``about`` as JSON in its metadata."""
    prepared = probe.preparation
    arrays = {
        "mean": prepared.mean,
        "scale": prepared.scale,
        **({} if prepared.basis is None else {"basis": prepared.basis}),
        **probe.machine.arrays(),
        **({} if probe.attention is None else probe.attention.arrays()),
        "slope": np.array([probe.slope]),
    }
    arrays = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    # one key only: several are written in an order that changes from run to run
    about = json.dumps({"format": _FORMAT, "about": probe.about, SEAL: UNSEALED})
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, {"probe": about})
        seal(temporary)


def read_probe(path: Path) -> Probe:
    """Read a probe that :func:`write_probe` wrote; it scores exactly as the one that was written.

    Raises:
        BadInput: If there is no such file, it was changed, or it is no probe.
    """
    try:
        check_seal(path)
        with safe_open(regular_file(path), framework="np") as stored:
            metadata = parse_json((stored.metadata() or {})["probe"])
            if metadata["format"] != _FORMAT:
                raise ValueError(f"format {metadata['format']!r}")
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
        return Probe(
            Preparation(arrays["mean"], arrays["scale"], arrays.get("basis")),
            read_machine(arrays),
            float(arrays["slope"][0]),
            metadata["about"],
            read_attention(arrays),
        )
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise bad_input(
            path,
            found=f"no probe that can be read ({type(error).__name__}: {error})",
            expected="checkpoints/probe.safetensors of a finished run",
            remedy="run 'sertransfer transfer' again",
        ) from None
