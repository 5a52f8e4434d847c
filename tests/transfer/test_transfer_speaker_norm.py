"""Stage 2 with a front end that asks for resting states: marked rows measure, and are not scored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support.transfer_fakes import make_interviews

from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.audio.reading import read_segment
from sertransfer.audio.speaker_norm import RestingState
from sertransfer.encoders.ser import SerEncoder
from sertransfer.errors import BadInput
from sertransfer.front_end import Denoise, FrontEnd
from sertransfer.models.checkpoint import Checkpoint, write_checkpoint
from sertransfer.models.registry import build_model
from sertransfer.transfer import workflow
from sertransfer.transfer.apply import open_predictor
from sertransfer.transfer.data import embedding_key, take_parts
from sertransfer.transfer.embed import Embeddings, candidate_of, with_rest, without_rest
from sertransfer.transfer.finetune.data import take_features
from sertransfer.transfer.settings import FinetuneConfig, TransferConfig

pytestmark = pytest.mark.usefixtures("no_report")
RESTING = FrontEnd(mels=32, denoise=Denoise(method="none"), normalise="resting")
CONFIG = TransferConfig(resamples=20, folds=2, shortcuts=False)


@pytest.fixture(scope="module")
def checkpoint():
    torch.manual_seed(0)
    options = {"width": 0.0625}
    state = build_model("pyresnet_tiny", 4, **options).state_dict()
    return Checkpoint("pyresnet_tiny", options, tuple("abcd"), RESTING, None, state)


@pytest.fixture
def encoder(checkpoint):
    return SerEncoder(checkpoint)


@pytest.fixture(scope="module")
def interviews(tmp_path_factory):
    """Four sentences a subject, the first two marked as resting state."""
    manifest = make_interviews(tmp_path_factory.mktemp("corpus"), {"train": (3, 3), "dev": (2, 2)})
    rest = ["true" if identity[-1] in "01" else "" for identity in manifest.table["id"]]
    return manifest.with_table(manifest.table.assign(rest=rest))


def bind(encoder, manifest, folder, **options):
    options = {"workers": 0, "skip_bad": False, "progress": False} | options
    return with_rest(encoder, manifest, folder, **options)


def run(manifest, checkpoint, folder, *, config=CONFIG, **options):
    write_checkpoint(checkpoint, folder / "m.safetensors")
    options = {"encoder": "ser", "checkpoint": folder / "m.safetensors", "progress": False} | options
    return workflow.transfer(config, manifest, run_dir=folder / "run", **options)


def test_a_sentence_is_seen_against_its_subjects_rest(encoder, checkpoint, interviews, tmp_path):
    bound = bind(encoder, interviews, tmp_path)
    plain = MelFrontEnd(replace(RESTING, normalise="none"))
    rows = interviews.table[interviews.table["speaker"] == "302"]
    mels = [
        plain(torch.from_numpy(read_segment(interviews.source(audio), start, end)))
        for audio, start, end in zip(rows["audio"], rows["start"], rows["end"], strict=True)
    ]
    rest = torch.cat(mels[:2], dim=1).double()
    mean, deviation = rest.mean(dim=1, keepdim=True), rest.std(dim=1, keepdim=True, correction=0)
    wave = torch.from_numpy(
        read_segment(interviews.source(rows["audio"].iloc[3]), *rows[["start", "end"]].iloc[3])
    )
    seen = SerEncoder(replace(checkpoint, front_end=replace(RESTING, normalise="none")))
    seen._compute = lambda *_: ((mels[3] - mean) / deviation).float()
    found = bound.of_speaker(("daic-woz", "302")).embed([wave])
    torch.testing.assert_close(
        found, seen.embed([wave]), rtol=0.02, atol=0.02
    )  # the store is in half precision
    other = bound.of_speaker(("daic-woz", "303")).embed([wave])
    assert (found - other).abs().max() > 0.1


def test_audio_of_nobody_is_refused(encoder, interviews, tmp_path):
    wave = torch.randn(8000)
    with pytest.raises(BadInput, match="without its speaker's resting state"):
        encoder.embed([wave])
    with pytest.raises(BadInput, match="speaker '302' of elsewhere"):
        bind(encoder, interviews, tmp_path).of_speaker(("elsewhere", "302")).embed([wave])


def test_fingerprint_and_key_know_the_resting_recordings(encoder, interviews, tmp_path):
    def key(manifest):
        bound = bind(encoder, manifest, tmp_path)
        return bound.fingerprint(), embedding_key(without_rest(manifest, bound, skip_bad=False), bound)

    swapped = interviews.table.assign(rest=["true" if i[-1] in "02" else "" for i in interviews.table["id"]])
    first, again, other = (key(m) for m in (interviews, interviews, interviews.with_table(swapped)))
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]
    renamed = interviews.table.copy()
    renamed.loc[renamed["id"] == "302_003", "speaker"] = "303"
    assert embedding_key(interviews.with_table(renamed), encoder) != embedding_key(interviews, encoder)


def test_without_the_option_nothing_is_different(checkpoint, interviews, tmp_path):
    plain = SerEncoder(replace(checkpoint, front_end=replace(RESTING, normalise="utterance")))
    assert bind(plain, interviews, tmp_path) is plain
    assert plain.of_speaker(("daic-woz", "302")) is plain
    assert without_rest(interviews, plain, skip_bad=False) is interviews


def test_a_run_leaves_the_marked_rows_out_and_says_so(checkpoint, interviews, tmp_path):
    metrics = run(interviews, checkpoint, tmp_path)
    assert metrics["resting_state"] == {
        "marked_by": "column 'rest'",
        "speakers": 10,
        "recordings": 20,
        "left_out": 20,
    }
    assert metrics["sentence"]["n"] == 8
    scored = pd.read_csv(tmp_path / "run" / "sentences.csv")["id"]
    assert {identity[-1] for identity in scored} == {"2", "3"}
    assert run(interviews, checkpoint, tmp_path) == metrics


@pytest.mark.parametrize("mode", ["probe", "finetune"])
def test_a_recording_alone_is_not_scored_by_such_a_run(mode, checkpoint, interviews, tmp_path):
    settings = FinetuneConfig(depth="head", epochs=1, inner_share=0.5)
    run(interviews, checkpoint, tmp_path, config=replace(CONFIG, mode=mode, finetune=settings))
    with pytest.raises(BadInput, match="resting state"):
        open_predictor(tmp_path / "run")


def test_subjects_without_rest_or_with_nothing_else_are_all_named(checkpoint, encoder, interviews, tmp_path):
    with pytest.raises(BadInput, match="10 faults") as error:
        run(interviews.with_table(interviews.table.drop(columns="rest")), checkpoint, tmp_path)
    assert "column 'rest'" in error.value.faults[0].expected
    table = interviews.table.copy()
    table.loc[table["speaker"].isin(["301", "306"]), "rest"] = ""
    table.loc[table["speaker"] == "303", "rest"] = "true"
    with pytest.raises(BadInput) as error:
        without_rest(interviews.with_table(table), encoder, skip_bad=False)
    assert [fault.where.split()[1] for fault in error.value.faults] == ["'301'", "'306'", "'303'"]
    table.loc[table["speaker"] == "303", "rest"] = ["true", "", "", ""]
    metrics = run(interviews.with_table(table), checkpoint, tmp_path, skip_bad=True)
    assert len(metrics["left_out"]["embedding"]) == 8
    assert metrics["subject"]["n"] == 4, "who has no usable sentence stays, undecided"


def test_a_resting_recording_that_can_not_be_read_stops_the_run(checkpoint, tmp_path):
    manifest = make_interviews(tmp_path / "corpus", {"train": (2, 2), "dev": (1, 1)})
    rest = ["true" if identity[-1] == "0" else "" for identity in manifest.table["id"]]
    table = manifest.table.assign(rest=rest)
    table.loc[0, "audio"] = "gone.wav"
    with pytest.raises(BadInput, match=r"gone\.wav"):
        run(manifest.with_table(table), checkpoint, tmp_path)


def test_fine_tuning_sees_the_same_states(encoder, interviews, tmp_path):
    kept = without_rest(interviews, encoder, skip_bad=False)
    parts = take_parts(kept, CONFIG)
    options = {"workers": 0, "skip_bad": False, "progress": False}
    store, train, _ = take_features(interviews, parts, RESTING, tmp_path, **options)
    assert store.resting == {"speakers": 10, "recordings": 20}
    assert len(train.sentences) == 12
    bound = bind(encoder, interviews, tmp_path).of_speaker(("daic-woz", "302"))
    row = interviews.table.set_index("id").loc["302_003"]
    wave = torch.from_numpy(read_segment(interviews.source(row["audio"]), row["start"], row["end"]))
    seen = store.read(store.position("302_003"))
    np.testing.assert_allclose(bound.prepare(wave[None])[0, 0].numpy(), seen, atol=0.01, rtol=1e-3)
    assert isinstance(bound._state, RestingState)
    assert Path(store.path).parent == tmp_path


def test_other_people_are_not_heard_through_a_subjects_state(encoder, interviews, tmp_path):
    bound = bind(encoder, interviews, tmp_path)
    sets = Embeddings(interviews, lambda layer: bound, tmp_path, CONFIG.embedding)
    with pytest.raises(BadInput, match="resting state of who speaks"):
        sets.listen(interviews, candidate_of(CONFIG))
