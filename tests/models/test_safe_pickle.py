"""No code of a file runs: each way in that we know is refused by name, in both formats."""

from __future__ import annotations

import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from support.published_files import save, write_raw
from torch import Tensor, nn

from sertransfer.errors import BadInput
from sertransfer.models.safe_pickle import Stub, read_pickled

MARK = "it-ran"


class Call:
    """Pickles as a call of *function*."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def in_a_hook() -> Call:
    """What a tensor pickles as, with a hook; torch itself leaves hooks out."""
    hooks = OrderedDict({0: Call(os.system, f"touch {MARK}")})
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(2).untyped_storage(), dtype=torch.float32, _internal=True
    )
    return Call(torch._utils._rebuild_tensor_v2, storage, 0, (2,), (1,), False, hooks)


def in_an_attribute() -> Tensor:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.note = Call(os.system, f"touch {MARK}")
    return parameter


def in_a_module() -> nn.Module:
    module = nn.Linear(2, 2)
    module._forward_hooks = OrderedDict({0: Call(os.system, f"touch {MARK}")})
    return module


EVIL = {
    "a call": (lambda: Call(os.system, f"touch {MARK}"), f"{os.system.__module__}.system"),
    "eval": (lambda: {"a": [Call(eval, f"open('{MARK}', 'w')")]}, "builtins.eval"),
    "exec": (lambda: Call(exec, f"open('{MARK}', 'w')"), "builtins.exec"),
    "getattr": (lambda: Call(getattr, torch.zeros(1), "data"), "builtins.getattr"),
    "in a tensor's hooks": (in_a_hook, f"{os.system.__module__}.system"),
    "in a parameter's attribute": (in_an_attribute, "torch._utils._rebuild_parameter_with_state"),
    "in a module's hooks": (in_a_module, f"{os.system.__module__}.system"),
    "a function of torch": (lambda: Call(torch.load, "other.pth"), "torch.serialization.load"),
    "a class of another kind": (lambda: {"net": nn.Tanh()}, "torch.nn.modules.activation.Tanh"),
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def nothing_ran() -> bool:
    return list(Path().iterdir()) == []


def refused(path: Path) -> str:
    with pytest.raises(BadInput) as error:
        read_pickled(path)
    assert nothing_ran()
    return str(error.value)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("way", EVIL)
def test_a_blocked_name_is_refused_by_name_and_nothing_runs(tmp_path: Path, way: str, legacy: bool) -> None:
    make, name = EVIL[way]
    message = refused(save(make(), tmp_path / "evil.pth", legacy=legacy))
    assert f"a pickle that names {name};" in message
    assert "nothing in it was run" in message


def test_the_tests_would_notice_a_file_that_runs(tmp_path: Path) -> None:
    torch.load(save(EVIL["eval"][0](), tmp_path / "evil.pth"), weights_only=False)
    assert not nothing_ran()


RAW = {
    "a dotted name": (
        b"\x80\x04\x8c\x0ctorch._utils\x8c\x1e_rebuild_tensor_v2.__globals__\x93.",
        "_rebuild_tensor_v2.__globals__",
    ),
    "a name as of a storage": (b"\x80\x02cos\nEvilStorage\n.", "os.EvilStorage"),
    "a name with control characters": (b"\x80\x02cos\n\x1b[2Jsystem\n.", r"os.\\x1b\[2Jsystem"),
    "attributes of a function": (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}U\x0cdump_patches\x88sb.",
        "sets attributes of a function",
    ),
    "attributes of a class": (
        b"\x80\x02ctorch.nn.modules.linear\nLinear\n}U\x0cdump_patches\x88sb.",
        "unreadable",
    ),
    "a parameter of something else": (
        b"\x80\x02ctorch._utils\n_rebuild_parameter\n(K\x01tR.",
        "a parameter without tensor",
    ),
    "a tensor of something else": (
        b"\x80\x02ctorch._utils\n_rebuild_tensor\n(K\x01K\x01K\x01K\x01tR.",
        "a tensor without storage",
    ),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("way", RAW)
def test_pickles_made_by_hand_are_refused(tmp_path: Path, way: str, legacy: bool) -> None:
    payload, message = RAW[way]
    with pytest.raises(BadInput, match=message):
        read_pickled(write_raw(tmp_path / "evil.pth", payload, legacy=legacy))
    assert nothing_ran()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_method_of_the_file_is_not_called(
    tmp_path: Path, legacy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {"__module__": "torch.nn.modules.linear", "__setstate__": lambda *_: Path(MARK).touch()}
    hooked = type("Linear", (nn.Linear,), members)  # an allowed name, with a method that pickle would call
    monkeypatch.setattr("torch.nn.modules.linear.Linear", hooked)
    path = save(hooked(2, 2), tmp_path / "hooked.pth", legacy=legacy)
    read = read_pickled(path)
    assert isinstance(read, Stub)
    assert set(read.state["_parameters"]) == {"weight", "bias"}  # type: ignore[index]
    assert nothing_ran()


@pytest.mark.parametrize("kind", ["module", b"module"])
def test_a_class_with_its_source_is_not_compared(
    tmp_path: Path, kind: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch itself would compare the sources, and can be led to write the difference to disk."""
    looked: list[object] = []
    monkeypatch.setattr("torch.serialization.get_source_lines_and_file", looked.append)

    class Pickler(pickle.Pickler):
        met = False

        def persistent_id(self, value: object) -> object:
            if value is not nn.Linear or self.met:
                return None
            self.met = True
            return kind, nn.Linear, "linear.py", "another source"

    with (tmp_path / "body").open("wb") as stream:
        Pickler(stream, 4).dump({"layer": nn.Linear})
    path = write_raw(tmp_path / "source.pth", (tmp_path / "body").read_bytes(), legacy=True)
    read = read_pickled(path)
    assert issubclass(read["layer"], Stub)  # type: ignore[index]
    assert looked == []


def test_one_file_can_not_change_how_the_next_is_read(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.pth", pickle.dumps({"layer": nn.Linear}, 2), legacy=False)
    first, second = read_pickled(path), read_pickled(path)
    assert first["layer"] is not second["layer"]  # type: ignore[index]


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_whole_with_their_types_and_views(tmp_path: Path, legacy: bool) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    value = {
        "t": base.T,
        "view": base[1:],
        "half": base.half(),
        "n": torch.tensor(5),
        "p": nn.Parameter(base),
    }
    read: Any = read_pickled(save(value, tmp_path / "t.pth", legacy=legacy))
    assert all(torch.equal(read[key], value[key]) and read[key].dtype == value[key].dtype for key in value)


@pytest.mark.parametrize("legacy", [False, True])
def test_cuda_tensors_come_to_the_cpu(tmp_path: Path, legacy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")
    read: Any = read_pickled(save({"t": torch.ones(3)}, tmp_path / "t.pth", legacy=legacy))
    assert torch.equal(read["t"], torch.ones(3))


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "script.pth", pickle.dumps({}, 2), legacy=False)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", pickle.dumps((), 2))
    assert "TorchScript" in refused(path)


def test_what_is_no_file_of_torch_is_refused(tmp_path: Path) -> None:
    good = save({"t": torch.ones(1000)}, tmp_path / "good.pth").read_bytes()
    old = save({"t": torch.ones(1000)}, tmp_path / "old.pth", legacy=True).read_bytes()
    bad = {"empty": b"", "text": b"hello", "half": good[: len(good) // 2], "half-old": old[: len(old) // 2]}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    with tarfile.open(tmp_path / "tar", "w") as archive:
        archive.add(tmp_path / "good.pth", "storages")
    for name in (*bad, "tar"):
        assert "unreadable" in refused(tmp_path / name), name
    assert "no such file" in refused(tmp_path / "absent.pth")
    assert "a folder" in refused(tmp_path)


def test_a_bare_pickle_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "bare.pkl").write_bytes(pickle.dumps(Call(os.system, f"touch {MARK}")))
    assert f"{os.system.__module__}.system" in refused(tmp_path / "bare.pkl")
