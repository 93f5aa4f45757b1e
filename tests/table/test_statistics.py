"""Statistics of a cell against values computed by hand."""

import math

import numpy as np
import pytest

from metarl_run.maths.statistics import bootstrap_interval
from metarl_run.table.statistics import as_measured, matched, paired, summary
from metarl_run.table.tuning import best_setting


def test_a_classical_agent_has_a_mean_and_a_normal_interval_over_tasks() -> None:
    """1, 2, 3, 6: mean 3, sum of squares around it 14, standard deviation √(14 / 3)."""
    found = summary([np.array([1.0, 2.0, 3.0, 6.0])])
    std = math.sqrt(14 / 3)
    assert found["ours"] == 3.0
    assert found["low"] == pytest.approx(3 - 1.96 * std / 2)
    assert found["high"] == pytest.approx(3 + 1.96 * std / 2)
    assert found["deviation_1000"] == pytest.approx(std / math.sqrt(1000))
    assert found["first_1000"] == 3.0


def test_the_papers_own_view_is_over_the_first_1000_tasks() -> None:
    values = np.concatenate([np.zeros(1000), np.full(1000, 4.0)])
    found = summary([values])
    assert (found["ours"], found["first_1000"]) == (2.0, 0.0)


def test_several_seeds_in_the_same_tasks_have_one_set_of_resampled_tasks() -> None:
    seeds = [np.array([1.0, 2.0, 3.0]), np.array([11.0, 12.0, 16.0])]
    low, high = bootstrap_interval(seeds, np.random.default_rng(0), same_tasks=True)
    found = summary(seeds)
    assert found["ours"] == pytest.approx((2 + 13) / 2)
    assert (found["low"], found["high"]) == (low, high)
    assert found["low"] < 3 and found["high"] > 12  # seeds that differ this much make it wide
    assert found["standard_error"] == pytest.approx((high - low) / (2 * 1.96))
    low, high = bootstrap_interval(seeds, np.random.default_rng(0))
    apart = summary(seeds, same_tasks=False)
    assert (apart["low"], apart["high"]) == (low, high)


def test_seeds_that_differ_in_nothing_are_as_sure_as_one() -> None:
    """Tasks that all seeds share are not more tasks: resampled for each seed, ten had a third of the width."""
    values = np.random.default_rng(0).normal(size=400)
    one, ten = summary([values]), summary([values] * 10)
    assert ten["high"] - ten["low"] == pytest.approx(one["high"] - one["low"], rel=0.06)


def test_a_fraction_of_the_optimum_is_a_ratio_of_means() -> None:
    """Sums 6 and 10 of 2 episodes whose values are 4 and 6: (8) / (2 · 5) = 0.8."""
    values = as_measured(np.array([6.0, 10.0]), 2, np.array([4.0, 6.0]))
    assert values.mean() == pytest.approx(0.8)
    assert values.tolist() == pytest.approx([0.8 + (6 - 0.8 * 8) / 10, 0.8 + (10 - 0.8 * 12) / 10])


def test_the_standard_deviation_of_a_ratio_is_that_of_its_means() -> None:
    generator = np.random.default_rng(0)
    value = generator.normal(20, 2, (4000, 200))
    totals = 5 * value * 0.7 + generator.normal(0, 4, value.shape)
    ratios = totals.mean(1) / (5 * value.mean(1))
    errors = [as_measured(x, 5, v).std(ddof=1) / math.sqrt(200) for x, v in zip(totals[:50], value[:50], strict=True)]
    assert np.mean(errors) == pytest.approx(ratios.std(), rel=0.05)


def test_sums_are_left_as_they_are() -> None:
    assert as_measured(np.array([6.0, 10.0]), 2, np.empty(0)).tolist() == [6.0, 10.0]


def test_differences_are_taken_task_by_task() -> None:
    found = paired(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 3.0]))
    assert found["difference"] == -1.0
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 1.0 / math.sqrt(3))


@pytest.mark.parametrize(
    ("ours", "one_sided", "right"),
    [
        (6.45, False, True),
        (6.44, False, False),
        (6.95, False, True),
        (6.96, False, False),
        (6.45, True, True),
        (6.44, True, False),
        (99.0, True, True),
    ],
)
def test_matched_is_within_the_tolerance_or_for_learned_agents_above(ours: float, one_sided: bool, right: bool) -> None:
    assert matched(ours, 6.7, 0.25, one_sided=one_sided, standard_error=0.25 / 3) is right


@pytest.mark.parametrize("one_sided", [False, True])
def test_an_agent_of_which_little_is_known_is_not_judged(one_sided: bool) -> None:
    assert matched(6.5, 6.7, 0.25, one_sided=one_sided, standard_error=0.09) is None
    assert matched(6.3, 6.7, 0.25, one_sided=one_sided, standard_error=0.09) is None  # 0.15 outside
    assert matched(6.0, 6.7, 0.25, one_sided=one_sided, standard_error=0.09) is False  # 0.45: certainly outside


def test_of_equally_good_settings_the_first_is_taken() -> None:
    assert best_setting({2: 5.0, 0: 1.0, 1: 5.0}) == 1
