"""Files that try to run code, made anew by each test: pickles, YAML, archives.

Each payload, if it ran, would make the file ``it-ran`` in the working folder.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import io
import os
import runpy
import subprocess
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

MARK = "it-ran"
PROGRAM = f"open({MARK!r}, 'w')"


class Call:
    """Pickles as a call of *function*."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call

    def __call__(self) -> None:
        """Be callable, so that what a call gives can be called in turn."""


class Build:
    """Pickles as an object whose state is set by a call."""

    def __reduce__(self) -> Any:
        return OrderedDict, (), None, None, iter([("a", Call(os.system, f"touch {MARK}"))])


def _hooked() -> Call:
    """A tensor whose hooks are a call, which is how its metadata are stored."""
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(2).untyped_storage(), dtype=torch.float32, _internal=True
    )
    hooks = OrderedDict({0: Call(os.system, f"touch {MARK}")})
    return Call(torch._utils._rebuild_tensor_v2, storage, 0, (2,), (1,), False, hooks)


def _noted() -> torch.Tensor:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.note = Call(os.system, f"touch {MARK}")  # type: ignore[attr-defined]
    return parameter


GADGETS: dict[str, Callable[[], Any]] = {
    "os.system": lambda: Call(os.system, f"touch {MARK}"),
    "subprocess.Popen": lambda: Call(subprocess.Popen, ["touch", MARK]),
    "eval": lambda: Call(eval, PROGRAM),
    "exec": lambda: Call(exec, PROGRAM),
    "open": lambda: Call(open, MARK, "w"),
    "functools.partial": lambda: Call(Call(functools.partial, os.system, f"touch {MARK}")),
    "getattr chain": lambda: Call(
        Call(getattr, Call(importlib.import_module, "os"), "system"), f"touch {MARK}"
    ),
    "importlib": lambda: Call(importlib.import_module, "this"),
    "runpy": lambda: Call(runpy.run_path, "evil.py"),
    "builtins.__import__": lambda: Call(builtins.__import__, "this"),
    "numpy.load": lambda: Call(np.load, "evil.npy", None, True),
    "numpy object array": lambda: np.array([Call(os.system, f"touch {MARK}")], dtype=object),
    "torch.load": lambda: Call(torch.load, "evil.pth"),
    "torch.hub.load": lambda: Call(torch.hub.load, ".", "evil"),
    "torch.jit": lambda: Call(torch.jit.load, "evil.pt"),
    "items of a mapping": Build,
    "a tensor's hooks": _hooked,
    "a parameter's attributes": _noted,
}

NESTED: dict[str, Callable[[Any], Any]] = {
    "alone": lambda evil: evil,
    "beside weights": lambda evil: {"fc.weight": torch.zeros(2, 2), "extra": evil},
    "a Lightning checkpoint": lambda evil: {
        "state_dict": {"network.weight": torch.zeros(2)},
        "callbacks": {"ResumePoint": evil},
        "hyper_parameters": {"a": evil},
        "optimizer_states": [{"state": {0: {"momentum_buffer": evil}}}],
    },
}


def pickled(path: Path, gadget: str, nested: str, *, legacy: bool) -> Path:
    """Write a file of ``torch.save``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(NESTED[nested](GADGETS[gadget]()), path, _use_new_zipfile_serialization=not legacy)
    return path


def object_archive(path: Path, names: list[str]) -> Path:
    """Write an ``.npz`` whose arrays are pickles."""
    evil = np.array([Call(os.system, f"touch {MARK}")], dtype=object)
    np.savez(path, **dict.fromkeys(names, evil))
    return path


TAGS = {
    "apply": f"!!python/object/apply:os.system ['touch {MARK}']",
    "new": f"!!python/object/new:os.system ['touch {MARK}']",
    "object": "!!python/object:subprocess.Popen {}",
    "name": "!!python/name:os.system",
    "module": "!!python/module:os",
    "eval": f'!!python/object/apply:eval ["{PROGRAM}"]',
    "of ours": "!sertransfer {}",
    "class_path": f"{{class_path: os.system, init_args: {{command: touch {MARK}}}}}",
    "class_path of a call": f"{{class_path: subprocess.Popen, init_args: {{args: [touch, {MARK}]}}}}",
    "__class__ of a call": f"{{__class__: os.system, __init__: {{args: [touch {MARK}]}}}}",
}
BOMBS = {
    "laughs": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 30)),
    "merges": "a0: &a0 {x0: 1}\n"
    + "".join(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}\n" for k in range(1, 30)),
    "a circle": "model: &a [*a]\n",
    "depth": "model: " + "[" * 5000 + "]" * 5000 + "\n",
}


def zip_of(path: Path, members: dict[str, bytes], *, link: str | None = None) -> Path:
    """Write a ZIP; *link* names a member that is a symbolic link to ``/etc/passwd``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        if link is not None:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    return path


def claiming(path: Path, member: str, size: int) -> Path:
    """Let the ZIP at *path* say that *member* unpacks to *size* bytes."""
    content = bytearray(path.read_bytes())
    name = member.encode()
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo(member).header_offset
    central = content.rindex(b"PK\x01\x02", 0, content.rindex(name))
    content[central + 24 : central + 28] = size.to_bytes(4, "little")
    content[offset + 22 : offset + 26] = size.to_bytes(4, "little")
    path.write_bytes(content)
    return path


def twins_of(path: Path, members: dict[str, bytes], twin: str) -> Path:
    """Write a ZIP with one more member, whose name is that of another in some case of letters."""
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in [*members.items(), (twin, b"evil")]:
            archive.writestr(name, content)
    return path


def tar_of(
    path: Path,
    members: dict[str, bytes],
    *,
    links: dict[str, str] | None = None,
    kind: bytes = tarfile.SYMTYPE,
    size: int = 0,
) -> Path:
    """Write a ``tar.gz``; *links* are of another *kind* than files, with *size* zeros as their content."""
    with tarfile.open(path, "w:gz") as archive:
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, size
            archive.addfile(info, io.BytesIO(bytes(size)))
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path
