import os

import pytest

from sertransfer.io import checksums
from sertransfer.io.checksums import check_record, is_as_written, with_hash
from sertransfer.io.files import hash_file


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "features.bin"
    path.write_bytes(b"abc" * 1000)
    return path


def test_a_file_is_read_once_in_an_uptime(written, tmp_path, monkeypatch):
    stamp, right = tmp_path / "locks" / "stamp", hash_file(written)
    read = []
    monkeypatch.setattr(checksums, "hash_file", lambda path: read.append(path) or hash_file(path))
    assert is_as_written(written, right, stamp)
    assert is_as_written(written, right, stamp)
    assert len(read) == 1
    monkeypatch.setattr(checksums, "_machine", lambda: "after a restart")
    assert is_as_written(written, right, stamp)
    assert len(read) == 2
    monkeypatch.setattr(checksums, "_machine", lambda: "")  # a system that does not tell
    assert is_as_written(written, right, stamp)
    assert len(read) == 3


def test_a_change_is_found_whatever_the_clock_says(written, tmp_path):
    stamp, right = tmp_path / "stamp", hash_file(written)
    assert is_as_written(written, right, stamp)
    status = written.stat()
    written.write_bytes(b"abd" * 1000)
    os.utime(written, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if the clock had been set back
    assert not is_as_written(written, right, stamp)


def test_a_stamp_that_can_not_be_written_or_read(written, tmp_path):
    (tmp_path / "file").touch()
    right = hash_file(written)
    (tmp_path / "stamp").write_text("{")
    assert is_as_written(written, right, tmp_path / "stamp")
    assert not is_as_written(written, "0" * 64, tmp_path / "stamp")


def test_a_record_carries_its_hash():
    record = with_hash({"format": 1, "rows": [1, 2]})
    check_record(record)
    check_record({"format": 1})  # of an older version
    with pytest.raises(ValueError, match="changed"):
        check_record({**record, "rows": [1, 3]})
