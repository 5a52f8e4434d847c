"""Adversarial training and scoring (ADV; Ren et al., ICASSP 2020).

The attack is the fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572): white box, since it
follows the gradient of the very network that it attacks, and non-targeted, since it moves away from the
true class and towards no other. The benchmark's rows "ADV-Real" and "ADV-Fake" are, as we read them, one
model scored on clean and on generated inputs. Our choices where the paper is silent or not known to us:

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

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from sertransfer.training.inference import Perturb

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
