"""Policy-gradient learners: policies of network outputs, and learners with other hyperparameters."""

import gymnasium
import numpy as np
import pytest
import torch
from recorded import ROLLOUTS, A, B, M, T, parts

from metarl_run.learner.actor_critic import ActorCritic
from metarl_run.learner.ppo import PPO
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


def test_a_gaussian_has_standard_deviations_as_parameters():
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


def test_a_squashed_gaussian_covers_the_box_of_actions():
    space = gymnasium.spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 4.0], np.float32))
    one = learner(space, "squashed_gaussian")
    assert one.heads(space) == {"policy": 2} and one.constants(space) == {"log_deviation": 2}
    policy = one.policy({"policy": torch.zeros(5, 2), "log_deviation": torch.zeros(5, 2)})
    torch.testing.assert_close(policy.sample(torch.zeros(5, 2)), torch.tensor([0.0, 2.0]).expand(5, 2))
    torch.testing.assert_close(policy.inner.log_deviation.exp(), torch.full((5, 2), 0.2))


def test_a_squashed_gaussian_needs_bounds():
    space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    with pytest.raises(ValueError, match="needs bounds on actions"):
        learner(space, "squashed_gaussian")


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
    new[0, 0, 0] = 0.4  # one mean of one step is two standard deviations away: KL = 2
    new[1, 1, 0] = 9.0  # never taken
    assert one.divergence(one.behaviour({"policy": old}), {"policy": new}, rollout).item() == pytest.approx(2 / 3)


COMMON = {
    "action_space": gymnasium.spaces.Discrete(A),
    "discount": 0.9,
    "average": "steps",
    "policy": "auto",
    "initial_deviation": 1.0,
    "standardise": True,
}


CRITIC = {"lifetime_discount": 0.5, "value_scale": 2.0, "gae_lambda": 0.8, "value_weight": 0.5, "entropy_weight": 0.1}


MAKERS = {
    "reinforce": lambda **k: Reinforce(surrogate="dice", baseline="time", **COMMON | k),
    "actor_critic": lambda **k: ActorCritic(surrogate="dice", **COMMON | CRITIC | k),
    "ppo": lambda **k: PPO(clip=0.2, epochs=2, **COMMON | CRITIC | k),
}


VALUES = {"discount": (0.3, 0.99, 1.0), "gae_lambda": (0.0, 0.5, 1.0), "entropy_weight": (0.0, 0.7, 0.2)}


def output():
    g = torch.Generator().manual_seed(3)
    return {
        "policy": torch.randn(M, T + 1, B, A, generator=g, dtype=torch.float64),
        "value": torch.randn(M, T + 1, B, 1, generator=g, dtype=torch.float64),
    }


@pytest.mark.parametrize("discount_steps", [False, True])
@pytest.mark.parametrize("kind", MAKERS)
def test_each_task_has_the_loss_of_a_learner_configured_with_its_hyperparameters(kind, discount_steps):
    learner = MAKERS[kind](discount_steps=discount_steps)
    values = {name: VALUES[name] for name in learner.hyperparameters}
    stacked = {name: torch.tensor(of_tasks, dtype=torch.float64) for name, of_tasks in values.items()}
    losses, _ = learner.with_hyperparameters(stacked).loss(output(), ROLLOUTS[0])
    assert losses.shape == (M,)
    for task in range(M):
        own = {name: of_tasks[task] for name, of_tasks in values.items()}
        alone, _ = MAKERS[kind](discount_steps=discount_steps, **own).loss(output(), ROLLOUTS[0])
        torch.testing.assert_close(losses[task], alone[task], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", MAKERS)
def test_the_loss_is_differentiable_in_every_hyperparameter_of_its_own_task(kind):
    learner = MAKERS[kind](discount_steps=True)
    start = {"discount": 0.9, "gae_lambda": 0.8, "entropy_weight": 0.1}
    at = {name: torch.full((M,), start[name], dtype=torch.float64).requires_grad_() for name in learner.hyperparameters}
    old = learner.behaviour({head: value + 0.3 * value**2 for head, value in output().items()})  # no ratio is 1

    def losses(**shift):
        moved = {name: q + shift.get(name, 0.0) for name, q in at.items()}
        return learner.with_hyperparameters(moved).loss(output(), ROLLOUTS[0], old)[0]

    for name, q in at.items():
        (gradient,) = torch.autograd.grad(losses().sum(), q)
        ε = 1e-6
        slope = (losses(**{name: ε}) - losses(**{name: -ε})) / (2 * ε)
        torch.testing.assert_close(gradient, slope.detach(), rtol=1e-6, atol=1e-8)
        assert (gradient != 0).all()


def test_the_learner_itself_is_unchanged_and_has_no_other_hyperparameters():
    learner, _, _ = parts()
    other = learner.with_hyperparameters({"discount": 0.1})
    assert (learner.discount, other.discount) == (0.9, 0.1)
    with pytest.raises(ValueError, match="Reinforce has no hyperparameter 'gae_lambda'"):
        learner.with_hyperparameters({"gae_lambda": 0.5})


def test_returns_that_are_all_equal_leave_gradients_finite():
    """Their standard deviation is 0, where a root has no derivative."""
    learner = MAKERS["actor_critic"](discount_steps=False)
    γ = torch.full((M,), 0.9, dtype=torch.float64).requires_grad_()
    nothing = ROLLOUTS[0]._replace(reward=torch.zeros_like(ROLLOUTS[0].reward))
    flat = output() | {"value": torch.zeros(M, T + 1, B, 1, dtype=torch.float64)}
    (gradient,) = torch.autograd.grad(learner.with_hyperparameters({"discount": γ}).loss(flat, nothing)[0].sum(), γ)
    assert gradient.isfinite().all()
