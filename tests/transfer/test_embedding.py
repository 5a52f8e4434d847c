import multiprocessing
import os
import zipfile

import numpy as np
import pytest
import torch
from support.transfer_fakes import FakeEncoder, Killed, make_interviews, write_wave

import sertransfer.transfer.data as sentences_module
from sertransfer.audio import recordings
from sertransfer.audio.reading import read_segment
from sertransfer.errors import BadInput, SertransferError
from sertransfer.manifest import Manifest
from sertransfer.transfer.data import embedding_key, in_chunks, take_sentences
from sertransfer.transfer.embed import embed
from sertransfer.transfer.embedding_store import EmbeddedChunk


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    return make_interviews(tmp_path / "corpus", {"train": (2, 1)})


def run(manifest, encoder, tmp_path, **options):
    return embed(manifest, encoder, tmp_path / "cache", progress=False, **options)


def expected(manifest, identity, encoder):
    row = manifest.table.set_index("id").loc[identity]
    waveform = read_segment(
        manifest.source(row["audio"]), row["start"], row["end"], gain=row.get("gain", 1.0)
    )
    return encoder.embed([torch.from_numpy(waveform)])[0].numpy(), len(waveform) / 16000


def small_chunks(monkeypatch, count=5):
    monkeypatch.setattr(sentences_module, "CHUNK_SENTENCES", count)


def test_every_sentence_has_the_mean_of_its_frames(manifest, tmp_path):
    encoder = FakeEncoder()
    stored = run(manifest, encoder, tmp_path)
    assert sorted(stored.ids) == sorted(manifest.table["id"])
    assert stored.vectors.dtype == np.float32
    assert isinstance(stored.vectors, np.memmap)
    for position, identity in enumerate(stored.ids):
        vector, duration = expected(manifest, identity, FakeEncoder())
        assert stored.vectors[position] == pytest.approx(vector, rel=1e-5)
        assert stored.durations[position] == duration
    wanted = manifest.table["id"].tolist()[::-1]
    assert np.array_equal(stored.select(wanted), stored.vectors[[stored.ids.index(name) for name in wanted]])


def test_sentences_are_embedded_once(manifest, tmp_path):
    first = run(manifest, FakeEncoder(), tmp_path)
    again = FakeEncoder()
    shuffled = manifest.with_table(manifest.table.sample(frac=1, random_state=0).reset_index(drop=True))
    second = run(shuffled, again, tmp_path)
    assert again.encoded == 0
    assert first.folder == second.folder
    assert np.array_equal(first.vectors, second.vectors)
    assert not list((tmp_path / "cache" / "chunks").iterdir())


def test_labels_and_splits_do_not_count_but_audio_times_gain_and_encoder_do(manifest, tmp_path):
    key = embedding_key(manifest, FakeEncoder())
    assert (
        embedding_key(manifest.with_table(manifest.table.assign(label="x", split="dev")), FakeEncoder())
        == key
    )
    others = [
        embedding_key(manifest, FakeEncoder(fingerprint="other")),
        embedding_key(
            manifest.with_table(manifest.table.assign(end=manifest.table["end"] - 0.01)), FakeEncoder()
        ),
        embedding_key(manifest.with_table(manifest.table.assign(gain=2.0)), FakeEncoder()),
        embedding_key(manifest.with_table(manifest.table.iloc[1:]), FakeEncoder()),
    ]
    path = manifest.root / manifest.table["audio"][0]
    os.utime(path, ns=(0, 1))
    others.append(embedding_key(manifest, FakeEncoder()))
    path.unlink()
    others.append(embedding_key(manifest, FakeEncoder()))
    assert len({key, *others}) == 7


def test_gain_is_applied(manifest, tmp_path):
    louder = manifest.with_table(manifest.table.assign(gain=3.0))
    stored = run(louder, FakeEncoder(), tmp_path)
    vector, _ = expected(louder, stored.ids[0], FakeEncoder())
    assert stored.vectors[0] == pytest.approx(vector, rel=1e-5)
    assert stored.vectors[0] != pytest.approx(expected(manifest, stored.ids[0], FakeEncoder())[0], rel=1e-3)


def test_whole_files_without_times(tmp_path):
    from sertransfer.manifest import make_table

    rows = []
    for index, length in enumerate([1600, 3200]):
        write_wave(tmp_path / f"{index}.wav", np.full(length, 0.1 * (index + 1)))
        rows.append({"id": str(index), "audio": f"{index}.wav", "speaker": "s", "corpus": "csv"})
    stored = run(Manifest(make_table(rows), tmp_path), FakeEncoder(), tmp_path)
    assert stored.durations.tolist() == [0.1, 0.2]


@pytest.mark.parametrize("batch_seconds", [0.01, 0.5, 1000])
def test_batch_size_changes_no_embedding(manifest, tmp_path, batch_seconds):
    encoder = FakeEncoder()
    stored = run(manifest, encoder, tmp_path, batch_seconds=batch_seconds)
    reference = embed(manifest, FakeEncoder(), tmp_path / "other", progress=False)
    assert stored.vectors == pytest.approx(np.asarray(reference.vectors), rel=1e-6)
    assert encoder.calls == {0.01: 12, 1000: 1}.get(batch_seconds, encoder.calls)


def test_batches_hold_no_more_than_they_may(manifest, tmp_path, monkeypatch):
    encoder = FakeEncoder()
    shapes = []
    original = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda w, n: shapes.append(w.shape) or original(w, n))
    run(manifest, encoder, tmp_path, batch_seconds=0.5)
    assert all(rows == 1 or rows * samples <= 8000 for rows, samples in shapes)
    assert len(shapes) < 12


def test_reading_processes_change_nothing(manifest, tmp_path, monkeypatch):
    small_chunks(monkeypatch)
    stored = run(manifest, FakeEncoder(), tmp_path, workers=2)
    reference = embed(manifest, FakeEncoder(), tmp_path / "other", progress=False)
    assert stored.ids == reference.ids
    assert np.array_equal(stored.vectors, reference.vectors)


def test_a_session_in_an_archive_is_decoded_once(manifest, tmp_path, monkeypatch):
    archives = {}
    for audio in manifest.table["audio"].unique():
        name = audio.split("/")[0] + ".zip"
        with zipfile.ZipFile(manifest.root / name, "w") as archive:
            archive.write(manifest.root / audio, audio.split("/")[1])
        archives[audio] = {"archive": name, "member": audio.split("/")[1]}
    zipped = Manifest(manifest.table.sample(frac=1, random_state=1), manifest.root, {"archives": archives})
    unpacked, member = [], recordings._member
    monkeypatch.setattr(recordings, "_member", lambda *given: unpacked.append(given) or member(*given))
    stored = run(zipped, FakeEncoder(), tmp_path)
    assert len(unpacked) == len(archives) == 3
    assert len(stored) == 12
    plain = embed(manifest, FakeEncoder(), tmp_path / "other", progress=False)
    assert np.array_equal(stored.vectors, plain.vectors)


def test_a_killed_run_goes_on_where_it_was(manifest, tmp_path, monkeypatch, caplog):
    small_chunks(monkeypatch)
    encoder = FakeEncoder()
    original = encoder.encode

    def dies_late(waveforms, lengths):
        if encoder.encoded >= 10:
            raise Killed
        return original(waveforms, lengths)

    monkeypatch.setattr(encoder, "encode", dies_late)
    with pytest.raises(Killed):
        run(manifest, encoder, tmp_path)
    again = FakeEncoder()
    with caplog.at_level("INFO"):
        stored = run(manifest, again, tmp_path)
    assert again.encoded == 2
    assert "going on after 10 of 12 sentences" in caplog.text
    whole = embed(manifest, FakeEncoder(), tmp_path / "other", progress=False)
    assert np.array_equal(stored.vectors, whole.vectors)


def test_a_broken_chunk_is_made_again(manifest, tmp_path, monkeypatch, caplog):
    small_chunks(monkeypatch)
    paths = tmp_path / "cache" / "chunks"
    monkeypatch.setattr("sertransfer.transfer.embed.write_set", lambda *a: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        run(manifest, FakeEncoder(), tmp_path)
    monkeypatch.undo()
    small_chunks(monkeypatch)
    victim = sorted(paths.iterdir())[0]
    size = len(EmbeddedChunk.read(victim).ids)
    victim.write_bytes(victim.read_bytes()[:100])
    again = FakeEncoder()
    stored = run(manifest, again, tmp_path)
    assert len(stored) == 12
    assert again.encoded == size
    assert "cannot be read and is made again" in caplog.text


def spoil(manifest, *, rows=(1, 9)):
    table = manifest.table.copy()
    table.loc[rows[0], "end"] = 99.0
    (manifest.root / table["audio"][rows[1]]).write_bytes(b"no audio")
    return manifest.with_table(table)


def test_all_faults_are_raised_at_once(manifest, tmp_path):
    bad = spoil(manifest)
    with pytest.raises(BadInput) as caught:
        run(bad, FakeEncoder(), tmp_path)
    texts = [str(fault) for fault in caught.value.faults]
    assert len(texts) == 2  # the unreadable file once, with its four sentences
    assert any("300_001" in text and "99.0" in text for text in texts)
    assert any("4 sentences from 302_000" in text for text in texts)
    assert all("--skip-bad" in text for text in texts)


def test_bad_sentences_are_left_out_and_recorded_where_that_is_allowed(manifest, tmp_path, caplog):
    bad = spoil(manifest)
    stored = run(bad, FakeEncoder(), tmp_path, skip_bad=True)
    assert len(stored) == 7
    assert {entry["item"] for entry in stored.left_out} == {"300_001", *(f"302_{i:03d}" for i in range(4))}
    assert all(entry["reason"] for entry in stored.left_out)
    again = FakeEncoder()
    assert run(bad, again, tmp_path, skip_bad=True).left_out == stored.left_out
    assert again.encoded == 0
    with pytest.raises(BadInput, match="or remove"):  # not allowed later: no silent reuse
        run(bad, FakeEncoder(), tmp_path)


def test_after_a_repair_only_what_was_bad_is_embedded(manifest, tmp_path, monkeypatch):
    small_chunks(monkeypatch, 4)
    path = manifest.root / manifest.table["audio"][9]
    whole = path.read_bytes()
    path.write_bytes(b"no audio")
    with pytest.raises(BadInput):
        run(manifest, FakeEncoder(), tmp_path)
    path.write_bytes(whole)
    again = FakeEncoder()
    assert len(run(manifest, again, tmp_path)) == 12
    assert again.encoded == 4


def test_chunks_with_faults_are_not_trusted_by_a_strict_run(manifest, tmp_path, monkeypatch):
    small_chunks(monkeypatch, 4)
    bad = spoil(manifest, rows=(1, 9))
    monkeypatch.setattr("sertransfer.transfer.embed.write_set", lambda *a: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        run(bad, FakeEncoder(), tmp_path, skip_bad=True)
    again = FakeEncoder()
    with pytest.raises(BadInput, match="2 faults"):
        run(bad, again, tmp_path)
    assert again.encoded == 3  # the three good ones beside the faulty sentence
    monkeypatch.undo()
    small_chunks(monkeypatch, 4)
    assert len(run(bad, FakeEncoder(), tmp_path, skip_bad=True)) == 7


def test_nothing_to_embed_is_an_error_even_when_skipping(manifest, tmp_path):
    for audio in manifest.table["audio"].unique():
        (manifest.root / audio).write_bytes(b"RIFF")
    with pytest.raises(BadInput, match="3 faults in the input"):
        run(manifest, FakeEncoder(), tmp_path, skip_bad=True)


def test_a_sentence_that_the_encoder_refuses_is_named(manifest, tmp_path):
    lengths = (manifest.table["end"] - manifest.table["start"]) * 16000
    shortest = manifest.table["id"][lengths.argmin()]
    encoder = FakeEncoder(refuse_shorter=round(lengths.min()) + 1)
    stored = run(manifest, encoder, tmp_path, skip_bad=True)
    assert [entry["item"] for entry in stored.left_out] == [shortest]
    assert len(stored) == 11
    assert ".wav, " in stored.left_out[0]["reason"]


def test_an_embedding_that_is_not_finite_is_a_fault(manifest, tmp_path, monkeypatch):
    encoder = FakeEncoder()
    original = encoder.encode

    def breaks_the_first(waveforms, lengths):
        features, frames = original(waveforms, lengths)
        features[0, 0, 0] = float("nan")
        return features, frames

    monkeypatch.setattr(encoder, "encode", breaks_the_first)
    with pytest.raises(BadInput, match="not finite"):
        run(manifest, encoder, tmp_path)


def _embed_in_process(manifest, folder, results):
    stored = embed(manifest, FakeEncoder(), folder, progress=False)
    results.put((len(stored), float(np.asarray(stored.vectors).sum())))


def test_two_processes_both_end_with_a_right_set(manifest, tmp_path):
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    results = context.Queue()
    workers = [
        context.Process(target=_embed_in_process, args=(manifest, tmp_path / "cache", results))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    whole = embed(manifest, FakeEncoder(), tmp_path / "other", progress=False)
    assert found == [(12, float(np.asarray(whole.vectors).sum()))] * 2


def test_waiting_for_another_process_is_said(manifest, tmp_path, caplog, monkeypatch):
    import fcntl

    calls = []

    def busy_at_first(lock, flags):
        calls.append(flags)
        if len(calls) == 1:
            raise BlockingIOError

    monkeypatch.setattr(fcntl, "flock", busy_at_first)
    assert len(run(manifest, FakeEncoder(), tmp_path)) == 12
    assert calls[:2] == [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX]  # files that are written lock too
    assert "waiting for it" in caplog.text


def test_a_set_that_can_not_be_read_back_is_our_failure(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr("sertransfer.transfer.embed.open_set", lambda *a: None)
    with pytest.raises(SertransferError, match="cannot be read back"):
        run(manifest, FakeEncoder(), tmp_path)


def test_the_progress_bar_goes_to_standard_error(manifest, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sertransfer.io.progress.LEAST", 0.0)
    embed(manifest, FakeEncoder(), tmp_path / "cache", progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "12 sentences" in captured.err


def test_chunks_are_cut_by_number_and_by_seconds(manifest, monkeypatch):
    sentences = take_sentences(manifest)
    assert [s.id for s in sentences] == sorted(manifest.table["id"])
    small_chunks(monkeypatch, 5)
    assert [len(chunk) for chunk in in_chunks(sentences)] == [5, 5, 2]
    monkeypatch.setattr(sentences_module, "CHUNK_SECONDS", 0.5)
    chunks = in_chunks(sentences)
    assert all(len(chunk) == 1 or sum(s.seconds for s in chunk) <= 0.5 for chunk in chunks)
    assert [s for chunk in chunks for s in chunk] == sentences
    assert in_chunks([]) == []


def test_a_sentence_names_its_place(manifest):
    sentence = take_sentences(manifest)[1]
    assert sentence.place.startswith(str(manifest.root / "300_P"))
    assert sentence.place.endswith(" s")


def test_recordings_that_are_all_missing_are_one_fault(manifest, tmp_path):
    for audio in manifest.table["audio"].unique():
        (manifest.root / audio).unlink()
    with pytest.raises(BadInput, match="none of 3 recordings under") as refusal:
        run(manifest, FakeEncoder(), tmp_path, skip_bad=True)
    assert len(refusal.value.faults) == 1
