"""Several workers on one PostgreSQL database: a real server, on loopback, for the length of the test."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sertransfer.errors import BadInput
from sertransfer.transfer.study import open_storage, open_study

pytest.importorskip("psycopg", reason="PostgreSQL driver not installed: psycopg[binary]")

IDENTITY = {"space": "x"}
WORKER = """
import json, sys, optuna
from sertransfer.transfer.study import open_storage, open_study, run_trials
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = open_study(open_storage(sys.argv[1]), "s/final", {"space": "x"}, seed=1, random_trials=3)
trials = run_trials(study, lambda trial: trial.suggest_float("x", 0, 1), 8, lambda count: None)
print(json.dumps([[trial.number, trial.value] for trial in trials]))
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


def test_two_workers_share_the_trials_and_agree(url):
    open_study(open_storage(url), "s/final", IDENTITY, seed=1, random_trials=3)
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, url], stdout=subprocess.PIPE, text=True) for _ in "ab"
    ]
    one, other = (json.loads(worker.communicate(timeout=120)[0]) for worker in workers)
    assert one == other
    assert len(one) == 8
    with pytest.raises(BadInput, match="study 's/final'"):
        open_study(open_storage(url), "s/final", {"space": "y"}, seed=1, random_trials=3)
