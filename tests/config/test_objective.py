"""Names of objectives: known ones, and those that are better small."""

import pytest

from metarl_run.config.compose import compose_points
from metarl_run.config.objective import IN_SUMMARY, check_objective, is_cost
from metarl_run.errors import ConfigError


def test_unknown_keys_are_refused_before_anything_runs():
    for key in (*IN_SUMMARY, "meta_train/whatever", "time/seconds"):
        check_objective(key)
    for key in ("meta_test.man", "meta_test", "", "meta_train/", "return"):
        with pytest.raises(ConfigError):
            check_objective(key)


def test_the_outcomes_of_a_family_can_be_objectives():
    check_objective("meta_test.success", ["success"])
    with pytest.raises(ConfigError, match=r"did you mean meta_test\.success"):
        check_objective("meta_test.sucess", ["success"])
    with pytest.raises(ConfigError, match="objective"):
        compose_points(["objective=meta_test.success"])
    compose_points(["env=gymnasium", "env.outcomes={success: max}", "objective=meta_test.success"])


def test_costs_are_better_small():
    costs = {"wall_seconds", "cpu_seconds", "env_steps", "meta_train_env_steps", "lifetime_return.std"}
    assert {key for key in IN_SUMMARY if is_cost(key)} == costs
    assert [is_cost(key) for key in ("meta_train/loss", "time/seconds", "meta_train/return_after")] == [
        True,
        True,
        False,
    ]
