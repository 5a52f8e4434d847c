"""Search spaces of probes and of fine-tuning, and the settings of both searches.

Spaces are small by default: a hundred training subjects cannot tell many candidates apart, and the best of
many looks better than it is.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Annotated, Any

from annotated_types import Ge
from optuna.trial import BaseTrial, FixedTrial

from sertransfer.config import AtLeast0, Choices, Count, Different, Factor, PartName, Range, check_fields
from sertransfer.encoders.base import LearnedPooling, Pooling
from sertransfer.evaluation.aggregation import ATTENTION, Method
from sertransfer.reporting.tables import flat
from sertransfer.transfer.embed import Candidate
from sertransfer.transfer.probe.attention import AXES
from sertransfer.transfer.settings import (
    Aggregation,
    Depth,
    Head,
    Kind,
    Layers,
    Rule,
    TransferConfig,
    take_attention_over,
)

_log = logging.getLogger(__name__)

_FAMILY = {"logistic": "linear", "linear_svm": "linear", "rbf_svm": "rbf", "mlp": "mlp"}


@dataclass(frozen=True)
class ProbeSpace:
    """Choices of probe settings to search among; two numbers are the ends of a range, searched by logarithm.

    Attributes:
        heads: ``logistic``, ``linear_svm``, ``rbf_svm``, ``mlp``, and ``attention``, which asks for no
            aggregation.
        linear_c: Range of C of the linear probes, and of a learned attention.
        rbf_c: Range of C of the kernel machine.
        rbf_gamma: Range of its ``gamma``.
        mlp_c: Range of C of the network.
        mlp_hidden: Numbers of its units, and of those of a learned attention.
        standardise: Whether columns are standardised.
        pca: Numbers of principal axes; 0 keeps all columns, at minutes a fit on large embeddings.
        aggregation: Methods from sentences to subjects of the other heads.
        top_k: Numbers of sentences for ``top_k``.
        threshold: Rules of the threshold.
        pooling: From frames to a sentence's embedding; empty: that of the run's settings alone.
        layer: Blocks of the encoder, 0 for its own output; empty: that of the run's settings alone. The
            encoder runs once for each.
    """

    heads: Choices[Head] = ("logistic", "linear_svm", "rbf_svm", "mlp")
    linear_c: Range = (0.000001, 0.1)
    rbf_c: Range = (0.001, 10.0)
    rbf_gamma: Range = (0.1, 10.0)
    mlp_c: Range = (0.0001, 0.1)
    mlp_hidden: Choices[Count] = (8,)
    standardise: Choices[bool] = (True,)
    pca: Choices[AtLeast0] = (16, 64)
    aggregation: Choices[Aggregation] = ("majority", "mean")
    top_k: Choices[Count] = (5,)
    threshold: Choices[Rule] = ("fixed", "out_of_fold")
    pooling: Annotated[tuple[Pooling, ...], Different] = ()
    layer: Annotated[tuple[AtLeast0, ...], Different] = ()

    @property
    def axes(self) -> int:
        """Most principal axes that a trial may ask for."""
        return max(*self.pca, AXES if ATTENTION in self.heads and 0 in self.pca else 0)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The heads that score one sentence by itself."""
        return tuple(head for head in self.heads if head != "attention")

    @property
    def methods(self) -> tuple[Method, ...]:
        """Ways from sentences to subjects, of which the head ``attention`` is one."""
        learnt: tuple[Method, ...] = ("attention",) if ATTENTION in self.heads else ()
        return (*(self.aggregation if self.kinds else ()), *learnt)

    def protocol(self) -> dict[str, Any]:
        """Return what decides the trials, by the names that it always had, so that older runs go on.

        Later settings are there only where they are used.
        """
        values = {"kinds": self.kinds, **asdict(self), "aggregation": self.methods}
        del values["heads"]
        return {name: values[name] for name in values if values[name] or name not in ("pooling", "layer")}

    def suggest(self, trial: BaseTrial, base: TransferConfig) -> TransferConfig:
        """Return *base* with what *trial* suggests; of a choice of one, nothing is asked."""
        # asked as the studies of before were: attention as a way to subjects, then the other heads
        method = _one_of(trial, "aggregation", self.methods)
        learnt = method == ATTENTION
        kind: Any = "logistic" if learnt else _one_of(trial, "kind", self.kinds)
        family = _FAMILY[kind]
        low, high = getattr(self, f"{family}_c")
        probe = replace(
            base.probe,
            head="attention" if learnt else kind,
            c_grid=(trial.suggest_float(f"{family}_c", low, high, log=True),),
            standardise=_one_of(trial, "standardise", self.standardise),
            pca=_one_of(trial, "pca", self.pca),
        )
        if kind == "rbf_svm":
            probe = replace(probe, gamma=trial.suggest_float("rbf_gamma", *self.rbf_gamma, log=True))
        if kind == "mlp" or learnt:
            probe = replace(probe, hidden=_one_of(trial, "mlp_hidden", self.mlp_hidden))
        config = replace(
            base,
            probe=probe,
            aggregation=TransferConfig.aggregation if learnt else method,
            pooling=_one_of(trial, "pooling", self.pooling or (base.pooling,)),
            layer=_one_of(trial, "layer", self.layer) or None if self.layer else base.layer,
            threshold=replace(base.threshold, rule=_one_of(trial, "threshold", self.threshold)),
        )
        if method == "top_k":
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

    lr: Range = (0.00003, 0.003)
    weight_decay: Range = (0.0001, 0.1)
    layer_decay: Choices[Factor] = (0.2, 0.5)
    depth: Choices[Depth] = ("head", "last")
    stages: Choices[Count] = (1, 2)
    layers: Annotated[tuple[Layers, ...], Different] = ()
    pooling: Choices[LearnedPooling] = ("mean", "attention")

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
    trials: Count = 30
    outer_folds: Annotated[int, Ge(2)] = 5
    random_trials: Count = 10
    study: PartName = "sertransfer"

    BEFORE = MappingProxyType({"transfer.probe.kind": "transfer.probe.head", "space.kinds": "space.heads"})
    """Settings by the names that they had, which are read too."""

    @staticmethod
    def take_over(values: dict[str, Any]) -> None:
        """Change *values*, by dotted name, from what was set before to what is set now."""
        take_attention_over(values, "transfer.")
        methods = values.get("space.aggregation")
        if isinstance(methods, list | tuple) and ATTENTION in methods:
            _log.warning("'attention' of space.aggregation is read as one of space.heads")
            rest = [method for method in methods if method != ATTENTION]
            heads = [head for head in values.get("space.heads", ProbeSpace.heads) if head != ATTENTION]
            values["space.heads"] = [*heads, ATTENTION] if rest else [ATTENTION]
            values["space.aggregation"] = rest or list(ProbeSpace.aggregation)

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
        faults = check_fields(self)
        faults.extend(self.transfer.contradictions())
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
    trials: Count = 12
    random_trials: Count = 6
    study: PartName = "sertransfer-finetune"

    BEFORE = MappingProxyType({"transfer.probe.kind": "transfer.probe.head"})
    """Settings by the names that they had, which are read too."""

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
        faults = check_fields(self)
        faults.extend(self.transfer.contradictions())
        if self.transfer.mode != "finetune":
            faults.add(
                "settings",
                found=f"transfer.mode = '{self.transfer.mode}'",
                expected="finetune, whose settings these are",
                remedy="correct the value",
            )
        faults.raise_if_any()


def _identity(config: TuneConfig | FinetuneTuneConfig, *idle: str) -> dict[str, Any]:
    """Return the settings of a search but those *idle* ones of the runs, which change no trial's value."""
    run = config.transfer.by_former_names()
    for name in ("resamples", "split", "shortcuts", "embedding", *idle):
        del run[name]
    settings = {**config.protocol(), "transfer": run}
    del settings["trials"], settings["study"]
    return flat(settings)
