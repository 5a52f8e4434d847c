from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.corpus_trees import lssed_rows, write_emodb, write_lssed, write_table, write_wav

from sertransfer.corpora.emotion import emodb, lssed
from sertransfer.corpora.emotion.csv import Options as CsvOptions
from sertransfer.corpora.prepare import faults_path, prepare, summary
from sertransfer.corpora.registry import CORPORA, find_corpus, register
from sertransfer.errors import BadInput
from sertransfer.manifest import Manifest, read_manifest

LABELS = ["angry", "neutral", "happy", "sad", "other"] * 10


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_lssed(tmp_path / "lssed", lssed_rows(LABELS))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_manifest_is_written_with_its_notes_and_the_corpus_is_left_alone(
    root: Path, tmp_path: Path
) -> None:
    before = contents(root)
    output = tmp_path / "out" / "manifest.csv"
    manifest = prepare("lssed", root, lssed.Options(seed=4), output)
    assert contents(root) == before
    assert len(manifest) == 40
    again = read_manifest(output)
    assert again.table.equals(manifest.table)
    assert again.notes["corpus"] == "lssed"
    assert again.notes["options"]["seed"] == 4
    assert again.notes["skipped"] == []
    assert len(again.notes["left_out"]) == 10
    assert sorted(path.name for path in output.parent.iterdir()) == ["manifest.csv", "manifest.json"]
    assert prepare("lssed", root, lssed.Options(seed=4), output).table.equals(manifest.table)


def test_default_options_serve(tmp_path: Path) -> None:
    root = write_emodb(tmp_path / "emodb", [f"{speaker}a01Wa" for speaker in emodb.SPEAKERS])
    manifest = prepare("emodb", root, None, tmp_path / "m.csv")
    assert len(manifest) == 10
    assert manifest.notes["options"]["split"] == "speaker"


def break_two(root: Path) -> None:
    (root / "wav_all" / "utt000.wav").write_bytes(b"")
    (root / "wav_all" / "utt001.wav").unlink()


def test_all_faults_are_raised_and_written_and_nothing_else_is(root: Path, tmp_path: Path) -> None:
    break_two(root)
    output = tmp_path / "out" / "manifest.csv"
    with pytest.raises(BadInput) as refusal:
        prepare("lssed", root, None, output)
    assert len(refusal.value.faults) == 2
    report = json.loads(faults_path(output).read_text())
    assert report == [fault.as_dict() for fault in refusal.value.faults]
    assert {*report[0]} == {"where", "found", "expected", "remedy"}
    assert [path.name for path in output.parent.iterdir()] == ["manifest.faults.json"]


def test_skip_bad_records_what_was_left_out(root: Path, tmp_path: Path) -> None:
    break_two(root)
    output = tmp_path / "manifest.csv"
    with pytest.raises(BadInput):
        prepare("lssed", root, None, output)
    manifest = prepare("lssed", root, None, output, skip_bad=True)
    assert not faults_path(output).exists()
    assert len(manifest) == 38
    notes = json.loads((tmp_path / "manifest.json").read_text())
    assert len(notes["skipped"]) == 2
    bad = [entry for entry in notes["left_out"] if entry["reason"].startswith("bad: ")]
    assert len(bad) == 2
    assert "utt001.wav" in bad[0]["item"]
    assert bad[0]["reason"] == "bad: found no file; expected the audio of 'utt001'"


def test_a_fault_that_ends_the_reading_does_not_hide_the_others(tmp_path: Path) -> None:
    rows = lssed_rows(["sad", "sadd", "sad"], speakers=1)
    root = write_lssed(tmp_path / "lssed", rows)
    for skip_bad, count in ((False, 2), (True, 1)):
        with pytest.raises(BadInput) as refusal:
            prepare("lssed", root, lssed.Options(split="speaker"), tmp_path / "m.csv", skip_bad=skip_bad)
        texts = [str(fault) for fault in refusal.value.faults]
        assert len(texts) == count
        assert "1 speaker(s)" in texts[0]


def test_nothing_left_is_a_fault(tmp_path: Path) -> None:
    root = write_lssed(tmp_path / "lssed", lssed_rows(["other", "other"]))
    with pytest.raises(BadInput, match="no utterance to keep"):
        prepare("lssed", root, None, tmp_path / "m.csv")


def test_an_output_that_would_overwrite_something_else_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a corpus is never written to"):
        prepare("lssed", root, None, root / "metadata_english_all.csv")
    with pytest.raises(BadInput, match=r"found the ending '\.json'"):
        prepare("lssed", root, None, tmp_path / "manifest.json")
    (tmp_path / "m.json").write_text('{"mine": 1}')
    with pytest.raises(BadInput, match=r"not a manifest.s notes"):
        prepare("lssed", root, None, tmp_path / "m.csv")
    assert (tmp_path / "m.json").read_text() == '{"mine": 1}'


def test_an_unknown_corpus_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean 'lssed'"):
        find_corpus("lsed")


def test_the_registry_lists_every_corpus_and_refuses_a_second_of_a_name() -> None:
    assert {"lssed", "daic-woz", "emodb", "csv"} <= set(CORPORA)
    for name, corpus in CORPORA.items():
        assert corpus.name == name
        assert corpus.summary
        corpus.options()
    with pytest.raises(ValueError, match="registered already"):
        register(CORPORA["csv"])


def test_the_summary_says_what_was_found_and_left_out(root: Path, tmp_path: Path) -> None:
    break_two(root)
    manifest = prepare("lssed", root, lssed.Options(seed=7), tmp_path / "m.csv", skip_bad=True)
    text = summary(manifest)
    assert "lssed: 38 utterances, 4 speakers" in text
    assert "rule 'paper' (test_share 0.2, dev_share 0.0, seed 7)" in text
    assert "stand in more than one split" in text
    assert "left out: 12" in text
    assert "10: label 'other' is not one of the four-class task (utt004, utt009, utt014, ...)" in text
    assert "1: bad: found no file" in text


def test_the_summary_of_errata_assumptions_and_nothing_left_out(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav")
    write_table(tmp_path / "t.csv", [{"audio": "a.wav", "label": "x", "speaker": "s"}])
    manifest = prepare("csv", tmp_path, CsvOptions(split="none"), tmp_path / "out" / "m.csv")
    text = summary(manifest)
    assert "split by rule 'none'\n" in text
    assert "nothing was left out" in text
    assert "assumptions:\n  gender is not known" in text
    assert "errata" not in text
    other = Manifest(manifest.table, tmp_path, {"errata": {"shift-318": "34 s added"}})
    assert "errata:\n  shift-318: 34 s added" in summary(other)
    erratum = {"name": "shift-321", "session": "321", "what": "3.8 s added", "rows": 21}
    listed = Manifest(manifest.table, tmp_path, {"errata": [erratum, {"name": "a", "what": "b"}]})
    assert "errata:\n  shift-321: 3.8 s added (21 rows)\n  a: b" in summary(listed)


def test_a_refusal_names_the_file_with_its_faults(tmp_path: Path, root: Path) -> None:
    break_two(root)
    for broken in (root, tmp_path / "nowhere"):
        with pytest.raises(BadInput) as refusal:
            prepare("lssed", broken, None, tmp_path / "m.csv")
        assert str(refusal.value).splitlines()[-1] == f"  also in {tmp_path / 'm.faults.json'}"
        assert json.loads((tmp_path / "m.faults.json").read_text())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "none", "seed": 5}, "the seed 5 has no effect: nothing is drawn"),
        ({"split": "none"}, ""),
        ({"split": "paper", "seed": 5}, ""),
        ({"split": "speaker", "seed": 5}, "the seed has no effect: of 5 choices of test speakers, one has"),
    ],
)
def test_the_summary_says_that_a_seed_has_no_effect(tmp_path: Path, options: dict, said: str) -> None:
    rows = lssed_rows([*LABELS, *["angry"] * 3])
    root = write_lssed(tmp_path / "lssed", [*rows, *({**rows[0], "name": f"x{index}"} for index in range(4))])
    text = summary(prepare("lssed", root, lssed.Options(task="eleven", **options), tmp_path / "m.csv"))
    assert ("has no effect" in text) == bool(said)
    assert said in text


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_beside_named_speakers_has_no_effect(tmp_path: Path, seed: int) -> None:
    root = write_emodb(tmp_path / "emodb", [f"{speaker}a01Wa" for speaker in emodb.SPEAKERS])
    text = summary(
        prepare("emodb", root, emodb.Options(test_speakers=("03",), seed=seed), tmp_path / "m.csv")
    )
    assert ("the seed 7 has no effect: nothing is drawn" in text) == (seed == 7)


def test_what_is_left_out_cannot_move_the_terminal(tmp_path: Path) -> None:
    root = write_emodb(tmp_path / "emodb", [f"{speaker}a01Wa" for speaker in emodb.SPEAKERS])
    (root / "wav" / "a\x1b[2J\nforged: 1.txt").touch()
    lines = summary(prepare("emodb", root, None, tmp_path / "m.csv")).splitlines()
    assert any(r"wav/a\x1b[2J\nforged: 1.txt" in line for line in lines)
    assert all(line.isprintable() for line in lines)
