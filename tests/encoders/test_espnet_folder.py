from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.espnet_fakes import make_config, make_experiment, pack

from sertransfer.encoders.espnet import folder
from sertransfer.encoders.espnet.folder import TASKS, choose_model, read_experiment
from sertransfer.encoders.registry import ENCODERS, open_encoder
from sertransfer.errors import BadInput
from sertransfer.models.checkpoint import load_model
from sertransfer.models.published import import_published

MODEL = "valid.acc.ave_10best.pth"
CRITERIA = {"best_model_criterion": [["valid", "loss", "min"], ["valid", "acc", "max"]]}
PREFERRED = [
    "valid.loss.ave_10best.pth",
    "valid.loss.ave_5best.pth",
    "valid.acc.ave_20best.pth",
    "valid.cer.ave_30best.pth",
    "train.loss.ave_40best.pth",
    "valid.loss.ave.pth",
    "valid.acc.ave.pth",
    "valid.acc.ave_5best.till45epoch.pth",
    "valid.loss.ave_20best.till40epoch.pth",
    "valid.acc.ave.till40epoch.pth",
    "valid.loss.best.pth",
    "train.acc.best.pth",
    "latest.pth",
    "12epoch.pth",
    "3epoch.pth",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make_experiment(root, make_config("transformer"))
    return root


@pytest.fixture
def root(tmp_path: Path, made: Path) -> Path:
    return shutil.copytree(made, tmp_path / "recipe")


@given(st.sets(st.sampled_from(PREFERRED), min_size=1))
def test_the_model_file_is_chosen_by_rule(there: set[str]) -> None:
    others = ["checkpoint.pth", "config.yaml", "valid.acc.ave_10best.pth.old", "train.log"]
    assert choose_model([*others, *there], CRITERIA) == min(there, key=PREFERRED.index)
    assert choose_model([*others], CRITERIA) is None


@pytest.mark.parametrize("criterion", [None, 3, [3], [["valid"]], []])
def test_a_config_need_not_name_criteria(criterion: object) -> None:
    names = ["train.acc.ave_9best.pth", "valid.loss.ave_3best.pth"]
    assert choose_model(names, {"best_model_criterion": criterion}) == "valid.loss.ave_3best.pth"


def test_all_ways_to_the_same_model(root: Path, tmp_path: Path) -> None:
    folder = root / "exp/asr_train"
    torch.save({"encoder.x": torch.ones(1)}, folder / "valid.loss.best.pth")
    archive = pack(root, tmp_path / "model.zip")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "unpacked")
    alone = shutil.copytree(folder, tmp_path / "alone")  # the statistics beside the config, by their name
    shutil.copy(root / "exp/asr_stats/train/feats_stats.npz", alone)
    places = [folder, folder / MODEL, archive, tmp_path / "unpacked", alone]
    assert len({open_encoder("asr", place).fingerprint() for place in places}) == 1
    assert not read_experiment(folder / "valid.loss.best.pth").weights.keys() - {"encoder.x"}


def test_an_absolute_path_of_another_machine(root: Path) -> None:
    config = root / "exp/asr_train/config.yaml"
    content = yaml.safe_load(config.read_text())
    content["normalize_conf"]["stats_file"] = "/elsewhere/feats_stats.npz"
    config.write_text(yaml.safe_dump(content))
    with pytest.raises(BadInput, match=r"no /elsewhere/feats_stats\.npz"):
        read_experiment(config.parent)
    assert read_experiment(pack(root, root / "model.zip")).statistics  # there is only one of that name


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../../../etc/passwd", "secret.txt", "config.yaml"])
def test_a_config_names_no_file_but_statistics(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config of somebody else may name any file of this machine; none but statistics is opened."""
    (root / "exp/secret.txt").write_text("secret")
    config = root / "exp/asr_train/config.yaml"
    content = yaml.safe_load(config.read_text())
    content["normalize_conf"]["stats_file"] = name
    content |= {"bpemodel": "/etc/passwd", "token_list": "/etc/passwd", "init_param": ["/etc/passwd"]}
    config.write_text(yaml.safe_dump(content))
    opened: list[str] = []

    def open_regular(path: Path) -> Path:
        opened.append(path.name)
        return path

    monkeypatch.setattr(folder, "regular_file", open_regular)
    for place in (config.parent, pack(root, root / "model.zip")):
        with pytest.raises(BadInput, match=f"found no {name}; expected the statistics"):
            open_encoder("asr", place)
    assert set(opened) == {"config.yaml", "model.zip"}


def test_every_part_that_is_missing_is_named(root: Path) -> None:
    folder = root / "exp/asr_train"
    (folder / MODEL).unlink()
    (root / "exp/asr_stats/train/feats_stats.npz").unlink()
    with pytest.raises(BadInput) as error:
        read_experiment(folder)
    found = [fault.found for fault in error.value.faults]
    assert found == ["no model file", "no exp/asr_stats/train/feats_stats.npz"]
    (folder / "config.yaml").unlink()
    with pytest.raises(BadInput) as error:
        read_experiment(folder)
    assert [fault.found for fault in error.value.faults] == ["no config.yaml", "no model file"]


def test_what_is_no_experiment(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing there"):
        read_experiment(tmp_path / "absent")
    with pytest.raises(BadInput, match="nothing there"):
        read_experiment(root / "exp/asr_train/valid.acc.best.pth")
    (tmp_path / "model.zip").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(BadInput, match="no whole ZIP"):
        read_experiment(tmp_path / "model.zip")
    (tmp_path / "model").mkdir()
    with pytest.raises(BadInput, match=r"no config\.yaml"):
        read_experiment(tmp_path / "model")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.system ['touch ran']", "no YAML of plain values"),
        ("a: [1", "no YAML of plain values"),
        ("- 1", "found a list"),
        ("\xff", "found a str|no YAML"),
    ],
)
def test_a_config_that_is_none(root: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    (root / "exp/asr_train/config.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(BadInput, match=message):
        read_experiment(root / "exp/asr_train")
    assert not (root / "ran").exists()


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


def test_a_pickle_that_is_not_weights(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    path = root / "exp/asr_train" / MODEL
    torch.save({"encoder.x": Bomb()}, path)
    with pytest.raises(BadInput, match=r"not weights .*mkdir"):
        read_experiment(path.parent)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(BadInput, match="not weights"):
        read_experiment(path.parent)
    assert not (root / "ran").exists()
    whole = pack(root, root / "model.zip")
    with pytest.raises(BadInput, match="not weights"):
        read_experiment(whole)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"a": torch.ones(1)}, "optimizers": []}, "a dict of model, optimizers"),
        ([torch.ones(1)], "found a list"),
        ({}, "found a dict"),
        (None, "cannot be read|not weights"),
    ],
)
def test_files_of_other_things_than_weights(root: Path, content: object, message: str) -> None:
    path = root / "exp/asr_train" / MODEL
    if content is None:
        path.write_bytes(path.read_bytes()[:2000])
    else:
        torch.save(content, path)
    with pytest.raises(BadInput, match=message):
        read_experiment(path.parent)


@pytest.mark.parametrize("name", ["../out.txt", "exp/../../out.txt", "/out.txt", "..\\out.txt"])
def test_names_that_lead_out_of_an_archive(root: Path, name: str) -> None:
    archive = pack(root, root / "model.zip")
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr(name, "x")
    with pytest.raises(BadInput, match="names below the archive's top"):
        read_experiment(archive)


def test_archives_that_are_not_a_models(root: Path) -> None:
    with zipfile.ZipFile(root / "empty.zip", "w") as packed:
        packed.writestr("readme.txt", "x")
    with pytest.raises(BadInput, match=r"no meta\.yaml"):
        read_experiment(root / "empty.zip")
    with pytest.raises(BadInput, match="no asr_model_file"):
        read_experiment(pack(root, root / "tts.zip", files={"tts_model_file": "a.pth"}))
    with pytest.raises(BadInput) as error:
        read_experiment(pack(root, root / "gone.zip", files={"asr_model_file": "a.pth"}, yaml_files=3))
    assert [fault.found for fault in error.value.faults] == [
        "no asr_train_config",
        "asr_model_file 'a.pth', which is not there",
    ]


def test_archives_that_are_damaged(root: Path) -> None:
    archive = pack(root, root / "model.zip")
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as packed:
        at = packed.getinfo("exp/asr_train/config.yaml").header_offset
    content[at + 200] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(BadInput, match="cannot be unpacked"):
        read_experiment(archive)
    archive = pack(root, root / "model.zip")
    content = bytearray(archive.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 8] |= 1  # says that it is encrypted
    archive.write_bytes(content)
    with pytest.raises(BadInput, match="encrypted"):
        read_experiment(archive)


def test_a_compressed_member_that_is_damaged(root: Path) -> None:
    archive = root / "model.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("meta.yaml", "files: {}\n" * 100)
    content = bytearray(archive.read_bytes())
    content[39:45] = b"\xff" * 6
    archive.write_bytes(content)
    with pytest.raises(BadInput, match="cannot be unpacked"):
        read_experiment(archive)
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("meta.yaml", "files: {}")
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02")] = 0
    archive.write_bytes(content)
    with pytest.raises(BadInput, match="cannot be unpacked"):
        read_experiment(archive)


@pytest.mark.parametrize("task", TASKS)
def test_archives_of_other_tasks_with_the_same_encoders(root: Path, task: str) -> None:
    model, config = "exp/asr_train/valid.acc.ave_10best.pth", "exp/asr_train/config.yaml"
    archive = pack(
        root,
        root / "model.zip",
        files={f"{task}_model_file": model},
        yaml_files={f"{task}_train_config": config},
    )
    same = open_encoder("asr", root / "exp/asr_train").fingerprint()
    assert open_encoder("asr", archive).fingerprint() == same
    with pytest.raises(BadInput, match=f"no {task}_train_config"):
        read_experiment(pack(root, root / "half.zip", files={f"{task}_model_file": model}, yaml_files={}))


def test_an_archive_with_backslashes_in_its_names(root: Path) -> None:
    names = [MODEL, "config.yaml"]
    files = {"asr_model_file": f"exp\\asr_train\\{MODEL}"}
    meta = {"files": files, "yaml_files": {"asr_train_config": "exp/asr_train/config.yaml"}}
    with zipfile.ZipFile(root / "model.zip", "w") as packed:
        packed.writestr("meta.yaml", yaml.safe_dump(meta))
        for name in [*(f"exp/asr_train/{name}" for name in names), "exp/asr_stats/train/feats_stats.npz"]:
            member = zipfile.ZipInfo("x")
            member.filename = name.replace("/", "\\")  # the constructor would mend it
            packed.writestr(member, (root / name).read_bytes())
    same = open_encoder("asr", root / "exp/asr_train").fingerprint()
    assert open_encoder("asr", root / "model.zip").fingerprint() == same


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_what_wrappers_put_before_names_is_taken_off(root: Path, prefix: str) -> None:
    path = root / "exp/asr_train" / MODEL
    expected = open_encoder("asr", path.parent).fingerprint()
    state = torch.load(path, weights_only=True)
    torch.save({f"{prefix}{name}": value for name, value in state.items()}, path)
    assert open_encoder("asr", path.parent).fingerprint() == expected


def test_a_checkpoint_of_lightning_is_called_one(root: Path, tmp_path: Path) -> None:
    path = root / "exp/asr_train" / "last.ckpt"
    torch.save(
        {"state_dict": {"a": torch.ones(1)}, "pytorch-lightning_version": "2.6", "global_step": 3}, path
    )
    for name in ENCODERS:
        with pytest.raises(BadInput, match="a Lightning checkpoint"):
            open_encoder(name, path)
    with pytest.raises(BadInput, match="a Lightning checkpoint"):
        load_model(path)
    with pytest.raises(BadInput, match=r"a Lightning checkpoint.*\['state_dict'\]"):
        import_published(path, tmp_path / "out.safetensors", front_end=None)
    assert not (tmp_path / "out.safetensors").exists()


def test_a_changed_byte_of_the_weights_in_an_archive_is_found(root: Path) -> None:
    archive = pack(root, root / "model.zip")
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as packed:
        member = packed.getinfo(f"exp/asr_train/{MODEL}")
    content[member.header_offset + member.file_size // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(BadInput, match=r"can ?not be unpacked"):
        read_experiment(archive)


def test_a_changed_byte_of_weights_that_were_unpacked_is_found(root: Path) -> None:
    path = root / "exp/asr_train" / MODEL  # torch.save writes an archive with checksums of its own
    with zipfile.ZipFile(path) as inner:
        largest = max(inner.infolist(), key=lambda member: member.file_size)
    content = bytearray(path.read_bytes())
    content[largest.header_offset + 30 + len(largest.filename) + 100 + largest.file_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"can ?not be read \(ValueError\)"):
        read_experiment(path.parent)


def test_other_folders_are_called_what_they_are(root: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/a.wav").write_bytes(b"")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.json").write_text('{"subject": {}, "mode": "probe"}')
    for name, words in (("corpus", "a folder of recordings"), ("run", "a run folder of stage 2")):
        for encoder in ENCODERS:
            with pytest.raises(BadInput, match=words) as error:
                open_encoder(encoder, tmp_path / name)
            assert len(error.value.faults) == 1
    for encoder in ("ser", "ssl"):
        with pytest.raises(BadInput, match=r"ESPnet experiment|a config") as error:
            open_encoder(encoder, root / "exp/asr_train")
        assert len(error.value.faults) == 1
