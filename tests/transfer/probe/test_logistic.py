import numpy as np
import pytest
from scipy.special import expit

from sertransfer.transfer.probe import classifiers
from sertransfer.transfer.probe.classifiers import _Problem, fit_logistic

GRID = [1e-6, 1e-4, 1e-2, 1.0]


def ill_conditioned(sentences=300, dim=200, seed=0):
    """Sentences that spread 10,000 times further along the first direction than along the last."""
    generator = np.random.default_rng(seed)
    spread = np.geomspace(100, 0.01, dim)
    turn, _ = np.linalg.qr(generator.normal(size=(dim, dim)))
    columns = (generator.normal(size=(sentences, dim)) * spread) @ turn
    positive = columns @ (turn.T @ (generator.normal(size=dim) / spread)) / 3 > generator.normal(
        size=sentences
    )
    weights = generator.uniform(0.2, 1.8, sentences)
    return columns, positive, weights / weights.mean()


def newton(columns, positive, weights, c):
    """The minimum, by Newton's method with halved steps, in full."""
    with_ones = np.column_stack([columns, np.ones(len(columns))])
    signs, penalised = np.where(positive, 1.0, -1.0), np.append(np.ones(columns.shape[1]), 0.0)

    def loss(values):
        return c * (weights @ np.logaddexp(0, -signs * (with_ones @ values))) + 0.5 * penalised @ values**2

    values = np.zeros(with_ones.shape[1])
    for _ in range(100):
        margins = signs * (with_ones @ values)
        gradient = penalised * values - c * with_ones.T @ (weights * signs * expit(-margins))
        curvature = c * weights * expit(margins) * expit(-margins)
        hessian = (with_ones * curvature[:, None]).T @ with_ones + np.diag(penalised)
        step = np.linalg.solve(hessian, gradient)
        for _ in range(60):
            if loss(values - step) <= loss(values) * (1 + 1e-15):
                break
            step /= 2
        values = values - step
        if np.abs(with_ones @ step).max() < 1e-11:
            return with_ones @ values
    raise AssertionError("no minimum")


@pytest.fixture(params=[True, False], ids=["exact axes", "axes by random projection"])
def axes(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(classifiers, "_EXACT_UP_TO", 16)
        monkeypatch.setattr(classifiers, "_AXES", 100)


@pytest.mark.usefixtures("axes")
def test_it_ends_at_the_minimum():
    columns, positive, weights = ill_conditioned()
    path = fit_logistic(columns, positive, weights, GRID, limit=2000)
    for c, (coefficients, intercept, messages) in zip(GRID, path, strict=True):
        expected = newton(columns, positive, weights, c)
        assert expit(columns @ coefficients + intercept) == pytest.approx(expit(expected), abs=1e-4)
        assert np.abs(expected).max() > 0.01
        assert messages == []


@pytest.mark.usefixtures("axes")
def test_a_few_dozen_passes_do_however_unlike_the_directions(monkeypatch):
    passes, objective = [], _Problem.objective
    monkeypatch.setattr(_Problem, "objective", lambda *given: passes.append(1) or objective(*given))
    columns, positive, weights = ill_conditioned()
    assert len(list(fit_logistic(columns, positive, weights, GRID, limit=2000))) == len(GRID)
    assert len(passes) < 30 * len(GRID)  # steps along the columns take more than 1,000


def separable(sentences=60, dim=200, seed=0):
    generator = np.random.default_rng(seed)
    columns, positive = generator.normal(size=(sentences, dim)), np.arange(sentences) % 3 == 0
    return columns - columns.mean(axis=0), positive, np.ones(sentences)


@pytest.mark.usefixtures("axes")
@pytest.mark.parametrize("make", [separable, ill_conditioned])
def test_a_large_c_reaches_the_minimum_too(make):
    """Where sentences are separated a small gradient is far from the minimum: four times it, at C = 1e4."""
    columns, positive, weights = make()
    grid = [1.0, 1e2, 1e4]
    others = np.random.default_rng(9).normal(size=(50, len(columns))) / np.sqrt(len(columns))  # spread alike
    path = fit_logistic(columns, positive, weights, grid, limit=5000)
    for c, (coefficients, intercept, messages) in zip(grid, path, strict=True):
        log_odds, expected = columns @ coefficients + intercept, newton(columns, positive, weights, c)
        assert messages == []
        assert np.abs(log_odds - expected).max() < 1e-2
        assert np.abs(others @ (columns @ coefficients - expected + intercept)).max() < 1e-2
        residual = weights * (expit(log_odds) - positive)
        gradient = np.append(c * residual @ columns + coefficients, c * residual.sum())
        if make is separable:  # the penalty bounds the distance from the minimum by the gradient's length
            assert np.linalg.norm(gradient) < 1e-2


def test_a_solver_that_does_not_reach_the_minimum_says_so(monkeypatch):
    monkeypatch.setattr(classifiers, "_ROUNDS", 1)
    columns, positive, weights = separable()
    ((*_, messages),) = fit_logistic(columns, positive, weights, [1e4], limit=5000)
    assert messages == ["did not reach the minimum: log-odds may be off by more than 0.01"]
    monkeypatch.setattr(classifiers, "_ROUNDS", 8)
    ((*_, messages),) = fit_logistic(columns, positive, weights, [1e4], limit=3)
    assert messages[0].startswith("did not converge")


@pytest.mark.parametrize("shape", [(40, 3), (40, 1), (12, 50)])  # fewer axes than have a scale of their own
def test_any_shape(shape):
    generator = np.random.default_rng(1)
    columns, positive = generator.normal(size=shape) + 5, np.arange(shape[0]) % 3 == 0
    weights = np.ones(shape[0])
    for c, (found, intercept, _) in zip(
        GRID, fit_logistic(columns, positive, weights, GRID, limit=500), strict=True
    ):
        expected = newton(columns, positive, weights, c)
        assert expit(columns @ found + intercept) == pytest.approx(expit(expected), abs=1e-4)


def test_the_smallest_c_still_ranks():
    columns, positive, weights = ill_conditioned()
    ((found, _, _),) = fit_logistic(columns, positive, weights, [1e-13], limit=500)
    expected = (np.where(positive, 1, -1) * weights) @ (
        columns - np.average(columns, axis=0, weights=weights)
    )
    assert np.corrcoef(columns @ found, columns @ expected)[0, 1] == pytest.approx(1, abs=1e-3)


def test_columns_without_spread_leave_the_intercept():
    positive, weights = np.array([True, False, False, False]), np.array([2.0, 1.0, 1.0, 1.0])
    ((found, intercept, _),) = fit_logistic(np.zeros((4, 3)), positive, weights, [0.1], limit=500)
    assert np.array_equal(found, np.zeros(3))
    assert intercept == pytest.approx(np.log(2 / 3), abs=1e-4)
