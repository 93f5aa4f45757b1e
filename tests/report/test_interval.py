"""Intervals as text, and the coverage stated for few seeds."""

import numpy as np
import pytest

from metarl_run.maths.statistics import bootstrap_interval
from metarl_run.report.interval import COVERAGE, coverage_note, coverage_of, half_width, plus_minus


@pytest.mark.parametrize("num_seeds", COVERAGE)
@pytest.mark.parametrize("same_tasks", [False, True])
def test_the_coverage_of_few_seeds_is_what_simulation_finds(num_seeds: int, same_tasks: bool) -> None:
    """Seeds alone differ, by normal effects: true mean 0, cases side by side."""
    generator = np.random.default_rng(num_seeds)
    effects = [np.tile(generator.normal(size=1500), (2, 1)) for _ in range(num_seeds)]  # [tasks, cases], tasks alike
    low, high = bootstrap_interval(effects, generator, same_tasks=same_tasks)
    found = 100 * np.mean((low <= 0) & (high >= 0))
    assert found == pytest.approx(COVERAGE[num_seeds], abs=3.5)  # three standard errors of 1500 cases


def test_a_number_of_seeds_that_is_not_known_has_the_coverage_of_the_next_lower() -> None:
    assert [coverage_of(count) for count in (2, 7, 9, 100)] == [COVERAGE[n] for n in (2, 6, 8, 20)]


def test_coverage_is_stated_for_every_number_of_seeds_shown() -> None:
    assert coverage_note([3, 10, 3]) == (
        "Where seeds make the difference, a 95 % interval holds the mean in fewer cases: 75 % with 3 seeds, "
        "90 % with 10 seeds."
    )
    assert coverage_note([1]) == "The 95 % interval of one seed is over tasks alone, for that one agent."
    assert coverage_note([]) == ""


def test_no_interval_is_no_width() -> None:
    none, some = {"low": None, "high": None}, {"low": 1.0, "high": 4.0}
    assert (half_width(none), half_width(some)) == (None, 1.5)
    assert (plus_minus(none, str, "±"), plus_minus(some, str, "±")) == ("", " ±1.5")
