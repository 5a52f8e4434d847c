"""What head tuning searches, and how it is asked for.

The space is small by default: a hundred training subjects can not tell many candidates apart, and the best
of many looks better than it is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from optuna.trial import BaseTrial

from sertransfer.encoders.base import POOLINGS
from sertransfer.errors import Faults, nearest
from sertransfer.evaluation.aggregation import ATTENTION, METHODS
from sertransfer.transfer.embed import Candidate
from sertransfer.transfer.probe.attention import AXES
from sertransfer.transfer.settings import TransferConfig

_KINDS = ("logistic", "linear_svm", "rbf_svm", "mlp")
_RULES = ("fixed", "out_of_fold")
_FAMILY = {"logistic": "linear", "linear_svm": "linear", "rbf_svm": "rbf", "mlp": "mlp"}


@dataclass(frozen=True)
class SearchSpace:
    """Choices to search among; two numbers are the ends of a range, searched by its logarithm.

    Attributes:
        kinds: Probes: ``logistic``, ``linear_svm``, ``rbf_svm``, ``mlp``.
        linear_c: Range of C of the linear probes, and of a learned attention.
        rbf_c: Range of C of the kernel machine.
        rbf_gamma: Range of its ``gamma``.
        mlp_c: Range of C of the network.
        mlp_hidden: Numbers of its units, and of those of a learned attention.
        standardise: Whether columns are standardised.
        pca: Numbers of principal axes; 0 keeps all columns, at minutes a fit on large embeddings.
        aggregation: Methods from sentences to subjects; ``attention`` is learned in place of a probe, and
            asks for no kind of one.
        top_k: Numbers of sentences for ``top_k``.
        threshold: Rules of the threshold.
        pooling: From frames to a sentence's embedding; empty: that of the run's settings alone.
        layer: Blocks of the encoder, 0 for its own output; empty: that of the run's settings alone. The
            encoder runs once for each.
    """

    kinds: tuple[str, ...] = _KINDS
    linear_c: tuple[float, ...] = (0.000001, 0.1)
    rbf_c: tuple[float, ...] = (0.001, 10.0)
    rbf_gamma: tuple[float, ...] = (0.1, 10.0)
    mlp_c: tuple[float, ...] = (0.0001, 0.1)
    mlp_hidden: tuple[int, ...] = (8,)
    standardise: tuple[bool, ...] = (True,)
    pca: tuple[int, ...] = (16, 64)
    aggregation: tuple[str, ...] = ("majority", "mean")
    top_k: tuple[int, ...] = (5,)
    threshold: tuple[str, ...] = _RULES
    pooling: tuple[str, ...] = ()
    layer: tuple[int, ...] = ()

    @property
    def axes(self) -> int:
        """Most principal axes that a trial may ask for."""
        return max(*self.pca, AXES if ATTENTION in self.aggregation and 0 in self.pca else 0)

    def protocol(self) -> dict[str, Any]:
        """Return what decides the trials; later settings only where they are used, so older runs go on."""
        values = asdict(self)
        return {name: values[name] for name in values if values[name] or name not in _MAY_BE_EMPTY}


_MAY_BE_EMPTY = ("pooling", "layer")


@dataclass(frozen=True)
class TuneConfig:
    """Settings of ``sertransfer tune``.

    Attributes:
        transfer: The settings of the runs; those that are searched are replaced. Its ``folds`` are the
            inner folds, which choose.
        space: What is searched.
        trials: Trials of each study; there is one study an outer fold, and one for the final choice.
        outer_folds: Folds of training subjects whose scores no trial has seen.
        random_trials: How many trials of a study are drawn at random before the sampler learns from them.
        study: Name of the study in its storage.
    """

    transfer: TransferConfig = field(default_factory=TransferConfig)
    space: SearchSpace = field(default_factory=SearchSpace)
    trials: int = 30
    outer_folds: int = 5
    random_trials: int = 10
    study: str = "sertransfer"

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The embeddings that trials may ask for."""
        layers = [value or None for value in self.space.layer] or [self.transfer.layer]
        poolings = self.space.pooling or (self.transfer.pooling,)
        return tuple(Candidate(layer, pooling) for layer in layers for pooling in poolings)

    def protocol(self) -> dict[str, Any]:
        """Return the settings besides those of the run, as far as they decide anything."""
        values = {**asdict(self), "space": self.space.protocol()}
        del values["transfer"]
        return values

    def check(self) -> None:
        """Raise every value that no study can work with.

        Raises:
            BadInput: With a fault per value.
        """
        self.transfer.check()
        faults = Faults()
        where = "tune config"
        for name in ("trials", "outer_folds", "random_trials"):
            least = 2 if name == "outer_folds" else 1
            if (value := getattr(self, name)) < least:
                faults.add(where, found=f"{name} = {value}", expected=f"{least} or more", remedy="correct it")
        if not self.study or "/" in self.study:
            faults.add(
                where, found=f"study = '{self.study}'", expected="a name without '/'", remedy="correct it"
            )
        self._check_space(where, faults)
        faults.raise_if_any()

    def _check_space(self, where: str, faults: Faults) -> None:
        for entry in fields(self.space):
            values = getattr(self.space, entry.name)
            empty = not values and entry.name not in _MAY_BE_EMPTY
            if empty or len(set(values)) < len(values):
                faults.add(
                    where,
                    found=f"space.{entry.name} = {values}",
                    expected="one value or more, each once",
                    remedy="correct it",
                )
        for name in ("linear_c", "rbf_c", "rbf_gamma", "mlp_c"):
            values = getattr(self.space, name)
            if values and not (len(values) == 2 and 0 < values[0] < values[1] < float("inf")):
                faults.add(
                    where,
                    found=f"space.{name} = {values}",
                    expected="two numbers > 0, the lower first",
                    remedy="correct it",
                )
        for name, least in (("mlp_hidden", 1), ("pca", 0), ("top_k", 1), ("layer", 0)):
            for value in getattr(self.space, name):
                if value < least:
                    faults.add(
                        where,
                        found=f"{value} in space.{name}",
                        expected=f"{least} or more",
                        remedy="correct it",
                    )
        choices = {
            "kinds": _KINDS,
            "aggregation": tuple(METHODS),
            "threshold": _RULES,
            "pooling": POOLINGS,
        }
        for name, valid in choices.items():
            for value in getattr(self.space, name):
                if value not in valid:
                    faults.add(
                        where,
                        found=f"'{value}' in space.{name}",
                        expected="a known choice",
                        remedy=nearest(value, valid),
                    )


def suggest(trial: BaseTrial, space: SearchSpace, base: TransferConfig) -> TransferConfig:
    """Return *base* with what *trial* suggests; of a choice of one, nothing is asked."""

    def one_of(name: str, values: tuple[Any, ...]) -> Any:
        return values[0] if len(values) == 1 else trial.suggest_categorical(name, values)

    aggregation = one_of("aggregation", space.aggregation)
    # the head's own classifier of sentences, so that there is no kind to ask for
    kind: Any = "logistic" if aggregation == ATTENTION else one_of("kind", space.kinds)
    family = _FAMILY[kind]
    low, high = getattr(space, f"{family}_c")
    probe = replace(
        base.probe,
        kind=kind,
        c_grid=(trial.suggest_float(f"{family}_c", low, high, log=True),),
        standardise=one_of("standardise", space.standardise),
        pca=one_of("pca", space.pca),
    )
    if kind == "rbf_svm":
        probe = replace(probe, gamma=trial.suggest_float("rbf_gamma", *space.rbf_gamma, log=True))
    if kind == "mlp" or aggregation == ATTENTION:
        probe = replace(probe, hidden=one_of("mlp_hidden", space.mlp_hidden))
    config = replace(
        base,
        probe=probe,
        aggregation=aggregation,
        pooling=one_of("pooling", space.pooling or (base.pooling,)),
        layer=one_of("layer", space.layer) or None if space.layer else base.layer,
        threshold=replace(base.threshold, rule=one_of("threshold", space.threshold)),
    )
    if config.aggregation == "top_k":
        config = replace(config, top_k=one_of("top_k", space.top_k))
    return config
