"""Rollouts hold exactly what was lived: no step twice, none across a reset (traps 5, 8)."""

import torch
from diagnostic import CountsAdaptations, CountsEpisodes, PaysAction

from metarl_run.env.vector import TaskVectorEnv
from metarl_run.rollout import collect


def make_env(family, tasks=2, slots=3):
    task = family.sample(tasks, "meta_train", torch.Generator().manual_seed(0))
    return TaskVectorEnv(family, task, episodes_per_task=slots, generator=torch.Generator().manual_seed(1))


def roll(env, algo, episodes=1):
    return collect(env, algo.act, algo.begin(env.task), torch.Generator().manual_seed(2), episodes=episodes)


def test_a_truncated_episode_is_recorded_step_by_step():
    rollout = roll(make_env(PaysAction(horizon=4)), CountsAdaptations())
    assert rollout.observation[0, :, 0, 0].tolist() == [0, 1, 2, 3, 4]  # the last row is the true final observation
    assert rollout.alive.all()
    assert rollout.truncated[0, :, 0].tolist() == [False, False, False, True]
    assert not rollout.terminated.any()


def test_a_terminated_slot_holds_no_step_after_its_end():
    rollout = roll(make_env(PaysAction(horizon=9, uneven=True)), CountsAdaptations())
    assert rollout.alive.sum(1).tolist() == [[1, 2, 3]] * 2
    assert rollout.reward.shape[1] == 3  # cut after the last step anybody took
    assert (rollout.reward[~rollout.alive] == 0).all()
    assert rollout.terminated.sum(1).tolist() == [[1, 1, 1]] * 2
    assert not rollout.truncated.any()


def test_episodes_follow_one_another_without_a_step_across_the_reset():
    rollout = roll(make_env(PaysAction(horizon=9, length=3)), CountsEpisodes(), episodes=3)
    assert rollout.observation[0, :-1, 0, 0].tolist() == [0, 1, 2] * 3
    assert rollout.ended[0, :, 0].tolist() == [False, False, True] * 3
    assert rollout.env_steps == 2 * 3 * 9


def test_memory_is_told_every_end_and_kept_across_episodes():
    env = make_env(PaysAction(horizon=2), tasks=1, slots=1)
    rollout = roll(env, CountsEpisodes(), episodes=3)
    assert rollout.action[0, :, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert rollout.memory["ended"].tolist() == [[2]]


def test_the_first_percept_says_that_an_episode_ended_and_the_next_carry_the_last_step():
    seen = []

    class Listener(CountsAdaptations):
        def act(self, agent, percept):
            seen.append((percept.last_action.item(), percept.last_reward.item(), percept.last_ended.item()))
            return super().act(agent._replace(params={"count": torch.tensor([3.0])}), percept)

    env = make_env(PaysAction(horizon=2), tasks=1, slots=1)
    roll(env, Listener(), episodes=2)
    reward = 3 + env.task.bonus.item()
    assert seen[0] == (0, 0.0, True)
    assert [(a, round(r, 5), e) for a, r, e in seen[1:]] == [
        (3, round(reward, 5), False),
        (3, round(reward, 5), True),
        (3, round(reward, 5), False),
    ]


def test_global_randomness_is_neither_read_nor_moved():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = roll(make_env(PaysAction(horizon=4)), CountsAdaptations())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    second = roll(make_env(PaysAction(horizon=4)), CountsAdaptations())
    assert torch.equal(first.reward, second.reward)


def test_what_is_collected_can_be_differentiated_through():
    rollout = roll(make_env(PaysAction(horizon=4)), CountsAdaptations())
    weight = torch.ones(1, requires_grad=True)
    (rollout.observation * weight).sum().backward()
    assert weight.grad.item() == rollout.observation.sum()
