"""Adaptation rows: returns, exact returns and optima of agents that adapt, and of those that do not."""

from typing import Any

import pytest
import torch
from diagnostic import CountsAdaptations, CountsEpisodes, PaysAction, Succeeds
from two_episodes import one_task

from metarl_run.config.compose import compose_points
from metarl_run.evaluation import episode_outcomes, evaluate, joined, task_counts
from metarl_run.exact import expected_returns, optimal_returns
from metarl_run.maths.statistics import (
    COLUMNS,
    curve_of,
)
from metarl_run.rollout import collect
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams


def test_distinct_tasks_are_counted_and_new_ones_where_a_family_can_list_its_tasks() -> None:
    family, _ = build_agent(compose_points(["env=gridworld"]).points[0].config, Streams(0, torch.device("cpu")))
    hashes = family.sample(50, "meta_test", torch.Generator()).hashes()
    assert task_counts(hashes, family) == {"number": 50, "distinct": 21, "new": 0}
    held_out = ["env=gridworld", "env.meta_train.goals=[12,13]", "env.meta_test.goals=[13,14,15]"]
    family, _ = build_agent(compose_points(held_out).points[0].config, Streams(0, torch.device("cpu")))
    hashes = family.sample(6, "meta_test", torch.Generator()).hashes()
    assert task_counts(hashes, family) == {"number": 6, "distinct": 3, "new": 2}
    assert task_counts(["a", "a"], PaysAction(horizon=1)) == {"number": 2, "distinct": 1, "new": None}


def agent_and_rows(*overrides: str, num_tasks: int = 60) -> tuple[Any, Any, list[dict[str, Any]]]:
    streams = Streams(0, torch.device("cpu"))
    family, algo = build_agent(compose_points(overrides).points[0].config, streams)
    held_out = {"num_tasks": num_tasks, "adaptation_steps": 2, "episodes_per_task": 3}
    return family, algo, joined(list(evaluate(algo, family, streams, split="meta_test", iteration=4, **held_out))).rows


def column(rows: list[dict[str, Any]], name: str, step: int) -> list[Any]:
    """One number per task after `step` adaptations."""
    chosen = sorted((row for row in rows if row["adaptation_step"] == step), key=lambda row: row["task"])
    return [row[name] for row in chosen]


def test_rows_of_random_actions_have_the_return_of_the_uniform_policy_at_every_step() -> None:
    """In more tasks than live side by side."""
    family, algo, rows = agent_and_rows("algo=random", "env=random_mdp")
    assert all(tuple(row) == COLUMNS for row in rows) and len(rows) == 60 * 3
    tasks = family.sample(60, "meta_test", Streams(0, torch.device("cpu"))("meta_test/tasks"))
    (uniform,) = expected_returns(algo, [algo.begin(tasks)], family, tasks) or []
    best = optimal_returns(family, tasks) or []
    assert len(set(uniform)) == len(set(best)) == 60
    for step in range(3):
        assert column(rows, "expected_return", step) == pytest.approx(uniform, abs=1e-12)
        assert column(rows, "optimal_return", step) == pytest.approx(best, abs=1e-12)


def test_rows_of_agents_that_adapt_change_from_step_to_step_and_never_pass_the_optimum() -> None:
    _, _, rows = agent_and_rows("algo=scratch", "env=random_mdp", "network=table", "algo.inner_lr=5")
    assert all(row["expected_return"] < row["optimal_return"] for row in rows)
    curve = curve_of(rows)
    assert curve["expected"][0] < curve["expected"][1] < curve["expected"][2] < curve["optimum"][2]


def test_rows_of_agents_with_memory_have_an_optimum_alone() -> None:
    _, _, rows = agent_and_rows("algo=oracle", "env=random_mdp", num_tasks=5)
    assert all(row["expected_return"] is None and row["optimal_return"] > 0 for row in rows)


def test_rows_of_other_families_have_neither() -> None:
    parts = evaluate(
        CountsAdaptations(),
        PaysAction(horizon=5),
        Streams(0, torch.device("cpu")),
        split="meta_test",
        iteration=0,
        num_tasks=3,
        adaptation_steps=1,
        episodes_per_task=2,
    )
    rows = joined(list(parts)).rows
    assert len(rows) == 6
    assert all(row["expected_return"] is None and row["optimal_return"] is None for row in rows)


def test_rollouts_are_collected_as_told() -> None:
    calls: list[int] = []

    def counted(env: Any, *given: Any, **more: Any) -> Any:
        calls.append(env.num_tasks)
        return collect(env, *given, **more)

    config = compose_points(["algo=maml", "env=bandit", "logger=files"]).points[0].config
    family, algo = build_agent(config, Streams(0, torch.device("cpu")))
    held_out: Any = {"num_tasks": 3, "adaptation_steps": 1, "episodes_per_task": 400, "collect": counted}
    list(evaluate(algo, family, Streams(0, torch.device("cpu")), split="meta_test", iteration=0, **held_out))
    assert calls == [2, 2, 1, 1]


@pytest.mark.parametrize(("envs", "tasks_of_parts"), [(20, [50, 10]), (1, [60]), (400, [2] * 30), (1001, [1] * 60)])
def test_as_many_tasks_run_side_by_side_as_their_environments_allow(envs: int, tasks_of_parts: list[int]) -> None:
    parts = evaluate(
        CountsAdaptations(),
        PaysAction(horizon=1),
        Streams(0, torch.device("cpu")),
        split="meta_test",
        iteration=0,
        num_tasks=60,
        adaptation_steps=0,
        episodes_per_task=envs,
    )
    assert [len(part.task_hashes) for part in parts] == tasks_of_parts


X = [[[0.0, 5.0], [2.0, 3.0], [-1.0, 9.0]]]
"""One task, three steps of two envs: the first has episodes of two steps and of one, the second of one and of one."""


@pytest.mark.parametrize(
    ("reduction", "wanted"),
    [
        ("max", [[2.0, 5.0], [-1.0, 3.0]]),
        ("min", [[0.0, 5.0], [-1.0, 3.0]]),
        ("sum", [[2.0, 5.0], [-1.0, 3.0]]),
        ("mean", [[1.0, 5.0], [-1.0, 3.0]]),
        ("last", [[2.0, 5.0], [-1.0, 3.0]]),
    ],
)
def test_the_outcome_of_an_episode_follows_from_those_of_its_own_steps(reduction: Any, wanted: list[Any]) -> None:
    alive = [[True, True], [True, True], [True, False]]
    ends = [[False, True], [True, True], [True, False]]
    rollout = one_task(reward=[[0.0, 0.0]] * 3, terminated=ends, alive=alive, action=[[0, 0]] * 3)
    rollout = rollout._replace(**{name: x.unsqueeze(0) for name, x in rollout._asdict().items() if torch.is_tensor(x)})
    rollout = rollout._replace(outcomes={"x": torch.tensor(X)})
    assert episode_outcomes(rollout, {"x": reduction})["x"].tolist() == [wanted]


@pytest.mark.parametrize("algo", [CountsAdaptations(), CountsEpisodes()])
def test_rows_have_a_column_for_each_outcome_after_all_others(algo: Any) -> None:
    """Env b ends after b + 1 steps: the first of three never gets to the second step, which succeeds."""
    held_out = {"num_tasks": 2, "adaptation_steps": 1, "episodes_per_task": 3}
    streams = Streams(0, torch.device("cpu"))
    parts = evaluate(algo, Succeeds(horizon=5, uneven=True), streams, split="meta_test", iteration=0, **held_out)
    rows = joined(list(parts)).rows
    assert [tuple(row) for row in rows] == [(*COLUMNS, "success", "time")] * 4
    assert [row["success"] for row in rows] == pytest.approx([2 / 3] * 4)
    assert [row["time"] for row in rows] == [2.0] * 4
    curve = curve_of(rows)
    assert curve["success"] == pytest.approx([2 / 3] * 2) and curve["time"] == curve["time_low"] == [2.0, 2.0]


def test_outcomes_change_nothing_else() -> None:
    held_out = {"num_tasks": 2, "adaptation_steps": 1, "episodes_per_task": 3}
    with_and_without = [
        joined(
            list(
                evaluate(
                    CountsAdaptations(),
                    kind(horizon=5),
                    Streams(0, torch.device("cpu")),
                    split="meta_test",
                    iteration=0,
                    **held_out,
                )
            )
        ).rows
        for kind in (Succeeds, PaysAction)
    ]
    told, plain = with_and_without
    assert [{name: row[name] for name in COLUMNS} for row in told] == plain
