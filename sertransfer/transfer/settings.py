"""Settings of stage 2, from sentences to decisions about subjects (paper, section 3.3)."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Required, TypedDict

from annotated_types import Ge

from sertransfer.config import (
    AtLeast0,
    Count,
    Factor,
    Name,
    NotNegative,
    Positive,
    Share,
    check_fields,
)
from sertransfer.encoders.base import LearnedPooling, Pooling
from sertransfer.errors import Fault
from sertransfer.evaluation.aggregation import ATTENTION, TOP_K, Method
from sertransfer.timebase import Framing

Kind = Literal["logistic", "linear_svm", "rbf_svm", "mlp"]
Head = Literal["logistic", "linear_svm", "rbf_svm", "mlp", "attention"]
Aggregation = Literal["majority", "mean", "median", "duration", "top_k", "log_odds"]
Rule = Literal["fixed", "out_of_fold"]
Depth = Literal["head", "last", "all"]
Layers = Literal["output", "mix"]

_LINEAR = (0.000001, 0.00001, 0.0001, 0.001, 0.01, 0.1)
GRIDS: dict[Head, tuple[float, ...]] = {
    "logistic": _LINEAR,
    "linear_svm": _LINEAR,
    "rbf_svm": (0.001, 0.01, 0.1, 1.0, 10.0),
    "mlp": (0.0001, 0.001, 0.01, 0.1),
    "attention": _LINEAR,
}
"""Strengths to choose from by head: on thousands of standardised columns a linear head takes small ones; a
kernel's features have length 1, so that with those it would give one answer. ``tune`` has the same ranges."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeConfig:
    """The probe that scores a sentence from its embedding.

    Attributes:
        head: ``logistic`` (L2-regularised logistic regression), ``linear_svm`` (squared hinge loss),
            ``rbf_svm`` (radial basis functions), ``mlp`` (one hidden layer), or a learned ``attention``,
            which is trained on subjects: a logistic regression of sentences, and their weights among a
            subject's, which leave nothing for ``aggregation`` to do.
        c_grid: Inverse regularisation strengths to choose from, on a loss whose weights have mean 1; empty:
            those of :data:`GRIDS` for the head.
        standardise: Whether columns are brought to mean 0 and deviation 1 over the training sentences.
        pca: Principal axes to keep, found on the training sentences; 0 keeps all columns. A kernel machine
            on thousands of columns takes minutes a fit without.
        gamma: Of ``rbf_svm``, in multiples of one over the columns' total variance.
        hidden: Units of ``mlp``, and of a learned attention.
        balance_subjects: Each training subject has the same total weight, however much it says.
        balance_classes: The classes have the same total weight, counted over subjects.
        max_iterations: Limit of the solver; reaching it is reported.
    """

    head: Head = "logistic"
    c_grid: tuple[Positive, ...] = ()
    standardise: bool = True
    pca: AtLeast0 = 0
    gamma: Positive = 1.0
    hidden: Count = 16
    balance_subjects: bool = True
    balance_classes: bool = True
    max_iterations: Count = 2000

    @property
    def kind(self) -> Kind:
        """What classifies a sentence: of a learned attention a logistic regression."""
        return "logistic" if self.head == "attention" else self.head

    @property
    def grid(self) -> tuple[float, ...]:
        """The strengths that are given, or the head's own."""
        return self.c_grid or GRIDS[self.head]


@dataclass(frozen=True)
class ThresholdConfig:
    """Where a subject's score becomes the positive class (``score >= threshold``).

    Attributes:
        rule: ``fixed``, or ``out_of_fold``: the threshold of greatest UA on the scores that the training
            subjects get from probes that have not seen them.
        value: The fixed threshold; also the one preferred among equals by ``out_of_fold``.
    """

    rule: Rule = "fixed"
    value: Factor = 0.5


@dataclass(frozen=True)
class EmbeddingConfig:
    """How embedding is done; changes its speed, not its results.

    Attributes:
        batch_seconds: Seconds of audio, padding included, that the encoder is given at once.
        workers: Processes that read audio ahead; 0 reads in the main process.
    """

    batch_seconds: Positive = 120.0
    workers: AtLeast0 = 0


@dataclass(frozen=True)
class FinetuneConfig:
    """How mode ``finetune`` trains the encoder with a new classifier of the two classes.

    Attributes:
        depth: Trains the classifier alone (``head``), the ``last`` stages with it, or ``all`` of the network.
        stages: Stages (``ser``) or blocks (``asr``, ``ssl``) before the classifier that ``last`` trains.
        layers: Features of ``asr`` and ``ssl``: the encoder's ``output`` (or that of block ``layer``), or a
            ``mix`` of all blocks' outputs whose weights are learned.
        pooling: From frames to one vector: their ``mean``, ``mean_std``, or a learned ``attention``.
        window: Seconds that training batches of ``asr`` and ``ssl`` are cut to at most; ``ser`` has the crop
            of its checkpoint.
        store_gb: Most gigabytes that the frames of a frozen ``asr`` or ``ssl`` encoder may take on the disk;
            where they take more it runs again in every epoch.
        lr: Learning rate of the classifier (AdamW).
        layer_decay: Factor on the learning rate for each stage further from the classifier.
        weight_decay: Of all weights but biases and norms.
        epochs: Most epochs; one takes as many sentences as are trained on.
        patience: Epochs without a better inner score after which training stops.
        batch_size: Sentences a batch; a step takes ``accumulate`` batches.
        accumulate: Batches a step.
        precision: ``32-true``, or mixed as Lightning names it.
        batch_norm: ``frozen``: every batch norm keeps its weights and statistics and acts as in
            evaluation; ``train``: those of the trained stages learn and follow the batches.
        inner_share: Share of the training subjects that are not trained on but end the training.
    """

    depth: Depth = "last"
    stages: Count = 1
    lr: Positive = 0.0003
    layer_decay: Factor = 0.5
    weight_decay: NotNegative = 0.01
    epochs: Count = 30
    patience: Count = 5
    batch_size: Count = 32
    accumulate: Count = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    batch_norm: Literal["frozen", "train"] = "frozen"
    inner_share: Share = 0.2
    layers: Layers = "output"
    pooling: LearnedPooling = "mean"
    window: Positive = 5.0
    store_gb: NotNegative = 8.0

    def protocol(self) -> dict[str, Any]:
        """Return what decides the result; later settings where they are used, so that older runs go on."""
        unused = FinetuneConfig()
        later = ("layers", "pooling", "window", "store_gb")
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in later or value != getattr(unused, name)
        }


@dataclass(frozen=True)
class TransferConfig:
    """Settings of ``sertransfer transfer``.

    Attributes:
        mode: ``probe``: a probe on stored embeddings of a frozen encoder. ``finetune``: the encoder itself
            is trained on, with a classifier of the two classes.
        negative: Label of the subjects without the condition.
        positive: Label of the subjects with it; scores are higher for these.
        split: Split that is reported; training is always on ``train``. The paper reports ``dev``.
        cluster: Manifest column whose values may not stand in two splits or two inner folds, and that
            intervals take for one. ``speaker`` is the subject; name another one where several subjects of
            the manifest are one person.
        probe: The sentence probe.
        folds: Inner folds over training subjects, which choose C and the threshold.
        aggregation: ``majority`` vote, ``mean`` or ``median`` score, mean weighted by ``duration``, mean of
            the ``top_k`` highest scores, or the sum of ``log_odds``.
        top_k: Sentences that ``top_k`` takes.
        threshold: From a subject's score to the decision.
        resamples: Without effect; read because settings of before have it.
        seed: Of folds, solver and bootstrap.
        shortcuts: Whether probes on sentence count and duration, on loudness, on gender and on the
            interviewer's audio alone are scored beside the run's; loudness takes one more pass over the
            audio, and the interviewer's turns are embedded.
        layer: Block of the encoder, counted from 1, whose output is taken; the encoder's own output if
            not given. Only for encoders of stacked blocks (``asr``, ``ssl``).
        pooling: From a sentence's frames to its embedding: their ``mean``, or ``mean_std``, the mean and
            the standard deviation.
        embedding: Batches and reading processes.
        finetune: Training of mode ``finetune``.
    """

    mode: Literal["probe", "finetune"] = "probe"
    negative: Name = "not depressed"
    positive: Name = "depressed"
    split: Literal["dev", "test"] = "dev"
    cluster: str = "speaker"
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    folds: Annotated[int, Ge(2)] = 5
    aggregation: Aggregation = "majority"
    top_k: Count = TOP_K
    threshold: ThresholdConfig = field(default_factory=ThresholdConfig)
    resamples: Count = 2000
    seed: AtLeast0 = 0
    shortcuts: bool = True
    layer: Count | None = None
    pooling: Pooling = "mean"
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)

    BEFORE = MappingProxyType({"probe.kind": "probe.head"})
    """Settings by the names that they had, which are read too."""

    @staticmethod
    def take_over(values: dict[str, Any]) -> None:
        """Change *values*, by dotted name, from what was set before to what is set now."""
        take_attention_over(values)

    @property
    def method(self) -> Method:
        """How a subject's score is made of the sentences': the head's own way, or the aggregation."""
        return "attention" if self.probe.head == "attention" else self.aggregation

    def by_former_names(self) -> dict[str, Any]:
        """Return the settings by the names that run folders and studies have, so that older ones go on."""
        probe = {"kind": self.probe.kind, **asdict(self.probe), "c_grid": self.probe.grid}
        del probe["head"]
        return {**asdict(self), "probe": probe, "aggregation": self.method}

    @property
    def classes(self) -> tuple[str, str]:
        """The negative and the positive label, in the order of every confusion matrix."""
        return self.negative, self.positive

    @property
    def seed_remark(self) -> str:
        """That the decisions do not depend on the seed, where that is so; else empty."""
        chosen = len(self.probe.grid) > 1 or self.threshold.rule != "fixed"
        drawn = self.probe.kind not in ("logistic", "rbf_svm") or self.probe.pca or self.method == ATTENTION
        if self.mode != "probe" or chosen or drawn:
            return ""
        return (
            f"the seed {self.seed} has no effect on the decisions: C and the threshold are given, and the "
            "solver draws nothing; it decides the inner folds and resampled intervals alone"
        )

    def check(self) -> None:
        """Raise every value that no run can work with.

        Raises:
            BadInput: With a fault per value.
        """
        faults = check_fields(self)
        faults.extend(self.contradictions())
        faults.raise_if_any()

    def contradictions(self) -> list[Fault]:
        """Return the faults of values that are sound each by itself."""
        found = []
        if self.positive == self.negative:
            text = f"positive = {self.positive!r}"
            found.append(Fault("settings", text, "another label than negative", "correct the value"))
        if self.probe.head == ATTENTION and self.mode == "finetune":
            text = "probe.head = 'attention' in mode finetune"
            expected = "mode probe: fine-tuning keeps too few unseen subjects to learn attention from"
            found.append(Fault("settings", text, expected, "choose another head, or --mode probe"))
        if self.probe.head == ATTENTION and self.aggregation != TransferConfig.aggregation:
            text = f"aggregation = '{self.aggregation}' with probe.head = 'attention'"
            expected = "no aggregation: this head weighs the sentences of a subject itself"
            found.append(Fault("settings", text, expected, "leave aggregation out, or choose another head"))
        return found


def take_attention_over(values: dict[str, Any], prefix: str = "") -> None:
    """Take ``aggregation: attention`` of settings of before for the head that it names."""
    method, head = f"{prefix}aggregation", f"{prefix}probe.head"
    if values.get(method) == ATTENTION and values.get(head, ATTENTION) in ("logistic", ATTENTION):
        _log.warning("'%s: attention' is read as '%s: attention'", method, head)
        del values[method]
        values[head] = ATTENTION


class RunOptions(TypedDict, total=False):
    """The keyword options of :func:`sertransfer.transfer.workflow.transfer`, which tuning passes on to it.

    Attributes:
        encoder: Name of the encoder, ``ser`` for instance.
        checkpoint: Its weights.
        run_dir: Folder of the run; a finished one of the same settings and inputs is not run again.
        framing: Framing asked for; another one than the checkpoint's is refused.
        embeddings: Folder of stored embeddings or features, ``run_dir/embeddings`` if not given.
        skip_bad: Leave out sentences that cannot be read, and record them, instead of stopping.
        progress: Whether bars are shown; true if not given.
    """

    encoder: Required[str]
    checkpoint: Required[Path]
    run_dir: Required[Path]
    framing: Framing | None
    embeddings: Path | None
    skip_bad: bool
    progress: bool
