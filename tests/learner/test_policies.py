"""Which policy a policy-gradient learner makes of a network's outputs."""

import gymnasium
import pytest
import torch

from metarl_run.learner.reinforce import Reinforce
from metarl_run.maths.distributions import Categorical, Gaussian
from metarl_run.types import Rollout

DISCRETE, PLANE = gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-1.0, 1.0, (2,))


def learner(space, policy="auto", **changes):
    arguments = {
        "surrogate": "loaded_dice",
        "discount": 1.0,
        "discount_steps": False,
        "baseline": "none",
        "standardise": False,
        "average": "steps",
        "initial_deviation": 0.2,
    } | changes
    return Reinforce(action_space=space, policy=policy, **arguments)


def test_discrete_actions_have_a_logit_each():
    one = learner(DISCRETE)
    assert one.heads(DISCRETE) == {"policy": 3} and one.constants(DISCRETE) == {}
    assert isinstance(one.policy({"policy": torch.zeros(4, 3)}), Categorical)


def test_a_gaussian_has_deviations_of_its_own():
    one = learner(PLANE)
    assert one.heads(PLANE) == {"policy": 2} and one.constants(PLANE) == {"log_deviation": 2}
    policy = one.policy({"policy": torch.ones(4, 2), "log_deviation": torch.zeros(4, 2)})
    assert isinstance(policy, Gaussian)
    torch.testing.assert_close(policy.mean, torch.ones(4, 2))
    torch.testing.assert_close(policy.log_deviation.exp(), torch.full((4, 2), 0.2))


def test_a_state_dependent_gaussian_reads_both_from_the_network():
    one = learner(PLANE, "gaussian_state_dependent")
    assert one.heads(PLANE) == {"policy": 4} and one.constants(PLANE) == {}
    policy = one.policy({"policy": torch.tensor([[1.0, 2.0, 0.0, 3.0]])})
    torch.testing.assert_close(policy.mean, torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(policy.log_deviation.exp(), 0.2 * torch.tensor([[0.0, 3.0]]).exp())


@pytest.mark.parametrize(("space", "policy"), [(DISCRETE, "gaussian"), (PLANE, "categorical")])
def test_a_policy_that_does_not_suit_the_actions_is_refused(space, policy):
    with pytest.raises(ValueError, match=f"policy {policy} does not suit"):
        learner(space, policy)


def test_the_divergence_of_a_gaussian_is_its_kl_over_the_steps_that_were_taken():
    one = learner(PLANE, "gaussian_state_dependent")
    alive = torch.tensor([[True, True], [True, False]])
    rollout = Rollout(
        observation=torch.zeros(3, 2, 2),
        action=torch.zeros(2, 2, 2),
        reward=torch.zeros(2, 2),
        terminated=torch.tensor([[False, True], [True, False]]),
        truncated=torch.zeros(2, 2, dtype=torch.bool),
        alive=alive,
        memory={},
    )
    old, new = torch.zeros(3, 2, 4), torch.zeros(3, 2, 4)
    new[0, 0, 0] = 0.4  # one mean of one step is two deviations away: KL = 2
    new[1, 1, 0] = 9.0  # never taken
    assert one.divergence(one.behaviour({"policy": old}), {"policy": new}, rollout).item() == pytest.approx(2 / 3)
