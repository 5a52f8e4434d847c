"""Several workers on one PostgreSQL database: a real server, on loopback, for the length of the test."""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sertransfer.errors import BadInput
from sertransfer.transfer.tuning.storage import open_storage
from sertransfer.transfer.tuning.study import open_study

pytest.importorskip("psycopg", reason="PostgreSQL driver not installed: psycopg[binary]")

IDENTITY = {"space": "x"}
WORKER = """
import json, os, pathlib, signal, sys, time, optuna
from sertransfer.transfer.tuning import storage as storages, study as module
storages.HEARTBEAT, storages.GRACE = 1, 2
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = storages.open_storage(sys.argv[1])
study = module.open_study(storage, "s/final", {"space": "x"}, seed=1, random_trials=3)
def suggest(trial):
    return trial.suggest_float("x", 0, 1)
begun = pathlib.Path(sys.argv[2])
def score(trial, x):
    if sys.argv[3:]:
        begun.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    while not begun.exists():  # a worker that starts late would find no trial to be killed in
        time.sleep(0.05)
    return x
trials = module.run_trials(study, suggest, score, 8, lambda count: None)
print(json.dumps([[trial.params["x"], trial.value] for trial in trials]))
"""


def programs():
    """Return the folder of PostgreSQL's server programs; ``None`` where there are none."""
    found = [Path(path).resolve().parent for path in (shutil.which("initdb"),) if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "pg_ctl").exists()), None)


@pytest.fixture(scope="module")
def url():
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    home = Path(tempfile.mkdtemp(prefix="pg"))
    # the server refuses to run as root
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(home, "nobody")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {home} -c fsync=off"
    name = user.get("user", getpass.getuser())

    def call(*command):
        return subprocess.run(command, check=True, cwd=home, stdout=subprocess.DEVNULL, timeout=60, **user)

    try:
        call(folder / "initdb", "-D", home / "data", "-A", "trust", "-U", name, "--no-sync")
        call(folder / "pg_ctl", "-D", home / "data", "-o", options, "-l", home / "log", "-w", "start")
        try:
            yield f"postgresql://{name}@127.0.0.1:{port}/postgres"
        finally:
            call(folder / "pg_ctl", "-D", home / "data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def work(url, *more):
    return subprocess.Popen([sys.executable, "-c", WORKER, url, *more], stdout=subprocess.PIPE, text=True)


def test_two_workers_share_the_trials_and_agree_though_a_third_is_killed(url, tmp_path):
    begun = str(tmp_path / "begun")
    killed, *workers = [work(url, begun, "kill"), work(url, begun), work(url, begun)]  # on an empty database
    assert killed.wait(timeout=120) == -signal.SIGKILL
    one, other = (json.loads(worker.communicate(timeout=120)[0]) for worker in workers)
    assert one == other
    assert len(one) == 8
    assert len({x for x, _ in one}) == 8
    states = [trial.state.name for trial in begin(url).trials()]
    assert states.count("FAIL") == 1
    assert "RUNNING" not in states
    with pytest.raises(BadInput, match="study 's/final'"):
        begin(url, {"space": "y"})


def begin(url, identity=IDENTITY):
    return open_study(open_storage(url), "s/final", identity, seed=1, random_trials=3)
