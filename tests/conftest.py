"""Every test runs without the network; one that only tries to reach it fails, even if nobody noticed.

Hypothesis has no deadline: a busy machine is no fault of the code, and no test is of time.
"""

import logging
import os
import runpy
from pathlib import Path

import hypothesis
import pytest
from support.pipes import Pipes

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

OFFLINE = Path(__file__).parent / "offline"


@pytest.fixture(scope="session", autouse=True)
def attempts(tmp_path_factory):
    """Refuse the network here and in all processes started from here; the file of attempts."""
    log = tmp_path_factory.mktemp("network") / "attempts"
    log.touch()
    os.environ["SERTRANSFER_TEST_NETWORK_LOG"] = str(log)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH")]))
    runpy.run_path(str(OFFLINE / "sitecustomize.py"))  # Python may have imported another of that name
    return log


@pytest.fixture(autouse=True)
def _no_network(attempts):
    """Fail a test that left an attempt behind, in this process or another."""
    yield
    text = attempts.read_text()
    if text:
        attempts.write_text("")
        pytest.fail(f"the network was asked for:\n{text}", pytrace=False)


@pytest.fixture(autouse=True)
def _logging_goes_on():
    """Undo what the command line does in the silent processes of a run, whose logs nobody reads."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def pipes(tmp_path_factory):
    """Puts pipes in the place of files, and knows whether one was waited at."""
    found = Pipes(tmp_path_factory.mktemp("pipes"))
    yield found
    found.close()
