"""Statistics of adaptation curves: against scipy, by hand, and by simulated coverage."""

import numpy as np
import pytest
import scipy

from metarl_run.maths.statistics import (
    RESAMPLES,
    bootstrap_interval,
    curve_of,
    interquartile_mean,
    lifetime_statistics,
    resampled_means,
)


@pytest.mark.parametrize("count", [4, 8, 40, 200])
def test_iqm_is_scipys_trimmed_mean_where_quarters_are_whole(count: int) -> None:
    x = np.random.default_rng(count).normal(size=count)
    assert interquartile_mean(x) == pytest.approx(scipy.stats.trim_mean(x, 0.25), abs=1e-12)


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


def test_seeds_and_tasks_are_not_independent() -> None:
    assert 0.90 <= coverage(20, pooled=False) <= 0.99
    assert coverage(20, pooled=True) < 0.70


def test_few_seeds_cover_less_than_they_say() -> None:
    """The docstring says so; if this ever improves, the docstring must follow."""
    assert 0.5 < coverage(2, pooled=False) < 0.9


def test_one_seed_covers_over_tasks() -> None:
    generator = np.random.default_rng(1)
    intervals = [bootstrap_interval([generator.normal(size=50)], generator) for _ in range(250)]
    assert 0.90 <= np.mean([low < 0 < high for low, high in intervals]) <= 0.98


def coverage_in_same_tasks(num_seeds: int, seed_deviation: float, *, same_tasks: bool, cases: int = 400) -> float:
    """How often the interval holds the true mean 0 of returns: task effect, shared by seeds, + seed effect + noise."""
    generator = np.random.default_rng(num_seeds)
    of_tasks = generator.normal(size=(100, cases))
    seeds = [
        of_tasks + seed_deviation * generator.normal(size=cases) + 0.4 * generator.normal(size=of_tasks.shape)
        for _ in range(num_seeds)
    ]
    low, high = bootstrap_interval(seeds, generator, same_tasks=same_tasks)
    return float(np.mean((low < 0) & (high > 0)))


@pytest.mark.parametrize("seed_deviation", [0.0, 0.05])
@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_seeds_in_the_same_tasks_cover_what_they_say(num_seeds: int, seed_deviation: float) -> None:
    found = coverage_in_same_tasks(num_seeds, seed_deviation, same_tasks=True)
    print(f"{num_seeds} seeds, deviation {seed_deviation}: nominal 95 %, found {100 * found:.0f} %")
    assert 0.91 <= found <= 0.985


@pytest.mark.parametrize(("num_seeds", "most"), [(3, 0.85), (5, 0.75), (10, 0.65)])
def test_tasks_resampled_for_each_seed_would_cover_far_less(num_seeds: int, most: float) -> None:
    """Were they the same: tasks then look like as many times more as there are seeds."""
    assert coverage_in_same_tasks(num_seeds, 0.0, same_tasks=False) < most


def test_rows_of_the_same_tasks_are_crossed_whatever_their_order() -> None:
    values = np.random.default_rng(7).normal(size=(2, 9))
    rows = [
        {"seed": seed, "task": task, "adaptation_step": 0, "episodes_seen": 0, "env_steps_seen": 0}
        | {"episode_return": values[seed, task]}
        for seed in (0, 1)
        for task in range(9)
    ]
    curve = curve_of([*reversed(rows[:9]), *rows[9:]], same_tasks=True)
    ends = bootstrap_interval(list(values), np.random.default_rng(0), same_tasks=True)
    assert [*curve["low"], *curve["high"]] == pytest.approx(ends.tolist(), abs=1e-14)


def test_one_task_has_no_interval() -> None:
    alone = np.array([3.0])
    generator = np.random.default_rng(0)
    assert np.isnan(bootstrap_interval([alone], generator)).all()
    assert np.isnan(bootstrap_interval([alone, alone], generator, same_tasks=True)).all()
    assert np.isfinite(bootstrap_interval([alone, alone + 1], generator)).all()  # two tasks, of a seed each
    row = {"seed": 0, "task": 0, "adaptation_step": 0, "episodes_seen": 0, "env_steps_seen": 0, "episode_return": 3.0}
    curve = curve_of([row])
    assert (curve["mean"], curve["low"], curve["high"]) == ([3.0], [None], [None])
    found = lifetime_statistics([alone])
    assert found == {"mean": 3.0, "low": None, "high": None, "std": None, "standard_error": None}


def test_lifetime_returns_say_their_spread_over_tasks_and_the_error_of_their_mean() -> None:
    one, several = np.array([1.0, 2.0, 3.0, 6.0]), [np.array([1.0, 3.0]), np.array([0.0, 4.0])]
    found = lifetime_statistics([one])
    assert found["std"] == pytest.approx((14 / 3) ** 0.5) and found["standard_error"] == pytest.approx((14 / 12) ** 0.5)
    found = lifetime_statistics(several)
    assert found["std"] == pytest.approx(5**0.5) and found["standard_error"] is None  # variances 2 and 8


def test_a_constant_has_no_interval() -> None:
    assert bootstrap_interval([np.full(9, 3.0)] * 2, np.random.default_rng(0)).tolist() == [3.0, 3.0]


def test_counting_draws_is_drawing() -> None:
    values = np.random.default_rng(1).normal(size=(7, 3))
    drawn = np.random.default_rng(2).integers(7, size=(RESAMPLES, 7))
    assert resampled_means(values, np.random.default_rng(2)) == pytest.approx(values[drawn].mean(1), abs=1e-14)


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_the_interval_at_a_step_is_what_it_is_for_that_step_alone(num_seeds: int) -> None:
    generator = np.random.default_rng(4)
    values = [generator.normal(size=(tasks, 5)) for tasks in (6, 4, 9)[:num_seeds]]
    together = bootstrap_interval(values, np.random.default_rng(0))
    alone = [bootstrap_interval([v[:, step] for v in values], np.random.default_rng(0)) for step in range(5)]
    assert together.shape == (2, 5)
    assert together == pytest.approx(np.stack(alone, 1), abs=1e-14)


def test_a_resample_takes_the_same_tasks_at_every_step() -> None:
    """So a curve that is another one shifted has its intervals, shifted."""
    values = np.random.default_rng(5).normal(size=30)
    low, high = bootstrap_interval([np.stack([values, values + 1.0], 1)], np.random.default_rng(0))
    assert low[1] - low[0] == pytest.approx(1.0, abs=1e-12) and high[1] - high[0] == pytest.approx(1.0, abs=1e-12)


def test_steps_that_not_every_seed_lived_have_intervals_of_those_that_did() -> None:
    generator = np.random.default_rng(6)
    long, short = generator.normal(size=(8, 3)), generator.normal(size=(8, 2))
    rows = [
        {
            "adaptation_step": step,
            "episodes_seen": step,
            "env_steps_seen": step,
            "episode_return": values[task, step],
            "seed": seed,
        }
        for seed, values in (("b", long), ("a", short))
        for task in range(8)
        for step in range(values.shape[1])
    ]
    curve = curve_of(rows)
    both = bootstrap_interval([short, long[:, :2]], np.random.default_rng(0))
    (last,) = bootstrap_interval([long[:, 2:]], np.random.default_rng(0)).T
    assert np.array([curve["low"], curve["high"]]) == pytest.approx(np.column_stack([both, last]), abs=1e-14)


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


EXACT_ROWS = [
    {
        "adaptation_step": step,
        "episodes_seen": 20 * step,
        "env_steps_seen": 100 * step,
        "episode_return": 0.0,
        "expected_return": 10.0 * step + task,
        "optimal_return": 50.0 + task,
        "seed": seed,
    }
    for seed, num_tasks in ((0, 2), (1, 4))
    for task in range(num_tasks)
    for step in (0, 1)
]


def test_the_exact_curve_is_the_mean_over_seeds_of_means_over_tasks() -> None:
    curve = curve_of(EXACT_ROWS)
    # Over tasks 0 and 1 the mean is 0.5, over tasks 0 to 3 it is 1.5.
    assert curve["expected"] == [1.0, 11.0]
    assert curve["optimum"] == [51.0, 51.0]


@pytest.mark.parametrize("unknown", ["expected_return", "optimal_return"])
def test_a_curve_has_no_part_that_is_not_known_of_every_row(unknown: str) -> None:
    part = {"expected_return": "expected", "optimal_return": "optimum"}
    last = EXACT_ROWS[-1] | {unknown: None}
    (missing,) = curve_of(EXACT_ROWS).keys() - curve_of([*EXACT_ROWS[:-1], last]).keys()
    assert missing == part[unknown]
    older = [{name: value for name, value in row.items() if name != unknown} for row in EXACT_ROWS]
    assert curve_of(EXACT_ROWS).keys() - curve_of(older).keys() == {part[unknown]}


def test_every_part_of_a_curve_is_equally_long() -> None:
    assert {name: len(values) for name, values in curve_of(EXACT_ROWS).items()} == dict.fromkeys(
        ("adaptation_step", "episodes_seen", "env_steps_seen", "mean", "iqm", "low", "high", "expected", "optimum"), 2
    )
