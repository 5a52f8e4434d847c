"""A running mean of the weights (EMA), kept over resumes."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightMean(Callback):
    """Follows a network with an exponential mean of its weights and batch statistics, step by step.

    The mean is a copy: training is the same with and without it. After step ``t``, counted from 0, the decay
    is ``min(decay, (1 + t) / (10 + t))``, so that a short run is not ruled by its first weights.

    Args:
        network: What is trained, on its device or not.
        decay: The limit, as in :class:`sertransfer.training.settings.Regularisation`.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._mean = AveragedModel(network, use_buffers=True)
        self._step = 0

    @property
    def network(self) -> nn.Module:
        """The network with the mean weights."""
        network: nn.Module = self._mean.module
        return network

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the mean to where the network is trained."""
        self._mean.to(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the weights in, if this batch ended a step."""
        if trainer.global_step == self._step:
            return
        decay = min(self.decay, (1 + self._step) / (10 + self._step))
        self._mean.multi_avg_fn = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._mean.update_parameters(pl_module.get_submodule("network"))
        self._step = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """Return the mean, and the step it stands at."""
        return {"mean": self._mean.state_dict(), "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the mean up again."""
        self._mean.load_state_dict(state_dict["mean"])
        self._step = int(state_dict["step"])
