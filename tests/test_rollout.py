"""Rollouts hold exactly what was lived: no step twice, none across a reset."""

import pytest
import torch
from diagnostic import CountsAdaptations, CountsEpisodes, PaysAction

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.env.cartpole_family import CartPoleFamily, CartPoleState
from metarl_run.env.navigation import Navigation
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import NumericalError
from metarl_run.maths.distributions import Categorical, Gaussian, sampling_noise
from metarl_run.rollout import collect
from metarl_run.types import AgentState

CENTRE = {"goal_x": ["uniform", -0.5, 0.5], "goal_y": 0, "start_x": 0, "start_y": 0}
MEAN, DEVIATION = torch.tensor([0.05, -0.3]), torch.tensor([0.1, 0.02])


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


@pytest.mark.parametrize("episodes", [1, 2])
def test_it_equals_a_loop_over_tasks_slots_and_steps(episodes):
    """The whole batch, recorded in place, against CartPoles stepped one by one with the same noise."""
    M, B, T = 3, 4, 12
    physics = {name: 1.0 for name in ("cart_mass", "pole_mass", "half_length", "force_sign")}
    physics |= {"gravity": ["uniform", 5.0, 15.0], "force": ["uniform", 5.0, 15.0]}
    family = CartPoleFamily(horizon=T, meta_train=physics, meta_test=physics)
    env = make_env(family, M, B)
    weight = torch.randn(M, 4, 2, generator=torch.Generator().manual_seed(3)) * 10

    class Linear(CountsAdaptations):
        def act(self, agent, percept):
            return Categorical(percept.observation @ weight), agent.memory

    rollout = roll(env, Linear(), episodes)
    assert rollout.terminated.any() and rollout.truncated.any()

    randomness = torch.Generator().manual_seed(2)
    noise = torch.cat([sampling_noise(env.single_action_space, (T, M, B), randomness) for _ in range(episodes)])
    steps = rollout.reward.shape[1]
    for m in range(M):
        task = env.task.select(slice(m, m + 1))
        for b in range(B):
            lived, t = 0, 0
            while lived < episodes:
                state = CartPoleState(rollout.observation[m : m + 1, t, b : b + 1].clone())  # where this episode began
                assert state.values.abs().max() <= 0.05
                for k in range(T):
                    seen = family.observe(task, state)
                    torch.testing.assert_close(rollout.observation[m, t, b], seen[0, 0], rtol=1e-5, atol=1e-6)
                    action = (seen[0, 0] @ weight[m] + noise[t, m, b]).argmax()
                    assert rollout.action[m, t, b] == action
                    state, reward, terminated = family.step(task, state, action.view(1, 1), None)
                    told = [x[m, t, b].item() for x in (rollout.reward, rollout.terminated, rollout.truncated)]
                    assert told == [reward.item(), terminated.item(), k == T - 1 and not terminated.item()]
                    assert rollout.alive[m, t, b]
                    t += 1
                    if terminated:
                        break
                lived += 1
            torch.testing.assert_close(
                rollout.observation[m, t, b], family.observe(task, state)[0, 0], rtol=1e-5, atol=1e-6
            )
            for x in (rollout.reward, rollout.terminated, rollout.truncated, rollout.alive):
                assert t == steps or not x[m, t:, b].any()


class Walks(MetaAlgorithm):
    """Draws every step from one Gaussian and notes what it is told of the step before."""

    def __init__(self):
        self.told = []

    def start(self, num_tasks):
        return AgentState(params={}, memory={})

    def act(self, agent, percept):
        self.told.append(percept.last_action.clone())
        shape = (*percept.last_reward.shape, 2)
        return Gaussian(MEAN.expand(shape), DEVIATION.log().expand(shape)), agent.memory

    def adapt(self, agent, rollout):
        return agent


def walk(tasks=2, slots=3, horizon=4, episodes=2):
    family = Navigation(
        horizon=horizon, max_step=0.1, reward="distance", goal_radius=0.0, meta_train=CENTRE, meta_test=CENTRE
    )
    algo = Walks()
    return algo, roll(make_env(family, tasks, slots), algo, episodes)


def test_actions_of_several_numbers_are_kept_as_they_were_drawn_and_told_at_the_next_step():
    algo, rollout = walk()
    assert rollout.action.shape == (2, 8, 3, 2) and rollout.action.dtype == torch.float32
    steps = rollout.observation[:, 1:] - rollout.observation[:, :-1]
    inside = ~rollout.ended  # after an end the observation is the next episode's first
    torch.testing.assert_close(steps[inside], rollout.action.clamp(-0.1, 0.1)[inside])
    assert (rollout.action.abs() > 0.1).any(), "the family clips what moves the point, not what is remembered"
    assert not algo.told[0].any()
    for t, told in enumerate(algo.told[1:]):
        assert torch.equal(told, rollout.action[:, t])


def test_actions_of_several_numbers_follow_the_policy_in_every_slot_independently():
    _, rollout = walk(tasks=20, slots=20, horizon=50, episodes=1)
    z = ((rollout.action - MEAN) / DEVIATION).double()
    N = 20 * 20 * 50
    assert z.mean((0, 1, 2)).abs().max() < 5 / N**0.5
    assert (z.var((0, 1, 2)) - 1).abs().max() < 5 * (2 / N) ** 0.5
    assert z.flatten(0, 2).T.corrcoef()[0, 1].abs() < 5 / N**0.5
    for one, other in [(z[1:], z[:-1]), (z[:, 1:], z[:, :-1]), (z[:, :, 1:], z[:, :, :-1])]:
        assert (one * other).mean().abs() < 5 / (2 * N * 0.9) ** 0.5, (
            "neighbours along an axis know nothing of each other"
        )


def test_an_agent_that_fails_after_a_number_that_is_not_finite_is_not_to_blame(monkeypatch):
    env, algo = make_env(PaysAction(horizon=4)), CountsAdaptations()
    advance, act, steps = env.advance, algo.act, []

    def spoilt(action):
        steps.append(action)
        step = advance(action)
        step.reward[1, 2] = torch.nan if len(steps) == 2 else 0
        return step

    def fails(agent, percept):
        if percept.last_reward.isnan().any():
            raise IndexError("out of range")
        return act(agent, percept)

    monkeypatch.setattr(env, "advance", spoilt)
    monkeypatch.setattr(algo, "act", fails)
    with pytest.raises(NumericalError, match="reward of PaysAction: must be finite, got nan in task 1, step 1, env 2"):
        roll(env, algo)
    monkeypatch.setattr(env, "advance", advance)
    monkeypatch.setattr(algo, "act", lambda *_: [][1])
    with pytest.raises(IndexError):
        roll(env, algo)
