import pytest

from sertransfer.transfer import workflow


@pytest.fixture
def no_report(monkeypatch, request):
    """Spare a test the report that it does not look at, unless it asks for a real one."""
    if "real_report" not in request.fixturenames:
        monkeypatch.setattr(workflow, "write_report", lambda folder: (folder / "report.html").write_text(""))


@pytest.fixture
def real_report():
    """Asks for a true report, which takes a second."""
