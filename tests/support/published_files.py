"""Makes files like the authors' published ones, from a network written for the tests.

The classes carry the authors' class names, because a pickle holds these, and live in a module made at
run time, which is gone when the file is read back. The code is the tests' own.
"""

from __future__ import annotations

import pickle
import sys
import types
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

KERNELS = {0: ((3, 1), (5, 4), (7, 8), (9, 16)), 1: ((3, 1), (5, 4), (7, 8)), 2: ((3, 1), (5, 4))}
OUTPUTS = {0: (4, 4, 4, 4), 1: (4, 4, 2), 2: (2, 2)}


class PyConvLevels(nn.Module):
    def __init__(self, width: int, stage: int, stride: int) -> None:
        super().__init__()
        self.count = len(KERNELS[stage])
        for index, ((kernel, groups), part) in enumerate(zip(KERNELS[stage], OUTPUTS[stage], strict=True)):
            conv = nn.Conv2d(width, width // part, kernel, stride, kernel // 2, groups=groups, bias=False)
            setattr(self, f"conv2_{index + 1}", conv)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([getattr(self, f"conv2_{index + 1}")(x) for index in range(self.count)], 1)


class PyConv4(PyConvLevels):
    pass


class PyConv3(PyConvLevels):
    pass


class PyConv2(PyConvLevels):
    pass


class PyConvBlock(nn.Module):
    def __init__(self, inside: int, width: int, stage: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width)
        if stage == 3:
            self.conv2: nn.Module = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        else:
            self.conv2 = (PyConv4, PyConv3, PyConv2)[stage](width, stage, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        self.downsample = None
        if stride == 2:
            self.downsample = nn.Sequential(
                nn.MaxPool2d(3, 2, 1), nn.Conv2d(inside, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        short = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        return self.relu(self.bn3(self.conv3(y)) + short)


class PyConvResNet(nn.Module):
    def __init__(self, blocks: tuple[int, ...], classes: int = 4) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()
        inside = 64
        for stage, count in enumerate(blocks):
            width = 64 * 2**stage
            layer = []
            for index in range(count):
                layer.append(PyConvBlock(inside, width, stage, 2 if index == 0 else 1))
                inside = 4 * width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.avgpool, self.dp = nn.AdaptiveAvgPool2d((4, 1)), nn.Dropout(0.2)
        self.fc = nn.Linear(4 * inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.dp(torch.flatten(self.avgpool(x), 1)))


NAMED = (PyConvResNet, PyConvBlock, PyConv4, PyConv3, PyConv2)


@contextmanager
def living_in(name: str) -> Iterator[None]:
    """Let the classes live in a module *name* for a while, as a pickle will say."""
    module = types.ModuleType(name)
    module.__file__ = __file__  # so that the old format finds a source text to store
    homes = {cls: cls.__module__ for cls in NAMED}
    for cls in NAMED:
        setattr(module, cls.__name__, cls)
        cls.__module__ = name
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]
        for cls, home in homes.items():
            cls.__module__ = home


def make_network(blocks: tuple[int, ...] = (3, 4, 6, 3), classes: int = 4) -> PyConvResNet:
    """Return a network with the statistics of some data."""
    torch.manual_seed(3)
    network = PyConvResNet(blocks, classes)
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 1, 128, 64))
    return network.eval()


def save(value: object, path: Path, *, legacy: bool = False, module: str = "pyconvresnet") -> Path:
    """Write *value* with ``torch.save``, its classes living in *module*."""
    with living_in(module), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


def write_raw(path: Path, payload: bytes, *, legacy: bool) -> Path:
    """Write a file of ``torch.save`` around a pickle made by hand."""
    if legacy:
        frame = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {})]
        path.write_bytes(b"".join(frame) + payload + pickle.dumps([], 2))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", payload)
            archive.writestr("archive/version", "3\n")
    return path
