"""Actions that reach a family lie in its action space, whatever the policy chose."""

import gymnasium
import numpy as np
import pytest
import torch
from diagnostic import Bonus, Clock, PaysAction

from metarl_run.env.actions import dynamics_of
from metarl_run.env.standalone import FamilyEnv
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.maths.distributions import Categorical, Gaussian
from metarl_run.rollout import collect
from metarl_run.types import AgentState

CPU = torch.device("cpu")
M, B = 3, 4


class Recorder(PaysAction):
    """Keeps every action that reaches `step`."""

    def __init__(self, space):
        super().__init__(horizon=5)
        self.action_space, self.actions = space, []

    def step(self, task, state, action, noise):
        self.actions.append(action.clone())
        return Clock(state.time + 1), action.float().view(*state.time.shape, -1).sum(-1), state.time > 9

    def reached(self):
        return torch.stack(self.actions[1:], 1)  # without that of the check


def env_of(family):
    return TaskVectorEnv(family, Bonus(torch.zeros(M)), episodes_per_task=B, generator=torch.Generator())


def collected(space, policy):
    family = Recorder(space)
    rollout = collect(
        env_of(family), lambda agent, _: (policy, agent.memory), AgentState({}, {}), torch.Generator().manual_seed(0)
    )
    assert all(action in space for action in family.reached().flatten(0, 2).numpy())
    return rollout, family.reached()


@pytest.mark.parametrize("start", [-1, 0, 1, 7])
def test_the_start_of_a_discrete_space_is_added(start):
    rollout, reached = collected(gymnasium.spaces.Discrete(3, start=start), Categorical(torch.zeros(M, B, 3)))
    assert set(rollout.action.flatten().tolist()) == {0, 1, 2}
    assert torch.equal(reached, rollout.action + start)


@pytest.mark.parametrize(
    "box",
    [
        gymnasium.spaces.Box(-2, 2, (2,)),
        gymnasium.spaces.Box(np.array([-1, 0], np.float32), np.array([0, np.inf], np.float32)),
        gymnasium.spaces.Box(-np.inf, np.array([0, 1], np.float32)),
        gymnasium.spaces.Box(-np.inf, np.inf, (2,)),
    ],
    ids=str,
)
def test_real_numbers_are_clipped_to_the_box_and_recorded_as_chosen(box):
    rollout, reached = collected(box, Gaussian(torch.zeros(M, B, 2), torch.full((M, B, 2), 1.5)))
    assert torch.equal(reached, rollout.action.clamp(torch.tensor(box.low), torch.tensor(box.high)))
    assert torch.equal(rollout.reward, reached.sum(-1)), "the family is paid for what reached it"
    assert torch.equal(reached, rollout.action) == (not np.isfinite([box.low, box.high]).any())


def test_a_family_whose_actions_need_no_change_is_stepped_directly():
    for space in (gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-np.inf, np.inf, (2,))):
        family = Recorder(space)
        assert dynamics_of(family, CPU) == family.step


def test_actions_of_gymnasium_are_those_of_the_space(monkeypatch):
    family = Recorder(gymnasium.spaces.Discrete(3, start=1))
    env = env_of(family)
    env.reset(seed=0)
    actions = env.action_space.sample()
    env.step(actions)
    assert family.actions[-1].flatten().tolist() == actions.tolist()
    monkeypatch.setattr("metarl_run.env.standalone.make_family", lambda option: family)
    single = FamilyEnv("mine")
    single.reset(seed=0)
    single.step(np.int64(3))
    assert family.actions[-1].tolist() == [[3]]
