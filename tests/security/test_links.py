"""Nothing is written through links and pipes of a folder that someone else made."""

import json
import logging
import os

import pytest
from support.transfer_fakes import FakeEncoder, make_interviews

from sertransfer.audio.fingerprint import utterance_prints
from sertransfer.audio.store import build_store
from sertransfer.cli.main import main
from sertransfer.demo import recogniser
from sertransfer.demo.recogniser import train_demo_recogniser
from sertransfer.errors import BadInput
from sertransfer.front_end import Denoise, FrontEnd
from sertransfer.io.checksums import is_as_written, remember, stamp_of
from sertransfer.io.files import atomic_path, hash_file, hold, open_own, refuse_links, write_text
from sertransfer.io.run_folder import RunFolder
from sertransfer.manifest import Manifest
from sertransfer.reporting.paper_tables import write_bundle
from sertransfer.transfer import workflow
from sertransfer.transfer.data import embedding_key
from sertransfer.transfer.embed import embed
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.tuning.storage import open_storage

TEXT = "export PATH=/usr/bin\n"
FRONT_END = FrontEnd(mels=16, denoise=Denoise(method="none"))


@pytest.fixture
def victim(tmp_path):
    """A file of the user's that must stay as it is."""
    path = tmp_path / "bashrc"
    path.write_text(TEXT)
    path.chmod(0o644)
    yield path
    assert path.read_text() == TEXT


def make_symlink(place, victim):
    place.symlink_to(victim)


def make_hard_link(place, victim):
    place.hardlink_to(victim)


def make_pipe(place, victim):
    os.mkfifo(place)


LINKS = [make_symlink, make_hard_link, make_pipe]


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", ["log.txt", ".lock"])
def test_a_run_folder_is_not_written_through_links(tmp_path, victim, name, link):
    (tmp_path / "run").mkdir()
    link(tmp_path / "run" / name, victim)
    with pytest.raises(BadInput, match=name), RunFolder(tmp_path / "run").claim({"a": 1}, {}):
        logging.getLogger("sertransfer").info("x; touch owned")


@pytest.mark.parametrize("name", ["plots", "checkpoints", "metrics.json", "checkpoints/model.safetensors"])
def test_links_deeper_in_a_run_folder_are_named(tmp_path, victim, name):
    place = tmp_path / "run" / name
    place.parent.mkdir(parents=True)
    place.symlink_to(victim.parent)
    with (
        pytest.raises(BadInput, match=f"{name}: found a symbolic link"),
        RunFolder(tmp_path / "run").claim({"a": 1}, {}),
    ):
        pass


def test_a_run_folder_may_itself_be_a_link(tmp_path):
    (tmp_path / "large_disk").mkdir()
    (tmp_path / "exp").symlink_to(tmp_path / "large_disk")
    with RunFolder(tmp_path / "exp").claim({"a": 1}, {}) as run:
        run.write_metrics({"x": 1})
    assert json.loads((tmp_path / "large_disk/metrics.json").read_text())["x"] == 1


def test_a_report_is_not_drawn_into_a_linked_folder(tmp_path, victim, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.json").write_text('{"utterance": {}}')
    (run / "plots").symlink_to(victim.parent)
    assert main(["report", str(run)]) == 2
    assert "plots: found a symbolic link" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"run", "bashrc"}


def test_an_output_that_is_a_link_says_so(tmp_path, victim):
    place = tmp_path / "table.csv"
    place.symlink_to(victim)
    with pytest.raises(BadInput, match="found a symbolic link to"):
        write_text(place, "x")
    assert place.is_symlink()


def test_a_dangling_link_is_no_free_name(tmp_path):
    (tmp_path / "out.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(BadInput, match="elsewhere"):
        write_text(tmp_path / "out.csv", "x")
    assert not (tmp_path / "elsewhere.csv").exists()


@pytest.mark.parametrize("link", LINKS)
def test_locks_and_stamps_are_not_written_through_links(tmp_path, victim, link):
    (tmp_path / "data").write_text("1")
    link(tmp_path / "place", victim)
    with pytest.raises(BadInput, match="place"), hold(tmp_path / "place"):
        pass
    with pytest.raises(BadInput, match="place"):
        remember(tmp_path / "data", "0" * 64, tmp_path / "place")


def test_stores_are_not_built_through_links(tmp_path, victim):
    manifest = make_interviews(tmp_path / "corpus", {"train": (1, 1)}, sentences=1)
    assert isinstance(manifest, Manifest)
    (tmp_path / "features").mkdir()
    (tmp_path / "features/.locks").symlink_to(victim.parent)
    with pytest.raises(BadInput, match=r"\.locks: found a symbolic link"):
        build_store(manifest, FRONT_END, tmp_path / "features", progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"features", "bashrc", "corpus"}


def test_a_link_to_everything_is_not_walked_through(tmp_path, victim):
    (tmp_path / "large/below").mkdir(parents=True)
    (tmp_path / "large/link").symlink_to(victim)
    (tmp_path / "plots").symlink_to(tmp_path / "large")
    with pytest.raises(BadInput) as caught:
        refuse_links(tmp_path / "plots")
    assert [fault.where for fault in caught.value.faults] == [str(tmp_path / "plots")]


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    """Nor is ``/dev/null``, for which root needs no permission."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="found a device or pipe"):
        write_text(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()


def test_only_the_folder_that_the_user_named_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with atomic_path(tmp_path / "out/a/b.txt", top=tmp_path / "out") as temporary:
        temporary.write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "disk/c").symlink_to(tmp_path / "elsewhere")
    refused = pytest.raises(BadInput, match=r"out/c: found a symbolic link")
    with refused, atomic_path(tmp_path / "out/c/d/b.txt", top=tmp_path / "out"):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_verification_is_not_noted_through_a_linked_folder(tmp_path, victim):
    (tmp_path / "cache/key").mkdir(parents=True)
    (tmp_path / "cache/key/values").write_text("1")
    (tmp_path / "cache/.locks").symlink_to(victim.parent)
    digest = hash_file(tmp_path / "cache/key/values")
    with pytest.raises(BadInput, match=r"\.locks: found a symbolic link"):
        is_as_written(tmp_path / "cache/key/values", digest, stamp_of(tmp_path / "cache/key"))
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "bashrc"}


def test_prints_are_not_kept_through_a_linked_folder(tmp_path, victim):
    manifest = make_interviews(tmp_path / "corpus", {"train": (1, 1)}, sentences=1)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/prints").symlink_to(victim.parent)
    with pytest.raises(BadInput, match="prints: found a symbolic link"):
        utterance_prints(manifest, cache=tmp_path / "cache")
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "bashrc", "corpus"}


def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "log.txt")
    with pytest.raises(BadInput, match="found a device or pipe"):
        open_own(tmp_path / "log.txt", os.O_WRONLY | os.O_APPEND)


@pytest.mark.parametrize("place", ["figures", "figures/figure_1_lssed.svg"])
def test_tables_are_not_written_into_a_linked_folder(tmp_path, victim, place):
    link = tmp_path / "out" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(victim.parent if place == "figures" else victim)
    with pytest.raises(BadInput, match=f"{place}: found a symbolic link"):
        write_bundle(tmp_path / "out", [], descriptions=[], runs=[])
    assert not list((tmp_path / "out").glob("tables.*")), "nothing is written before it is refused"


@pytest.mark.parametrize("place", ["chunks", "key"])
def test_embeddings_are_not_made_through_a_linked_folder(tmp_path, victim, place):
    manifest = make_interviews(tmp_path / "corpus", {"train": (1, 1)}, sentences=1)
    name = embedding_key(manifest, FakeEncoder(), "mean") if place == "key" else place
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / name).symlink_to(victim.parent)
    with pytest.raises(BadInput, match=f"{name}: found a symbolic link"):
        embed(manifest, FakeEncoder(), tmp_path / "cache", progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "bashrc", "corpus"}


def test_a_run_is_refused_before_its_training_where_its_cache_is_a_link(tmp_path, victim, monkeypatch):
    """Fine-tuning embeds nothing, but what it listens for lies in the folder of that name."""
    manifest = make_interviews(tmp_path / "corpus")
    monkeypatch.setattr(workflow, "open_encoder", lambda *_, **__: FakeEncoder())
    key = embedding_key(manifest, FakeEncoder(), "mean")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / key).symlink_to(victim.parent)
    given = {"encoder": "ser", "checkpoint": victim, "embeddings": tmp_path / "cache"}
    with pytest.raises(BadInput, match=f"{key}: found a symbolic link"):
        workflow.transfer(TransferConfig(mode="finetune"), manifest, run_dir=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["espnet.txt", "tokens.txt", "train/wav/a.wav", "exp/asr_train/train.log"])
@pytest.mark.parametrize("link", [make_symlink, make_pipe])
def test_the_demo_recogniser_is_not_written_through_links(tmp_path, victim, name, link, monkeypatch):
    """ESPnet, which trains it, follows them; it must not be reached."""
    monkeypatch.setattr(recogniser, "espnet_task", None)
    place = tmp_path / "asr" / name
    place.parent.mkdir(parents=True)
    link(place, victim)
    with pytest.raises(BadInput, match=rf"{place.name}: found a (symbolic|device)"):
        train_demo_recogniser(tmp_path / "asr", count=1)
    made = {path.name for path in (tmp_path / "asr").rglob("*") if path.is_file() and not path.is_symlink()}
    assert made == set()


@pytest.mark.parametrize("link", LINKS)
def test_a_study_is_not_kept_in_links(tmp_path, victim, link):
    link(tmp_path / "study.db", victim)
    with pytest.raises(BadInput, match=r"study\.db: found a (symbolic|hard|device)"):
        open_storage(tmp_path / "study.db")


def test_all_links_are_named_at_once(tmp_path, victim):
    (tmp_path / "run/plots").mkdir(parents=True)
    (tmp_path / "run/plots/a.svg").symlink_to(victim)
    (tmp_path / "run/log.txt").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "run/b")
    (tmp_path / "run/whole").write_text("")
    with pytest.raises(BadInput) as caught:
        refuse_links(*(tmp_path / "run").iterdir(), tmp_path / "no such")
    assert {fault.where.rpartition("/")[2] for fault in caught.value.faults} == {"a.svg", "log.txt", "b"}


def test_a_plain_file_is_opened_and_made_for_its_owner(tmp_path):
    for text in ("a", "b"):
        with os.fdopen(open_own(tmp_path / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a") as stream:
            stream.write(text)
    assert (tmp_path / "log").read_text() == "ab"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
