"""Horizon, resets and ends: on an MDP that counts, and against Gymnasium's own vector environment."""

from dataclasses import dataclass
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from metarl_run.env.base import Task, TaskFamily
from metarl_run.env.navigation import Navigation, NavigationTask
from metarl_run.env.vector import TaskVectorEnv

NEVER = 10**6


@dataclass(frozen=True)
class CounterTask(Task):
    """Episodes that terminate after `length` steps."""

    length: Tensor


class CounterState(NamedTuple):
    count: Tensor


class CounterFamily(TaskFamily):
    """Observes how many steps the episode has lasted; the reward is that number after the step."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.observation_space = gymnasium.spaces.Box(0, np.inf, (1,))
        self.action_space = gymnasium.spaces.Discrete(2)

    def sample(self, num_tasks, split, generator):
        return CounterTask(torch.randint(1, 2 * self.horizon, (num_tasks,), generator=generator))

    def reset(self, task, num_episodes, generator):
        return CounterState(torch.zeros(task.num_tasks, num_episodes))

    def step(self, task, state, action, noise):
        count = state.count.add_(1)
        return state, count.clone(), count >= task.length[:, None]

    def observe(self, task, state):
        return state.count[..., None].clone()


def make_env(*lengths, horizon=7, slots=1):
    task = CounterTask(torch.tensor(lengths))
    return TaskVectorEnv(CounterFamily(horizon), task, episodes_per_task=slots, generator=torch.Generator())


def live(env, episodes, steps):
    """`steps` steps of every slot: the observations acted on, and the transitions, stacked along time."""
    seen, transitions = [env.start(episodes)], []
    for _ in range(steps):
        step = env.advance(torch.zeros(env.num_tasks, env.episodes_per_task, dtype=torch.int64))
        alive = torch.ones_like(step.ended) if step.alive is None else step.alive
        transitions.append((*step[:3], step.ended ^ step.terminated, alive))
        seen.append(step.observation)
    return torch.stack(seen), [torch.stack(column) for column in zip(*transitions, strict=True)]


def test_no_transition_crosses_a_reset():
    """N steps give N valid transitions: each counts one up from what was acted on, and after an end comes 0."""
    N = 50
    env = make_env(1, 2, 3, 7, 8, NEVER, slots=2)
    seen, (observation, reward, terminated, truncated, alive) = live(env, NEVER, N)
    assert alive.all() and alive.sum() == N * 12
    ended = terminated | truncated
    assert torch.equal(reward, seen[:-1, ..., 0] + 1)
    assert torch.equal(observation[..., 0], torch.where(ended, 0.0, seen[:-1, ..., 0] + 1))
    episode_length = torch.tensor([1, 2, 3, 7, 7, 7]).view(1, 6, 1)
    assert torch.equal(ended, (torch.arange(1, N + 1).view(N, 1, 1) % episode_length == 0).expand(N, 6, 2))


def test_truncation_is_not_termination():
    """A limit reached is truncation; an MDP that ends is termination, also where it ends exactly at the limit."""
    _, (_, _, terminated, truncated, _) = live(make_env(6, 7, 8, horizon=7), 1, 7)
    assert terminated[..., 0].sum(0).tolist() == [1, 1, 0]
    assert truncated[..., 0].sum(0).tolist() == [0, 0, 1]
    assert terminated[5, 0, 0] and terminated[6, 1, 0] and truncated[6, 2, 0]


@pytest.mark.parametrize("episodes", [1, 2, 5])
def test_every_slot_lives_exactly_its_episodes(episodes):
    """Episodes of uneven length; what comes after the last is marked as not lived and carries nothing."""
    lengths = torch.tensor([1, 3, 7, 7])
    env = make_env(1, 3, 7, NEVER, slots=2)
    seen, (observation, reward, terminated, truncated, alive) = live(env, episodes, 3 * 7 * episodes)
    assert ((terminated | truncated).sum(0) == episodes).all()
    assert torch.equal(alive.sum(0), (episodes * lengths)[:, None].expand(4, 2))
    assert (alive.int().diff(dim=0) <= 0).all(), "a slot does not come back to life"
    assert torch.equal(reward.sum(0), (episodes * lengths * (lengths + 1) / 2)[:, None].expand(4, 2))
    for padding in (reward, terminated, truncated):
        assert not padding[~alive].any()
    assert seen.isfinite().all()
    for i, length in enumerate(lengths):
        last = episodes * length - 1
        assert (observation[last, i] == length).all(), "after the last episode: its true final observation"
        assert (observation[: last + 1, i] == 0).sum() == 2 * (episodes - 1), "before: the next episode's first"
    assert not env.alive.any()


def test_start_begins_anew_in_the_middle_of_a_lifetime():
    env = make_env(3, NEVER)
    live(env, 2, 5)
    assert not env.start().any() and env.alive.all()
    _, (_, _, _, _, alive) = live(env, 1, 10)
    assert alive.sum(0).flatten().tolist() == [3, 7]


def test_what_was_returned_is_not_changed_by_later_steps():
    env = make_env(2, 5, NEVER, slots=2)
    first = env.start(3)
    returned = [(first, first.clone())]
    for _ in range(30):
        *tensors, _ = env.advance(torch.zeros(3, 2, dtype=torch.int64))
        returned += [(tensor, tensor.clone()) for tensor in tensors if tensor is not None]
    assert all(torch.equal(now, then) for now, then in returned)


class Counter(gymnasium.Env):
    """The same MDP as one plain Gymnasium environment, written independently."""

    def __init__(self, length: int, horizon: int) -> None:
        self.length, self.horizon = length, horizon
        self.observation_space = gymnasium.spaces.Box(0, np.inf, (1,))
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        terminated = self.count >= self.length
        truncated = self.count >= self.horizon and not terminated
        return np.array([self.count], np.float32), float(self.count), terminated, truncated, {}


def test_it_behaves_like_sync_vector_env():
    """The same arrays, shapes, dtypes, spaces and next-step autoreset, for every step and environment."""
    lengths = [1, 1, 2, 2, 3, 3, 7, 7, NEVER, NEVER]
    reference = SyncVectorEnv([lambda length=length: Counter(length, horizon=7) for length in lengths])
    env = make_env(1, 2, 3, 7, NEVER, slots=2)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP is reference.metadata["autoreset_mode"]
    for name in ("num_envs", "single_observation_space", "single_action_space", "observation_space", "action_space"):
        assert getattr(env, name) == getattr(reference, name)
    for seed in (0, None):
        ours, theirs = env.reset(seed=seed), reference.reset(seed=seed)
        for _ in range(40):
            for x, y in zip(ours[:-1], theirs[:-1], strict=True):
                np.testing.assert_array_equal(x, y, strict=True)
            assert ours[-1] == theirs[-1] == {}
            action = reference.action_space.sample()
            ours, theirs = env.step(action), reference.step(action)


def test_in_gymnasium_the_step_after_an_end_is_no_transition():
    """Leaving out the steps that only reset, what is left of the array interface is what the tensor interface gives."""
    env = make_env(2, 5, NEVER)
    (seen, _), waiting, counted = env.reset(seed=0), np.zeros(3, bool), np.zeros(3, int)
    for _ in range(40):
        observation, reward, terminated, truncated, _ = env.step(np.zeros(3, int))
        np.testing.assert_array_equal(observation[:, 0], np.where(waiting, 0, seen[:, 0] + 1))
        np.testing.assert_array_equal(reward, np.where(waiting, 0, seen[:, 0] + 1))
        assert not (terminated | truncated)[waiting].any()
        counted += ~waiting
        waiting, seen = terminated | truncated, observation
    assert counted.tolist() == [27, 34, 35]  # 40 steps less one for each episode of 2, 5 and 7 that ended before


def test_reset_takes_other_tasks_but_not_another_number_of_them():
    env = make_env(2, NEVER)
    env.reset(options={"task": CounterTask(torch.tensor([NEVER, 3]))})
    ends = np.array([np.logical_or(*env.step(np.zeros(2, int))[2:4]) for _ in range(7)])
    assert ends.argmax(0).tolist() == [6, 2]
    with pytest.raises(ValueError, match=r"options\['task'\] must hold 2 tasks, got 1"):
        env.reset(options={"task": CounterTask(torch.tensor([1]))})


def test_step_before_reset_is_refused():
    with pytest.raises(gymnasium.error.ResetNeeded):
        make_env(2).step(np.zeros(1, int))


def test_actions_of_several_numbers_reach_each_its_own_environment():
    """Two tasks × two slots in a row; the step that only resets takes no action."""
    places = {"goal_x": 0, "goal_y": 0, "start_x": 0, "start_y": 0}
    family = Navigation(
        horizon=2, max_step=0.1, reward="distance", goal_radius=0.0, meta_train=places, meta_test=places
    )
    task = NavigationTask(*torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 3.0], [0.0, 4.0]]))
    env = TaskVectorEnv(family, task, episodes_per_task=2, generator=torch.Generator())
    assert env.action_space == gymnasium.spaces.Box(-0.1, 0.1, (4, 2))
    start, _ = env.reset(seed=0)
    np.testing.assert_array_equal(start, np.float32([[0, 0], [0, 0], [3, 4], [3, 4]]))
    actions = np.float32([[0.01, 0.02], [0.03, -0.04], [-0.05, 0.06], [0.07, 0.5]])
    moves = actions.clip(-0.1, 0.1)
    for expected in (start + moves, start + 2 * moves, start, start + moves):
        observation, reward, _, truncated, _ = env.step(actions)
        np.testing.assert_allclose(observation, expected, rtol=1e-6)
        moved = expected is not start
        np.testing.assert_allclose(reward, -np.hypot(*expected.T) * moved, rtol=1e-6)
        assert truncated.all() == np.array_equal(expected, start + 2 * moves)


def test_a_slot_that_ends_alone_begins_anew_where_its_own_task_does():
    """Three tasks with starts of their own; one slot after the other walks into its goal."""
    places = {"goal_x": 0, "goal_y": 0, "start_x": 0, "start_y": 0}
    family = Navigation(
        horizon=50, max_step=1.0, reward="distance", goal_radius=0.5, meta_train=places, meta_test=places
    )
    starts = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    task = NavigationTask(torch.zeros(3), torch.zeros(3), *starts.unbind(1))
    env = TaskVectorEnv(family, task, episodes_per_task=2, generator=torch.Generator())
    everywhere = starts[:, None].expand(3, 2, 2)
    for m in range(3):
        for b in range(2):
            assert torch.equal(env.start(2), everywhere)
            action, here = torch.zeros(3, 2, 2), torch.zeros(3, 2, dtype=torch.bool)
            action[m, b], here[m, b] = -1.0, True
            for left in range(m, -1, -1):
                step = env.advance(action)
                assert torch.equal(step.terminated, here & (left == 0))
            assert torch.equal(step.observation, everywhere)
