import errno
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from safetensors import SafetensorError

from sertransfer.cli.main import main
from sertransfer.errors import SertransferError, bad_input
from sertransfer.io.files import (
    StorageError,
    atomic_path,
    make_folder,
    memory_error,
    reserve,
    storage_error,
    write_text,
    writing,
)
from sertransfer.io.run_folder import RunFolder
from sertransfer.training.trainer import _quiet_threads


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "said", "status"),
    [
        (OSError(errno.ENOSPC, "x", "/a/b"), "/a/b: no space is left on the disk; free some", 1),
        (OSError(errno.EROFS, "x", "/a/b"), "/a/b: the disk is read-only", 2),
        (PermissionError(errno.EACCES, "x", "/a/b"), "/a/b: no permission", 2),
        (OSError(errno.EIO, "x"), "here: the disk fails", 1),
        (NotADirectoryError(errno.ENOTDIR, "x", "/a/b"), "/a/b: a file stands where a folder is expected", 2),
        (OSError(errno.ELOOP, "x", "/a/b"), "/a/b: links that lead to each other", 2),
        (OSError(errno.EROFS, "x", b"/a/b"), "/a/b: the disk is read-only", 2),
        (OSError(errno.ENOSPC, "x", "/a/.m.json.12.0123abcd.tmp"), "/a/m.json: no space", 1),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "here: no space", 1),
        (sqlite3.OperationalError("database or disk is full"), "here: no space", 1),
        (sqlite3.OperationalError("attempt to write a readonly database"), "here: no permission", 2),
    ],
)
def test_what_a_disk_says(error, said, status):
    found = storage_error(error, "here")
    assert found is not None
    assert str(found).startswith(said)
    assert found.exit_status == status


@pytest.mark.parametrize("error", [ValueError("x"), FileNotFoundError(errno.ENOENT, "x", "/a"), OSError("x")])
def test_other_errors_are_none_of_a_disk(error):
    assert storage_error(error) is None
    with pytest.raises(type(error)), writing("here"):
        raise error


def test_an_error_that_a_full_disk_led_to():
    def led_to():
        try:
            full()
        except OSError:
            raise RuntimeError("unexpected pos 768 vs 662") from None

    with pytest.raises(StorageError, match="here: no space"), writing("here"):
        led_to()


def test_an_error_that_was_made_already_passes():
    with pytest.raises(StorageError, match="there"), writing("here"):
        raise StorageError(errno.ENOSPC, "there")
    with pytest.raises(SertransferError, match="found x"), writing("here"):
        raise bad_input("a", found="x", expected="y", remedy="z")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    write_text(target, "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=f"{target}: no space"):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_where_not_even_removing_works_the_first_error_is_said(tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(StorageError, match="no space"):
        write_text(tmp_path / "a.txt", "new")


def test_a_folder_that_may_not_be_made(tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise PermissionError(errno.EACCES, "x", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="no permission") as error:
        make_folder(tmp_path / "a")
    assert error.value.exit_status == 2


def test_space_is_taken_before_a_map_is_written(tmp_path, monkeypatch):
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(1 << 20)
    assert path.stat().st_blocks == 0
    reserve(path)
    assert path.stat().st_blocks * 512 >= 1 << 20
    monkeypatch.setattr(os, "posix_fallocate", full)

    def write():
        with atomic_path(tmp_path / "b") as temporary:
            temporary.write_bytes(b"x")
            reserve(temporary)

    with pytest.raises(StorageError, match=f"{tmp_path}/b: no space"):
        write()


def test_the_command_line_says_what_a_disk_says(monkeypatch, capsys, tmp_path):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a"))

    monkeypatch.setattr("sertransfer.cli.main._run", fail)
    assert main(["models"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"sertransfer: error: {tmp_path}/a: no space is left on the disk; free some")
    assert "failure of sertransfer" not in said


def test_a_log_that_can_not_be_written_stops_the_run(tmp_path, monkeypatch):
    import logging

    def run():
        with RunFolder(tmp_path / "run").claim({}, {}):
            monkeypatch.setattr("logging.StreamHandler.flush", full)
            logging.getLogger("sertransfer").warning("said")

    with pytest.raises(StorageError, match=r"log\.txt: no space"):
        run()


def test_a_bad_input_is_said_where_its_report_can_not_be_written(tmp_path, monkeypatch):
    def run():
        with RunFolder(tmp_path / "run").claim({}, {}):
            monkeypatch.setattr(os, "fsync", full)
            raise bad_input("a", found="x", expected="y", remedy="z")

    with pytest.raises(SertransferError, match="found x") as error:
        run()
    assert error.value.report is None


@pytest.mark.parametrize(("error", "printed"), [(OSError(errno.ENOSPC, "x"), 0), (ValueError("x"), 1)])
def test_a_thread_of_tensorboards_prints_no_traceback_of_a_full_disk(error, printed, monkeypatch):
    def fail():
        raise error

    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    with _quiet_threads():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert len(seen) == printed


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 41.2 GiB for an array"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_too_little_memory_is_called_that(error, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("while reading") from error

    monkeypatch.setattr("sertransfer.cli.main._run", fail)
    assert main(["models"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("sertransfer: error: not enough memory: ")
    assert "failure of sertransfer" not in said


def test_other_errors_are_not_about_memory():
    assert memory_error(RuntimeError("x")) is None
    assert memory_error(ImportError("No module named 'x'")) is None


def test_a_disk_that_fails_at_reading_names_the_file(tmp_path, monkeypatch, capsys):
    """The system names no file in an error of reading from an open one."""

    def fail(self, *_, **__):
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "metrics.json").write_text("{}")
    monkeypatch.setattr(Path, "read_text", fail)
    assert main(["tables", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert f"{tmp_path / 'metrics.json'} (the file that was read last): the disk fails" in shown
    assert shown.count("\n") == 1
