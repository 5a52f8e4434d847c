"""The training step of fine-tuning, and the scores of sentences by a network under way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sertransfer.training.batches import Batch, Utterances
from sertransfer.training.inference import predict_probabilities
from sertransfer.training.module import SeededModule
from sertransfer.transfer.depth import Depth
from sertransfer.transfer.probe import Floats
from sertransfer.transfer.settings import TransferConfig


class Finetuner(SeededModule):
    """Cross-entropy over balanced batches, AdamW with a rate for each stage."""

    rate_setting = "finetune.lr"

    def __init__(self, network: nn.Module, depth: Depth, config: TransferConfig, **about: Any) -> None:
        super().__init__(network, seed=config.seed, **about)
        self.depth = depth
        self.config = config
        self.loss = nn.CrossEntropyLoss()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set modes, which Lightning and scoring change, and the batch's random state."""
        super().on_train_batch_start(batch, batch_idx)
        self.depth.set_modes()

    def score(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores, their cross-entropy, and the classes."""
        scores = self.network(batch.features.contiguous(memory_format=torch.channels_last))
        return scores, self.loss(scores, batch.targets), batch.targets

    def rate(self, epoch: int) -> float:
        """Return the classifier's learning rate, which stays."""
        return self.config.finetune.lr

    def configure_optimizers(self) -> Any:
        """Return AdamW."""
        return torch.optim.AdamW(self.depth.groups())


class Scorer:
    """Scores sentences by the network's evaluation rule: whole, or cut and filled up if it was trained so."""

    def __init__(self, longest: int, pad: bool, config: TransferConfig) -> None:
        self.longest, self.pad, self.config = longest, pad, config

    def __call__(self, network: nn.Module, utterances: Utterances, *, progress: bool = False) -> Floats:
        """Return the probability of the positive class, shape ``(sentences,)``."""
        return predict_probabilities(
            network,
            utterances,
            longest=self.longest,
            pad=self.pad,
            batch_size=self.config.finetune.batch_size,
            workers=self.config.embedding.workers,
            progress=progress,
        )[:, 1]
