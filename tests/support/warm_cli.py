"""A ``sertransfer`` for the tests of recipes that does not wait for torch, Lightning and the like each time.

One process imports them and listens; ``sertransfer`` on the ``PATH`` hands it the command line, folder, umask
and its own files, and a fork runs the command as the console script would. Recipes call it by the dozen.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

HEAVY = (
    "corpora.prepare",
    "encoders.espnet.encoder",
    "encoders.ssl",
    "pretraining.workflow",
    "transfer.finetune.workflow",
    "transfer.tuning.workflow",
)
SCRIPT = '#!/bin/sh\nexec {python} -I -S {here} call {address} {first} "$@"\n'


def call(address: str, words: list[str]) -> int:
    """Have the command run; return its exit status."""
    mask = os.umask(0)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        request = {"words": words, "folder": str(Path.cwd()), "umask": mask}
        socket.send_fds(line, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        answer = line.makefile().read()
    return int(answer or 1)  # nothing is answered where the process died


def serve(address: str) -> None:
    """Import what the commands need, then run each in a fork, until the parent process ends."""
    from sertransfer.cli.main import main

    for name in HEAVY:
        importlib.import_module(f"sertransfer.{name}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(16)
        while True:
            line, _ = listener.accept()
            if os.fork() == 0:
                _run(line, main)
            line.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _run(line: socket.socket, main: Callable[[list[str]], int]) -> None:
    status = 1
    try:
        text, files, _, _ = socket.recv_fds(line, 1 << 16, 3)
        request = json.loads(text)
        for number, file in enumerate(files):
            os.dup2(file, number)
        # new streams, as a fresh interpreter has: those of the server know what its own files were
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
        os.chdir(request["folder"])
        os.umask(request["umask"])
        words = request["words"]
        if words[:1] == ["--script"]:
            sys.argv = words[1:]
            sys.path.insert(0, str(Path(words[1]).resolve().parent))
            runpy.run_path(words[1], run_name="__main__")
            status = 0
        else:
            status = main(words)
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        line.sendall(str(status).encode())
        os._exit(status)


PROJECT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def warm_recipes(folder: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Yield what runs a recipe, by its name and words, with the fast ``sertransfer``."""
    with warm_cli(folder) as environment:

        def run(name: str, *words: object) -> subprocess.CompletedProcess[str]:
            command = [PROJECT / "recipes" / name, *map(str, words)]
            return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

        yield run


@contextlib.contextmanager
def warm_cli(folder: Path) -> Iterator[dict[str, str]]:
    """Yield an environment in which recipes find the fast ``sertransfer``, kept in *folder*.

    Beside it is ``warm-python FILE``, which runs a script likewise.
    """
    here, address = Path(__file__).resolve(), str(folder / "line")
    for name, first in (("sertransfer", ""), ("warm-python", "--script")):
        script = folder / name
        script.write_text(SCRIPT.format(python=sys.executable, here=here, address=address, first=first))
        script.chmod(0o755)
    # one thread: a fork of a process that has computed with several would hang
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    server = subprocess.Popen([sys.executable, here, "serve", address], env=environment)
    try:
        until = time.monotonic() + 300
        while not Path(address).exists():
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server ended with {server.poll()}, or did not begin in 300 s")
            time.sleep(0.05)
        yield {**environment, "PATH": f"{folder}:{os.environ['PATH']}"}
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    if sys.argv[1] == "call":
        sys.exit(call(sys.argv[2], sys.argv[3:]))
    serve(sys.argv[2])
