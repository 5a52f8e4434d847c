"""Passwords that a command was given are in nothing that it writes."""

import json
import logging
import sys

import pytest

from sertransfer.cli.main import main
from sertransfer.errors import BadInput, Fault, SertransferError
from sertransfer.io.files import StorageError
from sertransfer.io.run_folder import RunFolder
from sertransfer.io.spelling import LogLine, mask_secrets
from sertransfer.reporting.report import origin_of
from sertransfer.transfer.tuning import storage
from sertransfer.transfer.tuning.storage import open_storage


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://anna:s3cret@host:5432/studies", "postgresql://anna:***@host:5432/studies"),
        ("postgresql+psycopg://anna:s3:c/r@t@host/db", "postgresql+psycopg://anna:***@host/db"),
        ("--storage=mysql://:s3cret@host/db", "--storage=mysql://:***@host/db"),
        ("https://s3cret@example.org/x.zip", "https://***@example.org/x.zip"),
        ("git+https://s3cret@example.org/x", "git+https://***@example.org/x"),
        ("postgresql://host/db?user=anna&password=s3cret", "postgresql://host/db?user=anna&password=***"),
        ("https://example.org/f?X-Amz-Signature=s3cret&x=1", "https://example.org/f?X-Amz-Signature=***&x=1"),
        ("could not reach 'HTTPS://a:s3cret@host'; retry", "could not reach 'HTTPS://a:***@host'; retry"),
        ("postgresql://anna@server:s3cret@host/db", "postgresql://anna@server:***@host/db"),
        ("postgresql://anna:s3cret and more@host/db", "postgresql://anna:***@host/db"),
        ("--storage=postgresql://anna:my s3cret@host/db", "--storage=postgresql://anna:***@host/db"),
        ("my_db://anna:s3cret@host/db", "my_db://anna:***@host/db"),
        (
            "https://example.org/?access_key=s3cret&auth=s3cret&n=1",
            "https://example.org/?access_key=***&auth=***&n=1",
        ),
        ("see postgresql://host:5432/db; ask a@b", "see postgresql://host:5432/db; ask a@b"),
        ("sqlite:////data/study.db", "sqlite:////data/study.db"),
        ("https://example.org/a@b?page=2", "https://example.org/a@b?page=2"),
        ("a:b@c without a URL", "a:b@c without a URL"),
    ],
)
def test_mask_secrets(text, masked):
    assert mask_secrets(text) == masked
    assert "s3cret" not in str(Fault(text, text, text, text))


def test_a_run_folder_holds_no_password(tmp_path, monkeypatch):
    url = "postgresql://anna:s3cret@host/studies"
    monkeypatch.setattr(sys, "argv", ["/usr/bin/sertransfer", "tune", "--storage", url, f"--x={url}"])
    with RunFolder(tmp_path / "run").claim({"a": 1}, {}) as run:
        logging.getLogger("sertransfer").info("trials are kept in %s", url)
        run.write_metrics({"x": 1})
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"sessions.json", "log.txt"} <= {path.name for path in files}
    for path in files:
        assert "s3cret" not in path.read_text(), path
    command = json.loads((tmp_path / "run/sessions.json").read_text())[0]["command"]
    assert command == "sertransfer tune --storage 'postgresql://anna:***@host/studies' " + (
        "'--x=postgresql://anna:***@host/studies'"
    )


def test_passwords_of_older_runs_are_not_shown(tmp_path):
    session = {"command": "sertransfer tune --storage postgresql://anna:s3cret@host/db", "state": "finished"}
    (tmp_path / "sessions.json").write_text(json.dumps([session]))
    origin = origin_of(tmp_path)
    assert "anna:***@host" in origin["command"]
    assert "s3cret" not in str(origin["sessions"])


@pytest.mark.parametrize("error", [SertransferError, ValueError])
def test_no_message_shows_a_password(error, monkeypatch, capsys):
    """Nor does a traceback: both end in the log of a batch system."""
    url = "postgresql://anna:s3cret@host/studies"

    def fail(*_, **__):
        raise error(f"cannot reach {url}")

    monkeypatch.setattr("sertransfer.cli.main._run", fail)
    assert main(["models", "-v"]) == 1
    shown = capsys.readouterr().err
    assert "anna:***@host" in shown
    assert "Traceback" in shown
    assert "s3cret" not in shown


def test_no_line_of_a_log_shows_a_password():
    url = "postgresql://anna:s3cret@host/studies"
    record = logging.LogRecord("sertransfer", logging.WARNING, "", 0, "waiting for %s", (url,), None)
    assert LogLine("%(message)s").format(record) == "waiting for postgresql://anna:***@host/studies"


def test_a_disk_that_fails_under_a_storage_shows_no_password(tmp_path, monkeypatch):
    """The message of a disk names its place, which is the URL."""
    url = "postgresql://anna:s3cret@host/studies"

    def fail(*_, **__):
        raise RuntimeError(f"{url}: No space left on device")

    monkeypatch.setattr(storage, "StudyStorage", fail)
    with pytest.raises(StorageError) as caught:
        open_storage(url)
    told = [str(caught.value), str(storage.study_error(RuntimeError("No space left on device"), url))]
    assert all("anna:***@host" in text for text in told)
    assert "s3cret" not in "".join(told)


@pytest.mark.parametrize("driver", ["nosuch", "postgresql+nosuch", "postgresql"])
def test_a_storage_that_cannot_be_opened_shows_no_password(driver):
    for url in (
        f"{driver}://anna@server:my s3cret@127.0.0.1:9/db",
        f"{driver}://:s3cret@127.0.0.1:9/x?sslkey=s3cret",
    ):
        with pytest.raises(BadInput) as caught:
            open_storage(url)
        assert "s3cret" not in str(caught.value)
        assert "***@" in str(caught.value)
