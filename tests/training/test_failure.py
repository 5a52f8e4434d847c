"""The first process that fails speaks; the others end with its status."""

import os
import subprocess
import sys
import threading

import pytest
from torch.distributed import HashStore

from sertransfer.errors import bad_input
from sertransfer.fitting import failure
from sertransfer.fitting.failure import FailureBoard, status_of
from sertransfer.fitting.launch import FailedElsewhere, Launch
from sertransfer.fitting.processes import ALONE, Processes, current
from sertransfer.training import fitting
from sertransfer.training.settings import PretrainConfig

FAULT = bad_input("x", found="y", expected="z", remedy="w")


@pytest.fixture
def boards(monkeypatch):
    monkeypatch.setattr(failure, "GRACE", 0.05)
    monkeypatch.setattr(failure, "PATIENCE", 0.4)
    store = HashStore()
    return [FailureBoard(store, rank, 2) for rank in (0, 1)]


def together(*works):
    results = [None] * len(works)

    def run(place):
        results[place] = works[place]()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    return results


def test_what_fails_everywhere_is_said_by_the_first_process(boards):
    assert together(lambda: boards[0].fail(FAULT), lambda: boards[1].fail(FAULT)) == [None, 2]


def test_a_lost_connection_ends_with_the_status_of_its_cause(boards):
    lost = RuntimeError("connection closed by peer")
    assert together(lambda: boards[0].fail(lost), lambda: boards[1].fail(KeyboardInterrupt())) == [None, 1]


def test_another_process_speaks_for_itself_if_it_fails_alone(boards):
    assert boards[1].fail(FAULT) is None
    assert boards[0].fail(RuntimeError("connection closed by peer")) == 2


def test_a_status_that_was_heard_outlives_the_process_that_said_it(boards, monkeypatch):
    """Process 0 ends, and takes the store along, as soon as the others know that it failed."""
    monkeypatch.setattr(failure, "POLL", 0.01)
    monkeypatch.setattr(failure, "GRACE", 30.0)
    boards[0]._store.set(failure.FAILED, "0 2")
    boards[1].watch()
    boards[0]._store.wait(["left 1"])
    monkeypatch.setattr(failure, "GRACE", 0.0)

    class Gone:
        def check(self, _):
            raise RuntimeError("connection reset by peer")

    boards[1]._store = Gone()
    assert boards[1].fail(RuntimeError("connection closed by peer")) == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [(FAULT, 2), (FailedElsewhere(2), 2), (KeyboardInterrupt(), 130), (BrokenPipeError(), 0), (OSError(), 1)],
)
def test_statuses(error, status):
    assert status_of(error) == status


WAITING = """
import sys, time
from datetime import timedelta
from torch.distributed import TCPStore
from sertransfer.fitting import failure
from sertransfer.errors import bad_input
failure.GRACE = 0.2
rank = int(sys.argv[2])
store = TCPStore("127.0.0.1", int(sys.argv[1]), is_master=False, timeout=timedelta(seconds=60))
board = failure.FailureBoard(store, rank, 2)
board.watch()
if rank:
    time.sleep(100)  # as in a collective operation that never ends
board.fail(bad_input("x", found="y", expected="z", remedy="w"))
"""


def test_a_process_that_waits_for_a_failed_one_ends_with_its_status():
    from torch.distributed import TCPStore

    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    command = [sys.executable, "-c", WAITING, str(server.port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    waiting = subprocess.Popen([*command, "1"], env=environment)
    try:
        failing = subprocess.run([*command, "0"], env=environment, timeout=120, check=False)
        assert failing.returncode == 0
        assert waiting.wait(timeout=60) == 2
    finally:
        waiting.kill()


def test_one_process_needs_nobody():
    assert current() is ALONE
    assert ALONE.first
    assert ALONE.gather("x") == ["x"]
    assert ALONE.gather_numbers([1, 2]) == [[1, 2]]
    assert ALONE.share(lambda: 3) == 3
    ALONE.call(pytest.fail, "there is nobody to call")


def test_batch_norm_of_several_processes_needs_gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    pair = Processes(Launch(0, 2, 0, 2, 0, "127.0.0.1", 1))
    fitting._check_processes(PretrainConfig(), pair)
    fitting._check_processes(PretrainConfig(sync_batch_norm=True), ALONE)
    with pytest.raises(type(FAULT), match="sync_batch_norm"):
        fitting._check_processes(PretrainConfig(sync_batch_norm=True), pair)


def test_old_runs_keep_their_protocol():
    assert "sync_batch_norm" not in PretrainConfig().protocol()
    assert PretrainConfig(sync_batch_norm=True).protocol()["sync_batch_norm"] is True
