from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

import sertransfer
from sertransfer.errors import BadInput
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.io.checksums import SEAL
from sertransfer.models.checkpoint import (
    Checkpoint,
    build_from,
    load_model,
    read_checkpoint,
    write_checkpoint,
)
from sertransfer.models.registry import build_model
from sertransfer.timebase import parse_framing

OPTIONS: dict[str, Any] = {"width": 0.125, "blocks": [1, 2, 1, 1], "dropout": 0.1}
CLASSES = ("angry", "neutral", "happy", "sad")


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    built = build_model("pyresnet50", len(CLASSES), **OPTIONS)
    with torch.no_grad():
        built(torch.randn(4, 1, 128, 40))
    return built.eval()


@pytest.fixture(scope="module")
def checkpoint(model: torch.nn.Module) -> Checkpoint:
    front_end = FrontEnd(framing=parse_framing("25ms"), log="db", normalise="none")
    return Checkpoint(
        "pyresnet50",
        OPTIONS,
        CLASSES,
        front_end,
        Cropping(4.0, pad=True),
        dict(model.state_dict()),
        {"run": "a"},
    )


def test_what_is_written_is_read(tmp_path: Path, checkpoint: Checkpoint, model: torch.nn.Module) -> None:
    path = tmp_path / "sub" / "model.safetensors"
    write_checkpoint(checkpoint, path)
    read = read_checkpoint(path)
    assert replace(read, state={}) == replace(checkpoint, state={})
    assert all(torch.equal(read.state[name], tensor) for name, tensor in model.state_dict().items())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]  # no temporary file stays
    x = torch.randn(2, 1, 128, 50)
    loaded = sertransfer.load_model(path)
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))


def test_unknown_front_end_and_crop_stay_unknown(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "model.safetensors"
    write_checkpoint(replace(checkpoint, front_end=None, cropping=None), path)
    read = read_checkpoint(path)
    assert read.front_end is None
    assert read.cropping is None


def test_a_channels_last_state_and_shared_memory_are_written(tmp_path: Path, checkpoint: Checkpoint) -> None:
    state = {
        name: tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in checkpoint.state.items()
    }
    both = torch.zeros(2, 64)
    state["a"], state["b"] = both[0], both[1]
    write_checkpoint(replace(checkpoint, state=state), tmp_path / "m.safetensors")
    read = read_checkpoint(tmp_path / "m.safetensors")
    assert all(torch.equal(read.state[name], tensor) for name, tensor in state.items())


def test_a_built_model_shares_nothing_with_the_checkpoint(checkpoint: Checkpoint) -> None:
    before = checkpoint.state["conv1.weight"].clone()
    built = build_from(checkpoint)
    with torch.no_grad():
        built.get_submodule("conv1").weight.zero_()  # type: ignore[union-attr, operator]
    assert torch.equal(checkpoint.state["conv1.weight"], before)
    assert all(parameter.requires_grad for parameter in built.parameters())


def test_half_precision_weights_are_widened(checkpoint: Checkpoint) -> None:
    state = {n: t.half() if t.is_floating_point() else t for n, t in checkpoint.state.items()}
    assert build_from(replace(checkpoint, state=state)).get_parameter("conv1.weight").dtype == torch.float32


def test_building_leaves_the_random_state_alone(checkpoint: Checkpoint) -> None:
    torch.manual_seed(5)
    build_from(checkpoint)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))


def test_all_wrong_keys_are_named_at_once(tmp_path: Path, checkpoint: Checkpoint) -> None:
    state = dict(checkpoint.state)
    del state["fc.bias"]
    state["more"] = torch.zeros(1)
    state["fc.weight"] = torch.zeros(2, 2)
    path = tmp_path / "m.safetensors"
    write_checkpoint(replace(checkpoint, state=state), path)
    with pytest.raises(BadInput) as error:
        load_model(path)
    assert sorted(fault.found for fault in error.value.faults) == [
        "'fc.bias' missing",
        "'fc.weight' of shape (2, 2)",
        "unexpected 'more'",
    ]
    assert all(fault.where == str(path) for fault in error.value.faults)


def test_an_unknown_model_or_option_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(BadInput, match="did you mean 'pyresnet50'"):
        build_from(replace(checkpoint, model="pyresnet5"))
    with pytest.raises(BadInput, match="'blocks'"):
        build_from(replace(checkpoint, options={"blocks": [1, 10**9, 1, 1]}))


@pytest.mark.parametrize(("content", "found"), [
    (b"", "no readable safetensors"), (b"hello", "no readable safetensors"), (b"\xff" * 100, "no readable"),
    (b"PK\x03\x04 etc", "torch.save"), (b"\x80\x02}q\x00.", "torch.save"),
])  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=found):
        read_checkpoint(path)


def test_a_pth_file_is_sent_to_import_checkpoint(tmp_path: Path, model: torch.nn.Module) -> None:
    for name, zipped in (("new.pth", True), ("old.pth", False)):
        torch.save(model.state_dict(), tmp_path / name, _use_new_zipfile_serialization=zipped)
        with pytest.raises(BadInput, match=f"sertransfer import-checkpoint {name} -o"):
            load_model(tmp_path / name)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        load_model(tmp_path / "absent.safetensors")
    with pytest.raises(BadInput, match="an empty folder"):
        load_model(tmp_path)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused(tmp_path: Path, checkpoint: Checkpoint, share: float) -> None:
    whole = tmp_path / "whole"
    if not whole.exists():
        write_checkpoint(checkpoint, whole)
    content = whole.read_bytes()
    (tmp_path / "part").write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInput):
        read_checkpoint(tmp_path / "part")


def _write_values(path: Path, checkpoint: Checkpoint, **change: Any) -> None:
    """Write a checkpoint file whose metadata *change* replaces; ``None`` as a key's value takes it out."""
    write_checkpoint(checkpoint, path)
    with safe_open(path, framework="pt") as opened:
        metadata = dict(opened.metadata())
    del metadata[SEAL]
    values = {**json.loads(metadata["checkpoint"]), **change}
    values = {key: value for key, value in values.items() if value != "take out"}
    save_file({"a": torch.zeros(1)}, path, {**metadata, "checkpoint": json.dumps(values)})


def test_unknown_and_missing_metadata_is_named(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "m.safetensors"
    _write_values(path, checkpoint, model="take out", loader="os.system")
    with pytest.raises(BadInput) as error:
        read_checkpoint(path)
    assert [fault.found for fault in error.value.faults] == ["'loader' is unknown", "'model' is missing"]


@pytest.mark.parametrize("change", [
    {"front_end": {"framing": {"window": 1, "shift": 1}}}, {"front_end": 5}, {"cropping": {"length": 5}},
    {"classes": 5}, {"options": 5}, {"provenance": [1]}, {"front_end": {"loog": "db"}},
    {"front_end": {"framing": {"window": 0}}},
])  # fmt: skip
def test_damaged_metadata_is_refused(tmp_path: Path, checkpoint: Checkpoint, change: dict[str, Any]) -> None:
    _write_values(tmp_path / "m.safetensors", checkpoint, **change)
    with pytest.raises(BadInput):
        read_checkpoint(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        (None, "another program"),
        ({"format": "pt"}, "another program"),
        ({"format": "sertransfer checkpoint", "version": "2"}, "checkpoint version 2"),
        ({"format": "sertransfer checkpoint", "version": "1"}, "damaged metadata"),
        ({"format": "sertransfer checkpoint", "version": "1", "checkpoint": "{"}, "damaged metadata"),
        ({"format": "sertransfer checkpoint", "version": "1", "checkpoint": "7"}, "damaged metadata"),
    ],
)
def test_foreign_and_newer_files_are_refused(
    tmp_path: Path, metadata: dict[str, str] | None, found: str
) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "m.safetensors", metadata)
    with pytest.raises(BadInput, match=found):
        read_checkpoint(tmp_path / "m.safetensors")
