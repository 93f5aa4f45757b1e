"""CMA-ES over a space: positions by hand, and that it finds a minimum that chance does not."""

import math

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from metarl_run.search.cma import place, value
from metarl_run.search.study import Study


@pytest.mark.parametrize(
    "distribution, x, u",
    [
        (FloatDistribution(2.0, 6.0), 3.0, 0.25),
        (FloatDistribution(0.01, 1.0, log=True), 0.1, 0.5),
        (IntDistribution(1, 9, step=2), 5, 0.5),
        (IntDistribution(1, 16, log=True), 4, 0.5),
        (FloatDistribution(0.0, 1.0, step=0.25), 0.75, 0.75),
    ],
)
def test_positions(distribution, x, u):
    assert place(distribution, x) == pytest.approx(u)
    found = value(distribution, u)
    assert found == pytest.approx(x) and type(found) is type(x)
    assert value(distribution, 0.0) == distribution.low and value(distribution, 1.0) == distribution.high


def test_numbers_lie_on_the_grid():
    assert [value(IntDistribution(5, 20, step=5), u) for u in (0.1, 0.2, 0.9)] == [5, 10, 20]


def test_it_finds_what_chance_does_not(tmp_path, search_of):
    """The distance from (0.2, 15) after 60 points, whose spread grows small; of even draws it would stay 0.15."""
    study = Study(tmp_path, search_of(sampler="cmaes", trials=60))
    distances = []
    while points := study.next_points(6):
        for point in points:
            x, n = math.log10(point.values["algo.inner_lr"]) - math.log10(0.2), (point.values["meta_batch_size"] - 15) / 15
            distances.append(math.hypot(x / 2, n))
            study.complete(point, -distances[-1])
    assert sum(distances[-12:]) / 12 < 0.05 < sum(distances[:12]) / 12
