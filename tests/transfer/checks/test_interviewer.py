from dataclasses import replace

import pytest
from support.transfer_fakes import FakeEncoder, make_interviews

from sertransfer.errors import BadInput
from sertransfer.transfer.checks.shortcuts import interviewer_manifest, interviewer_row, shortcut_rows
from sertransfer.transfer.data import take_parts
from sertransfer.transfer.embed import embed
from sertransfer.transfer.settings import ProbeConfig, TransferConfig

CONFIG = TransferConfig(resamples=20, folds=2, probe=ProbeConfig(c_grid=(0.01, 1.0)), aggregation="mean")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Interviews whose participants' sentences serve as the interviewer's turns too: these tell the class."""
    made = make_interviews(tmp_path_factory.mktemp("corpus"), {"train": (4, 4), "dev": (3, 3)}, sentences=3)
    table = made.table
    turns = {
        audio: [f"{start} {end}" for start, end in zip(rows["start"], rows["end"], strict=True)]
        for audio, rows in table.groupby("audio")
    }
    made.notes["interviewer_turns"] = turns
    return made.with_table(table.assign(gain=1.5, overlap=0.25, session="s", gender="male"))


def without(manifest, *numbers):
    turns = {k: v for k, v in manifest.notes["interviewer_turns"].items() if k[:3] not in numbers}
    return replace(manifest, notes={**manifest.notes, "interviewer_turns": turns})


def row_of(manifest, folder, config=CONFIG, encoder=None):
    heard = []

    def listen(turns):
        heard.append(turns)
        return embed(turns, encoder or FakeEncoder(), folder, skip_bad=True, progress=False)

    return interviewer_row(config, manifest, *take_parts(manifest, config), listen), heard


def test_turns_are_sentences_of_their_subjects(manifest):
    turns = interviewer_manifest(manifest).table
    assert len(turns) == len(manifest)
    assert turns["id"].is_unique
    assert turns["id"][0] == "300-interviewer-00001"
    assert turns["start"].tolist() == manifest.table["start"].tolist()
    for name in ("audio", "speaker", "label", "split", "gain", "session"):
        assert turns[name].tolist() == manifest.table[name].tolist()
    assert "overlap" not in turns


def test_the_row_is_of_the_run_s_own_protocol(manifest, tmp_path):
    row, heard = row_of(manifest, tmp_path)
    assert (row["name"], row["n"]) == ("interviewer's audio", 6)
    assert row["auroc"] > 0.9
    assert row["wa_ci95"][0] <= row["wa"] <= row["wa_ci95"][1]
    assert set(heard[0].table["split"]) == {"train", "dev"}
    assert "leak" in row["note"]
    assert "undecided" not in row["note"]
    learnt, _ = row_of(manifest, tmp_path, replace(CONFIG, probe=replace(CONFIG.probe, head="attention")))
    assert learnt["n"] == 6
    tuned, _ = row_of(manifest, tmp_path, replace(CONFIG, mode="finetune"))
    assert "the encoder as it was" in tuned["note"]


def test_subjects_without_a_turn_are_undecided_not_dropped(manifest, tmp_path):
    row, _ = row_of(without(manifest, "300", "308"), tmp_path)  # of train, of dev
    assert row["n"] == 6
    assert "1 reported subject(s) without a turn, undecided" in row["note"]
    short = FakeEncoder(refuse_shorter=2500)
    row, _ = row_of(manifest, tmp_path / "short", encoder=short)
    assert "turn(s) that cannot be embedded left out" in row["note"]


@pytest.mark.parametrize(
    ("corpus", "reason"),
    [
        ("daic-woz", "prepare the corpus again"),
        ("e-daic", "E-DAIC's transcripts name no speaker"),
        ("mine", "mine has no turns of an interviewer"),
    ],
)
def test_a_corpus_without_turns_says_so_in_place_of_the_row(manifest, tmp_path, corpus, reason):
    bare = replace(manifest, notes={}).with_table(manifest.table.assign(corpus=corpus))
    durations = bare.table.set_index("id").eval("end - start")
    train, reported = (
        replace(part, sentences=part.sentences.assign(duration=part.sentences["id"].map(durations)))
        for part in take_parts(bare, CONFIG)
    )

    def listen(turns):
        raise AssertionError

    options = {"cache": tmp_path, "progress": False, "listen": listen}
    found = shortcut_rows(CONFIG, bare, train, reported, **options)
    left_out = {entry["name"]: entry["reason"] for entry in found["shortcuts_left_out"]}
    assert reason in left_out["interviewer's audio"]
    assert "interviewer's audio" not in [row["name"] for row in found["shortcuts"]]


def test_transcripts_without_the_interviewer_are_told_from_an_old_manifest(manifest):
    with pytest.raises(BadInput, match="no transcript has a row of the interviewer"):
        interviewer_manifest(replace(manifest, notes={"interviewer_turns": {}}))


def test_too_few_subjects_with_turns_are_a_reason_too(manifest, tmp_path):
    with pytest.raises(BadInput, match="class"):
        row_of(without(manifest, *[str(number) for number in range(304, 308)]), tmp_path)
