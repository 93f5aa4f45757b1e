"""Deterministic tabular families with whole states as numbers, for their tests."""

import torch

from metarl_run.env.standalone import make_family


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def family_of(option, **changes):
    """The family and all its tasks of meta-training."""
    family = make_family(option, **changes)
    return family, family.all_tasks("meta_train")


def assert_steps_as_the_tables_say(family, task, kind):
    """From each state by each action, in all tasks at once: next state, reward and end."""
    M, S, A = task.mean_reward.shape
    number, action = torch.arange(S).repeat_interleave(A), torch.arange(A).repeat(S)
    then, reward, terminated = family.step(task, kind(number.repeat(M, 1)), action.repeat(M, 1), None)
    goes_on = task.transition[:, number, action]
    assert torch.equal(reward, task.mean_reward[:, number, action])
    assert torch.equal(terminated, goes_on.sum(-1) == 0)
    assert torch.equal(family.observe(task, then)[~terminated], goes_on[~terminated])


def walk(family, task, actions, kind, first=None):
    """Numbers of states and rewards of each task, `[T][M]`, one environment each."""
    M = task.num_tasks
    state = family.reset(task, 1, generator()) if first is None else kind(torch.full((M, 1), first))
    numbers, rewards = [], []
    for action in actions:
        state, reward, _ = family.step(task, kind(state[0].clone()), torch.full((M, 1), action), None)
        numbers.append(state[0].flatten().tolist())
        rewards.append(reward.flatten().tolist())
    return numbers, rewards


def return_of_optimal_actions(family, task):
    """The return of an episode that follows `optimal_action` from the fixed start."""
    state = family.reset(task, 1, generator())
    total, alive = torch.zeros(task.num_tasks, 1), torch.ones(task.num_tasks, 1)
    for _ in range(family.horizon):
        action = family.optimal_action(task, state[0])
        state, reward, terminated = family.step(task, state, action, None)
        total += reward * alive
        alive *= ~terminated
    return total.flatten().tolist()
