"""What every task family promises, whichever files stand in conf/env."""

import functools
import random
from collections import Counter
from typing import get_type_hints

import gymnasium
import numpy as np
import torch

from metarl_run.env.base import Task
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.kinds import problem
from metarl_run.seeding import Streams

M, B = 4, 3


def make_env(family, seed, split="meta_train"):
    stream = Streams(seed, torch.device("cpu"))
    task = family.sample(M, split, stream(f"{split}/tasks"))
    return TaskVectorEnv(family, task, episodes_per_task=B, generator=stream("dynamics"))


def random_actions(env, seed=0):
    """An endless stream of valid actions `[M, B, …]`."""
    env.action_space.seed(seed)
    while True:
        action = torch.as_tensor(env.action_space.sample())
        yield action.view(M, B, *action.shape[1:])


def history(family, seed, episodes=2):
    """The bytes of everything that a seed gives: tasks and a lifetime of random actions."""
    env = make_env(family, seed)
    tensors = [*env.task.tensors().values(), env.start(episodes)]
    for _, action in zip(range(episodes * family.horizon), random_actions(env), strict=False):
        tensors.extend(tensor for tensor in env.advance(action) if isinstance(tensor, torch.Tensor))
    return b"".join(tensor.numpy().tobytes() for tensor in tensors)


def all_tasks(family, split):
    """The hashes of all tasks of a family that has few; those of 1000 draws of one that has any number."""
    return set(family.sample(1000, split, torch.Generator().manual_seed(99)).hashes())


def test_sampled_tasks_are_batches_of_distinct_finite_tensors(family):
    """No task of a batch is there twice, or of few no more than once more than any other."""
    task = family.sample(50, "meta_train", torch.Generator().manual_seed(0))
    assert isinstance(task, Task) and task.num_tasks == 50
    assert all(tensor.isfinite().all() for tensor in task.tensors().values())
    times = Counter(task.hashes())
    if max(times.values()) > 1:
        assert times.keys() == all_tasks(family, "meta_train")
        assert max(times.values()) - min(times.values()) <= 1
    assert task.select(slice(3, 5)).hashes() == task.hashes()[3:5]


def test_meta_train_and_meta_test_tasks_are_disjoint(family):
    """Where there are few, they need not be, but come in another order."""
    train, test = (make_env(family, 0, split).task.hashes() for split in ("meta_train", "meta_test"))
    assert train != test
    assert not set(train) & set(test) or len(all_tasks(family, "meta_test")) < 1000


def test_the_same_seed_gives_the_same_bytes_also_seed_0(family):
    assert history(family, 0) == history(family, 0)
    assert any(history(family, 0) != history(family, seed) for seed in (1, 2))  # two tasks may come in the same order


def test_what_is_computed_of_a_task_once_is_known_without_asking_for_it(family):
    task = family.sample(M, "meta_train", torch.Generator())
    kind = type(task)
    lazy = {name for name in dir(kind) if isinstance(getattr(kind, name), functools.cached_property)}
    known = task.computed()
    assert known.keys() == task.tensors().keys() | lazy
    assert all(value is getattr(task, name) for name, value in known.items())


def test_a_fixed_start_is_one_that_draws_nothing_and_never_changes(family):
    env = make_env(family, 0)
    env.start()
    before = env.generator.get_state()
    one, other = (family.reset(env.task, B, env.generator) for _ in range(2))
    drew = not torch.equal(before, env.generator.get_state())
    assert family.fixed_starts != drew
    if not drew:
        assert all(map(torch.equal, one, other))


def test_global_randomness_is_neither_read_nor_moved(family):
    def global_states():
        return torch.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes(), random.getstate()

    before = global_states()
    first = history(family, 3)
    assert global_states() == before
    with torch.random.fork_rng():
        torch.manual_seed(12345)
        assert history(family, 3) == first


def test_what_is_emitted_lies_in_the_spaces_and_is_finite_long_after_the_last_end(family):
    env = make_env(family, 0)
    space = env.single_observation_space
    observations = [env.start()]
    for _, action in zip(range(3 * family.horizon), random_actions(env), strict=False):
        step = env.advance(action)
        observations.append(step.observation)
        flags = [flag for flag in (step.terminated, step.truncated, step.alive) if flag is not None]
        assert {x.shape for x in (step.reward, *flags)} == {(M, B)} and {x.dtype for x in flags} == {torch.bool}
        assert step.reward.isfinite().all()
        assert step.alive is None or not step.reward[~step.alive].any()
        assert step.truncated is None or not (step.terminated & step.truncated).any()
    assert not env.alive.any()
    for observation in observations:
        assert observation.dtype == torch.float32 and observation.isfinite().all()
        assert all(space.contains(one) for one in observation.flatten(0, 1).numpy())


def test_nothing_that_goes_in_or_came_out_is_changed_by_a_step(family):
    """States may be consumed; tasks, actions and observations may not."""
    env = make_env(family, 0)
    hashes = env.task.hashes()
    kept = [env.start(2)]
    copies = [kept[0].clone()]
    for _, action in zip(range(family.horizon + 3), random_actions(env), strict=False):
        step = env.advance(action)
        came = [action, *(tensor for tensor in step if isinstance(tensor, torch.Tensor))]
        kept.extend(came)
        copies.extend(tensor.clone() for tensor in came)
    assert env.task.hashes() == hashes
    assert all(torch.equal(now, then) for now, then in zip(kept, copies, strict=True))


def test_a_step_needs_no_more_than_the_state_it_was_given(family):
    """Selected tasks step as they do within the whole batch."""
    env = make_env(family, 0)
    action = next(random_actions(env))
    state = family.reset(env.task, B, torch.Generator().manual_seed(0))
    half = type(state)(*(tensor[:2].clone() for tensor in state))
    torch.testing.assert_close(family.observe(env.task, state)[:2], family.observe(env.task.select(slice(2)), half))
    noise = family.noise(M, B, torch.Generator().manual_seed(1))
    whole, _, terminated = family.step(env.task, state, action, noise)
    half_noise = None if noise is None else noise[:, :2]
    part, _, part_terminated = family.step(env.task.select(slice(2)), half, action[:2], half_noise)
    assert torch.equal(terminated[:2], part_terminated)
    for ours, theirs in zip(whole, part, strict=True):
        assert ours[:2].shape == theirs.shape and ours.dtype == theirs.dtype
        assert torch.equal(ours[:2], theirs)


def test_the_array_interface_emits_what_its_spaces_say(family):
    env = make_env(family, 0)
    env.action_space.seed(0)
    observation, info = env.reset(seed=0)
    again, _ = env.reset(seed=0)
    assert np.array_equal(observation, again) and info == {} and env.num_envs == M * B
    for _ in range(2 * family.horizon + 2):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        assert reward.shape == terminated.shape == truncated.shape == (M * B,)
        assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float64, bool, bool)


def test_provides_and_spaces_agree(family):
    discrete = isinstance(family.action_space, gymnasium.spaces.Discrete)
    assert ("discrete_actions" in family.provides) == discrete
    assert ("continuous_actions" in family.provides) == (not discrete)
    assert isinstance(family.observation_space, gymnasium.spaces.Box)


def test_a_tabular_family_is_one_hot_and_says_its_mdp(family):
    if "tabular" not in family.provides:
        assert not hasattr(family.sample(1, "meta_train", torch.Generator()), "transition")
        return
    env = make_env(family, 0)
    S, A = family.observation_space.shape[0], int(family.action_space.n)
    assert env.task.transition.shape == (M, S, A, S) and env.task.mean_reward.shape == (M, S, A)
    observation = env.start()
    for _, action in zip(range(family.horizon), random_actions(env), strict=False):
        assert torch.equal(observation.sort(-1).values[..., -1], torch.ones(M, B)) and (observation.sum(-1) == 1).all()
        observation = env.advance(action).observation


def test_the_fields_state_kinds_that_refuse_nonsense(family):
    kinds = get_type_hints(type(family), include_extras=True)
    assert problem(kinds["horizon"], 0) and problem(kinds["meta_train"], {}) and problem(kinds["meta_test"], 3)
