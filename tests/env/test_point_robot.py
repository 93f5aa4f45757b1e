"""A point that starts anywhere: steps by hand, starts and goals in their squares."""

import math

import pytest
import torch

from metarl_run.env.actions import dynamics_of
from metarl_run.env.point import PointState
from metarl_run.env.point_robot import PointRobotTask
from metarl_run.env.standalone import make_family
from metarl_run.env.vector import TaskVectorEnv

GENERATOR = torch.Generator()


def test_steps_by_hand():
    """The second action is clipped along x; the reward is that of the place arrived at, also on the goal."""
    family = make_family("point_robot")
    task = PointRobotTask(torch.tensor([0.5]), torch.tensor([-0.2]))
    state = PointState(torch.tensor([[[0.4, -0.3]]]))
    for action, position, distance in [
        ((0.0, 0.05), (0.4, -0.25), math.hypot(0.1, 0.05)),
        ((7.0, 0.05), (0.5, -0.2), 0.0),
        ((-0.1, -0.1), (0.4, -0.3), math.hypot(0.1, 0.1)),
    ]:
        state, reward, terminated = dynamics_of(family, torch.device("cpu"))(
            task, state, torch.tensor([[action]]), None
        )
        assert family.observe(task, state)[0, 0].tolist() == pytest.approx(position, abs=1e-6)
        assert reward.item() == pytest.approx(-distance, abs=1e-6) and not terminated


def test_every_episode_starts_elsewhere_in_the_square():
    family = make_family("point_robot", start_range=0.5)
    task = family.sample(3, "meta_train", GENERATOR.manual_seed(0))
    env = TaskVectorEnv(family, task, episodes_per_task=400, generator=GENERATOR)
    starts = [env.start(2)]
    for _ in range(20):
        last = env.advance(torch.zeros(3, 400, 2))
    starts.append(last.observation)
    for start in starts:
        assert start.abs().max() <= 0.5 and start.abs().amax((0, 1)).min() > 0.49
        assert start.mean((0, 1)).tolist() == pytest.approx([0, 0], abs=5 * 0.5 / 3**0.5 / 1200**0.5)
    assert (starts[0] != starts[1]).any(-1).all()


def test_goals_fill_the_square_of_each_split():
    family = make_family("point_robot", meta_test={"goal_x": 0.25, "goal_y": ["uniform", 2, 3]})
    train, test = (family.sample(2000, split, GENERATOR.manual_seed(0)) for split in ("meta_train", "meta_test"))
    for place in (train.goal_x, train.goal_y):
        assert -1 <= place.min() < -0.99 and 0.99 < place.max() <= 1
    assert test.goal_x.unique().tolist() == [0.25] and test.goal_y.min() >= 2 and test.goal_y.max() <= 3
    assert torch.equal(train.goal[:, 0], torch.stack([train.goal_x, train.goal_y], -1))
