"""How deep fine-tuning goes: a network's stages, which of them learn, and how fast.

What is frozen is the same after a step: weights, the statistics of batch norms, and what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sertransfer.errors import bad_input
from sertransfer.models.base import SpectrogramModel
from sertransfer.transfer.settings import FinetuneConfig

_OPENED = ("features", "classifier")
"""Containers of an image network, whose children are stages of their own."""


@dataclass(frozen=True)
class Stage:
    """Modules that are frozen or trained together, under the name of the one that holds the weights."""

    name: str
    modules: list[nn.Module]

    def parameters(self) -> list[nn.Parameter]:
        """Return all weights."""
        return [weight for module in self.modules for weight in module.parameters()]


def replace_classifier(network: SpectrogramModel, num_classes: int) -> list[Stage]:
    """Give *network* a new classifier and return its stages from the input on; the classifier is the last.

    A stage is a child of the network, or of its ``features`` and ``classifier``, that has weights: the stem
    and four stages of a residual network, every layer of a VGG. A norm belongs to what it follows, a module
    without weights (activation, dropout) to what follows it.
    """
    before = {id(weight) for weight in network.parameters()}
    network.reset_classifier(num_classes)
    stages: list[Stage] = []
    waiting: list[nn.Module] = []
    for name, module in _units(network):
        if isinstance(module, _BatchNorm) and stages:
            stages[-1].modules.append(module)
        elif next(module.parameters(), None) is None:
            waiting.append(module)
        else:
            stages.append(Stage(name, [*waiting, module]))
            waiting = []
    head = [stage for stage in stages if any(id(weight) not in before for weight in stage.parameters())]
    return [stage for stage in stages if stage not in head] + head


def _units(network: nn.Module) -> list[tuple[str, nn.Module]]:
    units: list[tuple[str, nn.Module]] = []
    for name, child in network.named_children():
        opened = name in _OPENED and isinstance(child, nn.Sequential)
        units += [(f"{name}.{n}", c) for n, c in child.named_children()] if opened else [(name, child)]
    return units


class Depth:
    """Freezes stages, sets modes, and groups the rest by learning rate.

    Args:
        stages: From the input to the classifier.
        settings: Depth, rates and what becomes of batch norms.
        whole: A network that the stages are part of and whose other modules act as in evaluation.

    Attributes:
        trained: Stages that learn, the classifier first.
        frozen: The others.

    Raises:
        BadInput: If there are fewer stages than are to be trained.
    """

    def __init__(self, stages: list[Stage], settings: FinetuneConfig, whole: nn.Module | None = None) -> None:
        body = len(stages) - 1
        count = {"head": 0, "last": settings.stages, "all": body}[settings.depth]
        if count > body:
            names = ", ".join(stage.name for stage in stages[:-1])
            raise bad_input(
                "setting finetune.stages",
                found=str(count),
                expected=f"at most {body}: before the classifier this network has {names}",
                remedy="lower it, or take finetune.depth all",
            )
        self.frozen = stages[: body - count]
        self.trained = stages[body - count :][::-1]
        self._settings, self._whole = settings, whole
        self._still = settings.batch_norm == "frozen"
        for group, learns in ((self.frozen, False), (self.trained, True)):
            for stage in group:
                for weight in stage.parameters():
                    weight.requires_grad_(learns)
        if self._still:
            for norm in self._norms():
                norm.requires_grad_(False)

    def _norms(self) -> list[nn.Module]:
        modules = [module for stage in [*self.frozen, *self.trained] for module in stage.modules]
        return [part for module in modules for part in module.modules() if isinstance(part, _BatchNorm)]

    def set_modes(self) -> None:
        """Put what learns into training mode, and what is frozen into evaluation mode."""
        if self._whole is not None:
            self._whole.eval()
        for stages, mode in ((self.trained, True), (self.frozen, False)):
            for stage in stages:
                for module in stage.modules:
                    module.train(mode)
        if self._still:
            for norm in self._norms():
                norm.eval()

    def groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups: each stage's rate, and no decay of vectors."""
        groups: list[dict[str, Any]] = []
        for distance, stage in enumerate(self.trained):
            rate = self._settings.lr * self._settings.layer_decay**distance
            weights = [weight for weight in stage.parameters() if weight.requires_grad]
            for matrices in (True, False):
                chosen = [weight for weight in weights if (weight.ndim > 1) == matrices]
                decay = self._settings.weight_decay if matrices else 0.0
                if chosen:
                    groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
        return groups

    def describe(self) -> dict[str, Any]:
        """Return which stages learn, and how many numbers."""
        learnt = [w.numel() for stage in self.trained for w in stage.parameters() if w.requires_grad]
        names = [stage.name for stage in self.trained]
        return {"trained": names, "frozen": [s.name for s in self.frozen], "trained_numbers": sum(learnt)}
