"""Normalising constants of policy losses: the task's own in adaptation, the meta-batch's in meta-learning."""

import gymnasium
import pytest
import torch

from metarl_run.learner.actor_critic import ActorCritic
from metarl_run.learner.normaliser import of_whole_task, part_of_batch, part_of_task, pooled, spread
from metarl_run.learner.reinforce import Reinforce
from metarl_run.types import Rollout

COMMON = {
    "action_space": gymnasium.spaces.Discrete(2),
    "surrogate": "score",
    "discount_steps": False,
    "average": "steps",
    "policy": "auto",
    "initial_deviation": 1.0,
}


def reinforce(**changes):
    return Reinforce(**{**COMMON, "discount": 1.0, "baseline": "none", "standardise": False, **changes})


def critic(**changes):
    weights = {"lifetime_discount": 0.0, "value_scale": 1.0, "gae_lambda": 1.0, "value_weight": 1.0}
    return ActorCritic(**{**COMMON, "discount": 1.0, "standardise": False, "entropy_weight": 0.5, **weights, **changes})


def rollout_of(rewards, lengths):
    """Tasks of one episode each, `[M, T, 1]`: their rewards, and their lengths among the T steps."""
    M, T = len(rewards), len(rewards[0])
    alive = torch.arange(T).expand(M, T) < torch.tensor(lengths).unsqueeze(1)
    ends = torch.arange(T).expand(M, T) == torch.tensor(lengths).unsqueeze(1) - 1
    return Rollout(
        observation=torch.zeros(M, T + 1, 1, 1),
        action=torch.zeros(M, T, 1, dtype=torch.int64),
        reward=(torch.tensor(rewards) * alive).unsqueeze(-1),
        terminated=ends.unsqueeze(-1),
        truncated=torch.zeros(M, T, 1, dtype=torch.bool),
        alive=alive.unsqueeze(-1),
        memory={},
    )


def shared_by(learner, rollout, output=None):
    returns, baseline = learner.returns_and_baseline(output or {}, rollout)
    return learner.shared_normaliser([(returns, baseline, rollout)])


ONES = rollout_of([[1.0, 1.0, 1.0, 1.0]] * 2, [1, 4])
"""A task of one step and one of four, every step of which pays 1: returns 1 and 4."""


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("average", ["steps", "episodes"])
def test_the_return_of_a_meta_objective_is_the_mean_episode_return_over_constants_of_the_batch(average, standardise):
    """Over its own steps each task's would be 1."""
    learner = reinforce(average=average, standardise=standardise)
    J = learner.mean_return(ONES, shared_by(learner, ONES))
    assert (J[1] / J[0]).item() == pytest.approx(4)
    # G − b of the tasks is {1} and {4, 3, 2, 1}, whose squares about their means add up to 0 and 5; five steps in all
    scale = (4 if average == "steps" else 1) * ((5 / 5) ** 0.5 if standardise else 1)
    assert J[0].item() == pytest.approx(1 / scale)


def test_discounted_steps_discount_the_return():
    learner = reinforce(average="episodes", discount_steps=True, discount=0.5)
    assert learner.mean_return(ONES, shared_by(learner, ONES)).tolist() == pytest.approx([1, 1 + 0.5 + 0.25 + 0.125])


@pytest.mark.parametrize("standardise", [False, True])
def test_a_shared_loss_weighs_each_step_of_each_task_alike(standardise):
    """Over its own n and σ a task of one step weighs each step four times as much as one of four."""
    learner = reinforce(standardise=standardise, baseline="none")
    logits = torch.zeros(2, 5, 1, 2, requires_grad=True)
    tall = rollout_of([[1.0, 0.0, 0.0, 0.0], [1.0, 3.0, 5.0, 7.0]], [4, 4])
    shared = shared_by(learner, tall)
    for together in (True, False):
        losses, _ = learner.loss({"policy": logits}, tall, shared=shared if together else None)
        (g,) = torch.autograd.grad(losses.sum(), logits)
        # d log π(0) / d logit 0 = ½ where both are equally likely
        returns = torch.tensor([[1.0, 0.0, 0.0, 0.0], [16.0, 15.0, 12.0, 7.0]])
        A = returns - returns.mean(1, keepdim=True) if standardise else returns
        σ = (A**2).mean() ** 0.5 if together else (A**2).mean(1, keepdim=True) ** 0.5
        expected = -A / (σ if standardise else 1) / 4 / 2
        torch.testing.assert_close(g[:, :4, 0, 0], expected)


def test_a_meta_batch_in_parts_has_the_constants_of_the_whole():
    learner = reinforce(standardise=True, baseline="none")
    whole = shared_by(learner, ONES)
    parts = [ONES.tasks(slice(i, i + 1)) for i in range(2)]
    together = learner.shared_normaliser([(*learner.returns_and_baseline({}, part), part) for part in parts])
    for ours, theirs in zip(together, whole, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_all_terms_of_a_critic_are_means_over_the_same_steps():
    """With shared constants a term is what it is with own ones, times the share of steps that are alive."""
    learner = critic()
    output = {"policy": torch.rand(2, 5, 1, 2), "value": torch.rand(2, 5, 1, 1)}
    own, _ = learner.loss(output, ONES)
    shared, _ = learner.loss(output, ONES, shared=shared_by(learner, ONES, output))
    torch.testing.assert_close(shared, own * torch.tensor([1 / 4, 4 / 4]))


@pytest.mark.parametrize("together", [False, True])
def test_rounding_noise_of_equal_returns_is_not_amplified(together):
    """Every episode returns the same, and a baseline that was fitted misses it by parts in a million."""
    learner = reinforce(standardise=True)
    rollout = rollout_of([[200.0]] * 8, [1] * 8)
    merged = Rollout(*(x.unsqueeze(0) for x in rollout.merged().of_steps), memory={})
    noise = 8e-6 * torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(0))
    returns = torch.full((1, 1, 8), 200.0)
    baseline = returns + noise
    shared = learner.shared_normaliser([(returns, baseline, merged)]) if together else None
    logits = torch.zeros(1, 2, 8, 2, requires_grad=True)
    loss = learner.policy_loss({"policy": logits}, merged, None, None, returns, baseline, shared)
    (g,) = torch.autograd.grad(loss.sum(), logits)
    assert (g == 0).all()
    # A standard deviation of four thousandths of the returns is no rounding noise
    loss = learner.policy_loss({"policy": logits}, merged, None, None, returns, returns + 1e5 * noise, None)
    (g,) = torch.autograd.grad(loss.sum(), logits)
    assert g.abs().max() > 0.01


def test_the_spread_of_a_task_is_that_of_the_steps_taken():
    g = torch.Generator().manual_seed(0)
    G, b = torch.randn(2, 3, 10, 4, generator=g, dtype=torch.float64) * 5 + 2
    alive = torch.rand(3, 10, 4, generator=g) < 0.6
    found = spread(torch.where(alive, G, 1e6), b, alive)
    for i in range(3):
        A = (G - b)[i][alive[i]]
        assert found.std[i].item() == pytest.approx(A.std(correction=0).item())
    assert pooled([found]).std.item() == pytest.approx((found.advantages.sum() / alive.sum()).sqrt().item())


# --- From sums over parts ---


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("average", ["steps", "episodes"])
def test_constants_of_a_batch_follow_from_sums_over_its_parts(average, standardise):
    """The second part is cut earlier than the first: T is the longest of both."""
    learner = reinforce(average=average, standardise=standardise)
    rewards, lengths = [[1.0, 3.0, 2.0, 1.0], [2.0, 1.0, 5.0, 1.0], [4.0, 1.0, 0.0, 0.0]], [3, 4, 2]
    whole = rollout_of(rewards, lengths)
    first, last = rollout_of(rewards[:2], lengths[:2]), rollout_of([rewards[2][:2]], lengths[2:])
    parts = [[part_of_batch(*learner.returns_and_baseline({}, part), part)] for part in (first, last)]
    expected, found = shared_by(learner, whole), learner.normaliser_of_batch(parts)
    assert float(found.steps) == 4.0
    for got, wanted in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(got, wanted)


def test_the_variance_of_a_task_follows_from_those_of_its_parts():
    """By hand: advantages 1, 3 and 5 with mean 3 and squares 4 + 0 + 4, in parts of one and two environments."""
    G = [torch.tensor([[1.0]]), torch.tensor([[3.0, 5.0]])]
    end = [torch.ones_like(x, dtype=torch.bool) for x in G]
    rollouts = [
        Rollout(torch.zeros(2, x.shape[1], 1), x.long(), x, e, torch.zeros_like(e), e, {})
        for x, e in zip(G, end, strict=True)
    ]
    parts = [part_of_task(x, torch.zeros_like(x), rollout) for x, rollout in zip(G, rollouts, strict=True)]
    whole = of_whole_task(parts)
    assert [float(x) for x in whole] == [3.0, 3.0, 3.0, 8.0, 35.0]
    constants = reinforce(standardise=True).normaliser_of_task(parts)
    assert float(constants.mean) == 3.0 and float(constants.std) == pytest.approx((8 / 3) ** 0.5)
