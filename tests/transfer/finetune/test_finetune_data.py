"""Talkative subjects and large classes come no more often than others."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sertransfer.transfer.finetune.data import BalancedDraw

SENTENCES = {"a": (0, 90), "b": (0, 5), "c": (0, 1), "d": (1, 3), "e": (1, 1)}


def make(sentences, seed=0):
    subjects = np.array([name for name, (_, count) in sentences.items() for _ in range(count)])
    targets = np.array([sentences[name][0] for name in subjects], dtype=np.int64)
    return BalancedDraw(targets, subjects, seed)


def test_classes_and_subjects_are_drawn_alike():
    draw = make(SENTENCES)
    counts = Counter(draw.subjects[draw(0)])
    assert sum(counts.values()) == 100
    assert counts["d"] == counts["e"] == 25
    assert sorted(counts[name] for name in "abc") == [16, 17, 17]


def test_a_subjects_sentences_take_turns():
    draw = make(SENTENCES)
    items = draw(0)
    for name in SENTENCES:
        own = np.bincount(items, minlength=100)[draw.subjects == name]
        assert own.max() - own.min() <= 1


def test_the_epoch_and_the_seed_decide_the_draw():
    draw = make(SENTENCES)
    assert np.array_equal(draw(3), make(SENTENCES)(3))
    assert not np.array_equal(np.sort(draw(3)), np.sort(draw(4)))
    assert not np.array_equal(np.sort(draw(3)), np.sort(make(SENTENCES, seed=1)(3)))


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text("abcdefgh", min_size=1, max_size=3),
        st.tuples(st.sampled_from([0, 1]), st.integers(1, 20)),
        min_size=1,
    ),
    st.integers(0, 5),
)
def test_as_many_are_drawn_as_there_are_and_none_is_preferred(sentences, epoch):
    draw = make(sentences)
    items = draw(epoch)
    assert len(items) == len(draw.targets)
    classes = np.bincount(draw.targets[items], minlength=2)[np.unique(draw.targets)]
    assert classes.max() - classes.min() <= 1
    for target in np.unique(draw.targets):
        names = np.unique(draw.subjects[draw.targets == target])
        drawn = [int((draw.subjects[items] == name).sum()) for name in names]
        assert max(drawn) - min(drawn) <= 1
