"""The training step of stage 1 as a Lightning module: augmentation of spectrograms, adversarial training.

Adversarial training and scoring (ADV; Ren et al., ICASSP 2020): the attack is the fast gradient sign method
(Goodfellow et al. 2015, arXiv 1412.6572): white box, since it follows the gradient of the very network that
it attacks, and non-targeted, since it moves away from the true class and towards no other. The benchmark's
rows "ADV-Real" and "ADV-Fake" are, as we read them, one model scored on clean and on generated inputs. Our
choices where the paper is silent or not known to us:

- Of the paper's two ways of training we take the vanilla one: half of the loss is that of the clean
  inputs, half that of the inputs generated from them at each step.
- The step is in units of the network's input; its default, 0.1, is a tenth of the deviation of a
  spectrogram normalised by utterance. There is no clipping: a normalised spectrogram has no bounds.
- Inputs are generated against the network in evaluation mode (no dropout, running batch statistics), in
  training too: an input then does not depend on its batch, and batch statistics see nothing twice. The
  training pass takes clean and generated inputs in one batch of twice the size.
- Frames that fill up a short input are moved like all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, StepLR
from torchaudio.functional import melscale_fbanks
from torchaudio.transforms import FrequencyMasking, TimeMasking
from torchvision.transforms.v2 import MixUp

from sertransfer.front_end import FrontEnd
from sertransfer.pretraining.settings import Augment, PretrainConfig, Schedule
from sertransfer.training.batches import Batch
from sertransfer.training.inference import Perturb
from sertransfer.training.module import SeededModule

Loss = Callable[[Tensor, Tensor], Tensor]


def adversarial_epsilon(network: nn.Module) -> float | None:
    """Return the step that *network* is trained and scored with; ``None`` if it is not an ADV model."""
    epsilon: float | None = getattr(network, "adversarial_epsilon", None)
    return epsilon


def fgsm(
    network: nn.Module, x: Tensor, y: Tensor, epsilon: float, *, loss: Loss = nn.functional.cross_entropy
) -> Tensor:
    """Return *x* moved by *epsilon* in every value, in the direction that raises the loss.

    The network is used in evaluation mode and left in the mode it was in; no gradient reaches its
    parameters, and the result carries none.

    Args:
        network: ``(batch, 1, mels, frames) -> (batch, classes)``.
        x: Features, ``(batch, 1, mels, frames)``.
        y: What *loss* takes as its second argument: the true classes, ``(batch,)``.
        epsilon: Size of the step, in units of *x*.
        loss: Scores and *y* to a number.
    """
    training = network.training
    network.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            moved = x.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(network(moved), y.clone()), moved)
            return (moved + epsilon * gradient.sign()).detach()
    finally:
        network.train(training)


def adversarial_step(
    network: nn.Module, x: Tensor, y: Tensor, epsilon: float, *, loss: Loss
) -> tuple[Tensor, Tensor]:
    """Return the scores of the clean inputs, and the mean of the losses on clean and generated ones."""
    generated = fgsm(network, x, y, epsilon, loss=loss)
    clean, fake = network(torch.cat([x, generated])).chunk(2)
    return clean, (loss(clean, y) + loss(fake, y)) / 2


def attack(epsilon: float | None) -> Perturb | None:
    """Return the adversarial step of size *epsilon* on what is scored; ``None``, no attack, for ``None``."""
    return None if epsilon is None else partial(_step, epsilon)


def _step(epsilon: float, network: nn.Module, features: Tensor, targets: Tensor) -> Tensor:
    return fgsm(network, features, targets, epsilon)


_BINS = 8001
"""Points at which the filters are looked at to find their peaks: 1 Hz apart at 16 kHz."""


class Warp(nn.Module):
    """Stretches time and frequency of mel spectrograms at random.

    Time is stretched by one factor a batch, so that its utterances keep a common number of frames, and
    frequency by one factor an utterance (vocal tract length perturbation, Jaitly and Hinton 2013). Equal
    factors for both would be a change of playing speed (Ko et al. 2015). Values between frames and bands
    are interpolated; what lies beyond the highest band repeats it.

    Args:
        front_end: What the spectrograms were computed with; says where the mel bands lie.
        tempo: Factors of time are drawn evenly from ``1 - tempo`` to ``1 + tempo``; 0 = off.
        pitch: The same for frequency.
    """

    def __init__(self, front_end: FrontEnd, *, tempo: float, pitch: float) -> None:
        super().__init__()
        self.tempo, self.pitch = tempo, pitch
        self._centres = band_centres(front_end)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(batch, 1, mels, frames)`` to ``(batch, 1, mels, frames / rate)``, at least one frame."""
        rate = 1 + self.tempo * (2 * float(torch.rand(())) - 1)
        factors = 1 + self.pitch * (2 * torch.rand(len(features), dtype=torch.float64).numpy() - 1)
        return stretch(features, self._centres, rate=rate, factors=factors)


def stretch(
    features: Tensor, centres: NDArray[np.float64], *, rate: float, factors: NDArray[np.float64]
) -> Tensor:
    """Return *features* spoken *rate* times faster, all frequencies times *factors*.

    Args:
        features: Shape ``(batch, 1, mels, frames)``.
        centres: Frequency of each band, shape ``(mels,)``.
        rate: Of all utterances.
        factors: One an utterance, shape ``(batch,)``.

    Returns:
        Shape ``(batch, 1, mels, frames / rate)``, at least one frame.
    """
    batch, _, mels, frames = features.shape
    bands = np.arange(mels)
    # where each band of the result lies among the bands of the input
    origins = np.stack([np.interp(centres / factor, centres, bands) for factor in factors])
    rows = torch.from_numpy(origins * (2 / max(1, mels - 1)) - 1).float()  # (batch, mels), from -1 to 1
    columns = torch.linspace(-1, 1, max(1, round(frames / rate)))
    shape = (batch, mels, len(columns))
    grid = torch.stack([columns.expand(shape), rows[..., None].expand(shape)], dim=-1)
    return F.grid_sample(features, grid.to(features), padding_mode="border", align_corners=True)


def band_centres(front_end: FrontEnd) -> NDArray[np.float64]:
    """Return the frequency in Hz where each mel filter peaks, shape ``(mels,)``."""
    rate = front_end.framing.sample_rate
    bank = melscale_fbanks(
        _BINS, front_end.f_min, front_end.f_max, front_end.mels, rate, None, front_end.mel_scale
    )  # (bins, mels)
    frequencies = np.linspace(0, rate // 2, _BINS)
    centres: NDArray[np.float64] = frequencies[bank.argmax(dim=0).numpy()]
    return centres


def make_warp(config: PretrainConfig) -> list[nn.Module]:
    """Return the stretching of time and frequency, if the settings ask for it."""
    tempo, pitch = config.augment.tempo, config.augment.pitch
    return [Warp(config.front_end, tempo=tempo, pitch=pitch)] if tempo or pitch else []


def make_masks(augment: Augment) -> nn.Module:
    """Return the masks, drawn for each utterance of a batch ``(batch, 1, mels, frames)`` anew."""
    masks: list[nn.Module] = []
    if augment.freq_mask:
        masks.append(FrequencyMasking(augment.freq_mask, iid_masks=True))
    if augment.time_mask:
        masks.append(TimeMasking(augment.time_mask, iid_masks=True))
    return nn.Sequential(*masks)


class Classifier(SeededModule):
    """Trains a network of the zoo.

    Args:
        network: ``(batch, 1, mels, frames) -> (batch, classes)``.
        config: Settings of the run.
        class_weights: Weight of each class in the loss, shape ``(classes,)``, or ``None``.
        ids: Names of the training items, for the message when the loss breaks down.
        resume_point: Says where the last good state lies, for the same message.
    """

    rate_setting = "optimiser.lr"

    def __init__(
        self,
        network: nn.Module,
        config: PretrainConfig,
        *,
        class_weights: Tensor | None = None,
        ids: Sequence[str] = (),
        resume_point: Callable[[], str] = lambda: "none",
    ) -> None:
        super().__init__(network, seed=config.seed, ids=ids, resume_point=resume_point)
        self.config = config
        # of the function, not of the module: a second module would double the names in the state
        self._forward: Callable[[Tensor], Tensor] = (
            torch.compile(network.forward) if config.compile else network.__call__
        )
        settings = config.regularisation
        # mixed targets are shares of classes: torch then divides by the items instead of by their weights,
        # which is the same over an epoch, since balanced weights have mean 1 over the training part
        self.loss = nn.CrossEntropyLoss(weight=class_weights, label_smoothing=settings.label_smoothing)
        self.augment = nn.Sequential(*make_warp(config), make_masks(config.augment))
        self.mix = MixUp(alpha=settings.mixup, num_classes=len(config.classes)) if settings.mixup else None

    def score(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores of the batch, masked and mixed, its loss, and the class of the larger share."""
        features, targets = self.augment(batch.features), batch.targets
        if self.mix is not None:
            features, targets = self.mix(features, targets)
        if self.config.channels_last:
            features = features.contiguous(memory_format=torch.channels_last)
        scores, loss = self._score(features, targets)
        return scores, loss, batch.targets if self.mix is None else targets.argmax(1)

    def _score(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores of the clean inputs, and the loss, adversarial where the model asks for it."""
        epsilon = adversarial_epsilon(self.network)
        if epsilon is not None:
            return adversarial_step(self.network, features, targets, epsilon, loss=self.loss)
        scores = self._forward(features)
        return scores, self.loss(scores, targets)

    def rate(self, epoch: int) -> float:
        """Return the learning rate of *epoch*, counted from 0."""
        return self.config.optimiser.lr * relative_rate(self.config, epoch)

    def configure_optimizers(self) -> Any:
        """Return SGD and its schedule over the epochs."""
        settings = self.config.optimiser
        optimiser = torch.optim.SGD(
            self.network.parameters(),
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=next(self.network.parameters()).is_cuda,  # one kernel for all weights
        )
        schedule = make_schedule(optimiser, self.config)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


def balanced_weights(targets: NDArray[np.int64], classes: int) -> Tensor:
    """Return ``items / (classes * items of the class)`` for each class, shape ``(classes,)``."""
    counts = np.bincount(targets, minlength=classes)
    return torch.tensor(len(targets) / (classes * counts), dtype=torch.float32)


def relative_rate(config: PretrainConfig, epoch: int) -> float:
    """Return the rate of *epoch*, counted from 0, as a share of ``optimiser.lr``.

    Warm-up rises in equal steps and ends one step below the full rate; the steps of the ``step`` rule are
    counted from the first epoch, with or without it.
    """
    warmup = config.schedule.warmup
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    if config.schedule.rule == "step":
        return float(config.optimiser.factor ** (epoch // config.optimiser.step))
    return 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (config.epochs - warmup)))


def make_schedule(optimiser: Optimizer, config: PretrainConfig) -> LRScheduler:
    """Return the schedule of *optimiser*, stepped at each epoch's end; its state is plain values."""
    if config.schedule == Schedule():
        return StepLR(optimiser, step_size=config.optimiser.step, gamma=config.optimiser.factor)
    return LambdaLR(optimiser, lambda epoch: relative_rate(config, epoch))
