"""A sparse reward on a semicircle: its edge, steps by hand, goals on the arc and the best that can be done."""

import math

import pytest
import torch

from metarl_run.env.actions import dynamics_of
from metarl_run.env.drawing import ACCENT, GOAL, PALE
from metarl_run.env.point import PointState
from metarl_run.env.semi_circle import SemiCircleTask
from metarl_run.env.standalone import make_family
from metarl_run.env.vector import TaskVectorEnv

GENERATOR = torch.Generator()


def tasks(*angles):
    return SemiCircleTask(torch.tensor(angles))


def test_the_sparse_reward_begins_exactly_at_the_radius():
    """Goal (1, 0); in numbers that float32 holds exactly, the edge belongs to the inside."""
    family = make_family("semi_circle", goal_radius=0.25)
    x = torch.tensor([0.75, math.nextafter(0.75, 0) - 1e-7, 1.0, 1.25, 1.2500001, 0.0])
    state = PointState(torch.stack([x, torch.zeros(6)], -1).unsqueeze(0))
    _, reward, terminated = family.step(tasks(0.0), state, torch.zeros(1, 6, 2), None)
    assert reward.tolist() == [[0.75, 0.0, 1.0, 0.75, 0.0, 0.0]] and not terminated.any()
    default = make_family("semi_circle")
    _, reward, _ = default.step(tasks(0.0), PointState(torch.tensor([[[0.8, 0.0]]])), torch.zeros(1, 1, 2), None)
    assert reward.item() == pytest.approx(0.8)


@pytest.mark.parametrize(("reward", "first", "last"), [("sparse", 0.0, 0.9), ("distance", -0.9, -0.1)])
def test_going_straight_to_a_goal_on_the_axis_by_hand(reward, first, last):
    """Nine steps of 0.1 lead from the origin to (0.9, 0); the actions ask for more."""
    family, task = make_family("semi_circle", reward=reward), tasks(0.0)
    state = family.reset(task, 1, GENERATOR)
    assert state.position.tolist() == [[[0.0, 0.0]]]
    rewards = []
    for _ in range(9):
        state, r, _ = dynamics_of(family, torch.device("cpu"))(task, state, torch.tensor([[[3.0, 0.0]]]), None)
        rewards.append(r.item())
    assert (rewards[0], rewards[-1]) == (pytest.approx(first, abs=1e-6), pytest.approx(last, abs=1e-6))


def test_the_best_return_by_hand_and_as_lived():
    """To (1, 0) at steps of 0.25: 0, 0, 0.75, then 1 for ever; to 45°: 2 steps to (0.5, 0.5), 0.29 away, then 1."""
    family = make_family("semi_circle", goal_radius=0.25, max_step=0.25, horizon=10)
    task = tasks(0.0, math.pi / 4, 2.5)
    best = family.optimal_return(task)
    assert best[:2].tolist() == pytest.approx([0.75 + 7, 8.0], abs=1e-5)
    env = TaskVectorEnv(family, task, episodes_per_task=1, generator=GENERATOR)
    position, total = env.start(), 0
    for _ in range(10):
        step = env.advance(task.goal - position)
        position, total = step.observation, total + step.reward
    torch.testing.assert_close(total.squeeze(1), best)


def test_goals_lie_on_the_upper_half_of_the_unit_circle():
    goal = make_family("semi_circle").sample(2000, "meta_train", GENERATOR.manual_seed(0)).goal.squeeze(1)
    torch.testing.assert_close(goal.norm(dim=-1), torch.ones(2000))
    assert goal[:, 1].min() >= -1e-6 and goal[:, 0].min() < -0.99 and goal[:, 0].max() > 0.99
    assert goal[:, 1].mean().item() == pytest.approx(2 / math.pi, abs=0.03)


def test_meta_test_has_angles_of_its_own_and_few_are_drawn_in_turn():
    family = make_family("semi_circle", meta_test={"angle": ["choice", 0.5, 1.0, 2.0]})
    assert family.all_tasks("meta_train") is None
    assert family.all_tasks("meta_test").angle.tolist() == [0.5, 1.0, 2.0]
    drawn = family.sample(6, "meta_test", GENERATOR.manual_seed(0)).angle
    assert sorted(drawn.tolist()) == [0.5, 0.5, 1.0, 1.0, 2.0, 2.0]


def test_the_picture_shows_the_arc_the_goal_and_the_point():
    family, task = make_family("semi_circle"), tasks(math.pi / 2)
    picture = family.render(task, family.reset(task, 1, GENERATOR))

    def strongest(x, y):
        """The colour there that is farthest from white: edges are smooth."""
        row, column = round((1.25 - y) / 2.5 * 239), round((x + 1.25) / 2.5 * 239)
        around = picture[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3)
        return tuple(around[around.sum(-1, dtype=int).argmin()].tolist())

    assert strongest(0, 0) == ACCENT and strongest(0, 0.8) == GOAL
    red, green, blue = strongest(math.cos(0.5), math.sin(0.5))
    assert red == green == blue and PALE[0] <= red < 255
    assert strongest(math.cos(-0.5), math.sin(-0.5)) == (255, 255, 255)
