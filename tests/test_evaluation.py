"""Statistics of adaptation curves: against scipy, by hand, and by simulated coverage."""

import numpy as np
import pytest
from scipy.stats import trim_mean

from metarl_run.evaluation import bootstrap_interval, curve_of, interquartile_mean


@pytest.mark.parametrize("count", [4, 8, 40, 200])
def test_iqm_is_scipys_trimmed_mean_where_quarters_are_whole(count: int) -> None:
    x = np.random.default_rng(count).normal(size=count)
    assert interquartile_mean(x) == pytest.approx(trim_mean(x, 0.25), abs=1e-12)


@pytest.mark.parametrize(
    ("values", "by_hand"),
    [
        # Entry i covers [i/5, (i+1)/5]; inside [.25, .75] lie .15 of the 2nd, .2 of the 3rd, .15 of the 4th.
        ([100.0, 1.0, 2.0, 4.0, 0.0], (0.15 * 1 + 0.2 * 2 + 0.15 * 4) / 0.5),
        # Sixths: 1/12 of the 2nd, all of the 3rd and 4th, 1/12 of the 5th.
        ([0.0, 1.0, 2.0, 4.0, 9.0, 100.0], (1 / 12 + 2 / 6 + 4 / 6 + 9 / 12) / 0.5),
        ([7.0], 7.0),
    ],
)
def test_iqm_by_hand(values: list[float], by_hand: float) -> None:
    assert interquartile_mean(np.array(values)) == pytest.approx(by_hand, abs=1e-12)


def coverage(num_seeds: int, *, pooled: bool, repetitions: int = 150) -> float:
    """How often the interval holds the true mean 0, when agents differ half as much as tasks do."""
    generator = np.random.default_rng(20)
    hits = 0
    for _ in range(repetitions):
        seeds = [0.5 * generator.normal() + generator.normal(size=40) for _ in range(num_seeds)]
        low, high = bootstrap_interval([np.concatenate(seeds)] if pooled else seeds, generator)
        hits += low < 0 < high
    return hits / repetitions


def test_trap_20_seeds_and_tasks_are_not_independent() -> None:
    assert 0.90 <= coverage(20, pooled=False) <= 0.99
    assert coverage(20, pooled=True) < 0.70


def test_few_seeds_cover_less_than_they_say() -> None:
    """The docstring says so; if this ever improves, the docstring must follow."""
    assert 0.5 < coverage(2, pooled=False) < 0.9


def test_one_seed_covers_over_tasks() -> None:
    generator = np.random.default_rng(1)
    intervals = [bootstrap_interval([generator.normal(size=50)], generator) for _ in range(250)]
    assert 0.90 <= np.mean([low < 0 < high for low, high in intervals]) <= 0.98


def test_a_constant_has_no_interval() -> None:
    assert bootstrap_interval([np.full(9, 3.0), np.full(9, 3.0)], np.random.default_rng(0)) == (3.0, 3.0)


def test_curve_of_two_seeds_by_hand() -> None:
    rows = [
        {
            "adaptation_step": step,
            "episodes_seen": 20 * step,
            "env_steps_seen": 100 * step + seed,
            "episode_return": 10.0 * step + task + 100 * seed,
            "seed": seed,
        }
        for seed in (0, 1)
        for task in range(4)
        for step in (0, 1)
    ]
    curve = curve_of(rows)
    assert curve["adaptation_step"] == [0, 1]
    assert curve["episodes_seen"] == [0.0, 20.0]
    assert curve["env_steps_seen"] == [0.5, 100.5]
    assert curve["mean"] == [51.5, 61.5]
    # Of 0 1 2 3 100 101 102 103 the middle half is 2 3 100 101.
    assert curve["iqm"] == [51.5, 61.5]
    assert all(low < mean < high for low, mean, high in zip(curve["low"], curve["mean"], curve["high"], strict=True))
    assert curve_of(list(reversed(rows)))["mean"] == curve["mean"]
    assert curve_of(rows) == curve
