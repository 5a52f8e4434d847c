"""A shared copy names nobody, and still reads as a run."""

import json
import re
import shutil
import stat
from unittest.mock import Mock

import pandas as pd
import pytest

from sertransfer.cli.main import main
from sertransfer.errors import BadInput
from sertransfer.reporting.share import KEY_FILE, LIST_FILE, Pseudonyms, read_key, share, without_folders

KEY = bytes(range(32))
PEOPLE = ("daic302", "daic417", "daic9")


def test_a_pseudonym_depends_on_key_and_subject_alone():
    names = Pseudonyms(KEY, PEOPLE)
    assert names.of("daic302") == Pseudonyms(KEY, ["x", "daic302"]).of("daic302")
    assert len({names.of(name) for name in PEOPLE}) == 3
    assert Pseudonyms(bytes(32), PEOPLE).of("daic302") != names.of("daic302")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shift-302", "shift-{302}"),
        ("daic302, daic417: no rows", "{302}, {417}: no rows"),
        ("/data/clinic/302_P/302_AUDIO.wav: silent", "{302}_AUDIO.wav: silent"),
        ("9 to 11 of 3021", "9 to 11 of 3021"),  # a short number may be a count, and a longer one is another
        ("p = 0.302, 302.5 ms", "p = 0.302, 302.5 ms"),
    ],
)
def test_subjects_are_found_inside_texts(text, expected):
    names = Pseudonyms(KEY, PEOPLE)
    filled = re.sub(r"\{(\d+)\}", lambda match: names.of(f"daic{match[1]}"), expected)
    assert names.in_text(text) == filled


def test_short_identities_are_found_by_their_keys_and_classes_stay():
    names = Pseudonyms(KEY, ["11", "sad"])
    values = {"speakers": ["11"], "note": "11 of 12", "classes": ["sad"]}
    found = names.in_values(values, people=("speakers",), keep=("sad",))
    assert found == {"speakers": [names.of("11")], "note": "11 of 12", "classes": ["sad"]}


def test_a_key_is_made_once_for_its_owner_and_a_bad_one_refused(tmp_path):
    key = read_key(tmp_path / "key")
    assert read_key(tmp_path / "key") == key
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    (tmp_path / "bad").write_text("secret")
    with pytest.raises(BadInput, match="found no key"):
        read_key(tmp_path / "bad")


@pytest.fixture
def run(tmp_path):
    """Write the files of a small finished run of stage 2."""
    folder = tmp_path / "run"
    folder.mkdir()
    rows = [(f"daic{number}", "dev", label, score) for number, label, score in SCORES]
    subjects = pd.DataFrame(rows, columns=["subject", "split", "label", "score"])
    subjects = subjects.assign(
        prediction=["sick" if s > 0.5 else "well" for _, _, s in SCORES],
        sentences=2,
        cluster=subjects["subject"],
    )
    subjects.to_csv(folder / "subjects.csv", index=False)
    sentences = pd.concat(
        [subjects.assign(id=subjects["subject"] + f"-{k}", duration=1.5 + k) for k in (1, 2)]
    )
    sentences[["id", "subject", "split", "label", "score", "duration"]].to_csv(
        folder / "sentences.csv", index=False
    )
    figures = {
        "n": 4,
        "wa": 1.0,
        "ua": 1.0,
        "auroc": 1.0,
        "macro_f1": 1.0,
        "sensitivity": 1.0,
        "specificity": 1.0,
    }
    metrics = {
        "subject": {
            **figures,
            "f1": {"well": 1.0, "sick": 1.0},
            "confusion": [[2, 0], [0, 2]],
            "classes": ["well", "sick"],
        },
        "sentence": {"n": 8, "wa": 1.0, "ua": 1.0, "auroc": 1.0},
        "majority": {"wa": 0.5, "ua": 0.5},
        "split": "dev",
        "encoder": "ser",
        "mode": "probe",
        "threshold": {"rule": "fixed", "value": 0.5},
        "errata": [
            {"name": "label-409", "session": "409", "what": "session 409 is sick", "rows": 31},
            {"name": "shift-321", "session": "321", "what": "3.8379167 s added to every time", "rows": 18},
            {"name": "shift-daic341", "session": "341", "what": "6.1892 s added to every time", "rows": 19},
        ],
        "left_out": {
            "embedding": [{"item": "daic302-9", "reason": "/data/clinic/302_P/302_AUDIO.wav: silent"}]
        },
        "encoder_details": {
            "checkpoint": "../jane doe (clinic)/ser/model.safetensors",
            "note": "read from '/home/jane doe (clinic)/my ser/model.safetensors'",
            "provenance": {"speakers": ["7"]},
        },
        "stamp": "0",
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.yaml").write_text("store: /home/jane/features\nmode: probe\n")
    (folder / "log.txt").write_text("daic302")
    (folder / "manifest.csv").write_text("id\ndaic302-1\n")
    return folder


SCORES = [(302, "well", 0.125), (417, "well", 0.25), (500, "sick", 0.75), (601, "sick", 0.875)]


def test_a_copy_names_nobody(run, tmp_path, capsys):
    assert main(["share", str(run), "-o", str(tmp_path / "copy")]) == 0
    assert "no anonymity" in capsys.readouterr().out
    files = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert {"report.html", "metrics.json", "subjects.csv", "sentences.csv"} <= {path.name for path in files}
    assert not {"log.txt", "manifest.csv", KEY_FILE, LIST_FILE} & {path.name for path in files}
    for path in files:
        text = path.read_text()
        for secret in ("daic", "409", "jane", "clinic", "302_"):
            found = re.search(rf"(?<![\w.]){secret}", text)
            # plots are full of numbers; nobody is named in them by a bare one
            assert found is None or (secret == "409" and path.suffix in (".svg", ".html")), (path, secret)
    assert "duration" not in (tmp_path / "copy/sentences.csv").read_text().splitlines()[0]


def test_a_tuned_run_has_its_trials_and_outer_scores_under_pseudonyms(run, tmp_path):
    inner = {"value": 0.9, "ua": 0.95, "auroc": 0.85}
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["tuning"] = {
        "objective": "UA", "shared": "axes", "best": {"kind": "mlp"}, "inner": {"note": "too good", **inner},
        "outer": {**metrics["subject"], "note": "without it"}, "config": "best.yaml",
        "folds": [{"fold": 1, "inner": inner, "outer": {"ua": 0.5, "auroc": 0.5}, "settings": {"pca": 16}}],
    }  # fmt: skip
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "trials.csv").write_text("study,trial,state,value\nfinal,0,complete,0.9\n")
    outer = "subject,label,score,prediction,sentences,fold\ndaic700,well,0.25,well,3,1\n"
    (run / "outer_subjects.csv").write_text(outer)
    share(run, tmp_path / "copy")
    assert (tmp_path / "copy/trials.csv").read_text() == (run / "trials.csv").read_text()
    row = (tmp_path / "copy/outer_subjects.csv").read_text().splitlines()[1]
    who = pd.read_csv(run / LIST_FILE).set_index("subject")["pseudonym"]
    assert row == f"{who['daic700']},well,0.25,well,3,1"


def test_scores_stay_with_their_subject(run, tmp_path):
    share(run, tmp_path / "copy")
    who = pd.read_csv(run / LIST_FILE).set_index("subject")["pseudonym"]
    copied = pd.read_csv(tmp_path / "copy/subjects.csv").set_index("subject")
    for number, label, score in SCORES:
        row = copied.loc[who[f"daic{number}"]]
        assert (row["label"], row["score"]) == (label, score)
    sentences = pd.read_csv(tmp_path / "copy/sentences.csv")
    assert (sentences["id"].str.rpartition("-")[0] == sentences["subject"]).all()
    assert sentences["id"].is_unique
    metrics = json.loads((tmp_path / "copy/metrics.json").read_text())
    assert metrics["subject"]["classes"] == ["well", "sick"]
    assert len(metrics["left_out"]["embedding"]) == 1


def test_runs_of_one_key_name_a_subject_alike(run, tmp_path):
    for name in ("a", "b"):
        share(run, tmp_path / name, key=tmp_path / "key")
    share(run, tmp_path / "c")
    tables = {name: (tmp_path / name / "subjects.csv").read_text() for name in "abc"}
    assert tables["a"] == tables["b"] != tables["c"]


def test_a_copy_may_be_written_over_and_nothing_else(run, tmp_path):
    share(run, tmp_path / "copy")
    share(run, tmp_path / "copy")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("")
    for target in (tmp_path / "other", run, tmp_path):
        assert main(["share", str(run), "-o", str(target)]) == 2
    assert main(["share", str(tmp_path / "nowhere"), "-o", str(tmp_path / "new")]) == 2


def test_errata_are_kinds_and_counts(run, tmp_path):
    """Who has which erratum, and the seconds of it, are published: they would name the session."""
    share(run, tmp_path / "copy")
    errata = json.loads((tmp_path / "copy/metrics.json").read_text())["errata"]
    assert errata == [{"name": "label", "sessions": 1}, {"name": "shift", "sessions": 2}]
    for path in (tmp_path / "copy").rglob("*"):
        assert path.is_dir() or not re.search(r"3\.8379167|6\.1892", path.read_text()), path


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("/home/jane doe (clinic)/my ser/model.safetensors", "checkpoint", "model.safetensors"),
        ("../jane doe (clinic)/ser", "encoder_checkpoint", "ser"),
        ("C:\\Users\\Jane Doe\\asr\\", "root", "asr"),
        ("jane doe (clinic)/model.safetensors", "note", "model.safetensors"),
        ("found '/home/jane doe/x y.wav'; 1 of 2", "note", "found 'x y.wav'; 1 of 2"),
        ("~/jane doe/asr.zip", "", "asr.zip"),
        ("framing 40/10ms, 2/12 found and/or lost, 0.5 km / h", "note", None),
        ("see https://arxiv.org/abs/1806.01506", "note", None),
    ],
)
def test_folders_are_left_out_of_texts(text, key, expected):
    assert without_folders(text, key) == (text if expected is None else expected)


def test_one_person_has_one_pseudonym():
    names = Pseudonyms(KEY, ["daic321", "321", "daic322", "f001", "m001", "001"])
    assert names.of("321") == names.of("daic321") == names.names["321"]
    assert names.of("322") == names.of("daic322") != names.of("321")
    assert len({names.of(name) for name in ("f001", "m001", "001")}) == 3, "a number that two people share"


def test_twenty_thousand_subjects_in_a_text():
    subjects = [f"speaker{number:05d}" for number in range(20_000)]
    names = Pseudonyms(KEY, subjects)
    text = " ".join(subjects)
    assert names.in_text(text) == " ".join(names.of(one) for one in subjects)


def test_a_copy_that_was_killed_can_be_made_again(run, tmp_path, monkeypatch):
    for error in (KeyboardInterrupt, SystemExit):
        with monkeypatch.context() as patch:
            patch.setattr("sertransfer.reporting.share.write_report", Mock(side_effect=error))
            with pytest.raises(error):
                share(run, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
    share(run, tmp_path / "copy")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "copy"}


def test_the_copy_of_another_run_is_never_replaced(run, tmp_path):
    other = tmp_path / "other run"
    shutil.copytree(run, other)
    (other / "config.yaml").write_text((run / "config.yaml").read_text() + "# another\n")
    key = tmp_path / "key"
    share(run, tmp_path / "copy", key=key)
    before = (tmp_path / "copy/metrics.json").read_bytes()
    with pytest.raises(BadInput, match="a copy of another run"):
        share(other, tmp_path / "copy", key=key)
    with pytest.raises(BadInput, match="under another key"):
        share(run, tmp_path / "copy", key=tmp_path / "another key")
    assert (tmp_path / "copy/metrics.json").read_bytes() == before
    share(run, tmp_path / "copy", key=key)


def test_nothing_of_an_older_copy_stays(run, tmp_path):
    (run / "trials.csv").write_text("study,trial,state,value\nfinal,0,complete,0.9\n")
    share(run, tmp_path / "copy")
    (run / "trials.csv").unlink()
    share(run, tmp_path / "copy")
    assert not (tmp_path / "copy/trials.csv").exists()


@pytest.mark.parametrize("name", ["epochs.csv", "config.yaml", "sentences.csv"])
def test_a_private_file_that_a_link_leads_to_is_not_shared(run, tmp_path, name):
    """A run folder from elsewhere may have links; the copy is for others."""
    (tmp_path / "private.txt").write_text("a: secret")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(tmp_path / "private.txt")
    with pytest.raises(BadInput, match=rf"{name}: found a symbolic link"):
        share(run, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["plots/mine.svg", "sub/mine.txt", ".hidden", "utterances.csv"])
def test_no_file_of_somebody_else_goes_with_an_earlier_copy(run, tmp_path, name):
    share(run, tmp_path / "copy")
    (tmp_path / "copy" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "copy" / name).write_text("mine")
    with pytest.raises(BadInput, match=name):
        share(run, tmp_path / "copy")
    assert (tmp_path / "copy" / name).read_text() == "mine"


def test_a_copy_with_files_of_somebody_else_is_refused(run, tmp_path):
    share(run, tmp_path / "copy")
    (tmp_path / "copy/notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"notes\.txt"):
        share(run, tmp_path / "copy")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="a symbolic link"):
        share(run, tmp_path / "link")
