"""A study outlives the process that is killed while it writes to its journal."""

import signal
import subprocess
import sys
import time

import optuna
import pytest

from sertransfer.errors import BadInput
from sertransfer.transfer.journal import JournalLock
from sertransfer.transfer.study import open_storage, open_study

WRITER = """
import os, signal, sys
from pathlib import Path
from sertransfer.transfer.journal import JournalLock
lock = JournalLock(Path(sys.argv[1]))
lock.acquire()
with open(sys.argv[1], "ab") as journal:
    journal.write(b'{"op_code":4,"worker_id":"x","tri')
    journal.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def run_trial(path, value):
    study = open_study(open_storage(path), "s", {"a": 1}, seed=0, random_trials=1)
    trial = study.ask()
    trial.suggest_float("c", 0.0, 1.0)
    study.tell(trial, value)
    return [one.value for one in study.get_trials() if one.state == optuna.trial.TrialState.COMPLETE]


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_a_process_killed_in_the_middle_of_a_line_costs_nothing(tmp_path):
    path = tmp_path / "study.journal"
    assert run_trial(path, 1.0) == [1.0]
    killed = subprocess.run([sys.executable, "-c", WRITER, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not path.read_bytes().endswith(b"\n")
    start = time.monotonic()
    assert run_trial(path, 2.0) == [1.0, 2.0]
    assert run_trial(path, 3.0) == [1.0, 2.0, 3.0]
    assert time.monotonic() - start < 15  # the dead one's lock is not waited for; Optuna's own waits 30 s
    assert path.read_bytes().endswith(b"\n")


def test_a_long_half_line_goes_too(tmp_path):
    path = tmp_path / "study.journal"
    path.write_bytes(b"a\n" + b"x" * 200_000)
    lock = JournalLock(path)
    lock.acquire()
    lock.release()
    lock.release()
    assert path.read_bytes() == b"a\n"
    path.write_bytes(b"x" * 200_000)
    lock.acquire()
    lock.release()
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("old", "new"), [(b'"op_code":5', b'"op_code":\x00'), (b"log", b"Log"), (b'{"op_code":5', b"[" * 9000)]
)
def test_a_line_that_was_changed_is_named(tmp_path, old, new):
    path = tmp_path / "study.journal"
    run_trial(path, 1.0)
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(BadInput, match="no study journal that can be read"):
        open_storage(path)
