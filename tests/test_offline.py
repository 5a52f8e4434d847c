"""The guard of conftest.py: the network is refused, in every process, and this machine is not."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

ABROAD = "192.0.2.1"  # an address for documentation, nobody's
LOOKUP = "import socket; socket.getaddrinfo('example.invalid', 443)"


@pytest.fixture
def refused(attempts):
    """What was refused up to now, forgotten once it is read."""

    def read():
        text = attempts.read_text()
        attempts.write_text("")
        return text

    return read


def test_an_address_and_a_name_are_refused(refused):
    with socket.socket() as line, pytest.raises(OSError, match="tests have no network"):
        line.connect((ABROAD, 80))
    assert f"socket.connect '{ABROAD}'" in refused()
    with socket.socket(type=socket.SOCK_DGRAM) as line, pytest.raises(OSError, match="tests have no network"):
        line.sendto(b"x", (ABROAD, 53))
    with pytest.raises(OSError, match="tests have no network"):
        socket.create_connection(("example.invalid", 443))
    assert "socket.getaddrinfo 'example.invalid'" in refused()


def test_other_processes_are_refused_too(refused):
    done = subprocess.run([sys.executable, "-c", LOOKUP], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "tests have no network" in done.stderr
    assert "example.invalid" in refused()


def test_an_attempt_that_a_library_hides_is_written_down(refused):
    hidden = f"try:\n    exec({LOOKUP!r})\nexcept OSError:\n    pass"
    subprocess.run([sys.executable, "-c", hidden], check=True)
    assert "example.invalid" in refused()


def test_this_machine_can_be_reached(refused, tmp_path, monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        socket.create_connection(("localhost", server.getsockname()[1])).close()
    monkeypatch.chdir(tmp_path)  # an address of this family is short
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as line:
        server.bind("line")
        server.listen(1)
        line.connect("line")
    assert refused() == ""


PLAN = """
def test_it():
    import socket
    try:
        socket.getaddrinfo("example.invalid", 443)
    except OSError:
        pass
"""


def test_a_test_that_tries_fails(tmp_path):
    for name in ("conftest.py", "offline", "support"):
        (tmp_path / name).symlink_to(Path(__file__).with_name(name))
    (tmp_path / "test_it.py").write_text(PLAN)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        tmp_path,
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "the network was asked for" in done.stdout
