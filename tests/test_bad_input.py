"""What bad input gets, through the command line: each kind of it, what the user is told, and what is skipped.

Every case gives a small tree something wrong, runs one command, and looks for the place (file and row), what
was found, what was expected and what to do, on standard error, with exit status 2 and no traceback.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from support.corpus_trees import lssed_rows, write_emodb, write_lssed, write_table
from support.daic_tree import ANSWER, DEV, ELLIE, LABELLED, PLAIN, TEST, TRAIN, Tree

from sertransfer.cli.main import main
from sertransfer.errors import SHOWN
from sertransfer.front_end import FrontEnd
from sertransfer.models.checkpoint import Checkpoint, write_checkpoint
from sertransfer.models.registry import build_model

CLASSES = ("angry", "neutral", "happy", "sad")
SMALL = {"width": 0.0625}


@pytest.fixture
def run(capsys):
    def run(*words: object) -> tuple[int, str]:
        try:
            status = main([str(word) for word in words])
        except SystemExit as stopped:  # argparse
            status = int(stopped.code or 0)
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return status, error

    return run


def check(result: tuple[int, str], *expected: str, count: int | None = None) -> None:
    """Look for *expected* on standard error; faults, *count* of them, have all their four parts."""
    status, error = result
    assert status == 2, error
    assert error.startswith("sertransfer: error: ")
    assert error.count("sertransfer: error") == 1
    lines = error.splitlines()
    if lines[-1].startswith("  --skip-bad leaves "):
        lines.pop()
    if lines[-1].startswith("  also in "):
        assert lines.pop().endswith("faults.json")
    faults = lines[1:] if lines[0].endswith("faults in the input") else lines
    for line in faults:
        where, found, rest = line.partition(": found ")
        assert where.strip(), line
        assert found, line
        assert rest.count("; ") >= 2, line
        assert "; expected " in line, line
    assert len(set(faults)) == len(faults), "each fault is said once"
    if count is not None:
        assert len(faults) == count, error
    for text in expected:
        assert text in error, f"{text!r} is not in {error}"


def notes(manifest: Path) -> dict:
    return json.loads(manifest.with_suffix(".json").read_text())


# --- the corpus root ------------------------------------------------------------------------------------


def lssed(root: Path, rows: list[dict[str, object]] | None = None) -> Path:
    return write_lssed(root, rows or lssed_rows(CLASSES * 5))


def daic(root: Path) -> Tree:
    root.mkdir(parents=True)
    tree = Tree(root)
    tree.session(300)
    tree.session(301)
    tree.splits(train=[300], dev=[301])
    return tree


def emodb(root: Path) -> Path:
    return write_emodb(root, ["03a01Wa", "03a01Na", "08a01Fa", "08a01Ta", "09a01Wb", "10a01Nb"])


ROOTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "lssed": (lssed, "wav_all"),
    "daic-woz": (daic, "300_P"),
    "emodb": (emodb, "wav"),
}


@pytest.mark.parametrize("corpus", ROOTS)
def test_a_root_that_is_missing_or_a_level_off(run, tmp_path, corpus):
    make, inside = ROOTS[corpus]
    root = tmp_path / "above" / "corpus"
    make(root)
    for given, found, remedy in (
        (tmp_path / "none", "no such folder", "corpus root"),
        (root.parent, "one level too high", f"{root}"),
        (root / inside, "one level too low", f"{root}"),
    ):
        result = run("prepare", corpus, given, "-o", tmp_path / "m.csv")
        check(result, f"{given}: found", found, count=1)
        assert remedy in result[1].rpartition("; ")[2]
    assert not (tmp_path / "m.csv").exists()


# --- audio ----------------------------------------------------------------------------------------------


def with_nan(path: Path, rate: int = 16_000, samples: int = 800) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, samples)
    sound[samples // 4] = np.nan
    soundfile.write(path, sound, rate, subtype="FLOAT")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


AUDIO: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "found no"),
    "empty": (lambda path: path.write_bytes(b""), "an empty file"),
    "truncated": (cut, "bytes of sound that the header names"),
    "no audio": (lambda path: path.write_text("<html>" * 50), "no audio that can be read"),
    "zero length": (lambda path: soundfile.write(path, np.zeros(0), 16_000), "length zero"),
}


def test_damaged_recordings_of_a_table(run, tmp_path):
    root = lssed(tmp_path / "lssed")
    for number, (damage, _) in enumerate(AUDIO.values()):
        damage(root / "wav_all" / f"utt{number:03d}.wav")
    soundfile.write(root / "wav_all" / "utt009.wav", np.zeros(4410), 44_100)  # another rate is resampled
    expected = [text for _, text in AUDIO.values()]
    places = [f"utt{number:03d}.wav ({root}/metadata" for number in range(len(AUDIO))]
    rows = [f"row {number + 2})" for number in range(len(AUDIO))]
    words = ("prepare", "lssed", root, "-o", tmp_path / "m.csv")
    check(run(*words), *expected, *places, *rows, count=len(AUDIO))
    assert len(json.loads((tmp_path / "m.faults.json").read_text())) == len(AUDIO)
    assert run(*words, "--skip-bad")[0] == 0
    left_out = [entry["reason"] for entry in notes(tmp_path / "m.csv")["left_out"]]
    assert all(any(text in reason for reason in left_out) for text in expected)
    assert len(left_out) == len(notes(tmp_path / "m.csv")["skipped"]) == len(AUDIO)


def test_damaged_recordings_of_sessions(run, tmp_path):
    tree = daic(tmp_path / "daic")
    numbers = range(310, 310 + len(AUDIO))
    for number, (damage, _) in zip(numbers, AUDIO.values(), strict=True):
        tree.session(number)
        damage(tree.root / f"{number}_P" / f"{number}_AUDIO.wav")
    tree.session(320, rate=44_100)  # another rate is resampled
    tree.session(321)
    archive = tree.zip(321)
    archive.write_bytes(archive.read_bytes()[:100])
    tree.splits(train=[300, *numbers, 320, 321], dev=[301])
    expected = [*(text for _, text in AUDIO.values()), "321_P.zip"]
    words = ("prepare", "daic-woz", tree.root, "-o", tmp_path / "m.csv")
    check(run(*words), *expected, count=len(AUDIO) + 1)
    assert run(*words, "--skip-bad")[0] == 0
    items = [f"{entry['item']} {entry['reason']}" for entry in notes(tmp_path / "m.csv")["left_out"]]
    assert all(any(text in item for item in items) for text in expected)
    assert notes(tmp_path / "m.csv")["resampled"] == {"320_P": 44_100}


# --- transcripts, split files, labels -------------------------------------------------------------------


def test_bad_transcripts(run, tmp_path):
    tree = daic(tmp_path / "daic")
    tree.session(302, b"start_time,stop_time,speaker,value\n1,2,Participant,hi\n")
    tree.session(303, b"")
    rows = [
        (3, 2, "Participant", "a"),
        (9, 30, "Participant", "b"),
        (4, 5, "Elly", "c"),
        ("x", 5, "Ellie", "d"),
    ]
    tree.session(304, [ELLIE, *rows, ANSWER])
    tree.splits(train=[300, 302, 303, 304], dev=[301])
    expected = (
        "302_TRANSCRIPT.csv, row 1: found the comma as the delimiter; expected a TAB-separated",
        "303_TRANSCRIPT.csv: found an empty file",
        "304_TRANSCRIPT.csv, row 3: found start '3', stop '2'; expected a stop that is not before the start",
        "304_TRANSCRIPT.csv, row 4: found start '9', stop '30'; expected times inside the audio",
        "304_TRANSCRIPT.csv, row 5: found speaker 'Elly'; expected Ellie or Participant",
        "304_TRANSCRIPT.csv, row 6: found start 'x', stop '5'; expected two times in seconds",
    )
    words = ("prepare", "daic-woz", tree.root, "-o", tmp_path / "m.csv")
    check(run(*words), *expected, count=len(expected))
    assert run(*words, "--skip-bad")[0] == 0
    items = [entry["item"] for entry in notes(tmp_path / "m.csv")["left_out"]]
    assert all(any(text.partition(": found")[0] in item for item in items) for text in expected)
    assert "daic304-0007" in (tmp_path / "m.csv").read_text(), "the sound rows of the session stay"


def test_bad_split_files(run, tmp_path):
    tree = daic(tmp_path / "daic")
    lines = ["300,0,3,1,0", "300,0,3,1,0", "399,0,3,1,0", "abc,0,3,1,0", "302,2,3,1,0", "303,0,25,1,0"]
    tree.split(TRAIN, LABELLED, *lines)
    expected = (
        f"{TRAIN}, row 3: found session 300 again (first in",
        f"{TRAIN}, row 4: found session 399, of which there is no folder or archive",
        f"{TRAIN}, row 5: found Participant_ID 'abc'",
        f"{TRAIN}, row 6: found PHQ-8 binary '2'",
        f"{TRAIN}, row 7: found PHQ-8 binary '0' and score '25' of session 303",
    )
    words = ("prepare", "daic-woz", tree.root, "-o", tmp_path / "m.csv")
    check(run(*words), *expected, count=len(expected))
    assert run(*words, "--skip-bad")[0] == 0
    assert len(notes(tmp_path / "m.csv")["skipped"]) == len(expected)
    tree.split(TRAIN, LABELLED.replace(",", ";"), "300;0;3;1;0")
    check(run(*words), f"{TRAIN}, row 1: found a header separated by semicolons", count=1)


def test_a_session_in_two_split_files_is_never_skipped(run, tmp_path):
    tree = daic(tmp_path / "daic")
    tree.split(DEV, LABELLED, "300,0,3,1,0", "301,0,3,1,0")
    tree.split(TEST, PLAIN)
    words = ("prepare", "daic-woz", tree.root, "-o", tmp_path / "m.csv", "--skip-bad")
    check(run(*words), f"{DEV}, row 2: found session 300 again (first in", f"{TRAIN}, row 2)", count=1)


def test_bad_rows_of_a_table(run, tmp_path):
    rows = lssed_rows(CLASSES * 5)
    rows[0]["faces"], rows[1]["name"], rows[3]["speaker"] = "angyr", rows[2]["name"], ""
    root = lssed(tmp_path / "lssed", rows)
    expected = (
        "row 2: found label 'angyr'; expected an emotion of LSSED, in one of its spellings; did you mean",
        "row 4: found id 'utt002' again (first in row 3); expected each id once",
        "row 5: found no speaker",
    )
    words = ("prepare", "lssed", root, "-o", tmp_path / "m.csv")
    check(run(*words), *expected, count=3)
    assert run(*words, "--skip-bad")[0] == 0
    assert len(notes(tmp_path / "m.csv")["left_out"]) == 3
    write_table(root / "metadata_english_all.csv", rows, delimiter=";")
    check(run(*words), "expected a column 'name'", "expected a column 'faces'")


def test_bad_names_of_files(run, tmp_path):
    root = emodb(tmp_path / "emodb")
    for name in ("03a01Xx", "99a01Wa", "notes"):
        (root / "wav" / f"{name}.wav").write_bytes(b"1")
    words = ("prepare", "emodb", root, "-o", tmp_path / "m.csv")
    check(run(*words), "found label 'X'", "found speaker '99'", "found the name 'notes.wav'", count=3)
    assert run(*words, "--skip-bad")[0] == 0
    assert len(notes(tmp_path / "m.csv")["left_out"]) >= 3


def test_thousands_of_faults_are_cut_with_a_file_of_all(run, tmp_path):
    rows = lssed_rows(["angyr"] * 5000)
    root = write_lssed(tmp_path / "lssed", rows, audio=False)
    status, error = run("prepare", "lssed", root, "-o", tmp_path / "m.csv")
    assert status == 2
    lines = error.splitlines()
    assert lines[0] == "sertransfer: error: 5000 faults in the input"
    assert len(lines) == SHOWN + 3
    assert lines[-1] == "  --skip-bad leaves them out and records that"
    assert lines[-2] == f"  and {5000 - SHOWN} more in {tmp_path / 'm.faults.json'}"
    assert len(json.loads((tmp_path / "m.faults.json").read_text())) == 5000


# --- names and settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("prepare lsed {root} -o {new}.csv", ["'lsed'", "did you mean 'lssed'"]),
        ("prepare emodb {root} -o {new}.csv --test_sharre 0.3", ["did you mean 'test_share'"]),
        ("prepare emodb {root} -o {new}.csv --test_share many", ["test_share = 'many'; expected a number;"]),
        ("prepare emodb {root} -o {new}.csv --task fuor", ["expected one of four, all; did you mean 'four'"]),
        ("prepare emodb {root} -o {new}.csv --config {new}.yaml", ["no file"]),
        ("prepare emodb {root} -o {root}/wav/03a01Wa.wav", ["expected .csv"]),
        ("pretrain {run} --model pyresnet15", ["did you mean 'pyresnet152'"]),
        (
            "pretrain {run} --epocs 1 --optimiser.lr fast --model.nme x",
            ["did you mean 'epochs'", "lr = 'fast'; expected a number", "did you mean 'model.name'"],
        ),
        ("pretrain {run} --epochs 0", ["found epochs = 0; expected 1 or more"]),
        ("pretrain --manifest {manifest} --run-dir {root}/wav/03a01Wa.wav", ["a file in the way"]),
        ("describe {root}", ["Is a directory"]),
        ("describe {manifest} --root {new}", ["{new}: found no such folder", "--root"]),
        ("describe {manifest} --figure {root}", [".png or .svg"]),
        ("transfer {given} --encoder sre", ["valid: ser"]),
        ("transfer {given} --split dvv", ["one of dev, test"]),
        ("transfer {given} --framing 9", ["found '9'; expected one of"]),
    ],
)  # fmt: skip
def test_unknown_names_and_values(run, emodb_manifest, tmp_path, words, expected):
    root, manifest = emodb_manifest
    places = {"root": root, "manifest": manifest, "new": tmp_path / "new"}
    places["run"] = f"--manifest {manifest} --run-dir {tmp_path / 'new'}"
    places["given"] = f"{places['run']} --checkpoint x"
    before = sorted(path.name for path in (root / "wav").iterdir())
    result = run(*words.format(**places).split())
    check(result, *(text.format(**places) for text in expected))
    assert sorted(path.name for path in (root / "wav").iterdir()) == before


@pytest.fixture(scope="module")
def emodb_manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emodb")
    root = write_emodb(
        folder / "emodb", [f"{speaker}a01{code}a" for speaker in ("03", "08", "09") for code in "WNFT"]
    )
    assert main(["prepare", "emodb", str(root), "-o", str(folder / "m.csv"), "--test_speakers", "09"]) == 0
    return root, folder / "m.csv"


def test_a_manifest_with_faults(run, emodb_manifest, tmp_path):
    root, good = emodb_manifest
    lines = good.read_text().splitlines()
    cells = lines[1].split(",")
    odd = ",".join(["new", cells[1], "5", "3", *cells[4:6], "trian", *cells[7:]])
    bad = tmp_path / "bad.csv"
    bad.write_text("\n".join([*lines, lines[1], odd]) + "\n")
    again, after = len(lines) + 1, len(lines) + 2
    expected = (
        f"row {again}: found id",
        f"row {after}: found split 'trian'",
        f"row {after}: found start '5'",
    )
    check(run("describe", bad, "--root", root), *expected, count=3)


# --- stage 1 and 2 --------------------------------------------------------------------------------------

# fmt: off
TRAINING = [
    "--model", "pyresnet_tiny", "--model.width", "0.0625", "--epochs", "1", "--batch_size", "4", "-q",
    "--front_end.mels", "32", "--front_end.denoise.method", "none", "--cropping.seconds", "0.2",
]
# fmt: on


def test_recordings_that_turn_out_bad_in_stage_1(run, emodb_manifest, tmp_path, monkeypatch):
    root = tmp_path / "emodb"
    shutil.copytree(emodb_manifest[0], root)
    with_nan(root / "wav" / "03a01Wa.wav")
    (root / "wav" / "08a01Fa.wav").unlink()
    monkeypatch.setattr("sertransfer.pretraining.workflow.write_report", lambda folder: None)
    words = [
        "pretrain",
        "--manifest",
        emodb_manifest[1],
        "--root",
        root,
        "--run-dir",
        tmp_path / "run",
        *TRAINING,
    ]
    expected = (
        "03a01Wa.wav: found a sample that is no finite number, at 0.0125 s",
        "08a01Fa.wav: found no such file",
    )
    check(run(*words), *expected, count=2)
    assert len(json.loads((tmp_path / "run" / "faults.json").read_text())) == 2
    assert run(*words, "--skip-bad")[0] == 0
    left_out = json.loads((tmp_path / "run" / "metrics.json").read_text())["left_out"]["audio"]
    assert [entry["item"] for entry in left_out] == ["03a01Wa", "08a01Fa"]
    check(run(*words), *expected, count=2)  # what was done by leaving out is not done without


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Checkpoints with and without a front end."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    state = build_model("pyresnet_tiny", 4, **SMALL).state_dict()
    for name, front_end in (("known", FrontEnd()), ("unknown", None)):
        checkpoint = Checkpoint("pyresnet_tiny", SMALL, CLASSES, front_end, None, state, {})
        write_checkpoint(checkpoint, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def interviews(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interviews")
    tree = Tree(folder / "daic")
    tree.root.mkdir()
    for number in range(300, 308):
        tree.session(number, [ELLIE, (1.25, 1.75, "Participant", "a")], seconds=2, rms=0.1)
    tree.splits(range(300, 304), range(304, 308), scores=dict.fromkeys(range(300, 308, 2), 12))
    assert main(["prepare", "daic-woz", str(tree.root), "-o", str(folder / "m.csv")]) == 0
    return tree.root, folder / "m.csv"


def broken_checkpoints(folder: Path, good: Path) -> None:
    (folder / "cut").write_bytes(good.read_bytes()[:3000])
    (folder / "empty").write_bytes(b"")
    torch.save({"a": torch.zeros(1)}, folder / "saved.pth")


@pytest.mark.parametrize(
    ("checkpoint", "words", "expected"),
    [
        ("unknown.safetensors", "", "whose front end is not known; expected the front end that"),
        ("known.safetensors", "--framing 25ms", "65ms; expected framing 25ms; train one for it: sertransfer"),
        ("none.safetensors", "", "no such file"),
        ("cut", "", "no readable safetensors file"),
        ("empty", "", "no readable safetensors file"),
        ("saved.pth", "", "convert it: sertransfer import-checkpoint"),
        ("known.safetensors", "--split test", "split 'test': found no sentence"),
        ("known.safetensors", "--negative well", "found label 'not depressed'"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_in_stage_2(
    run, weights, interviews, tmp_path, checkpoint, words, expected
):
    broken_checkpoints(weights, weights / "known.safetensors")
    given = ["--manifest", interviews[1], "--checkpoint", weights / checkpoint, "--run-dir", tmp_path / "run"]
    check(run("transfer", *given, "-q", *words.split()), expected)


def test_a_subject_on_both_sides_is_refused_by_name(run, weights, interviews, tmp_path):
    root, good = interviews
    lines = good.read_text().splitlines()
    moved = lines[1].replace("daic300-", "again-").replace(",train,", ",dev,")
    (tmp_path / "m.csv").write_text("\n".join([*lines, moved]) + "\n")
    given = ["--manifest", tmp_path / "m.csv", "--root", root, "--checkpoint", weights / "known.safetensors"]
    result = run("transfer", *given, "--run-dir", tmp_path / "run", "--skip-bad")
    check(result, f"manifest, rows 2 and {len(lines) + 1}: found subject 'daic300' in train and dev", count=1)


def test_recordings_that_turn_out_bad_in_stage_2(run, weights, interviews, tmp_path):
    root = tmp_path / "daic"
    shutil.copytree(interviews[0], root)
    with_nan(root / "304_P" / "304_AUDIO.wav", samples=32_000)
    sound = soundfile.read(root / "306_P" / "306_AUDIO.wav")[0]
    sound[22_000] = np.inf
    soundfile.write(root / "306_P" / "306_AUDIO.wav", sound, 16_000, subtype="FLOAT")
    (root / "307_P" / "307_AUDIO.wav").unlink()
    words = [
        "transfer",
        "--manifest",
        interviews[1],
        "--root",
        root,
        "--checkpoint",
        weights / "known.safetensors",
    ]
    words += ["--run-dir", tmp_path / "run", "-q", "--resamples", "10", "--probe.c_grid", "[1.0]"]
    expected = (
        "306_AUDIO.wav (sentence daic306-0003): found a sample",
        "307_AUDIO.wav (sentence daic307-0003): found no",
    )
    check(run(*words), *expected, "--skip-bad", count=2)
    status, error = run(*words, "--skip-bad")
    assert status == 0, error
    left_out = json.loads((tmp_path / "run" / "metrics.json").read_text())["left_out"]["embedding"]
    assert [entry["item"] for entry in left_out] == ["daic306-0003", "daic307-0003"]


# --- published files ------------------------------------------------------------------------------------


class Malicious:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_file_is_refused_and_nothing_of_it_runs(run, tmp_path, zipped):
    witness, file = tmp_path / "witness", tmp_path / "model.pth"
    torch.save(Malicious(witness), file, _use_new_zipfile_serialization=zipped)
    check(
        run("import-checkpoint", file, "-o", tmp_path / "m.safetensors"),
        f"{os.system.__module__}.system",
        count=1,
    )
    assert not witness.exists()
    assert not (tmp_path / "m.safetensors").exists()


def test_files_that_are_no_published_model(run, tmp_path):
    for name, content in (("empty", b""), ("page", b"<!DOCTYPE html>" * 9)):
        (tmp_path / name).write_bytes(content)
        check(run("import-checkpoint", tmp_path / name, "-o", tmp_path / "m"), "an unreadable file", count=1)
    check(run("import-checkpoint", tmp_path / "none", "-o", tmp_path / "m"), "no such file", count=1)
    check(
        run("import-checkpoint", tmp_path / "page", "-o", tmp_path / "page"), "another file to write", count=1
    )
    given = ("import-checkpoint", tmp_path / "page", "-o", tmp_path / "m", "--calibrate-on")
    check(run(*given, tmp_path / "page"), "page: found a file; expected a folder with recordings", count=1)
    with_nan(tmp_path / "bad.wav")
    check(run(*given, tmp_path), "bad.wav: found a sample that is no finite number", count=1)
    assert (tmp_path / "page").read_bytes() == b"<!DOCTYPE html>" * 9
    assert not (tmp_path / "m").exists()
