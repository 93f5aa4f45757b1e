"""CMA-ES over a space: positions by hand, and that it finds a minimum that chance does not."""

import math

import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import create_trial

from metarl_run.search.cma import GENERATION, evolved, place, value


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
    assert [value(distribution, u) for u in (0.0, 1.0)] == pytest.approx([distribution.low, distribution.high])


def test_numbers_lie_on_the_grid():
    assert [value(IntDistribution(5, 20, step=5), u) for u in (0.1, 0.2, 0.9)] == [5, 10, 20]


def test_it_finds_what_chance_does_not():
    """Distances from (0.2, 0.75) over 20 generations; of even draws they would stay 0.4 in the mean."""
    numbers = {"x": FloatDistribution(0.01, 1.0, log=True), "y": FloatDistribution(0.0, 1.0)}
    complete, distances = [], []
    for seed in range(120):
        cma = evolved(numbers, complete, -1.0, seed)
        x, y = (value(each, u) for each, u in zip(numbers.values(), cma.ask(), strict=True))
        distances.append(math.hypot(math.log10(x / 0.2) / 2, y - 0.75))
        attrs = {GENERATION: cma.generation}
        complete.append(
            create_trial(params={"x": x, "y": y}, distributions=numbers, value=-distances[-1], system_attrs=attrs)
        )
    assert cma.generation == 19 and cma.population_size == 6
    assert sum(distances[-12:]) / 12 < 0.02 and sum(distances[:12]) / 12 > 0.1
