import pytest
from support.uneven import make_recogniser, make_uneven, open_uneven

from sertransfer.encoders.registry import ENCODERS
from sertransfer.transfer import workflow


@pytest.fixture
def no_report(monkeypatch, request):
    """Spare a test the report that it does not look at, unless it asks for a real one."""
    if "real_report" not in request.fixturenames:
        monkeypatch.setattr(workflow, "write_report", lambda folder: (folder / "report.html").write_text(""))


@pytest.fixture
def real_report():
    """Asks for a true report, which takes a second."""


class Uneven:
    """The uneven corpus, the weights of both encoders, and a folder for stores that runs share."""

    def __init__(self, home):
        self.home = home
        self.manifest = make_uneven(home / "corpus")
        self.weights = home / "weights"
        self.weights.write_text("one")
        self.recogniser = make_recogniser(home / "ser.safetensors")
        self.stores = home / "stores"

    def options(self, folder, encoder="uneven"):
        """Return what every workflow takes."""
        checkpoint = self.weights if encoder == "uneven" else self.recogniser
        return {
            "encoder": encoder,
            "checkpoint": checkpoint,
            "run_dir": folder,
            "embeddings": self.stores,
            "progress": False,
        }


@pytest.fixture(scope="session")
def uneven(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "uneven", open_uneven)
        yield Uneven(tmp_path_factory.mktemp("uneven"))
