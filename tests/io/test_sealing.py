import json

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from sertransfer.errors import BadInput
from sertransfer.io.checksums import SEAL, UNSEALED, check_seal, seal

TENSORS = {"a": np.arange(30, dtype=np.float32).reshape(5, 6), "b": np.ones(3, np.float64)}


@pytest.fixture
def sealed(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(TENSORS, path, {"about": '{"sha256": "x"}', SEAL: UNSEALED})
    seal(path)
    return path


def test_a_sealed_file_is_read_like_any_other(sealed):
    check_seal(sealed)
    for name, value in load_file(sealed).items():
        np.testing.assert_array_equal(value, TENSORS[name])


def test_no_flipped_bit_leads_to_other_values(sealed):
    whole = sealed.read_bytes()
    key = whole.index(SEAL.encode())
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        sealed.write_bytes(damaged)
        try:
            check_seal(sealed)
            values = load_file(sealed)
        except (BadInput, SafetensorError):
            continue
        assert key - 1 <= place < key + len(SEAL) + 3  # a file that has lost its hash, and nothing else
        for name, value in values.items():
            np.testing.assert_array_equal(value, TENSORS[name])


def test_the_hash_may_lie_in_json_too(tmp_path):
    path = tmp_path / "a"
    save_file(TENSORS, path, {"about": json.dumps({"x": 1, SEAL: UNSEALED, "y": 2})})
    seal(path)
    check_seal(path)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(BadInput, match="checksum differs"):
        check_seal(path)


def test_another_hash_is_found(sealed):
    whole = sealed.read_bytes()
    place = whole.index(SEAL.encode()) + len(SEAL) + 3
    other = b"0" if whole[place : place + 1] != b"0" else b"1"
    sealed.write_bytes(whole[:place] + other + whole[place + 1 :])
    with pytest.raises(BadInput, match="checksum differs"):
        check_seal(sealed)


def test_a_file_without_a_hash_is_taken_as_it_comes(tmp_path):
    save_file(TENSORS, tmp_path / "a")
    check_seal(tmp_path / "a")
    with pytest.raises(ValueError, match="no place"):
        seal(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"\xff" * 100)
    check_seal(tmp_path / "b")


def test_the_same_content_is_the_same_file(tmp_path):
    """safetensors orders the metadata by chance, each time anew."""
    metadata = {f"key {number}": f'v\u00e4lue \U0001f600 "{number}"\n' for number in range(8)}
    contents = set()
    for number in range(6):
        path = tmp_path / f"{number}.safetensors"
        save_file(TENSORS, path, {**metadata, SEAL: UNSEALED})
        seal(path)
        check_seal(path)
        contents.add(path.read_bytes())
        with safe_open(path, framework="np") as opened:
            assert {**opened.metadata(), SEAL: UNSEALED} == {**metadata, SEAL: UNSEALED}
            assert np.array_equal(opened.get_tensor("a"), TENSORS["a"])
    assert len(contents) == 1
