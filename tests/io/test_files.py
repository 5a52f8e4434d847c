import hashlib
import json
import os
import stat

import pytest

from sertransfer.errors import BadInput
from sertransfer.io.files import atomic_path, hash_file, hash_value, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "ä")
    assert (tmp_path / "a" / "b.txt").read_text(encoding="utf-8") == "ä"


def test_json_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, None]})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, None]}


def test_hashes(tmp_path):
    write_text(tmp_path / "a", "abc")
    assert hash_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert hash_value({"a": 1, "b": 2}) == hash_value({"b": 2, "a": 1}) != hash_value({"a": 2, "b": 1})


def test_a_place_that_can_not_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="found a folder; expected a file to write"):
        write_text(tmp_path, "x")
    for place in (tmp_path / "file" / "a.txt", tmp_path / "file" / "below" / "a.txt"):
        with pytest.raises(BadInput, match="a file in the way"):
            write_text(place, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def open_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_new_is_its_owners_alone(tmp_path, open_umask):
    write_text(tmp_path / "a" / "b.txt", "x")
    assert (mode(tmp_path / "a"), mode(tmp_path / "a/b.txt")) == (0o700, 0o600)


def test_at_no_moment_can_others_read_it(tmp_path, open_umask):
    with atomic_path(tmp_path / "a.txt") as temporary:
        assert mode(temporary) == 0o600
        temporary.write_text("x")
        assert mode(temporary) == 0o600


def test_a_file_that_was_opened_to_others_stays_open(tmp_path, open_umask):
    write_text(tmp_path / "a.txt", "x")
    (tmp_path / "a.txt").chmod(0o640)
    write_text(tmp_path / "a.txt", "y")
    assert mode(tmp_path / "a.txt") == 0o640
