"""Reads files of ``torch.save`` that hold whole pickled models, without running anything in them.

This is the package's one exception to weights-only loading, which cannot read whole models in the format
before PyTorch 1.6. A pickle makes objects by calling what it names. Here a name gives one of four things:
a plain container, a tensor rebuilder, an inert stand-in for one of a few module classes, or an error.

What makes that safe, beyond the list of names:

- The stand-ins have no attributes that a file could set, and no method of theirs is ever called.
- The rebuilders are objects without attributes too: a pickle can set attributes of a real function.
- In the old format an identifier can carry a class and its source text, which PyTorch compares with the
  source on disk, and under conditions writes a patch file. That step is cut out.
- The file is read through memory, because for a file on disk PyTorch first tries an older ``tar`` format,
  and TorchScript archives, which have code of their own, are refused first.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import torch
from torch import Tensor

from sertransfer.errors import BadInput, bad_input
from sertransfer.io.files import check_archive, regular_file

WRAPPERS = ("module.", "_orig_mod.")
"""Put before all names of weights by DataParallel, and by ``torch.compile``."""

LIGHTNING = "a Lightning checkpoint, which holds the state of a training around the weights"

WEIGHTS_ALONE = (
    "save its weights alone: torch.save(torch.load(FILE, weights_only=True)['state_dict'], 'weights.pth')"
)

_LOOKED_THROUGH = 64 * 2**20
"""Bytes of a pickle that are searched for a mark; an archive may claim to unpack to anything."""

MODEL_CLASSES = ("PyConvResNet", "PyConvBlock", "PyConv4", "PyConv3", "PyConv2")
"""The authors' class names, accepted under any module name, since no module is imported for them."""

TORCH_CLASSES = (
    ("torch.nn.modules.conv", "Conv2d"),
    ("torch.nn.modules.batchnorm", "BatchNorm2d"),
    ("torch.nn.modules.activation", "ReLU"),
    ("torch.nn.modules.pooling", "MaxPool2d"),
    ("torch.nn.modules.pooling", "AdaptiveAvgPool2d"),
    ("torch.nn.modules.linear", "Linear"),
    ("torch.nn.modules.dropout", "Dropout"),
    ("torch.nn.modules.container", "Sequential"),
    ("torch.nn.parallel.data_parallel", "DataParallel"),
    ("torch.nn.backends.thnn", "_get_thnn_function_backend"),  # an attribute of modules before PyTorch 1.4
    ("torch", "device"),  # an attribute of DataParallel
)
CONTAINERS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
}


Size = tuple[int, ...]


class Stub:
    """Stands in for an object of a class that is not wanted; keeps its state, does nothing."""

    __slots__ = ("state",)
    name = ""

    def __new__(cls, *args: object, **kwargs: object) -> Stub:
        """Take any arguments."""
        stub = super().__new__(cls)
        stub.state = {}
        return stub

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Rebuilder:
    """Calls *function*, and has no attribute that a file could set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("the file sets attributes of a function")


def _tensor(
    storage: object, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> Tensor:
    """Rebuild a tensor; its hooks and metadata, the further arguments, are left behind."""
    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError("a tensor without storage")
    untyped = storage.untyped()  # type: ignore[no-untyped-call]
    return torch.empty((0,), dtype=storage.dtype).set_(untyped, offset, size, stride)


def _parameter(data: object, *_: object) -> Tensor:
    """Rebuild a parameter as the plain tensor that it holds."""
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError("a parameter without tensor")
    return data


def _names() -> dict[tuple[str, str], Any]:
    """Return what each allowed name stands for, made anew so that no file can touch another's."""
    names: dict[tuple[str, str], Any] = dict(CONTAINERS)
    names["torch._utils", "_rebuild_tensor"] = _Rebuilder(_tensor)
    names["torch._utils", "_rebuild_tensor_v2"] = _Rebuilder(_tensor)
    names["torch._utils", "_rebuild_parameter"] = _Rebuilder(_parameter)
    for module, name in TORCH_CLASSES:
        names[module, name] = _stub_class(module, name)
    return names


def _stub_class(module: str, name: str) -> type[Stub]:
    return type(name, (Stub,), {"__slots__": (), "name": f"{module}.{name}"})


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows only the names in this module."""

    def __init__(self, *args: Any, where: Path, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._where = where
        self._names = _names()

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for the name; raise for one that is not on the list."""
        module = "builtins" if module == "__builtin__" else module  # pickles keep to Python 2's name
        if (module, name) not in self._names:
            if name not in MODEL_CLASSES:
                raise bad_input(
                    self._where,
                    found=f"a pickle that names {ascii(module + '.' + name)[1:-1]}",
                    expected="weights of a PyResNet, and nothing that could run code",
                    remedy="do not use this file unless you trust who made it; nothing in it was run",
                )
            self._names[module, name] = _stub_class(module, name)
        return self._names[module, name]

    def __setattr__(self, attribute: str, value: Any) -> None:
        """Take PyTorch's ``persistent_load``, but never let it look into a class's source."""
        if attribute == "persistent_load":
            value = _without_source(value)
        super().__setattr__(attribute, value)


def _without_source(load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def persistent_load(identifier: Any) -> Any:
        if isinstance(identifier, tuple) and identifier[:1] in (("module",), (b"module",)):
            return identifier[1]  # followed by the name of a source file, and its text
        return load(identifier)

    return persistent_load


def read_pickled(path: Path) -> object:
    """Return what a file of ``torch.save`` holds: tensors, containers, plain values and :class:`Stub`.

    Both formats are read, that since PyTorch 1.6 (zip) and the one before; CUDA tensors come to the CPU.

    Raises:
        BadInput: If the file names anything that is not on the list, or cannot be read.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise bad_input(path, found=found, expected="a file of torch.save", remedy="correct the path")
    content = io.BytesIO(regular_file(path).read_bytes())

    class Unpickler(_Unpickler):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, where=path, **kwargs)

    def load(file: Any, **kwargs: Any) -> Any:
        return Unpickler(file, **kwargs).load()

    pickle_module = SimpleNamespace(__name__="restricted", Unpickler=Unpickler, load=load)
    try:
        _refuse_torchscript(path, content)
        check_archive(content)
        content.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(
                content, map_location="cpu", pickle_module=pickle_module, weights_only=False, mmap=False
            )
    except BadInput:
        raise
    except Exception as error:  # a damaged or forged pickle can fail in any way
        raise bad_input(
            path,
            found=f"an unreadable file ({type(error).__name__}: {_first_sentence(error)})",
            expected="a whole file of torch.save",
            remedy="fetch it again",
        ) from error


def without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by name, without what DataParallel and ``torch.compile`` put before every name."""
    names = dict(state)
    while names and (
        prefix := next((one for one in WRAPPERS if all(name.startswith(one) for name in names)), None)
    ):
        names = {name.removeprefix(prefix): tensor for name, tensor in names.items()}
    return names


def is_lightning(file: str | Path | BinaryIO) -> bool:
    """Return whether *file* is a checkpoint of Lightning: the state of a training around the weights."""
    try:
        with zipfile.ZipFile(regular_file(file) if isinstance(file, str | Path) else file) as archive:
            pickled = next(member for member in archive.infolist() if member.filename.endswith("data.pkl"))
            with archive.open(pickled) as stream:
                head = stream.read(_LOOKED_THROUGH)
    except (
        zipfile.BadZipFile,
        OSError,
        StopIteration,
        RuntimeError,
        NotImplementedError,
        EOFError,
        ValueError,  # of a name in the archive that is no text, among others
        zlib.error,
    ):
        return False
    return b"pytorch-lightning_version" in head or (b"state_dict" in head and b"global_step" in head)


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split()).split(". ")[0][:200]


def _refuse_torchscript(path: Path, content: io.BytesIO) -> None:
    """Refuse what ``torch.load`` would hand on to ``torch.jit.load``, by PyTorch's own mark of it."""
    if content.getvalue()[:4] != b"PK\x03\x04":
        return
    records = torch._C.PyTorchFileReader(content).get_all_records()
    content.seek(0)
    if "constants.pkl" in records:
        raise bad_input(
            path,
            found="a TorchScript archive, which holds code",
            expected="weights of a PyResNet",
            remedy="ask for the model's state dict instead",
        )
