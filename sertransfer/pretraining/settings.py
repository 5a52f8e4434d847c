"""Settings of stage 1; the defaults are the paper's protocol (section 3.2) with PyResNet152."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen

from sertransfer.config import (
    AtLeast0,
    BelowOne,
    Count,
    Different,
    Factor,
    Name,
    NotNegative,
    Positive,
    Share,
    check_fields,
    config_dict,
)
from sertransfer.front_end import Cropping, FrontEnd

CLASSES = ("angry", "neutral", "happy", "sad")
"""The paper's four-class task, in the order of the authors' own checkpoints."""

_WARPS = ("tempo", "pitch")
_FREE = ("workers", "store", "store_on_device", "checkpoint_every")


@dataclass(frozen=True)
class ModelSettings:
    """Which network; ``None`` leaves an option at the model's own default.

    Attributes:
        name: Name in :data:`sertransfer.models.registry.MODELS`.
        width: Factor on all channels.
        blocks: Blocks of each stage.
        dropout: Share of the pooled features dropped before the classifier.
        epsilon: Adversarial step of the ``adv`` models, in units of the features.
        image_weights: File of ImageNet weights to begin with, as torchvision publishes it; empty = none.
    """

    name: str = "pyresnet152"
    width: float | None = None
    blocks: tuple[int, ...] | None = None
    dropout: float | None = None
    epsilon: float | None = None
    image_weights: str = ""

    def options(self) -> dict[str, Any]:
        """Return the options that were given, as the model's builder takes them."""
        blocks = None if self.blocks is None else list(self.blocks)
        values = {"width": self.width, "blocks": blocks, "dropout": self.dropout, "epsilon": self.epsilon}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Optimiser:
    """Stochastic gradient descent; the rate is multiplied by ``factor`` every ``step`` epochs.

    The paper gives rate, decay and steps. It names no momentum: 0.9 is our reading, 0 the literal one.
    """

    lr: Positive = 0.01
    momentum: BelowOne = 0.9
    weight_decay: NotNegative = 0.001
    step: Count = 20
    factor: Factor = 0.1


@dataclass(frozen=True)
class EpochSelection:
    """Which epoch's weights are kept.

    Attributes:
        rule: ``last`` trains on the whole training part and keeps the last epoch (the paper's protocol);
            ``inner`` keeps the epoch of best UA on training speakers that were held out. The test split
            has no say in either.
        share: Share of the training part held out by ``inner``.
    """

    rule: Literal["last", "inner"] = "last"
    share: Share = 0.15


@dataclass(frozen=True)
class Augment:
    """Spectrograms changed at random, each time anew; 0 = off, as in the paper.

    Attributes:
        freq_mask: SpecAugment: largest width of a mask, in mel bands.
        time_mask: The same in frames.
        tempo: Time is stretched by a factor of up to so much more or less than 1, one draw a batch.
        pitch: Frequency is stretched likewise, one draw an utterance.
    """

    freq_mask: AtLeast0 = 0
    time_mask: AtLeast0 = 0
    tempo: BelowOne = 0.0
    pitch: BelowOne = 0.0


@dataclass(frozen=True)
class Schedule:
    """How the rate moves from epoch to epoch.

    Attributes:
        rule: ``step`` as :class:`Optimiser` says (the paper's), or ``cosine``: from the full rate to 0
            over the epochs after the warm-up, half a cosine.
        warmup: Epochs in which the rate first rises, in equal steps; 0 = none, as in the paper.
    """

    rule: Literal["step", "cosine"] = "step"
    warmup: AtLeast0 = 0


@dataclass(frozen=True)
class Regularisation:
    """What keeps a network from learning its training part by heart; 0 = off, as in the paper.

    Attributes:
        label_smoothing: Share of each target that is spread over all classes.
        mixup: Both parameters of the Beta distribution that two utterances are mixed by (Zhang et al.
            2018, arXiv 1710.09412); after the masks, one draw a batch.
        ema: Decay of a running mean of weights and batch statistics, taken after each step; the mean is
            what is scored and kept. It begins lower: at most ``(1 + steps) / (10 + steps)``.
    """

    label_smoothing: BelowOne = 0.0
    mixup: NotNegative = 0.0
    ema: BelowOne = 0.0


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides what a stage-1 run ends with, and a few things that do not.

    Attributes:
        classes: The task, in the order of the model's outputs; other labels are left out and counted.
        batch_size: Utterances a batch, 2 or more (batch normalisation), over all processes together; a step
            takes ``accumulate`` batches.
        precision: ``32-true``, or mixed as Lightning names it.
        channels_last: Memory layout of the convolutions; a matter of speed.
        compile: Whether the training step's network is compiled (``torch.compile``): faster on a GPU after
            a minute or two of compiling, with other rounding. Scores are always computed uncompiled, and
            adversarial models train so.
        sync_batch_norm: Whether several processes, each with a GPU, normalise by the statistics of their
            whole batch, as one process would; otherwise each by those of its share. Nothing to one process.
        class_weights: ``balanced`` weights the loss of each class by the inverse of its frequency.
        absent: Whether a class that the test split lacks is an error, or is left out of UA (``skip``).
        seed: Of weights, order, windows, dropout and masks.
        workers: Processes that make features and read ahead; does not change the result. 0 = a core each
            for the features of a large corpus, none to read ahead.
        checkpoint_every: Steps between resume points inside an epoch (0 = at epoch ends only).
        store: Folder of the feature stores; empty = ``features`` beside the run folder.
        store_on_device: Whether the features are kept in the memory of a GPU where they take no more than a
            quarter of it; does not change the result.
    """

    model: ModelSettings = field(default_factory=ModelSettings)
    classes: Annotated[tuple[Name, ...], MinLen(2), Different] = CLASSES
    front_end: FrontEnd = field(default_factory=FrontEnd)
    cropping: Cropping = field(default_factory=Cropping)
    optimiser: Optimiser = field(default_factory=Optimiser)
    epochs: Count = 60
    batch_size: Annotated[int, Ge(2)] = 256
    accumulate: Count = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    channels_last: bool = True
    compile: bool = False
    sync_batch_norm: bool = False
    class_weights: Literal["none", "balanced"] = "none"
    selection: EpochSelection = field(default_factory=EpochSelection)
    augment: Augment = field(default_factory=Augment)
    schedule: Schedule = field(default_factory=Schedule)
    regularisation: Regularisation = field(default_factory=Regularisation)
    absent: Literal["error", "skip"] = "error"
    seed: AtLeast0 = 0
    workers: AtLeast0 = 0
    checkpoint_every: AtLeast0 = 200
    store: str = ""
    store_on_device: bool = True

    def protocol(self) -> dict[str, Any]:
        """Return what decides the result, as plain values: a run may be resumed with other ``workers``.

        What later versions brought is named only where it is used, so that runs that were begun before can
        go on.
        """
        unused = {
            "schedule": Schedule(),
            "regularisation": Regularisation(),
            "sync_batch_norm": False,
            "compile": False,
        }
        left_out = {*_FREE, *(name for name in unused if getattr(self, name) == unused[name])}
        values = {name: value for name, value in config_dict(self).items() if name not in left_out}
        for name in _WARPS:
            if not values["augment"][name]:
                del values["augment"][name]
        return values


def check_settings(config: PretrainConfig) -> None:
    """Check the values of settings that were built in Python, and those that depend on each other.

    Raises:
        BadInput: With every value that is out of range.
    """
    faults = check_fields(config)
    if config.schedule.warmup >= max(config.epochs, 1):
        faults.add(
            "settings",
            found=f"schedule.warmup = {config.schedule.warmup} of {config.epochs} epochs",
            expected="a warm-up that ends before the training",
            remedy="correct the value",
        )
    faults.raise_if_any()
