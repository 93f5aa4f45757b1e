"""Curve[k] is the return after exactly k adaptations, and everyone counts episodes alike."""

import pytest
import torch
from diagnostic import CountsAdaptations, CountsEpisodes, PaysAction

from metarl_run import evaluation
from metarl_run.errors import NumericalError
from metarl_run.evaluation import evaluate, joined
from metarl_run.maths.statistics import curve_of
from metarl_run.seeding import Streams

K, B, H = 4, 3, 5


def evaluation_of(algo, family=None, num_tasks=60):
    family = family or PaysAction(horizon=H)
    parts = evaluate(
        algo,
        family,
        Streams(0, torch.device("cpu")),
        split="meta_test",
        iteration=7,
        num_tasks=num_tasks,  # more than live side by side
        adaptation_steps=K,
        episodes_per_task=B,
    )
    return joined(list(parts))


@pytest.mark.parametrize("algo", [CountsAdaptations(), CountsEpisodes()], ids=["params", "memory"])
def test_step_k_shows_k_adaptations(algo):
    rows = evaluation_of(algo).rows
    for row in rows:
        bonus = row["episode_return"] - H * row["adaptation_step"]
        assert 0 <= bonus <= H
    assert len(rows) == 60 * (K + 1)
    assert {row["task"] for row in rows} == set(range(60))


@pytest.mark.parametrize(
    ("algo", "episodes_per_step"), [(CountsAdaptations(), B), (CountsEpisodes(), 1)], ids=["params", "memory"]
)
def test_episodes_and_steps_seen_count_what_was_learned_from(algo, episodes_per_step):
    curve = curve_of(evaluation_of(algo).rows)
    assert curve["adaptation_step"] == [0, 1, 2, 3, 4]
    assert curve["episodes_seen"] == [k * episodes_per_step for k in range(K + 1)]
    assert curve["env_steps_seen"] == [k * episodes_per_step * H for k in range(K + 1)]


def test_lifetime_return_is_the_sum_over_the_lifetimes_episodes():
    family = PaysAction(horizon=H)
    by_params, by_memory = evaluation_of(CountsAdaptations(), family), evaluation_of(CountsEpisodes(), family)
    tasks = family.sample(60, "meta_test", Streams(0, torch.device("cpu"))("meta_test/tasks"))
    for bonus, total, one in zip(tasks.bonus, by_params.lifetime_returns, by_memory.lifetime_returns, strict=True):
        per_episode = [H * (k + bonus.item()) for k in range(K + 1)]
        assert total == pytest.approx(B * sum(per_episode), rel=1e-5)
        assert one == pytest.approx(sum(per_episode), rel=1e-5)


def test_episodes_of_uneven_length_are_summed_each_by_itself():
    family = PaysAction(horizon=9, uneven=True)
    rows = evaluation_of(CountsEpisodes(), family, num_tasks=1).rows
    bonus = family.sample(1, "meta_test", Streams(0, torch.device("cpu"))("meta_test/tasks")).bonus.item()
    # Slot b lives b + 1 steps per episode: on average 2.
    assert [row["episode_return"] for row in rows] == pytest.approx([2 * (k + bonus) for k in range(K + 1)], rel=1e-5)
    assert [row["env_steps_seen"] for row in rows] == pytest.approx([2 * k for k in range(K + 1)])


def test_tasks_do_not_depend_on_how_many_live_side_by_side(monkeypatch):
    marks = evaluation_of(CountsAdaptations()).task_hashes
    monkeypatch.setattr("metarl_run.evaluation.ENVS_AT_ONCE", 7 * B)
    assert evaluation_of(CountsAdaptations()).task_hashes == marks
    assert len(set(marks)) == 60


def test_an_error_names_the_task_among_all_and_the_evaluation(monkeypatch):
    monkeypatch.setattr(evaluation, "ENVS_AT_ONCE", 3 * B)
    plain, parts = evaluation.live, []

    def live(*arguments, **named):
        parts.append(named)
        if len(parts) == 2:
            raise NumericalError("inner loss", "must be finite, got nan", task=1, at=("adaptation step 2",))
        return plain(*arguments, **named)

    monkeypatch.setattr(evaluation, "live", live)
    with pytest.raises(NumericalError, match=r"in task 4, adaptation step 2, meta_test after meta-iteration 7$"):
        evaluation_of(CountsAdaptations())


@pytest.mark.parametrize(("step", "hint"), [(0, None), (1, "lower algo.inner_lr")])
def test_a_step_size_is_to_blame_only_once_a_step_was_taken(step, hint):
    algo = CountsAdaptations()
    adapt, steps = algo.adapt, []

    def fails(agent, rollout):
        steps.append(agent)
        if len(steps) == step + 1:
            raise NumericalError("inner loss", "must be finite, got nan", task=1)
        return adapt(agent, rollout)

    algo.adapt = fails
    with pytest.raises(NumericalError) as caught:
        evaluation_of(algo)
    assert caught.value.hint == hint


def test_finite_rewards_that_add_up_to_infinity_are_no_return():
    family = PaysAction(horizon=H)
    step = family.step

    def much(*arguments):
        state, reward, terminated = step(*arguments)
        return state, torch.full_like(reward, 3e38), terminated

    family.step = much
    with pytest.raises(NumericalError, match="return of PaysAction: must be finite, got inf in task 0, rollout 0"):
        evaluation_of(CountsAdaptations(), family)
