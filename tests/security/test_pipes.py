"""No pipe or device in the place of a file is waited for: files are looked at before they are opened."""

from __future__ import annotations

import ast
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.corpus_trees import write_table, write_wav
from support.espnet_fakes import make_config, make_experiment
from support.finetune_fakes import make_ssl
from support.pipes import Pipes

import sertransfer
from sertransfer.cli.main import main
from sertransfer.corpora.prepare import prepare
from sertransfer.errors import BadInput
from sertransfer.io.files import regular_file

PACKAGE = Path(sertransfer.__file__).parent


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*words: object) -> tuple[int, str]:
        try:
            status = main(list(map(str, words)))
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return status, error

    return run


def test_a_pipe_that_is_opened_is_noticed(pipes: Pipes, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert pipes.replace(tmp_path / "a", lambda: (tmp_path / "a").read_text())
    assert not pipes.replace(tmp_path / "a", lambda: None)
    assert (tmp_path / "a").read_text() == "x"


def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "link").symlink_to("a")
    for path in (tmp_path / "a", tmp_path / "link", tmp_path):  # a folder has errors of its own
        assert regular_file(path) == path
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the name of a socket is short
        server.bind("socket")
        for path in (tmp_path / "pipe", tmp_path / "to_pipe", tmp_path / "socket", Path("/dev/zero")):
            with pytest.raises(BadInput, match="found a device or pipe; expected a file"):
                regular_file(path)
    assert regular_file(tmp_path / "missing") == tmp_path / "missing"


READERS = {
    "pd.read_csv", "np.load", "zipfile.ZipFile", "tarfile.open", "torch.load", "safe_open", "load_file",
    "safetensors.torch.load_file",
}  # fmt: skip
ELSEWHERE = {
    "archive", "content", "file", "stream", "temporary",  # looked at before, or open already
    "TEMPLATES / name", "Path(__file__).with_name('paper.yaml')",  # the package's
    "_BOOT", "Path('/proc/cpuinfo')", "Path(f'/proc/{number}/stat')",  # the system's
}  # fmt: skip


def unguarded(source: str) -> set[str]:
    """Return what *source* opens to be read without looking at it first."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, opened = ast.unparse(node.func), node.args[0] if node.args else None
        method = node.func.attr if isinstance(node.func, ast.Attribute) and name not in READERS else None
        if method in ("read_text", "read_bytes") or (
            method == "open" and opened is not None and ast.unparse(opened) in ("'rb'", "'r'")
        ):
            opened = node.func.value
        elif name not in READERS or (len(node.args) > 1 and ast.unparse(node.args[1]) == "'w'"):
            continue
        if not (text := ast.unparse(opened)).startswith(("regular_file(", "io.")):
            found.add(text)
    return found


@pytest.mark.parametrize(
    "source", ["path.read_text()", "(a / b).open('rb')", "pd.read_csv(path, dtype=str)", "safe_open(path)"]
)
def test_a_file_that_is_opened_without_a_look_is_seen(source: str) -> None:
    assert unguarded(source)
    assert not unguarded("regular_file(a / b).read_text()")


def test_every_file_is_looked_at_before_it_is_opened() -> None:
    found = set().union(*(unguarded(path.read_text()) for path in PACKAGE.rglob("*.py")))
    assert found - ELSEWHERE == set()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = []
    for number in range(8):
        write_wav(tmp_path / f"{number}.wav")
        label, split = ("depressed", "not depressed")[number % 2], ("train", "dev")[number // 4]
        rows.append({"audio": f"{number}.wav", "label": label, "speaker": number, "split": split})
    write_table(tmp_path / "table.csv", rows)
    prepare("csv", tmp_path, None, tmp_path / "m.csv")
    return tmp_path / "m.csv"


def test_no_manifest_config_or_checkpoint_is_waited_for(
    run: Callable[..., tuple[int, str]], pipes: Pipes, manifest: Path, tmp_path: Path
) -> None:
    for name in ("x.yaml", "x.safetensors", "x.pth", "x.zip"):
        (tmp_path / name).write_text("")
    transfer = ("transfer", "--manifest", manifest, "--run-dir", tmp_path / "run", "--checkpoint")
    features = ("features", "--manifest", manifest, "--into", tmp_path / "store")
    cases = [
        (manifest, ("describe", manifest)),
        (manifest, features),
        (manifest.with_suffix(".json"), ("describe", manifest)),
        (manifest.with_suffix(".json"), features),
        (tmp_path / "x.yaml", (*features, "--config", tmp_path / "x.yaml")),
        (tmp_path / "x.yaml", ("prepare", "csv", tmp_path, "-o", manifest, "--config", tmp_path / "x.yaml")),
        (
            tmp_path / "table.csv",
            ("prepare", "csv", tmp_path, "-o", tmp_path / "n.csv", "--table", "table.csv"),
        ),
        (
            tmp_path / "x.safetensors",
            ("evaluate", tmp_path / "x.safetensors", manifest, "--run-dir", tmp_path / "run"),
        ),
        (tmp_path / "x.pth", ("import-checkpoint", tmp_path / "x.pth", "-o", tmp_path / "y.safetensors")),
        (tmp_path / "x.safetensors", (*transfer, tmp_path / "x.safetensors")),
        (tmp_path / "x.zip", (*transfer, tmp_path / "x.zip", "--encoder", "asr")),
        (tmp_path / "x.pth", (*transfer, tmp_path / "x.pth", "--encoder", "asr")),
        (tmp_path / "x.safetensors", (*transfer, tmp_path / "x.safetensors", "--encoder", "ssl")),
    ]
    for path, words in cases:
        said: list[tuple[int, str]] = []
        assert not pipes.replace(path, lambda words=words, said=said: said.append(run(*words))), words
        ((status, error),) = said
        assert status == 2, (words, error)
        assert error.count("; expected ") == 1, (words, error)
        assert str(path) in error


@pytest.mark.parametrize("encoder", ["asr", "ssl"])
def test_no_file_of_an_encoder_is_waited_for(
    encoder: str, run: Callable[..., tuple[int, str]], pipes: Pipes, manifest: Path, tmp_path: Path
) -> None:
    root = tmp_path / "encoder"
    if encoder == "asr":
        checkpoint, _ = make_experiment(root, make_config("conformer"))
    else:
        checkpoint = make_ssl(root)
    words = ("transfer", "--encoder", encoder, "--checkpoint", checkpoint, "--manifest", manifest)
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    assert len(files) > 1
    for path in files:
        said: list[tuple[int, str]] = []
        waited = pipes.replace(
            path, lambda said=said: said.append(run(*words, "--run-dir", tmp_path / "run"))
        )
        ((status, error),) = said
        assert not waited, path
        assert status == 2, path
        assert path.name in error, error


def test_no_file_of_a_store_is_waited_for(
    run: Callable[..., tuple[int, str]], pipes: Pipes, manifest: Path, tmp_path: Path
) -> None:
    labels = ("--classes", "[depressed, not depressed]")
    words = ("features", "-q", "--manifest", manifest, "--into", tmp_path / "store", *labels)
    assert run(*words) == (0, "")
    files = [path for path in sorted((tmp_path / "store").rglob("*")) if path.is_file()]
    assert len(files) > 2
    for path in files:
        assert not pipes.replace(path, lambda: run(*words)), path
