import os
import signal
import socket
import subprocess
import sys

from sertransfer.io.files import hold

HOLDER = """
import sys, time
from pathlib import Path
from sertransfer.io.files import hold
with hold(Path(sys.argv[1])) as holder:
    print(holder, flush=True)
    time.sleep(60)
"""


def test_the_holder_is_named_and_a_dead_ones_lock_is_free(tmp_path):
    path = tmp_path / "lock"
    other = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "None\n"
    with hold(path) as holder:
        assert holder == f"process {other.pid} on {socket.gethostname()}"
    said = []

    def kill(holder):
        said.append(holder)
        other.send_signal(signal.SIGKILL)

    with hold(path, waiting=kill) as holder:
        assert holder is None
        assert said == [f"process {other.pid} on {socket.gethostname()}"]
        assert path.read_text().startswith(f"process {os.getpid()} ")
    other.communicate()


def test_a_lock_without_a_name_in_it(tmp_path):
    with hold(tmp_path / "lock"):
        (tmp_path / "lock").write_text("")
        with hold(tmp_path / "lock") as holder:
            assert holder == "another process"
