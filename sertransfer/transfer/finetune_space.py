"""What tuning of fine-tuning searches, and how it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from optuna.trial import BaseTrial

from sertransfer.encoders.base import LEARNED_POOLINGS
from sertransfer.errors import Faults, nearest
from sertransfer.transfer.settings import FinetuneConfig, TransferConfig

RANGES = ("lr", "weight_decay")
"""Settings that are searched between two numbers, by their logarithm."""


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

    def check(self) -> None:
        """Raise every value that no study can work with.

        Raises:
            BadInput: With a fault per value.
        """
        self.transfer.check()
        faults = Faults()

        def add(name: str, found: object, expected: str, remedy: str = "correct it") -> None:
            faults.add("tune config", found=f"{name} = {found}", expected=expected, remedy=remedy)

        if self.transfer.mode != "finetune":
            add("transfer.mode", f"'{self.transfer.mode}'", "finetune, whose settings these are")
        for name in ("trials", "random_trials"):
            if getattr(self, name) < 1:
                add(name, getattr(self, name), "1 or more")
        if not self.study or "/" in self.study:
            add("study", f"'{self.study}'", "a name without '/'")
        for entry in fields(self.space):
            values = getattr(self.space, entry.name)
            if (not values and entry.name != "layers") or len(set(values)) < len(values):
                add(f"space.{entry.name}", values, "one value or more, each once")
        for name in RANGES:
            values = getattr(self.space, name)
            if values and not (len(values) == 2 and 0 < values[0] < values[1] < float("inf")):
                add(f"space.{name}", values, "two numbers > 0, the lower first")
        choices = {
            "depth": ("head", "last", "all"),
            "layers": ("output", "mix"),
            "pooling": LEARNED_POOLINGS,
        }
        for name, valid in choices.items():
            for value in getattr(self.space, name):
                if value not in valid:
                    add(f"space.{name}", f"'{value}'", "a known choice", nearest(value, valid))
        for name in ("layer_decay", "stages"):  # as the run's own settings are checked
            for value in getattr(self.space, name):
                for key, _, good, expected in FinetuneConfig(**{name: value}).rules():
                    if not good:
                        add(f"space.{key.removeprefix('finetune.')}", value, expected)
        faults.raise_if_any()


def suggest_finetuning(trial: BaseTrial, space: FinetuneSpace, base: TransferConfig) -> TransferConfig:
    """Return *base* with what *trial* suggests; of a choice of one, nothing is asked."""

    def one_of(name: str, values: tuple[Any, ...]) -> Any:
        return values[0] if len(values) == 1 else trial.suggest_categorical(name, values)

    depth = one_of("depth", space.depth)
    chosen: dict[str, Any] = {
        "depth": depth,
        "pooling": one_of("pooling", space.pooling),
        **{name: trial.suggest_float(name, *getattr(space, name), log=True) for name in RANGES},
    }
    if space.layers:
        chosen["layers"] = one_of("layers", space.layers)
    if depth != "head":  # the classifier has one rate
        chosen["layer_decay"] = one_of("layer_decay", space.layer_decay)
    if depth == "last":
        chosen["stages"] = one_of("stages", space.stages)
    return replace(base, finetune=replace(base.finetune, **chosen))
