"""Fine-tuning of encoders of waveforms, ``asr`` and ``ssl``: front end fixed, blocks, head.

Training batches are windows of equal numbers of samples; in evaluation each sentence is taken whole, and only
sentences of the same number of samples share a batch, so that no score depends on the neighbours.

An encoder that is frozen altogether runs once. Where the head is linear in the frames (pooling ``mean``), all
that it needs of a sentence is the mean of each block, since a mix of means is the mean of the mix. Otherwise
all frames are kept if they fit ``finetune.store_gb``; if not, the encoder runs anew in every epoch. Frozen
blocks keep nothing for a gradient in either case.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sertransfer.encoders.base import LayeredEncoder, UtteranceHead
from sertransfer.encoders.registry import open_encoder
from sertransfer.timebase import seconds_to_samples
from sertransfer.training.inference import choose_device
from sertransfer.transfer.deciding import usable_part
from sertransfer.transfer.depth import Depth, Stage
from sertransfer.transfer.finetune_learner import Learner, Task, Write
from sertransfer.transfer.frame_store import FrameStore
from sertransfer.transfer.sentence_model import StoredNetwork, WaveformNetwork, write_sentence_model
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.waveforms import GIGABYTE, frames_of, take_frozen, take_waveforms

FRONT_END = (
    "its front end is fixed; nothing is masked; layer drop is off; dropout acts in trained parts alone"
)

_log = logging.getLogger(__name__)


def waveform_learner(config: TransferConfig, task: Task) -> Learner:
    """Return the encoder with a head, and the waveforms of all sentences or what the frozen encoder gives.

    Raises:
        BadInput: If audio, depth, layers or the checkpoint is at fault.
    """
    settings = config.finetune
    opened = open_encoder(task.encoder, task.checkpoint, layer=config.layer, device=str(choose_device()))
    if not isinstance(opened, LayeredEncoder):
        raise TypeError(f"encoder '{task.encoder}' takes no waveforms to train on")
    mix = settings.layers == "mix"
    if mix:
        opened.check_layer(opened.layers or 1)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        head = UtteranceHead(
            opened.dim,
            len(config.classes),
            pooling=settings.pooling,
            layers=opened.layers if mix else None,
        )
    stages = [Stage(name, modules) for name, modules in opened.stages(mix=mix)]
    whole = WaveformNetwork(opened, head).to(choose_device())
    depth = Depth([*stages, Stage("head", [head])], settings, whole)
    wanted = pd.concat([part.sentences["id"] for part in task.parts])
    table = task.manifest.table[task.manifest.table["id"].isin(wanted)].reset_index(drop=True)
    store = take_waveforms(
        task.manifest.with_table(table),
        opened,
        task.features,
        workers=config.embedding.workers,
        skip_bad=task.skip_bad,
        progress=task.progress,
    )
    window = seconds_to_samples(settings.window, opened.sample_rate)
    network: nn.Module = whole
    longest, kept = max(window, opened.shortest), "encoder run in every epoch"
    if settings.depth == "head":
        frozen = _take_frozen(store, opened, longest, config, task)
        if frozen is not None:
            kept = "frames of the frozen encoder, computed once"
            if settings.pooling == "mean":
                kept = "block means of the frozen encoder, computed once"
            store, network = frozen, StoredNetwork(head, opened.dim)
            longest = frames_of(opened, longest)
    usable = (usable_part(task.parts[0], store.seconds), usable_part(task.parts[1], store.seconds))
    return Learner(
        network=network,
        depth=depth,
        store=store,
        parts=usable,
        longest=longest,
        pad=False,
        write=_writer(opened, head, config),
        record={
            "layers": settings.layers,
            "pooling": settings.pooling,
            "features": kept,
            "encoder_policy": FRONT_END,
        },
    )


def _take_frozen(
    waveforms: FrameStore,
    encoder: LayeredEncoder,
    window: int,
    config: TransferConfig,
    task: Task,
) -> FrameStore | None:
    """Return what the frozen encoder gives for each sentence; ``None`` if that is too much to keep."""
    settings = config.finetune
    mix, whole = settings.layers == "mix", settings.pooling != "mean"
    if whole:
        frames = int(waveforms.frames.sum()) / window * frames_of(encoder, window)
        size = 4 * frames * encoder.dim * (encoder.layers if mix else 1)
        if size > settings.store_gb * GIGABYTE:
            _log.warning(
                "the encoder's frames would take %.1f GB, more than finetune.store_gb = %g: it runs again in "
                "every epoch",
                size / GIGABYTE,
                settings.store_gb,
            )
            return None
    return take_frozen(
        waveforms,
        encoder,
        task.features,
        mix=mix,
        whole=whole,
        batch_size=settings.batch_size,
        skip_bad=task.skip_bad,
        progress=task.progress,
    )


def _writer(encoder: LayeredEncoder, head: UtteranceHead, config: TransferConfig) -> Write:
    def write(state: dict[str, Tensor], about: dict[str, Any], path: Path) -> None:
        frozen = {f"encoder.{name}": value for name, value in encoder.network.state_dict().items()}
        write_sentence_model(
            path,
            encoder=encoder.name,
            blueprint=encoder.blueprint(),
            head=head,
            classes=config.classes,
            state={**frozen, **state},
            provenance={"finetuned_from": encoder.fingerprint(), **about},
        )

    return write
