"""Whatever a file tries, nothing of it runs, and it is refused by name; docs/security.md counts the ways."""

from __future__ import annotations

import io
import json
import re
import shutil
import struct
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from support.espnet_fakes import make_config, make_experiment, pack
from support.evil_files import (
    BOMBS,
    GADGETS,
    MARK,
    NESTED,
    TAGS,
    claiming,
    object_archive,
    pickled,
    tar_of,
    twins_of,
    zip_of,
)

import sertransfer
from sertransfer.cli.main import main
from sertransfer.encoders.registry import open_encoder
from sertransfer.encoders.sentence_model import load_sentence_model
from sertransfer.errors import BadInput
from sertransfer.io.run_folder import RunFolder
from sertransfer.models.image_weights import load_image_weights
from sertransfer.models.registry import build_model
from sertransfer.training.callbacks import AtomicCheckpointIO
from sertransfer.transfer.embedding_store import EmbeddedChunk, open_set
from sertransfer.transfer.probe.probe import read_probe
from sertransfer.transfer.tuning.storage import open_storage
from sertransfer.transfer.tuning.study import open_study

DOCS = Path(__file__).parents[2] / "docs/security.md"
PICKLES = [(gadget, nested, legacy) for gadget in GADGETS for nested in NESTED for legacy in (False, True)]
HUBERT = "hubert_fairseq_base_ls960.pth"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    here = tmp_path / "here"
    here.mkdir()
    (here / "evil.py").write_text(f"open({MARK!r}, 'w')")  # what some payloads would run or load
    torch.save({}, here / "evil.pth")
    np.save(here / "evil.npy", np.zeros(1))
    monkeypatch.chdir(here)
    yield
    assert not (here / MARK).exists(), "it ran"


def refused(act: Callable[[], object], name: str) -> None:
    """Check that *act* refuses, and names *name*."""
    with pytest.raises(BadInput) as error:
        act()
    assert name in str(error.value), f"{name} is not in: {error.value}"
    assert not Path(MARK).exists(), "it ran"


def refused_by_command(capsys: pytest.CaptureFixture[str], name: str, *words: object) -> None:
    """Check that the command refuses with status 2, and names *name*."""
    assert main([str(word) for word in words]) == 2, words
    said = capsys.readouterr().err
    assert name in said, said
    assert "Traceback" not in said
    assert len(said) < 20_000
    assert not Path(MARK).exists(), "it ran"


# ---- pickles


def test_the_payloads_would_run(tmp_path: Path) -> None:
    """Without the rules that are tested here, they do: what refuses nothing would fail below."""
    path = pickled(tmp_path / "a.pth", "os.system", "a Lightning checkpoint", legacy=False)
    torch.load(path, weights_only=False)
    assert Path(MARK).exists()
    Path(MARK).unlink()
    yaml.unsafe_load(TAGS["apply"])
    assert Path(MARK).exists()
    Path(MARK).unlink()


def test_published_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for gadget, nested, legacy in PICKLES:
        path = pickled(tmp_path / "weights.pth", gadget, nested, legacy=legacy)
        refused_by_command(
            capsys, "weights.pth", "import-checkpoint", path, "-o", tmp_path / "out.safetensors"
        )
        assert not (tmp_path / "out.safetensors").exists()


def test_checkpoints(tmp_path: Path) -> None:
    for gadget, nested, legacy in PICKLES:
        path = pickled(tmp_path / "model.safetensors", gadget, nested, legacy=legacy)
        refused(lambda path=path: sertransfer.load_model(path), "model.safetensors")


def test_image_weights(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = build_model("resnet18", 4)
    for gadget, nested, legacy in PICKLES:
        path = pickled(tmp_path / "resnet18.pth", gadget, nested, legacy=legacy)
        refused(lambda path=path: load_image_weights(network, path), "resnet18.pth")


def test_resume_points(tmp_path: Path) -> None:
    for gadget, nested, legacy in PICKLES:
        path = pickled(tmp_path / "resume.ckpt", gadget, nested, legacy=legacy)
        refused(
            lambda path=path: AtomicCheckpointIO().load_checkpoint(path, weights_only=False), "resume.ckpt"
        )


def test_self_supervised_weights(tmp_path: Path) -> None:
    for gadget, nested, legacy in PICKLES:
        path = pickled(tmp_path / HUBERT, gadget, nested, legacy=legacy)
        refused(lambda path=path: open_encoder("ssl", path), HUBERT)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_experiment(tmp_path_factory.mktemp("espnet"), make_config("conformer"))[0].parents[1]


@pytest.fixture
def recogniser(experiment: Path, tmp_path: Path) -> Path:
    """A copy of an ESPnet experiment, to be spoilt."""
    shutil.copytree(experiment, tmp_path / "espnet")
    return tmp_path / "espnet/exp/asr_train"


def test_recognisers(recogniser: Path, tmp_path: Path) -> None:
    model = recogniser / "valid.acc.ave_10best.pth"
    for gadget, nested, legacy in PICKLES:
        pickled(model, gadget, nested, legacy=legacy)
        refused(lambda: open_encoder("asr", recogniser), model.name)
        archive = pack(tmp_path / "espnet", tmp_path / "model.zip")
        refused(lambda archive=archive: open_encoder("asr", archive), model.name)


def test_statistics_of_a_recogniser(recogniser: Path, tmp_path: Path) -> None:
    stats = tmp_path / "espnet/exp/asr_stats/train/feats_stats.npz"
    object_archive(stats, ["count", "sum", "sum_square"])
    refused(lambda: open_encoder("asr", recogniser), "normalize_conf")
    pickled(stats, "os.system", "alone", legacy=True)
    refused(lambda: open_encoder("asr", recogniser), "normalize_conf")


def test_embeddings_are_made_again(tmp_path: Path) -> None:
    chunk = object_archive(tmp_path / "chunk.npz", ["ids", "durations", "vectors", "faults"])
    assert EmbeddedChunk.read(chunk) is None
    folder = tmp_path / "set"
    folder.mkdir()
    np.save(folder / "vectors.npy", np.array([len], dtype=object))
    (folder / "index.csv").write_text("id,duration\na,1\n")
    about = {"key": "k", "rows": 1, "dim": 1, "bytes": (folder / "vectors.npy").stat().st_size, "faults": []}
    about["index"] = sertransfer.io.files.hash_file(folder / "index.csv")  # type: ignore[attr-defined]
    (folder / "embedding.json").write_text(json.dumps(about))
    assert open_set(folder, "k") is None
    assert not Path(MARK).exists()


def test_studies(tmp_path: Path) -> None:
    evil = pickled(tmp_path / "evil", "os.system", "alone", legacy=True).read_bytes()
    for where, name in ((tmp_path / "alone", "alone"), (f"sqlite:///{tmp_path}/study.db", "study.db")):
        (tmp_path / name).write_bytes(evil)
        refused(lambda where=where: open_study(open_storage(where), "s", {}, seed=0, random_trials=1), "stud")


# ---- safetensors


def with_metadata(path: Path, metadata: dict[str, str]) -> Path:
    header = json.dumps({"__metadata__": metadata}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


DEEP = "[" * 100_000 + "]" * 100_000
FORMATS = {
    "checkpoint": {"format": "sertransfer checkpoint", "version": "1", "checkpoint": DEEP},
    "probe": {"probe": DEEP},
    "sentence": {"sentence_model": DEEP},
}
HEADERS = {
    "a header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "a header of 99 MB that is not there": struct.pack("<Q", 99_000_000) + b"{}",
    "a tensor past the end": struct.pack("<Q", 65)
    + b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}'[:65],
    "no JSON": struct.pack("<Q", 4) + b"evil",
}


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    readers = (sertransfer.load_model, load_sentence_model, read_probe)
    for content in HEADERS.values():
        path.write_bytes(content)
        for reader in readers:
            refused(lambda reader=reader: reader(path), path.name)
    for metadata, reader in zip(FORMATS.values(), (readers[0], readers[2], readers[1]), strict=True):
        with_metadata(path, metadata)
        refused(lambda reader=reader: reader(path), path.name)


# ---- YAML and settings

DOCUMENTS = {**{name: f"model: {text}\n" for name, text in TAGS.items()}, **BOMBS}
COMMANDS = {
    "pretrain": ("--manifest", "m.csv", "--run-dir", "run"),
    "transfer": ("--manifest", "m.csv", "--run-dir", "run", "--checkpoint", "c"),
    "tune": ("--manifest", "m.csv", "--run-dir", "run", "--checkpoint", "c"),
    "prepare": ("emodb", ".", "-o", "m.csv"),
}


def test_configs(capsys: pytest.CaptureFixture[str]) -> None:
    for command, words in COMMANDS.items():
        for text in DOCUMENTS.values():
            Path("evil.yaml").write_text(text)
            refused_by_command(capsys, "evil.yaml", command, *words, "--config", "evil.yaml")


def test_front_ends(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for text in DOCUMENTS.values():
        Path("evil.yaml").write_text(text)
        words = ("evil.pth", "-o", tmp_path / "out.safetensors", "--front-end", "evil.yaml")
        refused_by_command(capsys, "evil.yaml", "import-checkpoint", *words)


@pytest.mark.parametrize(
    "setting", ["model.name", "optimiser.lr", "front_end.framing", "optimiser", "classes"]
)
def test_settings_on_the_command_line(capsys: pytest.CaptureFixture[str], setting: str) -> None:
    Path("evil.yaml").write_text(TAGS["apply"])
    for text in (*TAGS.values(), "evil.yaml"):
        words = ("pretrain", *COMMANDS["pretrain"], f"--{setting}={text}")
        assert main(list(words)) == 2
        capsys.readouterr()
        assert not Path(MARK).exists()


def test_run_folders(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("apply", "new", "laughs", "a circle"):
        (folder / "config.yaml").write_text(DOCUMENTS[name])

        def claim() -> None:
            with RunFolder(folder).claim({"a": 1}, {}):
                pass

        refused(claim, "config.yaml")


def test_configs_of_recognisers(recogniser: Path, tmp_path: Path) -> None:
    whole = (recogniser / "config.yaml").read_text()
    for name, text in DOCUMENTS.items():
        (recogniser / "config.yaml").write_text(text)
        refused(lambda: open_encoder("asr", recogniser), "config.yaml")
        if name in TAGS and "class" not in name:  # among settings that are right but for one
            (recogniser / "config.yaml").write_text(f"{whole}\nextra: {TAGS[name]}\n")
            refused(lambda: open_encoder("asr", recogniser), "config.yaml")
        archive = zip_of(tmp_path / "model.zip", {"meta.yaml": text.encode()})
        refused(lambda archive=archive: open_encoder("asr", archive), "meta.yaml")


def test_configs_of_self_supervised_models(tmp_path: Path) -> None:
    folder = tmp_path / "ssl"
    folder.mkdir()
    torch.save({}, folder / "model.pth")
    for text in DOCUMENTS.values():
        (folder / "config.yaml").write_text(text)
        refused(lambda: open_encoder("ssl", folder), str(folder))
    (folder / "config.yaml").unlink()
    (folder / "config.json").write_text(DEEP)
    refused(lambda: open_encoder("ssl", folder), "config.json")


# ---- archives

NAMES = ("../../escaped", "/tmp/escaped", "..\\escaped", "exp/../../escaped")


def test_archives_of_recognisers(experiment: Path, tmp_path: Path) -> None:
    archive = tmp_path / "model.zip"
    for name in NAMES:
        zip_of(archive, {"meta.yaml": b"{}", name: b"evil"})
        refused(lambda: open_encoder("asr", archive), ascii(name)[1:-1].replace("\\\\", "\\"))
    zip_of(archive, {"meta.yaml": b"{}"})
    claiming(archive, "meta.yaml", 2**32 - 2)
    refused(lambda: open_encoder("asr", archive), "model.zip")
    meta = {"files": {"asr_model_file": "m.pth"}, "yaml_files": {"asr_train_config": "config.yaml"}}
    zip_of(archive, {"meta.yaml": yaml.safe_dump(meta).encode(), "m.pth": b""}, link="config.yaml")
    refused(lambda: open_encoder("asr", archive), "config.yaml")
    for twin in ("meta.yaml", "META.yaml"):
        twins_of(archive, {"meta.yaml": b"{}"}, twin)
        refused(lambda: open_encoder("asr", archive), "two members of one name")
    zip_of(archive, {"meta.yaml": b"{}", "m.pth": b""})
    claiming(archive, "m.pth", 2**30)  # which this member could unpack to, were it zeros
    refused(lambda: open_encoder("asr", archive), "of impossible size")
    assert not (tmp_path / "escaped").exists()


SPLIT = "Participant_ID,PHQ8_Binary,PHQ8_Score,Gender,PHQ8_NoInterest\n300,0,3,1,0\n"


def test_archives_of_daic_woz(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "daic"
    root.mkdir()
    for name in ("train", "dev"):
        (root / f"{name}_split_Depression_AVEC2017.csv").write_text(
            SPLIT if name == "train" else SPLIT[:58] + "\n"
        )
    (root / "test_split_Depression_AVEC2017.csv").write_text("participant_ID,Gender\n")
    names = ("300_AUDIO.wav", "300_TRANSCRIPT.csv")
    both = dict.fromkeys(names, b"evil")
    archives = [
        (lambda path: zip_of(path, {f"../{name}": b"evil" for name in names}), "no 300_AUDIO.wav"),
        (lambda path: zip_of(path, {f"/tmp/{name}": b"evil" for name in names}), "no 300_AUDIO.wav"),
        (lambda path: zip_of(path, {names[0]: b"evil"}, link=names[1]), "300_P.zip"),
        (lambda path: claiming(zip_of(path, both), names[1], 2**31), "300_P.zip"),
        (lambda path: claiming(zip_of(path, both), names[0], 2**31), "300_P.zip"),
        (lambda path: zip_of(path, {names[0]: b"RIFF", names[1]: bytes(65 * 2**20)}), "300_P.zip"),
        (lambda path: twins_of(path, both, names[1]), "two members of one name"),
        (lambda path: twins_of(path, both, names[0].lower()), "two members of one name"),
        (lambda path: twins_of(path, both, f"300_P/{names[1]}"), "two members of one name"),
    ]
    before = {path.name for path in root.iterdir()}
    for make, found in archives:
        make(root / "300_P.zip")
        refused_by_command(capsys, found, "prepare", "daic-woz", root, "-o", tmp_path / "m.csv")
        assert not (tmp_path / "m.csv").exists()
    assert {path.name for path in root.iterdir()} == before | {"300_P.zip"}
    assert {path.name for path in tmp_path.iterdir()} == {"here", "daic", "m.faults.json"}


SPECIAL = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
LONG_NAMES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
E_SPLIT = "Participant_ID,Gender,PHQ_Binary,PHQ_Score,PCL-C (PTSD),PTSD Severity\n"
WORDS = b"Start_Time,End_Time,Text,Confidence\n0.5,1.25,hello there,0.91\n"


def test_archives_of_e_daic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, audio = tmp_path / "e-daic", tmp_path / "audio"
    (root / "data").mkdir(parents=True)
    (root / "labels").mkdir()
    for name in ("train", "dev", "test"):
        row = "302,male,0,4,28,0\n" if name == "train" else ""
        (root / f"labels/{name}_split.csv").write_text(E_SPLIT + row)
    archive = root / "data/302_P.tar.gz"
    wav, words = "302_AUDIO.wav", "302_Transcript.csv"
    sound = io.BytesIO()
    soundfile.write(sound, np.ones(1600) / 2, 16_000, format="WAV")
    whole = sound.getvalue()
    made = partial(tar_of, archive)
    for make, found in (
        (partial(made, {f"../../{wav}": b"evil", f"../../{words}": WORDS}), f"no {wav}"),
        (partial(made, {words: WORDS}, links={wav: "/etc/passwd"}), f"{wav} as a link"),
        (partial(made, {wav: whole}, links={words: "/etc/passwd"}), f"{words} as a link"),
        (partial(made, {wav: whole, words: bytes(65 * 2**20)}), "a member of 68157440 bytes"),
        (partial(made, {words: WORDS}, links={wav: words}, kind=tarfile.LNKTYPE), f"{wav} as a link"),
        *((partial(made, {words: WORDS}, links={wav: ""}, kind=kind), "as a link") for kind in SPECIAL),
        *((partial(made, {}, links={"x": ""}, kind=kind, size=2**17), "a name of") for kind in LONG_NAMES),
        (partial(made, {f"{number}.txt": b"" for number in range(10_001)}), "0 bytes in 10001 members"),
        (partial(twins_of, archive, {wav: b"RIFF", words: WORDS}, words.upper()), "two members of one name"),
    ):
        make()
        words_given = ("prepare", "e-daic", root, "-o", tmp_path / "m.csv", "--audio_folder", audio)
        refused_by_command(capsys, found, *words_given)
        assert "302_P.tar.gz" in (tmp_path / "m.faults.json").read_text()
    assert not any(path.read_bytes() != whole for path in audio.rglob("*.wav"))
    assert {path.name for path in tmp_path.iterdir()} <= {"here", "e-daic", "audio", "m.faults.json"}


# ---- tables

FORMULAS = (
    *("=cmd|' /C calc'!A0", "+cmd|x", "@SUM(1)", "-2+cmd|x"),
    *("\uff1dSUM(1)", "\uff0bcmd|x", "a;=cmd", 'a; "@SUM(1)', "\t=1"),
)
FORMULA_COLUMNS = ("id", "speaker", "label", "gender", "room")


def test_formulas_in_a_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16000)
    for column in FORMULA_COLUMNS:
        for formula in FORMULAS[:-1]:
            row = {"id": "u1", "audio": "a.wav", "speaker": "s1", "label": "happy", column: formula}
            table = ",".join(row) + "\n" + ",".join(f'"{value}"' for value in row.values()) + "\n"
            (tmp_path / "corpus.csv").write_text(table)
            words = ("prepare", "csv", tmp_path, "-o", tmp_path / "m.csv", "--table", "corpus.csv")
            words += ("--extra", "room") if column == "room" else ()
            refused_by_command(capsys, "formula", *words)


# ---- the table of the documentation

COUNTS = {
    "published PyResNet files (`import-checkpoint`)": len(PICKLES),
    "checkpoints (`load_model`, `evaluate`, `transfer`)": len(PICKLES),
    "ImageNet weights": len(PICKLES),
    "resume points": len(PICKLES),
    "wav2vec 2.0 and HuBERT weights": len(PICKLES),
    "ESPnet model files, in a folder and in an archive": 2 * len(PICKLES),
    "ESPnet statistics (`feats_stats.npz`)": 2,
    "embeddings, studies (file, URL)": 4,
    "safetensors headers and metadata": 3 * len(HEADERS) + len(FORMATS),
    "configs of `pretrain`, `transfer`, `tune`, `prepare`, front ends": (len(COMMANDS) + 1) * len(DOCUMENTS),
    "settings on the command line": 5 * (len(TAGS) + 1),
    "configs of run folders": 4,
    "configs and `meta.yaml` of ESPnet": 2 * len(DOCUMENTS) + sum("class" not in name for name in TAGS),
    "configs of self-supervised models": len(DOCUMENTS) + 1,
    "archives (ESPnet, DAIC-WOZ, E-DAIC): `..`, absolute paths, links, devices, names twice, bombs": (
        len(NAMES) + 5 + 9 + 7 + len(SPECIAL) + len(LONG_NAMES)
    ),
    "formulas in ids, speakers, labels, genders and further columns": 5 * (len(FORMULAS) - 1),
}


def test_the_documentation_counts_these() -> None:
    rows = dict(re.findall(r"^\| (.+?) \| (\d+) \| 0 \|$", DOCS.read_text(), flags=re.MULTILINE))
    expected = {name: str(count) for name, count in COUNTS.items()}
    assert rows == {**expected, "all": str(sum(COUNTS.values()))}
