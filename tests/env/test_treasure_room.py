"""Dark Treasure Rooms: what is found where, best returns by enumeration, and the paper's random agent."""

import itertools

import pytest
import torch
from grid_lab import generator

from metarl_run.env.standalone import make_family
from metarl_run.env.treasure_room import TreasureRoomTask
from metarl_run.env.vector import TaskVectorEnv

UP, RIGHT, DOWN, LEFT, STAY = range(5)


def task_of(**objects):
    """One 3 × 3 room with objects a = (cell, value), …"""
    cells, values = zip(*objects.values(), strict=True)
    sets = [sum(1 << i for i, cell in enumerate(cells) if cell == place) for place in range(9)]
    return TreasureRoomTask(objects=torch.tensor([sets]), value=torch.tensor([values]))


def small(num_objects, horizon=9):
    return make_family("treasure_room", size=3, num_objects=num_objects, horizon=horizon)


def rewards(family, task, actions):
    env = TaskVectorEnv(family, task, episodes_per_task=1, generator=generator())
    env.start(2)
    return [env.advance(torch.full((1, 1), action)).reward.item() for action in actions]


def test_objects_pay_once_in_an_episode_together_and_are_back_in_the_next():
    """From the centre, cell 4: two objects share cell 7 above; one lies in the centre itself."""
    task = task_of(a=(7, 1.5), b=(7, -0.5), c=(4, 2.0))
    family = small(3, horizon=4)
    assert rewards(family, task, [UP, STAY, DOWN, UP, STAY, UP, UP, LEFT]) == [1.0, 0, 2.0, 0, 2.0, 1.0, 0, 0]


def test_the_best_return_is_that_of_the_best_path():
    """Against all 5⁵ sequences of actions, in random rooms."""
    family = small(4, horizon=5)
    task = family.sample(5, "meta_test", generator())
    paths = torch.tensor(list(itertools.product(range(5), repeat=5)))
    state = family.reset(task, len(paths), generator())
    total = torch.zeros(5, len(paths))
    for action in paths.T:
        state, reward, _ = family.step(task, state, action.expand(5, -1), None)
        total += reward
    torch.testing.assert_close(family.optimal_return(task), total.amax(1))


def test_values_and_cells_are_as_configured():
    task = make_family("treasure_room").sample(2000, "meta_test", generator())
    assert task.value.shape == (2000, 8) and task.value.min() >= -4 and task.value.max() <= 2
    assert task.value.mean().item() == pytest.approx(-1, abs=0.05)  # σ / √16000 = .014
    held = (task.objects.unsqueeze(-1) >> torch.arange(8) & 1).sum(1)
    assert (held == 1).all(), "each object lies in one cell"


@pytest.mark.parametrize(("low", "episodes", "published"), [(-4, 10, -5.5), (0, 6, 3.4)])
def test_a_random_agent_earns_what_the_paper_says(low, episodes, published):
    """The paper's figures are read off by eye."""
    family = make_family("treasure_room", meta_test={"value": ["uniform", low, 2]})
    task = family.sample(4000, "meta_test", generator())
    state, total = family.reset(task, 1, generator()), torch.zeros(4000, 1)
    rng = generator(1)
    for _ in range(9):
        state, reward, _ = family.step(task, state, torch.randint(5, (4000, 1), generator=rng), None)
        total += reward
    assert episodes * total.mean().item() == pytest.approx(published, abs=0.4)
