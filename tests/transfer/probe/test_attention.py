from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import check_grad
from support.transfer_fakes import FakeEncoder, make_interviews

from sertransfer.errors import BadInput
from sertransfer.evaluation.aggregation import aggregate, attention_pool
from sertransfer.transfer import workflow
from sertransfer.transfer.decide import TrainingSet, choose_c, fit_probe
from sertransfer.transfer.embed import embed
from sertransfer.transfer.probe.attention import Attention, _Bags, attention_weights, fit_attention
from sertransfer.transfer.probe.probe import Probe, fit_path, read_probe, sentence_weights, write_probe
from sertransfer.transfer.settings import ProbeConfig, ThresholdConfig, TransferConfig

CONFIG = TransferConfig(
    folds=3,
    resamples=20,
    shortcuts=False,
    probe=ProbeConfig("attention", c_grid=(0.001, 0.1), hidden=4),
)


def make_bags(subjects=40, seed=0, dim=5, told=0.2):
    """One sentence in five tells the class, and bears a mark; *seed* gives other subjects."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(8, 30, size=subjects)
    names = np.repeat([f"s{index:03d}" for index in range(subjects)], counts)
    positive = np.repeat(np.arange(subjects) % 2 == 0, counts)
    telling = generator.random(len(names)) < told
    columns = generator.normal(size=(len(names), dim))
    columns[:, 0] += 3 * telling
    columns[:, 1] += telling * np.where(positive, 1.0, -1.0)
    return columns, positive, names, telling


def weigh(positive, names):
    return sentence_weights(positive, names.tolist(), balance_subjects=True, balance_classes=True)


def subject_scores(probe, vectors, positive, names):
    sentences = pd.DataFrame(
        {
            "subject": names,
            "split": "dev",
            "label": positive,
            "score": probe.score(vectors),
            "attention": probe.attend(vectors, names),
        }
    )
    return aggregate(sentences, "attention")


def test_attention_by_hand():
    # tanh(0) = 0 and tanh(atanh 1/2) = 1/2, times 2 log 3: log-weights 0 and log 3
    head = Attention(np.array([[np.arctanh(0.5)]]), np.zeros(1), np.array([2 * np.log(3)]))
    energies = head.energies(np.array([[0.0], [1.0], [1.0]]))
    assert energies.tolist() == pytest.approx([0, np.log(3), np.log(3)])
    assert attention_weights(energies, ["b", "b", "a"]).tolist() == pytest.approx([0.25, 0.75, 1.0])
    huge = attention_weights(np.array([1e4, 1e4 - np.log(3)]), ["a", "a"])
    assert huge.tolist() == pytest.approx([0.75, 0.25])
    assert attention_weights(np.zeros(0), []).shape == (0,)


def test_the_gradient_is_that_of_the_objective():
    columns, positive, names, _ = make_bags(6)
    starts = np.unique(names, return_index=True)[1]
    bags = _Bags(columns, starts, positive[starts].astype(float), np.linspace(1, 3, 6), 3)
    values = np.random.default_rng(1).normal(size=len(bags.start(0)))
    error = check_grad(
        lambda x: bags.objective(x, 0.3)[0], lambda x: bags.objective(x, 0.3)[1], values, epsilon=1e-6
    )
    assert error < 1e-4 * np.linalg.norm(bags.objective(values, 0.3)[1])


def test_it_finds_the_sentences_that_tell_where_a_mean_does_not():
    columns, positive, names, _ = make_bags(60)
    others, truth, whose, telling = make_bags(100, seed=1)
    probes = [
        probe
        for probe, messages in fit_path(
            columns, positive, weigh(positive, names), [1e-6, 1.0], CONFIG.probe, subjects=names
        )
        if not messages
    ]
    held_back, head = probes
    weights = head.attend(others, whose)
    assert weights[telling].mean() > 5 * weights[~telling].mean()
    even = held_back.attend(others, whose)
    sizes = pd.Series(whose).map(pd.Series(whose).value_counts()).to_numpy()
    assert even == pytest.approx(1 / sizes, rel=1e-3)  # strongly held back: the plain mean
    found = subject_scores(head, others, truth, whose)
    mean = subject_scores(held_back, others, truth, whose)

    def right(table):
        return ((table["score"] >= 0.5) == table["label"]).mean()

    assert right(found) > right(mean) + 0.1


def test_the_same_head_whatever_the_order_and_another_seed_another_start():
    columns, positive, names, _ = make_bags(20)
    shuffled = np.random.default_rng(0).permutation(len(names))

    def fit(rows, seed=0):
        weights = weigh(positive[rows], names[rows])
        args = columns[rows], positive[rows], names[rows], weights, [0.05], CONFIG.probe
        return next(iter(fit_attention(*args, seed=seed)))

    plain = np.arange(len(names))
    (machine, attention, _), (again, same, _), (_, other, _) = fit(plain), fit(plain), fit(plain, 1)
    assert np.array_equal(machine.weights, again.weights)
    assert np.array_equal(attention.hidden, same.hidden)
    assert not np.allclose(attention.hidden, other.hidden)
    mixed, _, _ = fit(shuffled)
    assert mixed.weights == pytest.approx(machine.weights, rel=0.02, abs=0.01)


def test_subjects_and_classes_weigh_the_same():
    columns, positive, names, _ = make_bags(12)
    twice = np.concatenate([np.arange(len(names)), np.flatnonzero(names == "s003")])  # one says all again

    def fit(rows):
        weights = weigh(positive[rows], names[rows]) * len(names) / len(rows)  # C times as many sentences
        args = columns[rows], positive[rows], names[rows], weights, [0.01], CONFIG.probe
        return next(iter(fit_attention(*args)))[0].weights

    assert fit(twice) == pytest.approx(fit(np.arange(len(names))), rel=0.05, abs=0.02)


def test_a_head_is_read_as_it_was_written(tmp_path):
    columns, positive, names, _ = make_bags(10)
    probe, _ = next(fit_path(columns, positive, weigh(positive, names), [0.1], CONFIG.probe, subjects=names))
    write_probe(probe, tmp_path / "head.safetensors")
    read = read_probe(tmp_path / "head.safetensors")
    assert np.array_equal(read.score(columns), probe.score(columns))
    assert np.array_equal(read.attend(columns, names), probe.attend(columns, names))
    assert read.about == {"kind": "attention", "c": 0.1}
    alone = names == "s001"
    assert read.attend(columns[alone], names[alone]) == pytest.approx(probe.attend(columns, names)[alone])
    with pytest.raises(ValueError, match="learnt no attention"):
        replace(probe, attention=None).attend(columns, names)


def test_c_is_chosen_by_folds_of_whole_clusters():
    columns, positive, names, _ = make_bags(24)
    training = TrainingSet(columns.astype(np.float32), positive, names, names)
    config = replace(CONFIG, probe=replace(CONFIG.probe, c_grid=(1e-6, 0.01, 1.0)))
    selection = choose_c(training, config)
    assert [row["c"] for row in selection.table] == [1e-6, 0.01, 1.0]
    assert selection.c == 1.0
    assert selection.table[2]["auroc"] > selection.table[0]["auroc"] + 0.1
    totals = pd.Series(selection.attention).groupby(names).sum()
    assert totals.to_numpy() == pytest.approx(1.0)
    sentences = pd.DataFrame({"id": np.arange(len(names)), "subject": names})
    assert list(selection.scored(sentences).columns) == ["id", "subject", "score", "fold", "attention"]
    probe, _ = fit_probe(training, selection.c, config)
    # out of fold: what a subject's sentences get is not what the head fitted to them gives
    assert not np.allclose(probe.score(training.vectors), selection.out_of_fold)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(CONFIG, mode="finetune"), "in mode finetune"),
        (replace(CONFIG, aggregation="mean"), "aggregation = 'mean' with probe.head = 'attention'"),
    ],
)
def test_what_does_not_go_with_attention_is_refused(config, message):
    with pytest.raises(BadInput, match=message):
        config.check()


def test_a_run_with_attention(tmp_path, monkeypatch):
    monkeypatch.setattr(workflow, "open_encoder", lambda *args, **options: FakeEncoder())
    monkeypatch.setattr(workflow, "write_report", lambda folder: (folder / "report.html").write_text(""))
    manifest = make_interviews(tmp_path / "corpus")

    def run(name, config):
        return workflow.transfer(
            config,
            manifest,
            encoder="ser",
            checkpoint=Path("model"),
            run_dir=tmp_path / name,
            embeddings=tmp_path / "embeddings",
            progress=False,
        )

    config = replace(CONFIG, threshold=ThresholdConfig(rule="out_of_fold"), shortcuts=True)
    metrics = run("run", config)
    assert run("again", config) == metrics
    for name in ("sentences.csv", "out_of_fold.csv", "checkpoints/probe.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert (metrics["aggregation"], metrics["probe"]["kind"]) == ("attention", "attention")
    assert metrics["probe"]["chosen_by"] == "subject AUROC out of fold, pairs within folds"
    assert "sentence_auroc" not in metrics["out_of_fold"]
    assert {row["name"] for row in metrics["shortcuts"]} >= {"loudness"}

    sentences = pd.read_csv(tmp_path / "run" / "sentences.csv", dtype={"id": str, "subject": str})
    assert list(sentences.columns)[-2:] == ["duration", "attention"]
    assert sentences.groupby("subject")["attention"].sum().to_numpy() == pytest.approx(1.0)
    subjects = pd.read_csv(tmp_path / "run" / "subjects.csv", dtype={"subject": str}).set_index("subject")
    for subject, group in sentences.groupby("subject"):
        score = attention_pool(group["score"].to_numpy(), group["attention"].to_numpy())
        assert subjects.loc[subject, "score"] == pytest.approx(score)
    decided = subjects["score"] >= metrics["threshold"]["value"]
    assert (decided == (subjects["prediction"] == config.positive)).all()

    probe = read_probe(tmp_path / "run" / "checkpoints" / "probe.safetensors")
    assert isinstance(probe, Probe)
    vectors = embed(manifest, FakeEncoder(), tmp_path / "embeddings", progress=False).select(
        sentences["id"].tolist()
    )
    assert probe.score(vectors) == pytest.approx(sentences["score"].to_numpy())
    assert probe.attend(vectors, sentences["subject"]) == pytest.approx(sentences["attention"].to_numpy())
