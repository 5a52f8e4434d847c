"""Features of recordings do not stay in the temporary folder when 'predict' is stopped or killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sertransfer.io.files import atomic_path, write_text
from sertransfer.io.run_folder import RunFolder
from sertransfer.io.scratch import PREFIX, scratch_folder, sweep

DEFAULTS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # off in what a shell starts in the background
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # off under nohup
"""
WORK = f"""{DEFAULTS}
import sys, time
from sertransfer.io.scratch import scratch_folder
with scratch_folder("test") as folder:
    (folder / "features").mkdir()
    (folder / "features/values.bin").write_bytes(b"clinical")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield tmp_path
    monkeypatch.setattr("tempfile.tempdir", None)


def start(program=WORK):
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert PREFIX in process.stdout.readline()
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_leave_nothing(temporary, number):
    process = start()
    assert any(temporary.rglob("values.bin"))
    process.send_signal(number)
    assert process.wait(30) != 0
    assert list(temporary.iterdir()) == []


SLOW = """
import shutil, time
from sertransfer.io import scratch
remove = shutil.rmtree
def slowly(*given, **options):
    print("removing", flush=True)
    time.sleep(0.5)
    remove(*given, **options)
scratch.shutil.rmtree = slowly
"""


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_does_not_end_the_clearing_up(temporary, second):
    """A terminal that is closed sends HUP, and a system that goes down sends TERM as well."""
    process = start(SLOW + WORK)
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "removing\n"
    process.send_signal(second)
    assert process.wait(30) != 0
    assert list(temporary.iterdir()) == []


WRITE = f"""{DEFAULTS}
import sys, time
from sertransfer.cli import main as cli
from sertransfer.io.files import atomic_path
def work(*_):
    with atomic_path(sys.argv[1]) as path:
        path.write_bytes(b"clinical")
        print(path, flush=True)
        time.sleep(60)
cli._run = work
sys.exit(cli.main(["models"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_no_half_written_output(tmp_path, number):
    command = [sys.executable, "-c", WRITE, str(tmp_path / "scores.csv")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "scores.csv" in process.stdout.readline()
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(number)
    _, shown = process.communicate(timeout=30)
    assert (process.returncode, list(tmp_path.iterdir())) == (128 + number, [])
    assert shown == "sertransfer: error: stopped; the same command resumes\n"


@pytest.mark.parametrize("error", ["ValueError", "sertransfer.errors.SertransferError"])
def test_a_signal_under_native_code_is_said_to_be_one(tmp_path, error):
    """matplotlib's code in C++ turns the exception of a signal's handler into a ValueError."""
    program = f"""{DEFAULTS}
import os, sys, time
import sertransfer.errors
from sertransfer.cli import main as cli
def work(*_):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except SystemExit:
        raise {error}("Invalid affine transformation matrix") from None
cli._run = work
sys.exit(cli.main(["models"]))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (
        143,
        "sertransfer: error: stopped; the same command resumes\n",
    )


def test_what_a_kill_leaves_beside_an_output_is_removed_by_the_next_writing(tmp_path):
    """It may hold scores of recordings. The file of a process at work stays, and so does another's output."""
    target = tmp_path / "scores.csv"
    command = [sys.executable, "-c", WRITE, str(target)]
    at_work, killed = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
    names = [Path(process.stdout.readline().strip()).name for process in (at_work, killed)]
    killed.kill()
    killed.wait(30)
    (tmp_path / ".other.csv.1.0123abcd.tmp").touch()
    (tmp_path / ".scores.csv.tmp").touch()
    write_text(target, "whole")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"scores.csv", names[0], ".other.csv.1.0123abcd.tmp", ".scores.csv.tmp"}
    at_work.terminate()
    at_work.wait(30)


def test_a_file_that_threads_of_one_process_write_stays(tmp_path):
    with atomic_path(tmp_path / "a") as first, atomic_path(tmp_path / "a") as second:
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a").read_text() == "1"


def test_what_a_kill_leaves_of_weights_is_removed_when_the_run_goes_on(tmp_path):
    """safetensors writes to a file of its own beside the one that it is given."""
    with RunFolder(tmp_path / "run").claim({"a": 1}, {}) as run:
        for name in (".tmpA1b2C3", ".model.safetensors.1.0123abcd.tmp", ".tmp-mine", "model.safetensors"):
            (run.checkpoints / name).touch()
    with RunFolder(tmp_path / "run").claim({"a": 1}, {}) as run:
        assert {path.name for path in run.checkpoints.iterdir()} == {".tmp-mine", "model.safetensors"}


def test_what_a_kill_leaves_is_removed_by_the_next_process(temporary):
    at_work, killed = start(), start()
    killed.kill()
    killed.wait(30)
    assert len(list(temporary.iterdir())) == 2
    with scratch_folder("next") as own:
        names = {path.name for path in temporary.iterdir()}
        assert own.name in names
        assert len(names) == 2, "the folder of the process at work stays"
    at_work.terminate()
    at_work.wait(30)
    assert list(temporary.iterdir()) == []


def test_folders_that_only_look_alike_stay(temporary):
    (temporary / "sertransfer-run-1").mkdir()
    (temporary / "sertransfer-run-1/.lock").touch()
    (temporary / f"{PREFIX}without-a-lock").mkdir()
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere/.scratch.lock").touch()
    (temporary / f"{PREFIX}link").symlink_to(temporary / "elsewhere")
    before = sorted(temporary.rglob("*"))
    sweep()
    assert sorted(temporary.rglob("*")) == before


def test_a_handler_of_the_callers_stays(temporary):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with scratch_folder("test"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with scratch_folder("test"):
            assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup, which is obeyed
        with scratch_folder("test"):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
