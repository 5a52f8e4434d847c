"""Embeddings by PyResNet, against the same network as one would write it plainly."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measure import Options, by_turns, seconds, skipped_row, timed_row
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sertransfer.models.base import SpectrogramModel, prepare_for_inference
from sertransfer.models.pyresnet import DEPTHS
from sertransfer.models.registry import build_model

BATCH = 32
OUR_BATCH = 16
TRAIN_BATCH = 16
BF16 = "PyResNet152 embedding, bf16"
FRAMES = 157
"""5 s at 65 ms."""


class PlainPyramid(nn.Module):
    def __init__(self, width: int, levels: list[tuple[int, int, int]], stride: int) -> None:
        super().__init__()
        for index, (kernel, groups, outputs) in enumerate(levels):
            conv = nn.Conv2d(width, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
            setattr(self, f"conv2_{index + 1}", conv)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([conv(x) for conv in self.children()], 1)


def middle(width: int, stride: int) -> nn.Module:
    quarter = width // 4
    if width == 64:
        levels = [(3, 1, quarter), (5, 4, quarter), (7, 8, quarter), (9, 16, quarter)]
    elif width == 128:
        levels = [(3, 1, quarter), (5, 4, quarter), (7, 8, 2 * quarter)]
    elif width == 256:
        levels = [(3, 1, 2 * quarter), (5, 4, 2 * quarter)]
    else:
        return nn.Conv2d(width, width, 3, stride, 1, bias=False)
    return PlainPyramid(width, levels, stride)


class PlainBlock(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = middle(width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride == 2:
            self.downsample = nn.Sequential(
                nn.MaxPool2d(3, 2, 1), nn.Conv2d(inputs, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


class PlainPyResNet(nn.Module):
    """The network without its classifier, in the default layout, its norms where they are."""

    def __init__(self, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for stage, count in enumerate(blocks):
            layer = nn.Sequential()
            for index in range(count):
                layer.append(PlainBlock(inputs, 64 * 2**stage, 2 if index == 0 else 1))
                inputs = 256 * 2**stage
            setattr(self, f"layer{stage + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return torch.flatten(F.adaptive_avg_pool2d(x, (4, 1)), 1)


def trained_looking(name: str) -> SpectrogramModel:
    """Return the model with batch-norm statistics of some data, so that its maps have a usual scale."""
    torch.manual_seed(0)
    model = build_model(name, 4)
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(4, 1, 128, 64))
    return model.eval()


def matmul_rate() -> float:
    """Return the rate of a large single-precision matrix product, in operations a second."""
    size = 2048
    a, b = torch.randn(size, size), torch.randn(size, size)
    torch.mm(a, b)
    return 2 * size**3 / statistics.median(seconds(lambda: torch.mm(a, b)) for _ in range(9))


def embedding(name: str, goal: float, pairs: int) -> dict[str, Any]:
    model = trained_looking(name)
    plain = PlainPyResNet(DEPTHS[name]).eval()
    state = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("fc.")}
    plain.load_state_dict(state)
    prepared = prepare_for_inference(model)
    x = torch.randn(BATCH, 1, 128, FRAMES)

    def ours() -> Tensor:
        return torch.cat(
            [prepared.pool_frames(prepared.forward_features(part)).mean(1) for part in x.split(OUR_BATCH)]
        )

    with torch.inference_mode():
        expected = plain(x)
        error = float((ours() - expected).abs().max() / expected.abs().max())
        if error > 1e-5:
            raise RuntimeError(f"{name}: the two implementations differ by {error:.1e} of the largest value")
        before = matmul_rate()
        turns = by_turns(ours, lambda: plain(x), pairs=pairs)
        rate = (before + matmul_rate()) / 2
        with FlopCounterMode(display=False) as counter:
            plain(x[:1])
    operations = counter.get_total_flops() * BATCH
    fraction = operations / statistics.median(turns.ours) / rate
    return timed_row(
        f"{name.replace('pyresnet', 'PyResNet')} embedding, fp32",
        f"eager NCHW, batch {BATCH}",
        turns,
        items=BATCH,
        unit="utterance of 5 s",
        goal=goal,
        limit_fraction=fraction,
        note=f"{torch.get_num_threads()} threads, ours in batches of {OUR_BATCH}; outputs differ by at most "
        f"{error:.0e} of the largest; limit: the fp32 matrix product, {rate / 1e9:.0f} GFLOP/s",
    )


def pyresnet50_embedding(options: Options) -> dict[str, Any]:
    return embedding("pyresnet50", 2, pairs=9)


def pyresnet152_embedding(options: Options) -> dict[str, Any]:
    return embedding("pyresnet152", 1.5, pairs=5)


def pyresnet152_embedding_bf16(options: Options) -> dict[str, Any]:
    """Embed in bfloat16 under autocast; the agreement is that of a briefly trained model's decisions."""
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return skipped_row(BF16, f"eager NCHW, batch {BATCH}", None, "no bfloat16 units in this processor")
    model, x, targets = briefly_trained("pyresnet152")
    plain = PlainPyResNet(DEPTHS["pyresnet152"]).eval()
    plain.load_state_dict(
        {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("fc.")}
    )
    with torch.inference_mode():
        reference = torch.cat([model(one[None]) for one in x])
    prepared = prepare_for_inference(model)

    def ours() -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return [prepared(part) for part in x.split(OUR_BATCH)]

    with torch.inference_mode():
        scores = torch.cat(ours()).float()
        turns = by_turns(ours, lambda: plain(x), pairs=3)
    error = float((scores - reference).abs().max() / reference.abs().max())
    same = int((scores.argmax(1) == reference.argmax(1)).sum())
    right = int((reference.argmax(1) == targets).sum())
    return timed_row(
        BF16,
        f"eager NCHW fp32, batch {BATCH}",
        turns,
        items=len(x),
        unit="utterance of 5 s",
        goal=None,
        note=f"off: sentences are embedded in fp32; after a short training on generated patterns ({right} of "
        f"{len(x)} right) {same} of {len(x)} decisions are those of fp32 one at a time, and scores differ by "
        f"{error:.1%} of the largest; the peer computes no scores, only the features",
    )


def briefly_trained(name: str) -> tuple[SpectrogramModel, Tensor, Tensor]:
    """Return the model after thirty steps on generated patterns, and a batch of others with their classes.

    The patterns are plain, so that this is enough to learn something; the batch norms' statistics, which
    lag behind so short a training, are then taken anew.
    """
    torch.manual_seed(0)
    model = build_model(name, 4).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    def patterns(count: int, frames: int) -> tuple[Tensor, Tensor]:
        classes = torch.arange(count) % 4
        x = torch.randn(count, 1, 128, frames)
        for row, number in enumerate(classes.tolist()):
            x[row, :, 32 * number : 32 * number + 32] += 3
        return x, classes

    model.train()
    for _ in range(30):
        x, classes = patterns(8, 48)
        optimiser.zero_grad()
        F.cross_entropy(model(x), classes).backward()
        optimiser.step()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches that follow
    with torch.no_grad():
        for _ in range(6):
            model(patterns(16, FRAMES)[0])
    return model.eval(), *patterns(BATCH, FRAMES)


def pyresnet152_training_step(options: Options) -> dict[str, Any]:
    """One step of SGD as stage 1 takes it, against the same step of the plain network; peak memory beside."""
    ours, peer = training_step("ours"), training_step("peer")
    turns = by_turns(ours, peer, pairs=3)
    peaks = {who: _peak_memory(who) for who in ("ours", "peer")}
    return timed_row(
        "PyResNet152 training step, fp32",
        f"eager NCHW, batch {TRAIN_BATCH}",
        turns,
        items=TRAIN_BATCH,
        unit="utterance of 2 s",
        goal=1.5,
        note=f"{torch.get_num_threads()} threads, forward, backward and SGD with momentum; peak memory of a "
        f"process that does it: {peaks['ours']:.2f} GB against {peaks['peer']:.2f} GB",
    )


def training_step(who: str) -> Callable[[], None]:
    """Return a training step of ``ours``, in the memory layout of stage 1, or of the ``peer``."""
    torch.manual_seed(0)
    x, targets = torch.randn(TRAIN_BATCH, 1, 128, 63), torch.arange(TRAIN_BATCH) % 4
    if who == "ours":
        model: nn.Module = build_model("pyresnet152", 4)
        model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    else:
        model = nn.Sequential(PlainPyResNet(DEPTHS["pyresnet152"]), nn.Linear(8192, 4))
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.001)

    def step() -> None:
        optimiser.zero_grad()
        F.cross_entropy(model(x), targets).backward()
        optimiser.step()

    return step


def _peak_memory(who: str) -> float:
    """Return the peak resident memory in GB of a new process that takes two training steps."""
    program = (
        f"import resource, models; step = models.training_step('{who}'); step(); step();"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


ROWS = [
    pyresnet50_embedding,
    pyresnet152_embedding,
    pyresnet152_embedding_bf16,
    pyresnet152_training_step,
]
