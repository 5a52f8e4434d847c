from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.corpus_trees import lssed_rows, write_lssed, write_table, write_wav

from sertransfer.corpora.emotion.lssed import Options, read
from sertransfer.errors import BadInput, Faults
from sertransfer.manifest import Manifest

SPELT = ["anger", "Normal", "happiness", "Sad", "boredom", "Fear", "neutral", "Happy", "sadness", "Angry"] * 4


def load(root: Path, **options: object) -> Manifest:
    faults = Faults()
    manifest = read(root, Options(**options), faults)
    faults.raise_if_any()
    return manifest


def skipping(root: Path, **options: object) -> tuple[Manifest, list[str]]:
    faults = Faults(skip_bad=True)
    manifest = read(root, Options(**options), faults)
    faults.raise_if_any()
    return manifest, [str(fault) for fault in faults.skipped]


def faults_of(root: Path, **options: object) -> list[str]:
    with pytest.raises(BadInput) as refusal:
        load(root, **options)
    return [str(fault) for fault in refusal.value.faults]


def test_the_four_class_task_of_the_default_layout(tmp_path: Path) -> None:
    root = write_lssed(tmp_path, lssed_rows(SPELT))
    manifest = load(root)
    table = manifest.table
    assert len(table) == 32
    assert set(table["label"]) == {"angry", "neutral", "happy", "sad"}
    first = table.iloc[0]
    assert (first["id"], first["audio"], first["speaker"]) == ("utt000", "wav_all/utt000.wav", "s0")
    assert (first["gender"], first["age"], first["corpus"]) == ("male", "young", "lssed")
    assert table["start"].isna().all()
    assert float(first["duration"]) == pytest.approx(0.05)
    reasons = {entry["reason"] for entry in manifest.notes["left_out"]}
    assert reasons == {
        "label 'bored' is not one of the four-class task",
        "label 'fearful' is not one of the four-class task",
    }
    assert [entry["item"] for entry in manifest.notes["left_out"]][:2] == ["utt004", "utt014"]
    assert len(manifest.notes["left_out"]) == 8
    assert manifest.source("wav_all/utt000.wav").path.is_file()


def test_the_four_class_split_is_the_four_class_part_of_the_eleven_class_split(tmp_path: Path) -> None:
    root = write_lssed(tmp_path, lssed_rows(SPELT))
    four = load(root).table.set_index("id")["split"]
    eleven = load(root, task="eleven").table.set_index("id")["split"]
    assert len(eleven) == 40
    assert four.equals(eleven.loc[four.index])
    assert (eleven == "test").sum() == 8


def test_the_split_rules(tmp_path: Path) -> None:
    rows = [
        {**row, "part": part} for row, part in zip(lssed_rows(SPELT), ["Training", "val"] * 20, strict=True)
    ]
    root = write_lssed(tmp_path, rows)
    paper, speaker = load(root), load(root, split="speaker", dev_share=0.2)
    assert paper.notes["split"] == {
        "rule": "paper",
        "test_share": 0.2,
        "dev_share": 0.0,
        "seed": 0,
        "speakers_in_two_splits": 4,
    }
    assert speaker.notes["split"]["speakers_in_two_splits"] == 0
    assert set(speaker.table["split"]) == {"train", "dev", "test"}
    column = load(root, split="column", split_column="part")
    assert column.table.set_index("id")["split"].loc[["utt000", "utt001"]].tolist() == ["train", "dev"]
    assert set(load(root, split="none").table["split"]) == {""}
    assert not load(root, seed=1).table["split"].equals(paper.table["split"])


def test_missing_columns_are_named_with_what_was_found(tmp_path: Path) -> None:
    rows = [{"file": "a", "emotion": "sad", "Speaker": "1"}]
    write_table(tmp_path / "metadata_english_all.csv", rows)
    texts = faults_of(tmp_path)
    assert len(texts) == 3
    assert all("columns file, emotion, Speaker" in text for text in texts)
    assert "--name" in texts[0]
    assert "--label" in texts[1]
    assert "did you mean 'Speaker'" in texts[2]
    assert "--speakers unknown" in texts[2]
    assert "--split paper" in faults_of(tmp_path, split="column")[-1]


def test_a_column_that_is_named_must_be_there_but_a_default_gender_need_not(tmp_path: Path) -> None:
    rows = [{key: row[key] for key in ("name", "faces", "speaker")} for row in lssed_rows(SPELT)]
    root = write_lssed(tmp_path, rows)
    manifest = load(root)
    assert set(manifest.table["gender"]) == {""}
    assert "gender is not known (no column, or an empty one)" in manifest.notes["assumptions"]
    assert "a column 'sex' (gender)" in faults_of(root, gender="sex")[0]


def test_other_names_encodings_and_codes(tmp_path: Path) -> None:
    rows = [
        {
            "file": f"u{index}.WAV",
            "emotion": label,
            "sex": index % 2,
            "years": 30 + index,
            "who": f"é{index % 3}",
        }
        for index, label in enumerate(["Wut", "sad"] * 4)
    ]
    table = write_table(tmp_path / "meta.csv", rows, delimiter=";")
    table.write_bytes(table.read_text(encoding="utf-8").encode("latin-1"))
    for row in rows:
        write_wav(tmp_path / "clips" / str(row["file"]))
    names = {
        "metadata": "meta.csv",
        "audio_folder": "clips/",
        "name": "file",
        "label": "emotion",
        "gender": "sex",
        "age": "years",
        "speaker": "who",
        "delimiter": ";",
        "label_map": "Wut=angry",
    }
    assert "not utf-8-sig" in faults_of(tmp_path, **names)[0]
    manifest = load(tmp_path, **names, encoding="latin-1", genders="0=female")
    assert manifest.table["id"][0] == "u0"
    assert manifest.table["audio"][0] == "clips/u0.WAV"
    assert manifest.table["speaker"][1] == "é1"
    assert set(manifest.table["gender"]) == {"female", "1"}
    assert "gender codes 1 are kept" in manifest.notes["assumptions"][0]


def test_without_speakers_one_speaker_stands_for_all(tmp_path: Path) -> None:
    rows = [{"name": row["name"], "faces": row["faces"]} for row in lssed_rows(SPELT)]
    root = write_lssed(tmp_path, rows)
    manifest = load(root, speakers="unknown")
    assert set(manifest.table["speaker"]) == {"unknown"}
    assert any("one speaker stands for all" in text for text in manifest.notes["assumptions"])
    assert "1 speaker(s): unknown" in faults_of(root, speakers="unknown", split="speaker")[0]


def bad_tree(root: Path) -> Path:
    rows = lssed_rows(["sad"] * 12)
    rows[1]["faces"] = "sadd"
    rows[2]["faces"] = ""
    rows[3]["name"] = "utt000"
    rows[4]["speaker"] = ""
    rows[5]["name"] = ""
    rows[6]["name"] = "../utt006"
    write_lssed(root, [row for row in rows if row["name"]])
    write_table(root / "metadata_english_all.csv", rows)
    wav = root / "wav_all"
    (wav / "utt007.wav").unlink()
    (wav / "utt008.wav").write_bytes(b"")
    whole = (wav / "utt009.wav").read_bytes()
    (wav / "utt009.wav").write_bytes(whole[:100])
    (wav / "utt010.wav").write_text("not audio")
    write_wav(wav / "utt011.wav", seconds=0)
    return root


def test_every_bad_row_and_file_is_named_at_once(tmp_path: Path) -> None:
    texts = faults_of(bad_tree(tmp_path))
    found = {int(text.split("row ")[1].split(":")[0].split(")")[0]): text for text in texts if "row " in text}
    assert sorted(found) == list(range(3, 14))
    assert len(texts) == 11
    assert "'sadd'" in found[3]
    assert "did you mean 'sad'" in found[3]
    assert "no label" in found[4]
    assert "id 'utt000' again (first in row 2)" in found[5]
    assert "no speaker" in found[6]
    assert "no id" in found[7]
    assert "a path inside the corpus root" in found[8]
    assert "no file" in found[9]
    for row in (10, 11, 12, 13):
        assert f"utt{row - 2:03d}.wav (" in found[row]


def test_bad_items_can_be_skipped_with_a_record(tmp_path: Path) -> None:
    manifest, skipped = skipping(bad_tree(tmp_path))
    assert manifest.table["id"].tolist() == ["utt000"]
    assert len(skipped) == 11
    unchecked, skipped = skipping(tmp_path, check_audio=False)
    assert unchecked.table["id"].tolist() == ["utt000", "utt008", "utt009", "utt010", "utt011"]
    assert "duration" not in unchecked.table


def test_a_damaged_file_moves_no_other_utterance_to_another_split(tmp_path: Path) -> None:
    root = write_lssed(tmp_path, lssed_rows(SPELT))
    before = load(root).table.set_index("id")["split"]
    (root / "wav_all" / "utt000.wav").unlink()
    after, _ = skipping(root)
    after_split = after.table.set_index("id")["split"]
    assert len(after_split) == len(before) - 1
    assert after_split.equals(before.drop("utt000"))


def test_when_no_audio_is_found_one_fault_says_so(tmp_path: Path) -> None:
    root = write_lssed(tmp_path, lssed_rows(SPELT), audio=False)
    texts = faults_of(root)
    assert len(texts) == 1
    assert "none of 32 recordings under" in texts[0]


def cut_rows() -> list[dict[str, object]]:
    rows = []
    for index, (start, end) in enumerate([("0", "0.4"), ("0.5", "1.02"), ("0.2", "0.3")]):
        rows.append(
            {"name": "long1", "faces": "sad", "speaker": "a", "from": start, "to": end, "clip": f"c{index}"}
        )
    return rows


def test_utterances_are_cut_from_long_recordings(tmp_path: Path) -> None:
    write_table(tmp_path / "metadata_english_all.csv", cut_rows())
    write_wav(tmp_path / "wav_all" / "long1.wav", seconds=1.0)
    table = load(tmp_path, start="from", end="to").table
    assert table["id"].tolist() == ["long1_0-0.4", "long1_0.5-1.02", "long1_0.2-0.3"]
    assert table["end"].tolist() == [0.4, 1.0, 0.3]  # one hop past the end is cut
    assert [float(value) for value in table["duration"]] == pytest.approx([0.4, 0.5, 0.1])
    named = load(tmp_path, start="from", end="to", name="clip", recording="name").table
    assert named["id"].tolist() == ["c0", "c1", "c2"]
    assert set(named["audio"]) == {"wav_all/long1.wav"}


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("0.4", "0.2", "0 <= start < end"),
        ("-1", "0.2", "0 <= start < end"),
        ("0", "", "0 <= start < end"),
        ("soon", "later", "start 'soon', end 'later'"),
        ("0", "inf", "0 <= start < end"),
        ("0", "1.04", "times inside the file"),
        ("1", "1.02", "times inside the file"),
    ],
)
def test_times_that_are_none_are_refused(tmp_path: Path, start: str, end: str, message: str) -> None:
    rows = cut_rows()
    rows[1].update({"from": start, "to": end})
    write_table(tmp_path / "metadata_english_all.csv", rows)
    write_wav(tmp_path / "wav_all" / "long1.wav", seconds=1.0)
    texts = faults_of(tmp_path, start="from", end="to")
    assert len(texts) == 1
    assert "row 3" in texts[0]
    assert message in texts[0]


def test_unknown_splits_of_a_column_are_refused(tmp_path: Path) -> None:
    rows = [{**row, "split": "tets" if index == 3 else "test"} for index, row in enumerate(lssed_rows(SPELT))]
    texts = faults_of(write_lssed(tmp_path, rows), split="column")
    assert len(texts) == 1
    assert "row 5: found split 'tets'" in texts[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("..", "one level too high"),
        ("wav_all", "one level too low"),
        ("nowhere", "no such folder"),
        ("metadata_english_all.csv", "found a file"),
        ("empty", "an empty folder"),
        ("other", "a folder with a, b, c, d, e, f, g, h and 1 more"),
    ],
)
def test_a_wrong_root_is_told_where_the_right_one_is(tmp_path: Path, given: str, message: str) -> None:
    root = write_lssed(tmp_path / "lssed", lssed_rows(["sad"]))
    (root / "empty" / "deep").mkdir(parents=True)
    (root / "empty" / "deep").rmdir()
    if given in ("empty", "other"):
        folder = tmp_path / "far" / given
        folder.mkdir(parents=True)
        for name in "abcdefghi" if given == "other" else "":
            (folder / name).mkdir()
    else:
        folder = root / given
    texts = faults_of(folder)
    assert len(texts) == 1
    assert message in texts[0]
    if "level" in message:
        assert f"name {root}" in texts[0].replace("/wav_all/..", "").replace("/lssed/../lssed", "/lssed")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            'name,faces,speaker\na,sad,s,extra,more\nb,sad\n"',
            "5 cells, more cells than the header has columns (3)",
        ),
        ("name,faces,speaker\n\n", "no rows"),
        ("", "a CSV table"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "metadata_english_all.csv").write_text(content)
    assert message in faults_of(tmp_path)[0]


def test_blank_lines_are_no_rows_but_count_as_lines(tmp_path: Path) -> None:
    write_wav(tmp_path / "wav_all" / "a.wav")
    (tmp_path / "metadata_english_all.csv").write_text("name,faces,speaker\n\na,sad,s\nb,gloom,s\n")
    texts = faults_of(tmp_path)
    assert len(texts) == 1
    assert "row 4: found label 'gloom'" in texts[0]


def test_options_are_plain_values() -> None:
    for option in dataclasses.fields(Options):
        assert isinstance(getattr(Options(), option.name), str | int | float | bool)


def test_a_label_mapped_to_nothing_is_left_out(tmp_path: Path) -> None:
    root = write_lssed(tmp_path, lssed_rows(["sad", "happy", "noise"]))
    manifest = load(root, label_map="noise=")
    assert manifest.table["id"].tolist() == ["utt000", "utt001"]
    assert manifest.notes["left_out"] == [{"item": "utt002", "reason": "label is mapped to nothing"}]
