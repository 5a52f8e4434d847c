import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sertransfer.errors import BadInput
from sertransfer.transfer.probe import classifiers
from sertransfer.transfer.probe.classifiers import LinearMachine, Preparation, principal_axes
from sertransfer.transfer.probe.probe import Probe, fit_path, read_probe, sentence_weights, write_probe
from sertransfer.transfer.settings import ProbeConfig

GRID = [0.001, 0.1, 1.0]


def make_data(sentences=30, dim=5, seed=0):
    generator = np.random.default_rng(seed)
    positive = np.arange(sentences) % 3 == 0
    vectors = generator.normal(size=(sentences, dim)) * np.linspace(1, 20, dim) + 3
    vectors[:, 0] += positive * 1.5
    subjects = [f"s{index // 3}" for index in range(sentences)]
    return vectors.astype(np.float32), positive, subjects


def weigh(positive, subjects, *, by_subject=True, by_class=True):
    return sentence_weights(positive, subjects, balance_subjects=by_subject, balance_classes=by_class)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(1, 30)),
        min_size=2,
        max_size=6,
        unique_by=lambda t: t[0],
    )
)
def test_subjects_and_classes_weigh_the_same(counts):
    subjects = [name for name, count in counts for _ in range(count)]
    positive = np.array([name in "abc" for name in subjects])
    weights = weigh(positive, subjects)
    assert weights.mean() == pytest.approx(1)
    for label in set(positive.tolist()):
        chosen = positive == label
        assert weights[chosen].sum() == pytest.approx(len(weights) / len(set(positive.tolist())))
        totals = {
            name: weights[[s == name for s in subjects]].sum() for name in {*np.array(subjects)[chosen]}
        }
        assert list(totals.values()) == pytest.approx([next(iter(totals.values()))] * len(totals))


def test_balancing_can_be_switched_off():
    positive, subjects = np.array([True, False, False, False]), ["a", "b", "b", "c"]
    assert weigh(positive, subjects, by_subject=False, by_class=False).tolist() == [1, 1, 1, 1]
    assert weigh(positive, subjects, by_class=False) == pytest.approx(np.array([4, 2, 2, 4]) / 3)
    assert weigh(positive, subjects, by_subject=False) == pytest.approx(np.array([6, 2, 2, 2]) / 3)


@pytest.mark.parametrize("rows", [7, 256])
def test_logistic_scores_are_those_of_scikit_learn(rows, monkeypatch):
    monkeypatch.setattr(classifiers, "_ROWS_OF_A_STEP", rows)
    vectors, positive, subjects = make_data()
    weights = weigh(positive, subjects)
    scaler = StandardScaler().fit(vectors.astype(float), sample_weight=weights)
    columns = scaler.transform(vectors.astype(float))
    for c, (probe, warnings) in zip(
        GRID, fit_path(vectors, positive, weights, GRID, ProbeConfig()), strict=True
    ):
        expected = LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit(
            columns, positive, sample_weight=weights
        )
        assert probe.score(vectors) == pytest.approx(expected.predict_proba(columns)[:, 1], abs=2e-4)
        assert probe.about == {"kind": "logistic", "c": c}
        assert warnings == []


@pytest.mark.parametrize("kind", ["logistic", "linear_svm"])
@pytest.mark.parametrize("standardise", [True, False])
def test_rotation_changes_nothing(kind, standardise):
    vectors, positive, subjects = make_data(sentences=18, dim=60)
    vectors /= 10 if not standardise else 1
    weights = weigh(positive, subjects)
    config = ProbeConfig(head=kind, standardise=standardise, max_iterations=100_000)
    grid = [0.001, 0.01]
    plain, rotated, default = (
        [probe for probe, _ in fit_path(vectors, positive, weights, grid, config, rotate=rotate)]
        for rotate in (False, True, None)
    )
    held_out = make_data(sentences=40, dim=60, seed=1)[0] / (10 if not standardise else 1)
    for one, other, chosen in zip(plain, rotated, default, strict=True):
        assert other.score(held_out) == pytest.approx(one.score(held_out), abs=2e-3)
        expected = one if kind == "logistic" else other  # few sentences for 60 dimensions
        assert np.array_equal(chosen.machine.weights, expected.machine.weights)


def test_the_support_vector_machine_keeps_its_boundary_at_one_half():
    vectors, positive, subjects = make_data()
    probe, _ = next(
        fit_path(vectors, positive, weigh(positive, subjects), [0.1], ProbeConfig(head="linear_svm"))
    )
    decision, score = probe.decision(vectors), probe.score(vectors)
    assert ((score >= 0.5) == (decision >= 0)).all()
    assert (np.argsort(score, kind="stable") == np.argsort(decision, kind="stable")).all()
    assert score == pytest.approx(1 / (1 + np.exp(-2 * decision)))


def test_the_solver_says_when_it_did_not_converge():
    vectors, positive, subjects = make_data()
    config = ProbeConfig(max_iterations=1)
    found = [
        texts for _, texts in fit_path(vectors, positive, weigh(positive, subjects), [1.0, 10.0], config)
    ]
    assert all(len(texts) == 1 and "converge" in texts[0] for texts in found)


@pytest.mark.parametrize("rows", [7, 256])
def test_a_column_without_spread_is_harmless(rows, monkeypatch):
    monkeypatch.setattr(classifiers, "_ROWS_OF_A_STEP", rows)
    vectors, positive, subjects = make_data()
    vectors[:, 2] = 7
    probe, _ = next(fit_path(vectors, positive, weigh(positive, subjects), [0.1], ProbeConfig()))
    assert np.isfinite(probe.score(vectors)).all()
    assert probe.preparation.scale[2] == 1


def test_the_mean_of_columns_is_no_part_of_a_logistic_score():
    vectors, positive, subjects = make_data()
    weights, config = weigh(positive, subjects), ProbeConfig(standardise=False)
    near, far = (
        next(fit_path(np.float32(vectors + shift), positive, weights, [0.1], config))[0].score(
            vectors + shift
        )
        for shift in (0, 4096)
    )
    assert far == pytest.approx(near, abs=2e-3)


CONFIGS = [
    ProbeConfig(),
    ProbeConfig(pca=3),
    ProbeConfig(head="linear_svm", pca=2, standardise=False),
    ProbeConfig(head="rbf_svm"),
    ProbeConfig(head="rbf_svm", pca=3, gamma=2),
    ProbeConfig(head="mlp", pca=3, hidden=4),
]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 29), st.sampled_from(CONFIGS))
def test_a_score_does_not_depend_on_the_others(count, config):
    vectors, positive, subjects = make_data()
    probe, _ = next(fit_path(vectors, positive, weigh(positive, subjects), [0.1], config))
    assert np.array_equal(probe.score(vectors[:count]), probe.score(vectors)[:count])


@pytest.mark.parametrize("config", CONFIGS)
def test_a_written_probe_scores_the_same(tmp_path, config):
    vectors, positive, subjects = make_data()
    probe, _ = next(fit_path(vectors, positive, weigh(positive, subjects), [0.1], config))
    write_probe(probe, tmp_path / "probe.safetensors")
    again = read_probe(tmp_path / "probe.safetensors")
    assert np.array_equal(again.score(vectors), probe.score(vectors))
    assert again.about == probe.about
    assert [path.name for path in tmp_path.iterdir()] == ["probe.safetensors"]


@pytest.mark.parametrize("kind", ["rbf_svm", "mlp"])
@pytest.mark.parametrize("pca", [0, 3])
def test_kernel_and_network_scores_are_those_of_scikit_learn(kind, pca):
    vectors, positive, subjects = make_data()
    weights = weigh(positive, subjects)
    config = ProbeConfig(head=kind, pca=pca, gamma=0.5, hidden=3)
    probe, _ = next(fit_path(vectors, positive, weights, [0.7], config, seed=4))
    scaler = StandardScaler().fit(vectors.astype(float), sample_weight=weights)
    columns = scaler.transform(vectors.astype(float))
    if pca:
        columns = columns @ probe.preparation.basis
    if kind == "rbf_svm":
        spread = columns.var(axis=0).sum()
        expected = SVC(C=0.7, gamma=0.5 / spread).fit(columns, positive, sample_weight=weights)
        assert probe.decision(vectors) == pytest.approx(expected.decision_function(columns))
    else:
        expected = MLPClassifier((3,), solver="lbfgs", alpha=1 / 0.7, max_iter=2000, random_state=4)
        expected.fit(columns, positive, sample_weight=weights)
        assert probe.score(vectors) == pytest.approx(expected.predict_proba(columns)[:, 1])


def test_all_principal_axes_change_no_linear_probe():
    vectors, positive, subjects = make_data()
    weights = weigh(positive, subjects)
    plain, turned = (
        next(fit_path(vectors, positive, weights, [0.1], ProbeConfig(pca=pca)))[0] for pca in (0, 5)
    )
    assert turned.score(vectors) == pytest.approx(plain.score(vectors), abs=1e-4)
    assert turned.preparation.basis is None


@pytest.mark.parametrize("sentences", [40, 700])  # exact, and by random projection
def test_principal_axes_are_those_of_the_weighted_covariance(sentences):
    vectors = np.random.default_rng(0).normal(size=(sentences, 600)) * 50 * 0.7 ** np.arange(600)
    weights = np.random.default_rng(1).random(sentences) + 0.5
    centred = vectors - np.average(vectors, axis=0, weights=weights)
    axes = principal_axes(centred, weights, 3, 0)
    _, expected = np.linalg.eigh((centred * weights[:, None]).T @ centred)
    assert np.abs(np.einsum("dk,dk->k", axes, expected[:, ::-1][:, :3])) == pytest.approx(1, abs=1e-4)
    assert np.array_equal(principal_axes(centred, weights, 3, 0), axes)


def test_embeddings_of_another_encoder_are_refused():
    probe = Probe(Preparation(np.zeros(3), np.ones(3)), LinearMachine(np.ones(3), 0.0), 1.0)
    with pytest.raises(BadInput, match=r"shape \(2, 4\)"):
        probe.score(np.zeros((2, 4), np.float32))


def test_a_file_that_is_no_probe_is_refused(tmp_path):
    path = tmp_path / "probe.safetensors"
    with pytest.raises(BadInput, match="no probe that can be read"):
        read_probe(path)
    path.write_bytes(b"no safetensors")
    with pytest.raises(BadInput, match="no probe that can be read"):
        read_probe(path)
    from safetensors.numpy import save_file

    for metadata, message in (({}, "'probe'"), ({"probe": '{"format": "something else"}'}, "something else")):
        save_file({"mean": np.zeros(1)}, path, metadata)
        with pytest.raises(BadInput, match=message):
            read_probe(path)
