"""What holds for every registered corpus."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from support.corpus_trees import lssed_rows, write_emodb, write_lssed, write_table, write_wav
from support.daic_tree import Tree
from support.pipes import Pipes
from support.speech_trees import (
    faults_of,
    load,
    write_afew,
    write_aibo,
    write_crema_d,
    write_e_daic,
    write_enterface,
    write_ffmpeg,
    write_iemocap,
    write_meld,
    write_ravdess,
    write_rml,
)

from sertransfer.config import config_dict, describe_settings, load_config
from sertransfer.corpora.prepare import prepare, summary
from sertransfer.corpora.registry import CORPORA
from sertransfer.corpora.splits import shared_speakers
from sertransfer.errors import BadInput
from sertransfer.manifest import COLUMNS, read_manifest

VIDEO = ("meld", "enterface", "rml", "afew")


def daic(root: Path) -> Path:
    root.mkdir()
    tree = Tree(root)
    for number in (300, 301, 302):
        tree.session(number)
    tree.splits(train=[300], dev=[301], test=[302])
    return root


def table(root: Path) -> Path:
    write_wav(root / "a.wav")
    row = {"audio": "a.wav", "label": "happy", "speaker": "s", "split": "train", "start": "", "end": ""}
    write_table(root / "table.csv", [row])
    return root


def emodb(root: Path) -> Path:
    return write_emodb(root, [f"{speaker}a01Fa" for speaker in ("03", "08", "09")])


WRITERS: dict[str, Callable[[Path], Path]] = {
    "lssed": lambda root: write_lssed(root, lssed_rows(["anger", "sadness"] * 5)),
    "daic-woz": daic,
    "emodb": emodb,
    "csv": table,
    "iemocap": write_iemocap,
    "meld": write_meld,
    "enterface": write_enterface,
    "rml": write_rml,
    "afew": write_afew,
    "aibo": write_aibo,
    "ravdess": write_ravdess,
    "crema-d": write_crema_d,
    "e-daic": write_e_daic,
}
NAMES = tuple(WRITERS)
SPEECH = tuple(name for name in NAMES if name not in ("lssed", "daic-woz", "csv", "e-daic"))
WITH_SPLIT = tuple(name for name in NAMES if name not in ("daic-woz", "e-daic"))
LAYOUT = {
    "lssed": "metadata_english_all.csv",
    "daic-woz": "<id>_P",
    "emodb": "03a01Wa.wav",
    "csv": "CSV",
    "iemocap": "dialog/EmoEvaluation/",
    "meld": "train_sent_emo.csv",
    "enterface": "subject 1/",
    "rml": "an1.avi",
    "afew": "Train_AFEW/",
    "aibo": "chunk_labels_5cl_corpus.txt",
    "ravdess": "Actor_01/",
    "crema-d": "AudioWAV/",
    "e-daic": "labels/train_split.csv",
}
"""What the message about a wrong root names."""

LOW = {
    "lssed": "wav_all",
    "daic-woz": "300_P",
    "emodb": "wav",
    "iemocap": "Session1",
    "meld": "train_splits",
    "enterface": "subject 1",
    "rml": "s1",
    "afew": "Train_AFEW",
    "aibo": "wav",
    "ravdess": "Actor_01",
    "crema-d": "AudioWAV",
    "e-daic": "data",
}
"""A folder one level below each root; a CSV knows no level."""


@pytest.fixture(autouse=True)
def ffmpeg(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_ffmpeg(tmp_path_factory.mktemp("program") / "bin")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def options_for(name: str, tmp_path: Path) -> dict[str, object]:
    return {"audio_folder": str(tmp_path / "audio")} if name in VIDEO else {}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_corpus_is_registered() -> None:
    assert set(CORPORA) == set(NAMES) == set(WRITERS) == set(LAYOUT)


@pytest.mark.parametrize("name", NAMES)
def test_options_are_a_frozen_dataclass_of_plain_values(name: str) -> None:
    corpus = CORPORA[name]
    assert corpus.name == name
    assert corpus.summary.strip() == corpus.summary != ""
    assert "\n" not in corpus.summary
    kind = corpus.options
    assert dataclasses.is_dataclass(kind)
    defaults = kind()
    first = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(defaults, first, None)
    values = dataclasses.asdict(defaults)
    assert json.loads(json.dumps(values)) == config_dict(defaults)
    assert all(isinstance(value, str | int | float | bool | tuple) for value in values.values())
    assert load_config(kind) == defaults
    text = describe_settings(kind)
    assert all(f"--{field.name} " in text for field in dataclasses.fields(kind))
    assert text.startswith(("Options of", "How "))


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_root_is_named(name: str, tmp_path: Path) -> None:
    (fault,) = faults_of(name, tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in fault
    assert LAYOUT[name] in fault


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_root_names_the_layout(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    (fault,) = faults_of(name, tmp_path)
    assert LAYOUT[name] in fault


@pytest.mark.parametrize("name", [name for name in NAMES if name != "csv"])
def test_a_file_as_the_root_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    (fault,) = faults_of(name, tmp_path / "holiday.jpg")
    assert "found a file" in fault


@pytest.mark.parametrize("name", LOW)
def test_a_root_at_the_wrong_level_says_where_the_right_one_is(name: str, tmp_path: Path) -> None:
    (tmp_path / "above").mkdir()
    root = WRITERS[name](tmp_path / "above" / "corpus")
    (high,) = faults_of(name, tmp_path / "above")
    assert "one level too high" in high
    assert str(root) in high
    (low,) = faults_of(name, root / LOW[name])
    assert "one level too low" in low
    assert str(root) in low


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_tree_gives_a_manifest_and_stays_as_it_was(name: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path / "corpus")
    before = snapshot(root)
    options = CORPORA[name].options(**options_for(name, tmp_path))
    prepare(name, root, options, tmp_path / "manifest.csv")
    manifest = read_manifest(tmp_path / "manifest.csv")
    table = manifest.table
    assert list(table.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert set(table["corpus"]) == {name}
    assert table["id"].is_unique
    assert all(manifest.source(audio).path.is_file() for audio in table["audio"])
    assert snapshot(root) == before
    assert manifest.notes["split"]["rule"] if "split" in manifest.notes else name in ("daic-woz", "e-daic")
    again = load(name, root, **options_for(name, tmp_path)).table
    assert again["id"].tolist() == table["id"].tolist()
    assert again["split"].tolist() == table["split"].tolist()


@pytest.mark.parametrize("name", ["enterface", "rml", "ravdess", "crema-d", "iemocap", "emodb"])
def test_the_default_split_is_disjoint_in_speakers(name: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path / "corpus")
    drawn = set()
    for seed in range(5):
        table = load(name, root, seed=seed, **options_for(name, tmp_path)).table
        assert shared_speakers(table) == {}
        assert set(table["split"]) == {"train", "test"}
        drawn.add(tuple(table.loc[table["split"] == "test", "speaker"].unique()))
    assert len(drawn) > 1


@pytest.mark.parametrize("name", SPEECH)
def test_four_classes_are_a_part_of_all(name: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path / "corpus")
    four = load(name, root, **options_for(name, tmp_path))
    every = load(name, root, task="all", **options_for(name, tmp_path))
    assert set(four.table["label"]) <= {"angry", "neutral", "happy", "sad"}
    assert set(four.table["id"]) <= set(every.table["id"])
    assert len(every) == len(four) + sum("four-class task" in e["reason"] for e in four.notes["left_out"])


@pytest.mark.parametrize("name", [name for name in SPEECH if name != "emodb"])
def test_the_split_does_not_depend_on_the_task(name: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path / "corpus")
    four, eleven = (
        load(name, root, task=task, **options_for(name, tmp_path)).table.set_index("id")["split"]
        for task in ("four", "eleven")
    )
    assert four.equals(eleven[four.index])


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_choice_is_refused_with_the_nearest(name: str, tmp_path: Path) -> None:
    corpus = CORPORA[name]
    hints = get_type_hints(corpus.options)
    last = {key: get_args(hint)[-1] for key, hint in hints.items() if get_origin(hint) is Literal}
    texts = {key: value for key, value in last.items() if isinstance(value, str)}
    assert texts
    options = corpus.options(**{key: value[:-1] for key, value in texts.items()})
    with pytest.raises(BadInput) as caught:
        prepare(name, tmp_path, options, tmp_path / "m.csv")
    assert {fault.found.partition(" = ")[0] for fault in caught.value.faults} == set(texts)
    for fault in caught.value.faults:
        assert f"did you mean '{texts[fault.found.partition(' = ')[0]]}'" in fault.remedy


def folders_of(root: Path) -> list[Path]:
    return [root, *sorted(path for path in root.rglob("*") if path.is_dir())]


@pytest.mark.parametrize("name", NAMES)
def test_hidden_files_of_macos_are_passed_over(name: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path / "corpus")
    before = load(name, root, **options_for(name, tmp_path)).table
    for path in [path for path in root.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X        ")
    for folder in folders_of(root):
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert load(name, root, **options_for(name, tmp_path)).table.equals(before)


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_not_utf8_are_named_or_passed_over(name: str, tmp_path: Path) -> None:
    """Beside every file stands a copy under a name in Latin-1."""
    root = WRITERS[name](tmp_path / "corpus")
    options = CORPORA[name].options(**options_for(name, tmp_path))
    whole = prepare(name, root, options, tmp_path / "whole.csv")
    for path in [path for path in sorted(root.rglob("*")) if path.is_file()]:
        if name == "csv" and path.suffix == ".csv":
            continue  # two tables are two, whatever their names
        copy = os.fsencode(path.parent) + b"/\xe9" + os.fsencode(path.name)
        Path(os.fsdecode(copy)).write_bytes(path.read_bytes())
    odd = os.fsdecode(b"\xe9")
    try:
        manifest = prepare(name, root, options, tmp_path / "m.csv")
        found = []
    except BadInput as refusal:
        found = [str(fault) for fault in refusal.faults]
        manifest = prepare(name, root, options, tmp_path / "m.csv", skip_bad=True)
    assert all("\\udce9" in fault and fault.isprintable() for fault in found)
    assert summary(manifest).replace("\n", "").isprintable()
    assert not any(odd in value for value in manifest.table["audio"])
    assert set(manifest.table["id"]) == set(whole.table["id"])
    assert json.loads((tmp_path / "m.json").read_text())


@pytest.mark.parametrize("name", ["rml", "afew"])
def test_folders_whose_names_are_not_utf8_are_named(name: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path / "corpus")
    folder = next(path for path in sorted(root.rglob("*")) if path.is_dir() and any(path.glob("*.avi")))
    other = os.fsdecode(os.fsencode(folder) + b"\xe9")
    folder.rename(other)
    faults = faults_of(name, root, **options_for(name, tmp_path))
    assert faults
    assert all("\\udce9" in fault and fault.isprintable() for fault in faults)


def kinds_of(root: Path) -> list[Path]:
    """Return one file of each kind below *root*: by folder, ending and, of tables and texts, name."""
    kinds: dict[object, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            name = path.name if path.suffix in (".csv", ".txt", ".tsv") else path.suffix
            kinds.setdefault((path.parent.name if path.suffix != ".wav" else "", name), path)
    return list(kinds.values())


@pytest.mark.parametrize("corpus", WRITERS)
def test_no_file_of_a_corpus_is_waited_for(corpus: str, tmp_path: Path, pipes: Pipes) -> None:
    root = WRITERS[corpus](tmp_path / "corpus")
    for path in kinds_of(root):

        def use() -> None:
            with contextlib.suppress(BadInput):  # what the corpus does not need may be anything
                prepare(corpus, root, None, tmp_path / "out" / "m.csv")

        assert not pipes.replace(path, use), path
