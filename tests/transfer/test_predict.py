"""A run scores other recordings as it scored its own, and says what its scores are worth."""

import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from support.finetune_fakes import make_asr, make_ssl

from sertransfer.cli.main import main
from sertransfer.corpora.interviews import new_interview
from sertransfer.corpora.prepare import prepare
from sertransfer.demo.corpora import make_daic_woz
from sertransfer.errors import BadInput
from sertransfer.front_end import Cropping, Denoise, FrontEnd
from sertransfer.models.checkpoint import Checkpoint, write_checkpoint
from sertransfer.models.registry import build_model
from sertransfer.transfer import predict as predicting
from sertransfer.transfer import workflow
from sertransfer.transfer.predict import NO_POPULATION, NOTE, predict
from sertransfer.transfer.settings import FinetuneConfig, ProbeConfig, TransferConfig

PROBE = TransferConfig(
    resamples=20, folds=2, shortcuts=False, probe=ProbeConfig(c_grid=(0.01, 1.0)), aggregation="mean"
)
FINETUNE = replace(
    PROBE,
    mode="finetune",
    finetune=FinetuneConfig(depth="last", lr=0.003, epochs=1, batch_size=16, inner_share=0.5),
)
RUNS = {
    "ser": ("ser", PROBE),
    "asr": ("asr", replace(PROBE, aggregation="top_k", top_k=2)),
    "ssl": ("ssl", replace(PROBE, layer=1, pooling="mean_std", aggregation="duration")),
    "attention": (
        "ser",
        replace(PROBE, probe=replace(PROBE.probe, head="attention"), aggregation="majority"),
    ),
    "finetuned ser": ("ser", replace(FINETUNE, aggregation="duration")),
    "finetuned ssl": ("ssl", FINETUNE),
}


def make_ser(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    model = build_model("pyresnet_tiny", 4, width=0.0625)
    front_end = FrontEnd(mels=32, denoise=Denoise(method="none"), normalise="none")
    classes = ("angry", "neutral", "happy", "sad")
    state, about = model.state_dict(), {"corpus": ["lssed"]}
    write_checkpoint(
        Checkpoint("pyresnet_tiny", {"width": 0.0625}, classes, front_end, Cropping(0.2), state, about), path
    )
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    home = tmp_path_factory.mktemp("predict")
    make_daic_woz(home / "daic", sessions=(6, 4, 1))
    for packed in (home / "daic").glob("*.zip"):
        with zipfile.ZipFile(packed) as archive:
            archive.extractall(home / "new" / packed.stem)
    for folder in (home / "daic").glob("*_P"):
        shutil.copytree(folder, home / "new" / folder.name)
    make_ser(home / "ser.safetensors")
    make_asr(home / "asr", norm="utterance_mvn")
    make_ssl(home / "ssl")
    prepare("daic-woz", home / "daic", None, home / "manifest.csv")
    return home


@pytest.fixture(scope="module")
def run_of(place):
    from sertransfer.manifest import read_manifest

    manifest = read_manifest(place / "manifest.csv")
    encoders = {"ser": place / "ser.safetensors", "asr": place / "asr/exp/asr_train", "ssl": place / "ssl"}
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            encoder, config = RUNS[name]
            folder = place / "runs" / name.replace(" ", "_")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(workflow, "write_report", lambda path: (path / "report.html").write_text(""))
                workflow.transfer(
                    config,
                    manifest,
                    encoder=encoder,
                    checkpoint=encoders[encoder],
                    run_dir=folder,
                    embeddings=place / "embeddings",
                    progress=False,
                )
            made[name] = folder
        return made[name]

    return make


@pytest.fixture
def interview(place, run_of):
    """A development interview that no erratum is about: its audio and transcript."""
    subject = pd.read_csv(run_of("ser") / "subjects.csv")["subject"][0]
    number = subject.removeprefix("daic")
    folder = place / "new" / f"{number}_P"
    return folder / f"{number}_AUDIO.wav", folder / f"{number}_TRANSCRIPT.csv"


@pytest.mark.parametrize("name", RUNS)
def test_an_interview_of_the_run_scores_as_it_did(place, run_of, name):
    folder = run_of(name)
    subjects = pd.read_csv(folder / "subjects.csv").set_index("subject")
    sentences = pd.read_csv(folder / "sentences.csv")
    corrected = {
        str(entry["session"]) for entry in json.loads((folder / "metrics.json").read_text())["errata"]
    }
    numbers = [one.removeprefix("daic") for one in subjects.index]
    numbers = [one for one in numbers if one not in corrected]
    assert len(numbers) >= 2
    found = predict(folder, [place / "new" / f"{one}_P" for one in numbers], progress=False)
    assert found["note"] == NOTE
    for number, one in zip(numbers, found["recordings"], strict=True):
        row = subjects.loc[f"daic{number}"]
        assert one["recording"] == f"{number}_AUDIO"
        assert one["score"] == pytest.approx(row["score"], abs=1e-6)
        assert one["decision"] == row["prediction"]
        assert one["cut_by"] == "transcript"
        own = sentences[sentences["subject"] == f"daic{number}"]
        # a batch of other sentences rounds otherwise, and the probe of an untrained network enlarges that
        assert [row["score"] for row in one["sentences"]] == pytest.approx(own["score"].tolist(), abs=1e-5)
        if name == "attention":
            weights = [row["attention"] for row in one["sentences"]]
            assert weights == pytest.approx(own["attention"].tolist(), abs=1e-6)
        assert one["flags"] == [] or {flag["what"] for flag in one["flags"]} <= {
            "sentences", "median_seconds", "level_dbfs", "bandwidth_hz",
        }  # fmt: skip


def test_the_run_keeps_on_whom_it_was_trained_and_names_nobody(run_of):
    text = (run_of("ser") / "population.json").read_text()
    population = json.loads(text)
    assert population["subjects"]["n"] == 6
    assert sum(population["subjects"]["by_label"].values()) == 6
    assert set(population["subjects"]["by_gender"]) == {"female", "male"}
    assert population["sample_rates"] == {"16000": 6}
    assert population["cutting"]["overlaps"] == "keep"
    assert "keep_text" not in population["cutting"]
    assert "daic3" not in text
    ranges = population["ranges"]["level_dbfs"]
    assert ranges["low"] <= ranges["median"] <= ranges["high"] < 0


def test_no_text_of_the_transcript_unless_it_is_asked_for(run_of, interview, tmp_path, capsys):
    audio, transcript = interview
    words = [
        "predict",
        run_of("ser"),
        audio,
        "-q",
        "--html",
        tmp_path / "o.html",
        "--csv",
        tmp_path / "o.csv",
    ]
    said = [line.split("\t") for line in transcript.read_text().splitlines()]
    spoken = [row[3] for row in said[1:] if len(row) > 3 and row[2] == "Participant" and " " in row[3]]
    assert spoken
    for more, wanted in (([], False), (["--with-text"], True)):
        assert main([str(word) for word in [*words, *more, "--json", tmp_path / "o.json"]]) == 0
        output = capsys.readouterr().out
        for name in ("o.html", "o.csv", "o.json"):
            text = (tmp_path / name).read_text()
            assert any(sentence in text for sentence in spoken) is wanted
        assert not any(sentence in output for sentence in spoken)


def test_what_is_written_holds_every_score_and_its_limits(run_of, interview, tmp_path, capsys):
    audio, _ = interview
    outputs = {name: tmp_path / f"o.{name}" for name in ("html", "csv", "json")}
    words = [word for name, path in outputs.items() for word in (f"--{name}", path)]
    assert main([str(word) for word in ["predict", run_of("ser"), audio, "-q", *words]]) == 0
    out = capsys.readouterr().out
    assert "no diagnostic device" in out
    assert "generated" in out
    assert str(tmp_path / "o_recordings.csv") in out
    found = json.loads(outputs["json"].read_text())
    one = found["recordings"][0]
    table = pd.read_csv(outputs["csv"])
    assert table["score"].tolist() == pytest.approx([row["score"] for row in one["sentences"]])
    assert pd.read_csv(tmp_path / "o_recordings.csv")["score"][0] == pytest.approx(one["score"])
    page = outputs["html"].read_text()
    assert "no diagnostic device" in page
    assert "<svg" in page
    assert 'class="sortable"' in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "Model of generated data. The model was trained on a corpus that was made by a program" in page
    assert f"{one['score']:.3f}" in page


def test_json_alone_on_standard_output(run_of, interview, capsys):
    assert main(["predict", str(run_of("ser")), str(interview[0]), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["command"] == "predict"
    assert len(said["result"]["recordings"]) == 1


def test_a_recording_is_never_taken_for_an_output(run_of, interview, capsys):
    before = interview[0].read_bytes()
    for option in ("--json", "--csv", "--html"):
        assert main(["predict", str(run_of("ser")), str(interview[0]), option, str(interview[0])]) == 2
        assert "ends in" in capsys.readouterr().err
    assert interview[0].read_bytes() == before


def test_an_encoder_that_was_moved_or_changed(place, run_of, interview, tmp_path, monkeypatch):
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes((place / "ser.safetensors").read_bytes())
    audio = [interview[0]]
    again = predict(run_of("ser"), audio, checkpoint=moved, progress=False)
    assert again["recordings"] == predict(run_of("ser"), audio, progress=False)["recordings"]
    with pytest.raises(BadInput, match="--checkpoint"):
        predict(run_of("ser"), audio, checkpoint=tmp_path / "gone", progress=False)
    with pytest.raises(BadInput, match="fingerprint"):
        predict(run_of("ser"), audio, checkpoint=make_ser(tmp_path / "other.safetensors", 1), progress=False)
    with pytest.raises(BadInput, match="keeps its own network"):
        predict(run_of("finetuned ser"), audio, checkpoint=moved, progress=False)


def test_telephone_speech_is_flagged(run_of, interview, tmp_path):
    audio, transcript = interview
    samples, rate = soundfile.read(audio)
    narrow = samples[::2] * 0.005  # aliased, which does not matter here: nothing is left above 4 kHz
    soundfile.write(tmp_path / "t.wav", narrow, rate // 2)
    found = predict(run_of("ser"), [tmp_path / "t.wav"], transcripts=[transcript], progress=False)
    flags = {flag["what"]: flag for flag in found["recordings"][0]["flags"]}
    assert flags["sample_rate"]["found"] == 8000
    assert flags["bandwidth_hz"]["found"] < 5000 < flags["bandwidth_hz"]["low"]
    assert flags["level_dbfs"]["found"] < flags["level_dbfs"]["low"]
    assert "training subjects" in flags["level_dbfs"]["text"]


def test_silence_and_channels_that_cancel_are_never_scored_without_a_word(run_of, interview, tmp_path):
    audio, transcript = interview
    samples, rate = soundfile.read(audio)
    soundfile.write(tmp_path / "silent.wav", np.zeros(len(samples)), rate)
    soundfile.write(tmp_path / "cancel.wav", np.stack([samples, -samples], axis=1), rate)
    found = predict(
        run_of("ser"),
        [audio, tmp_path / "silent.wav", tmp_path / "cancel.wav"],
        transcripts=[transcript] * 3,
        progress=False,
    )
    plain, silent, cancel = found["recordings"]
    assert plain["warnings"] == []
    scored = silent["sentences_scored"]
    assert silent["warnings"] == [
        f"{scored} of {scored} sentences are silent (below -80 dB of full scale): a score of it says nothing"
    ]
    assert "channel 1, the louder one, is taken in" in cancel["warnings"][0]
    assert cancel["score"] == pytest.approx(plain["score"], abs=1e-6)


def test_stage_1_warns_of_silence(place, tmp_path, capsys):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    words = ["predict", place / "ser.safetensors", tmp_path / "silent.wav", "-q", "--csv", tmp_path / "e.csv"]
    assert main([str(word) for word in words]) == 0
    assert "warning: the recording is silent" in capsys.readouterr().out
    assert "is silent" in pd.read_csv(tmp_path / "e.csv")["warnings"][0]


def test_a_run_without_a_record_of_its_population_says_so(run_of, interview, monkeypatch):
    monkeypatch.setattr("sertransfer.transfer.apply.POPULATION", "none.json")
    found = predict(run_of("ser"), [interview[0]], progress=False)
    assert found["unlike_note"] == NO_POPULATION
    assert "gender not recorded" in found["population"]
    assert found["recordings"][0]["flags"] == []


def test_transcripts_are_cut_as_those_of_the_training_unless_told_otherwise(run_of, interview, monkeypatch):
    seen = []
    cut = predicting.cut_recording
    monkeypatch.setattr(predicting, "cut_recording", lambda *given: seen.append(given[3]) or cut(*given))
    plain = predict(run_of("ser"), [interview[0]], progress=False)
    merged = predict(run_of("ser"), [interview[0]], overrides={"merge": "true"}, progress=False)
    assert [options.merge for options in seen] == [False, True]
    counts = [one["recordings"][0]["sentences_scored"] for one in (plain, merged)]
    assert counts[1] < counts[0]
    with pytest.raises(BadInput, match="overlaps"):
        predict(run_of("ser"), [interview[0]], overrides={"overlaps": "kep"}, progress=False)


def test_without_a_transcript_everyone_is_scored_and_that_is_said(run_of, interview, tmp_path, monkeypatch):
    alone = tmp_path / "alone.wav"
    alone.write_bytes(interview[0].read_bytes())
    monkeypatch.setattr(
        "sertransfer.transfer.predict.find_speech", lambda waveform: [(0.5, 1.5), (2.0, 2.01), (3.0, 4.0)]
    )
    one = predict(run_of("ser"), [alone], progress=False)["recordings"][0]
    assert one["cut_by"] == "voice activity"
    assert [(row["start"], row["end"]) for row in one["sentences"]] == [(0.5, 1.5), (3.0, 4.0)]
    assert any("interviewer" in text for text in one["warnings"])


def test_without_a_detector_the_message_says_what_to_install(
    run_of, interview, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(__import__("sys").modules, "silero_vad", None)
    alone = tmp_path / "alone.wav"
    alone.write_bytes(interview[0].read_bytes())
    assert main(["predict", str(run_of("ser")), str(alone)]) == 2
    assert "make vad" in capsys.readouterr().err


def test_the_detector_hears_speech_like_sound_and_no_silence():
    pytest.importorskip("silero_vad", reason="the voice activity detector is an extra: make vad")
    assert new_interview.find_speech(np.zeros(32_000, dtype=np.float32)) == []
    assert torch.get_num_threads() >= 1


def test_every_fault_of_a_batch_is_named_at_once(run_of, interview, tmp_path):
    audio, transcript = interview
    bad = tmp_path / "bad_AUDIO.wav"
    bad.write_bytes(b"RIFF")
    (tmp_path / "bad_TRANSCRIPT.csv").write_bytes(transcript.read_bytes())
    other = tmp_path / "other_AUDIO.wav"
    other.write_bytes(audio.read_bytes())
    (tmp_path / "other_TRANSCRIPT.csv").write_text("no;transcript\n")
    with pytest.raises(BadInput) as raised:
        predict(run_of("ser"), [tmp_path, audio], progress=False)
    text = str(raised.value)
    assert "bad_AUDIO.wav" in text
    assert "other_TRANSCRIPT.csv" in text
    found = predict(run_of("ser"), [tmp_path, audio], skip_bad=True, progress=False)
    assert [one["recording"] for one in found["recordings"]] == [audio.stem]
    assert len(found["not_scored"]) == 2
    with pytest.raises(BadInput, match="one for each recording"):
        predict(run_of("ser"), [audio, other], transcripts=[transcript], progress=False)
    with pytest.raises(BadInput, match="no such file"):
        predict(run_of("ser"), [tmp_path / "none.wav"], progress=False)


def test_an_e_daic_transcript(run_of, interview, tmp_path):
    audio, _ = interview
    table = (
        "Start_Time,End_Time,Text,Confidence\n0.5,1.5,yes,0.9\n2.0,3.0,<laughter>,0.9\n4.0,5.5,no no,0.9\n"
    )
    (tmp_path / "t.csv").write_text(table)
    one = predict(run_of("ser"), [audio], transcripts=[tmp_path / "t.csv"], progress=False)["recordings"][0]
    assert [(row["start"], row["end"]) for row in one["sentences"]] == [(0.5, 1.5), (4.0, 5.5)]
    assert any("t.csv, row 3" in text for text in one["left_out"])
    (tmp_path / "t.csv").write_text(table + "0.2,500.0,and so,0.6\n")
    again = predict(run_of("ser"), [audio], transcripts=[tmp_path / "t.csv"], progress=False)["recordings"][0]
    assert again["sentences"] == one["sentences"]
    assert again["score"] == one["score"]
    (said,) = [text for text in again["left_out"] if "row 5" in text]
    assert said.startswith("t.csv, row 5: spans other rows: over 60 s long, and starts before an earlier row")


def test_a_fine_tuned_network_refuses_what_it_can_not_hear(run_of, interview, tmp_path):
    (tmp_path / "t.csv").write_text("Start_Time,End_Time,Text\n0.5,0.501,yes\n2.0,3.0,no\n")
    given = {"transcripts": [tmp_path / "t.csv"], "overrides": {"minimum": "0"}, "progress": False}
    with pytest.raises(BadInput, match="16 samples"):
        predict(run_of("finetuned ssl"), [interview[0]], **given)
    one = predict(run_of("finetuned ssl"), [interview[0]], **given, skip_bad=True)["recordings"][0]
    assert len(one["sentences"]) == 1
    assert any("16 samples" in text for text in one["left_out"])


def test_what_is_no_run_of_stage_2(tmp_path, interview):
    with pytest.raises(BadInput, match="finished run"):
        predict(tmp_path, [interview[0]], progress=False)
    (tmp_path / "metrics.json").write_text('{"subject": {}}')
    with pytest.raises(BadInput, match="no classes"):
        predict(tmp_path, [interview[0]], progress=False)


def test_stage_1_gives_class_scores_of_each_file(place, interview, tmp_path, capsys):
    words = ["predict", place / "ser.safetensors", interview[0], "-q", "--csv", tmp_path / "e.csv", "--json"]
    assert main([str(word) for word in words]) == 0
    row = json.loads(capsys.readouterr().out)["result"]["utterances"][0]
    assert sum(row["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert row["prediction"] == max(row["scores"], key=row["scores"].get)
    assert pd.read_csv(tmp_path / "e.csv")["score_sad"][0] == pytest.approx(row["scores"]["sad"])
    words = ["predict", place / "ser.safetensors", interview[0], "--transcript", interview[1], "--with-text"]
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    assert "--transcript" in error
    assert "--with-text" in error


def test_a_folder_gives_every_recording_and_names_what_is_none(place, run_of, interview, tmp_path, capsys):
    audio, _ = interview
    samples, rate = soundfile.read(audio)
    folder = tmp_path / "folder"
    (folder / "take1.wav").mkdir(parents=True)
    soundfile.write(folder / "take1.wav" / "a.aiff", samples, rate)
    soundfile.write(folder / "b.flac", samples, rate)
    soundfile.write(tmp_path / "c.wav", samples, rate)
    (tmp_path / "elsewhere").mkdir()
    soundfile.write(tmp_path / "elsewhere" / "d.wav", samples, rate)
    (folder / "elsewhere").symlink_to(tmp_path / "elsewhere")
    (folder / "take1.wav" / "up").symlink_to(folder)
    for name in ("._b.wav", ".hidden", "notes.txt"):
        (folder / name).write_text("no audio")
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.wav"))
    soundfile.write(odd.with_name("e.wav"), samples, rate)
    odd.with_name("e.wav").rename(odd)
    outputs = [tmp_path / f"out.{ending}" for ending in ("html", "csv", "json")]
    options = [word for path in outputs for word in (f"--{path.suffix[1:]}", str(path))]
    assert main(["predict", "-q", str(run_of("ser")), str(folder), str(tmp_path / "c.wav"), *options]) == 0
    found = json.loads(outputs[2].read_text())
    assert sorted(one["recording"] for one in found["recordings"]) == ["a", "b", "c", "caf\\udce9", "d"]
    assert len({round(one["score"], 3) for one in found["recordings"]}) == 1
    (others,) = found["not_scored"]
    assert "gone.wav, notes.txt" in others
    assert "._b" not in others
    page = outputs[0].read_text()
    assert page.count('<h2 id="recording') == 5
    assert "caf\\udce9" in capsys.readouterr().out


def test_scores_are_printed_though_the_page_fails(run_of, interview, tmp_path, monkeypatch, capsys):
    def fail(found, path):
        raise ValueError("no page")

    monkeypatch.setattr("sertransfer.reporting.prediction_page.write_prediction_page", fail)
    audio, _ = interview
    assert main(["predict", "-q", str(run_of("ser")), str(audio), "--html", str(tmp_path / "x.html")]) == 1
    assert f"{audio.stem}: score" in capsys.readouterr().out
