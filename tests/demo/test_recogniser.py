"""The small recogniser of the demo: its generated speech, and a training without a network."""

import json
import socket
from pathlib import Path

import numpy as np
import soundfile
import yaml

from sertransfer.cli.main import main
from sertransfer.demo import recogniser
from sertransfer.demo.recogniser import EXPERIMENT, LETTERS, NOTE, generate, train_demo_recogniser, write_data
from sertransfer.encoders.registry import open_encoder


def test_generated_vowels_follow_from_their_seed(tmp_path):
    first, again = generate(4, "x", seed=1), generate(4, "x", seed=1)
    for one, other in zip(first, again, strict=True):
        assert one.text == other.text
        assert np.array_equal(one.sound, other.sound)
        assert 0.05 < np.abs(one.sound).max() < 1
        assert set(one.text) <= set(LETTERS)
    assert [one.text for one in generate(4, "x", seed=2)] != [one.text for one in first]
    write_data(tmp_path, "train", first)
    listed = (tmp_path / "train/wav.scp").read_text().splitlines()
    assert [line.split()[0] for line in listed] == [utterance.id for utterance in first]
    lengths = dict(line.split() for line in (tmp_path / "train/speech_shape").read_text().splitlines())
    for line in listed:
        name, path = line.split()
        assert soundfile.info(path).frames == int(lengths[name])


def test_the_demo_recogniser_becomes_an_encoder_without_a_network(tmp_path, monkeypatch, capsys):
    reached = []

    def refuse(*arguments):
        reached.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    said = []
    result = train_demo_recogniser(tmp_path / "asr", count=8, epochs=1, seconds=0, say=said.append)
    assert not reached
    assert (result["epochs"], result["note"]) == (1, NOTE)
    assert result["cer"] >= 0
    assert len(said) == 1
    assert capsys.readouterr().out == ""
    assert (tmp_path / "asr/espnet.txt").stat().st_size > 0
    assert json.loads((tmp_path / "asr/result.json").read_text()) == json.loads(json.dumps(result))
    experiment = tmp_path / "asr" / EXPERIMENT
    assert yaml.safe_load((experiment / "config.yaml").read_text())["model_conf"]["ctc_weight"] == 1.0
    assert open_encoder("asr", Path(experiment)).dim == 64


def test_the_command_says_what_came_of_it(tmp_path, monkeypatch, capsys):
    result = {"cer": 0.25, "epochs": 3, "seconds": 1.4, "note": NOTE}
    monkeypatch.setattr(recogniser, "train_demo_recogniser", lambda folder, **_: result)
    assert main(["demo-recogniser", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "character error rate 0.250 after 3 epochs, 1 s" in printed
    assert "not real speech" in printed
    assert f"--encoder asr --checkpoint {tmp_path / EXPERIMENT}" in printed
