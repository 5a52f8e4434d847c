"""Search spaces of probes and of fine-tuning, and the settings of both searches.

Spaces are small by default: a hundred training subjects cannot tell many candidates apart, and the best of
many looks better than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from optuna.trial import BaseTrial, FixedTrial

from sertransfer.encoders.base import LEARNED_POOLINGS, POOLINGS
from sertransfer.errors import Faults, nearest
from sertransfer.evaluation.aggregation import ATTENTION, METHODS
from sertransfer.reporting.tables import flat
from sertransfer.transfer.embed import Candidate
from sertransfer.transfer.probe.attention import AXES
from sertransfer.transfer.settings import FinetuneConfig, TransferConfig

_KINDS = ("logistic", "linear_svm", "rbf_svm", "mlp")
_RULES = ("fixed", "out_of_fold")
_FAMILY = {"logistic": "linear", "linear_svm": "linear", "rbf_svm": "rbf", "mlp": "mlp"}


@dataclass(frozen=True)
class ProbeSpace:
    """Choices of probe settings to search among; two numbers are the ends of a range, searched by logarithm.

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
        return {name: values[name] for name in values if values[name] or name not in ("pooling", "layer")}

    def suggest(self, trial: BaseTrial, base: TransferConfig) -> TransferConfig:
        """Return *base* with what *trial* suggests; of a choice of one, nothing is asked."""
        aggregation = _one_of(trial, "aggregation", self.aggregation)
        # the head's own classifier of sentences, so that there is no kind to ask for
        kind: Any = "logistic" if aggregation == ATTENTION else _one_of(trial, "kind", self.kinds)
        family = _FAMILY[kind]
        low, high = getattr(self, f"{family}_c")
        probe = replace(
            base.probe,
            kind=kind,
            c_grid=(trial.suggest_float(f"{family}_c", low, high, log=True),),
            standardise=_one_of(trial, "standardise", self.standardise),
            pca=_one_of(trial, "pca", self.pca),
        )
        if kind == "rbf_svm":
            probe = replace(probe, gamma=trial.suggest_float("rbf_gamma", *self.rbf_gamma, log=True))
        if kind == "mlp" or aggregation == ATTENTION:
            probe = replace(probe, hidden=_one_of(trial, "mlp_hidden", self.mlp_hidden))
        config = replace(
            base,
            probe=probe,
            aggregation=aggregation,
            pooling=_one_of(trial, "pooling", self.pooling or (base.pooling,)),
            layer=_one_of(trial, "layer", self.layer) or None if self.layer else base.layer,
            threshold=replace(base.threshold, rule=_one_of(trial, "threshold", self.threshold)),
        )
        if config.aggregation == "top_k":
            config = replace(config, top_k=_one_of(trial, "top_k", self.top_k))
        return config


@dataclass(frozen=True)
class FinetuneSpace:
    """Choices of ``finetune`` settings to search among; two numbers are the ends of a range.

    Attributes:
        lr: Range of the classifier's learning rate.
        weight_decay: Range of the weight decay.
        layer_decay: Factors on the learning rate for each stage further from the classifier.
        depth: Ways of training; see :class:`sertransfer.transfer.settings.FinetuneConfig`.
        stages: Numbers of stages, where depth is ``last``.
        layers: Features of ``asr`` and ``ssl``; empty: those of the run's settings alone.
        pooling: From frames to one vector.
    """

    lr: tuple[float, ...] = (0.00003, 0.003)
    weight_decay: tuple[float, ...] = (0.0001, 0.1)
    layer_decay: tuple[float, ...] = (0.2, 0.5)
    depth: tuple[str, ...] = ("head", "last")
    stages: tuple[int, ...] = (1, 2)
    layers: tuple[str, ...] = ()
    pooling: tuple[str, ...] = ("mean", "attention")

    def suggest(self, trial: BaseTrial, base: TransferConfig) -> TransferConfig:
        """Return *base* with what *trial* suggests; of a choice of one, nothing is asked."""
        depth = _one_of(trial, "depth", self.depth)
        chosen: dict[str, Any] = {
            "depth": depth,
            "pooling": _one_of(trial, "pooling", self.pooling),
            "lr": trial.suggest_float("lr", *self.lr, log=True),
            "weight_decay": trial.suggest_float("weight_decay", *self.weight_decay, log=True),
        }
        if self.layers:
            chosen["layers"] = _one_of(trial, "layers", self.layers)
        if depth != "head":  # the classifier has one rate
            chosen["layer_decay"] = _one_of(trial, "layer_decay", self.layer_decay)
        if depth == "last":
            chosen["stages"] = _one_of(trial, "stages", self.stages)
        return replace(base, finetune=replace(base.finetune, **chosen))


def _one_of(trial: BaseTrial, name: str, values: tuple[Any, ...]) -> Any:
    return values[0] if len(values) == 1 else trial.suggest_categorical(name, values)


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
    space: ProbeSpace = field(default_factory=ProbeSpace)
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

    def identity(self) -> dict[str, Any]:
        """Return what decides a trial's value, as flat plain values."""
        return _identity(self, "finetune")

    def suggest(self, trial: BaseTrial) -> TransferConfig:
        """Return the settings that *trial* suggests."""
        return self.space.suggest(trial, self.transfer)

    def check(self) -> None:
        """Raise every value that no study can work with.

        Raises:
            BadInput: With a fault per value.
        """
        faults = _check_search(
            self,
            ranges=("linear_c", "rbf_c", "rbf_gamma", "mlp_c"),
            choices={
                "kinds": _KINDS,
                "aggregation": tuple(METHODS),
                "threshold": _RULES,
                "pooling": POOLINGS,
            },
            optional=("pooling", "layer"),
        )
        if self.outer_folds < 2:
            _add(faults, "outer_folds", self.outer_folds, "2 or more")
        for name, least in (("mlp_hidden", 1), ("pca", 0), ("top_k", 1), ("layer", 0)):
            for value in getattr(self.space, name):
                if value < least:
                    _add(faults, f"space.{name}", value, f"{least} or more")
        faults.raise_if_any()


@dataclass(frozen=True)
class FinetuneTuneConfig:
    """Settings of ``sertransfer tune --mode finetune``.

    Attributes:
        transfer: The settings of the runs; those that are searched are replaced.
        space: What is searched.
        trials: Trainings to compare.
        random_trials: How many of them are drawn at random before the sampler learns from them.
        study: Name of the study in its storage.
    """

    transfer: TransferConfig = field(default_factory=lambda: TransferConfig(mode="finetune"))
    space: FinetuneSpace = field(default_factory=FinetuneSpace)
    trials: int = 12
    random_trials: int = 6
    study: str = "sertransfer-finetune"

    def protocol(self) -> dict[str, Any]:
        """Return the settings besides those of the run."""
        values = asdict(self)
        del values["transfer"]
        return values

    def identity(self) -> dict[str, Any]:
        """Return what decides a trial's value, as flat plain values."""
        return _identity(self, "threshold", "aggregation", "top_k", "probe")

    def suggest(self, trial: BaseTrial) -> TransferConfig:
        """Return the settings that *trial* suggests."""
        return self.space.suggest(trial, self.transfer)

    def by_layers(self) -> list[TransferConfig]:
        """Return settings that a trial may suggest, for each choice of ``layers``."""
        first = {entry.name: (getattr(self.space, entry.name) or (None,))[0] for entry in fields(self.space)}
        return [self.suggest(FixedTrial({**first, "layers": layers})) for layers in self.space.layers]

    def check(self) -> None:
        """Raise every value that no study can work with.

        Raises:
            BadInput: With a fault per value.
        """
        faults = _check_search(
            self,
            ranges=("lr", "weight_decay"),
            choices={
                "depth": ("head", "last", "all"),
                "layers": ("output", "mix"),
                "pooling": LEARNED_POOLINGS,
            },
            optional=("layers",),
        )
        if self.transfer.mode != "finetune":
            _add(faults, "transfer.mode", f"'{self.transfer.mode}'", "finetune, whose settings these are")
        for name in ("layer_decay", "stages"):  # as the run's own settings are checked
            for value in getattr(self.space, name):
                for key, _, good, expected in FinetuneConfig(**{name: value}).rules():
                    if not good:
                        _add(faults, f"space.{key.removeprefix('finetune.')}", value, expected)
        faults.raise_if_any()


def _identity(config: TuneConfig | FinetuneTuneConfig, *idle: str) -> dict[str, Any]:
    """Return the settings of a search but those *idle* ones of the runs, which change no trial's value."""
    run = asdict(config.transfer)
    for name in ("resamples", "split", "shortcuts", "embedding", *idle):
        del run[name]
    settings = {**config.protocol(), "transfer": run}
    del settings["trials"], settings["study"]
    return flat(settings)


def _check_search(
    config: TuneConfig | FinetuneTuneConfig,
    *,
    ranges: Sequence[str],
    choices: Mapping[str, Sequence[str]],
    optional: Sequence[str],
) -> Faults:
    """Return the faults that either search may have.

    Args:
        config: Its settings.
        ranges: Names of the space's ranges.
        choices: Valid values of its choices, by name.
        optional: Names that may be empty.

    Raises:
        BadInput: If the settings of the runs are at fault.
    """
    config.transfer.check()
    faults = Faults()
    for name in ("trials", "random_trials"):
        if (number := getattr(config, name)) < 1:
            _add(faults, name, number, "1 or more")
    if not config.study or "/" in config.study:
        _add(faults, "study", f"'{config.study}'", "a name without '/'")
    for entry in fields(config.space):
        values = getattr(config.space, entry.name)
        if (not values and entry.name not in optional) or len(set(values)) < len(values):
            _add(faults, f"space.{entry.name}", values, "one value or more, each once")
    for name in ranges:
        values = getattr(config.space, name)
        if values and not (len(values) == 2 and 0 < values[0] < values[1] < float("inf")):
            _add(faults, f"space.{name}", values, "two numbers > 0, the lower first")
    for name, valid in choices.items():
        for value in getattr(config.space, name):
            if value not in valid:
                _add(faults, f"space.{name}", f"'{value}'", "a known choice", nearest(value, valid))
    return faults


def _add(faults: Faults, name: str, found: object, expected: str, remedy: str = "correct it") -> None:
    faults.add("tune config", found=f"{name} = {found}", expected=expected, remedy=remedy)
