"""Nearly right files lead to clean errors alone; ``make fuzz`` tries a hundred thousand and more."""

import json
from pathlib import Path

import pytest
from campaign import fuzz, input_of, run_batch, try_input
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import Target, make_targets, place_input

from sertransfer.errors import bad_input

INPUTS = 2000


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return make_targets(tmp_path_factory.mktemp("seeds"))


def test_readers_keep_to_clean_errors_in_bounded_time_and_memory(targets, tmp_path):
    counts = fuzz(list(targets.values()), INPUTS, seed=0, work=tmp_path)
    assert sum(found["inputs"] for found in counts.values()) >= INPUTS
    wrong = {name: found["first"] for name, found in counts.items() if found["findings"]}
    assert not wrong, json.dumps(wrong, indent=1)


REFUSED = {"published file", "weights of torch.save", "checkpoint", "fine-tuned network"}
"""Targets that have whole files of another kind among their seeds."""


def test_the_seeds_themselves_are_read(targets, tmp_path):
    for name, target in targets.items():
        for seed in target.seeds if name not in REFUSED else target.seeds[:1]:
            target_read(target, seed, tmp_path / "input")


def target_read(target, seed, folder):
    path = place_input(target, seed, folder)
    if target.name in ("config of stage 2", "config of tuning", "split file", "fine-tuned network"):
        return  # a config of one command is none of another's
    target.read(path)


def test_inputs_come_again(targets):
    target = targets["transcript"]
    assert input_of(target, 3, 5) == input_of(target, 3, 5) != input_of(target, 3, 6)


def hang(path):
    while True:
        pass


def devour(path):
    return bytearray(3 * 2**30)


def die(path):
    import os

    os._exit(3)


def refuse(path):
    raise bad_input(path, found="x", expected="y", remedy="z")


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (hang, "TooLongError"),
        (devour, "MemoryError"),
        (die, "ended with 3"),
        (lambda path: 1 / 0, "ZeroDivisionError"),
        (refuse, None),
    ],
)
def test_what_goes_wrong_is_found(read, found, tmp_path, monkeypatch):
    monkeypatch.setattr("campaign.SECONDS", 0.2)
    target = Target("t", (b"abc",), "f", read)
    wrong = run_batch(target, 0, [4, 5], tmp_path)
    assert [number for number, _ in wrong] == ([4, 5] if found else [])
    assert all(found in text for _, text in wrong)


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TIMES = st.one_of(CELLS, st.floats(width=32).map(str), st.integers().map(str))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.tuples(TIMES, TIMES, CELLS, CELLS), max_size=8))
def test_any_transcript(rows, targets, tmp_path):
    text = "start_time\tstop_time\tspeaker\tvalue\n" + "\n".join("\t".join(row) for row in rows)
    assert try_input(targets["transcript"], text.encode(), tmp_path / "input") is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.lists(TIMES, min_size=1, max_size=12), max_size=5),
    name=st.sampled_from(["manifest", "LSSED table"]),
)
def test_any_table(rows, name, targets, tmp_path):
    target = targets[name]
    header = target.seeds[0].split(b"\n")[0]
    body = "\n".join(",".join(row) for row in rows).encode()
    assert try_input(target, header + b"\n" + body, tmp_path / "input") is None


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), CELLS),
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(CELLS, below, max_size=4)),
    max_leaves=12,
)
RECORDS = ["run's metrics", "store's record", "embeddings' record", "frame store's record", "run's inputs"]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=VALUES, name=st.sampled_from(RECORDS), data=st.data())
def test_any_json(value, name, data, targets, tmp_path):
    target = targets[name]
    whole = json.loads(target.seeds[0])
    whole[data.draw(st.sampled_from(sorted(whole)))] = value
    text = json.dumps(whole if data.draw(st.booleans()) else value)
    assert try_input(target, text.encode(), tmp_path / "input") is None


def test_the_memory_of_a_terabyte_header_is_not_taken(targets, tmp_path):
    data = bytearray(next(seed for seed in targets["sound"].seeds if seed[:4] == b"RIFF"))
    data[4:8] = data[40:44] = (2**32 - 2).to_bytes(4, "little")
    assert try_input(targets["sound"], bytes(data), Path(tmp_path) / "input") is None
    weights = targets["checkpoint"].seeds[0]
    assert (
        try_input(targets["checkpoint"], (2**40).to_bytes(8, "little") + weights[8:], tmp_path / "i") is None
    )
