"""Losses by hand, and the fixed points they lead to."""

import math

import gymnasium
import pytest
import torch

from metarl_run.learner.actor_critic import ActorCritic
from metarl_run.learner.ppo import PPO
from metarl_run.learner.q_learning import QLearning
from metarl_run.learner.reinforce import Reinforce
from metarl_run.learner.tabular_q_learning import TabularQLearning
from metarl_run.maths.distributions import Categorical
from metarl_run.types import Rollout

γ = 0.9
COMMON = {
    "action_space": gymnasium.spaces.Discrete(2),
    "discount": γ,
    "discount_steps": False,
    "average": "steps",
    "policy": "auto",
    "initial_deviation": 1.0,
}


def reinforce(**changes):
    return Reinforce(**{**COMMON, "surrogate": "score", "baseline": "none", "standardise": False, **changes})


CRITIC = {"lifetime_discount": 0.0, "value_scale": 1.0, "gae_lambda": 1.0}


def actor_critic(**changes):
    weights = {**CRITIC, "value_weight": 0.5, "entropy_weight": 0.1}
    return ActorCritic(**{**COMMON, "surrogate": "score", "standardise": False, **weights, **changes})


def ppo(**changes):
    weights = {**CRITIC, "value_weight": 0.0, "entropy_weight": 0.0}
    return PPO(**{**COMMON, "standardise": False, "clip": 0.2, "epochs": 1, **weights, **changes})


def one_task(reward, terminated, alive, action):
    tensor = torch.tensor
    ends = tensor(terminated)
    return Rollout(
        observation=torch.zeros(len(reward) + 1, len(reward[0]), 1),
        action=tensor(action),
        reward=tensor(reward),
        terminated=ends,
        truncated=torch.zeros_like(ends),
        alive=tensor(alive),
        memory={},
    )


# Two episodes: rewards 1, 2 and then an end; reward 4 and an end at once.
ROLLOUT = one_task(
    reward=[[1.0, 4.0], [2.0, 0.0]],
    terminated=[[False, True], [True, False]],
    alive=[[True, True], [True, False]],
    action=[[0, 1], [1, 0]],
)
LOGITS = torch.zeros(3, 2, 2)  # uniform: every log-probability is −log 2
RETURNS = [1 + 2 * γ, 4.0, 2.0]


def test_reinforce_by_hand():
    learner = reinforce()
    loss, _ = learner.loss({"policy": LOGITS}, ROLLOUT)
    assert loss.item() == pytest.approx(math.log(2) * sum(RETURNS) / 3)


def test_the_time_baseline_is_the_mean_return_of_living_episodes():
    returns, baseline = reinforce(baseline="time").returns_and_baseline({}, ROLLOUT)
    mean = (RETURNS[0] + RETURNS[1]) / 2
    expected = [[RETURNS[0] - mean, RETURNS[1] - mean], [0.0, 0.0]]  # alone at its step, the other is 0 too
    torch.testing.assert_close((returns - baseline) * ROLLOUT.alive, torch.tensor(expected))


def test_the_baseline_of_the_others_does_not_know_the_own_return():
    returns, baseline = reinforce(baseline="others").returns_and_baseline({}, ROLLOUT)
    expected = [[RETURNS[0] - RETURNS[1], RETURNS[1] - RETURNS[0]], [RETURNS[2], 0.0]]  # alone: no baseline
    torch.testing.assert_close((returns - baseline) * ROLLOUT.alive, torch.tensor(expected))


def test_standardised_advantages_have_mean_zero_and_deviation_one_over_living_steps():
    """With score, the loss's derivative by log π is −A / N: the standardised advantages can be read off it."""
    logits = torch.zeros(3, 2, 2, requires_grad=True)
    loss, _ = reinforce(standardise=True).loss({"policy": logits}, ROLLOUT)
    (gradient,) = torch.autograd.grad(loss, logits)
    taken = gradient[:-1].gather(-1, ROLLOUT.action.unsqueeze(-1)).squeeze(-1)  # −A (1 − π) / N, with π = ½, N = 3
    A = (taken * -6)[ROLLOUT.alive]
    assert A.mean().item() == pytest.approx(0, abs=1e-6)
    assert A.std(unbiased=False).item() == pytest.approx(1, rel=1e-5)
    raw = torch.tensor(RETURNS)
    torch.testing.assert_close(A.sort().values, ((raw - raw.mean()) / raw.std(unbiased=False)).sort().values)


def test_the_mean_over_episodes_sums_over_their_steps():
    loss, _ = reinforce(average="episodes").loss({"policy": LOGITS}, ROLLOUT)
    assert loss.item() == pytest.approx(math.log(2) * sum(RETURNS) / 2)


def test_later_steps_can_be_discounted():
    loss, _ = reinforce(average="episodes", discount_steps=True).loss({"policy": LOGITS}, ROLLOUT)
    assert loss.item() == pytest.approx(math.log(2) * (RETURNS[0] + RETURNS[1] + γ * RETURNS[2]) / 2)


def test_actor_critic_by_hand():
    learner = actor_critic()
    value = torch.full((3, 2, 1), 0.25)
    loss, metrics = learner.loss({"policy": LOGITS, "value": value}, ROLLOUT)
    advantages = [g - 0.25 for g in RETURNS]  # λ = 1: returns minus values
    value_error = sum(a * a for a in advantages) / 3
    expected = math.log(2) * sum(advantages) / 3 + 0.5 * value_error - 0.1 * math.log(2)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert metrics["value_error"].item() == pytest.approx(value_error)
    assert metrics["entropy"].item() == pytest.approx(math.log(2))
    assert metrics["explained_variance"].item() == pytest.approx(0, abs=1e-6)  # a constant explains nothing


def test_advantages_carry_no_gradient_and_the_loss_is_a_function():
    learner = actor_critic(gae_lambda=0.5, value_weight=0.0, entropy_weight=0.0, standardise=True)
    value = torch.rand(3, 2, 1, requires_grad=True)
    first = learner.loss({"policy": LOGITS, "value": value}, ROLLOUT)[0]
    assert torch.equal(first, learner.loss({"policy": LOGITS, "value": value}, ROLLOUT)[0])
    (gradient,) = torch.autograd.grad(first, value)
    assert (gradient == 0).all()


def fitted_value(rollout, rows, steps=400):
    """The values that gradient steps on the value loss lead to; `rows[t]` is the state of row t."""
    learner = actor_critic(gae_lambda=0.8, value_weight=1.0, entropy_weight=0.0)
    table = torch.zeros(max(rows) + 1, requires_grad=True)
    index = torch.tensor(rows)
    for _ in range(steps):
        output = {"policy": torch.zeros(len(rows), 1, 1), "value": table[index].view(-1, 1, 1)}
        (gradient,) = torch.autograd.grad(learner.loss(output, rollout)[0], table)
        table = (table - 0.5 * gradient).detach().requires_grad_()
    return table


def test_truncation_keeps_its_bootstrap():
    """One state, reward 1, for ever; episodes are cut after 5 steps: V = 1 / (1 − γ)."""
    rollout = one_task([[1.0]] * 5, [[False]] * 5, [[True]] * 5, [[0]] * 5)
    truncated = torch.tensor([[False]] * 4 + [[True]])
    value = fitted_value(rollout._replace(truncated=truncated), rows=[0] * 6)
    assert value[0].item() == pytest.approx(1 / (1 - γ), rel=1e-3)


def test_termination_does_not():
    """The same rewards, but the MDP ends after 5 steps: V(s₀) = (1 − γ⁵) / (1 − γ)."""
    rollout = one_task([[1.0]] * 5, [[False]] * 4 + [[True]], [[True]] * 5, [[0]] * 5)
    value = fitted_value(rollout, rows=[0, 1, 2, 3, 4, 5])
    assert value[0].item() == pytest.approx((1 - γ**5) / (1 - γ), rel=1e-3)


# --- PPO ---


def test_ppo_by_hand():
    """The first action became three times as likely: with ε = .2 its ratio counts as 1.2 if that was good."""
    logits, old = torch.zeros(3, 2, 2), torch.zeros(2, 2, 2)
    logits[0, 0] = torch.tensor([math.log(3), 0.0])  # π(0) = 3/4, was 1/2: ρ = 1.5
    logits[0, 1] = torch.tensor([math.log(3), 0.0])  # action 1: π(1) = 1/4, ρ = 1/2
    value = torch.zeros(3, 2, 1)
    loss, _ = ppo().loss({"policy": logits, "value": value}, ROLLOUT, Categorical(old))
    gains = [1.2 * RETURNS[0], 0.5 * RETURNS[1], 1.0 * RETURNS[2]]  # min(ρA, clip(ρ)A) with A > 0
    assert loss.item() == pytest.approx(-sum(gains) / 3, rel=1e-6)


def test_ppo_takes_its_first_step_along_the_policy_gradient():
    logits = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    output = {"policy": logits, "value": torch.zeros(3, 2, 1)}
    plain = actor_critic(value_weight=0.0, entropy_weight=0.0)
    (ours,) = torch.autograd.grad(ppo().loss(output, ROLLOUT)[0], logits)
    (theirs,) = torch.autograd.grad(plain.loss(output, ROLLOUT)[0], logits)
    torch.testing.assert_close(ours, theirs)


# --- Q-learning ---

Q = torch.tensor([[[1.0, 3.0], [2.0, 0.0]], [[5.0, 4.0], [7.0, 7.0]], [[6.0, 8.0], [9.0, 9.0]]])  # [T + 1, B, A]


def q_learning():
    return QLearning(discount=γ, epsilon=0.3, epochs=1, scale=0.5)


def huber(δ):
    return δ * δ / 2 if abs(δ) < 1 else abs(δ) - 0.5


def test_q_learning_by_hand():
    loss, metrics = q_learning().loss({"q": Q}, ROLLOUT)
    δ = [1 + γ * 5 - 1, 4 - 0.0, 2 - 4.0]  # the ends of both episodes are terminations: no bootstrap
    assert loss.item() == pytest.approx(0.5 * sum(map(huber, δ)) / 3, rel=1e-6)
    assert metrics["td_error"].item() == pytest.approx(sum(map(abs, δ)) / 3, rel=1e-6)


def test_q_learning_bootstraps_where_an_episode_was_cut():
    cut = ROLLOUT._replace(
        terminated=torch.zeros_like(ROLLOUT.terminated), truncated=ROLLOUT.terminated, alive=ROLLOUT.alive
    )
    loss, _ = q_learning().loss({"q": Q}, cut)
    δ = [1 + γ * 5 - 1, 4 + γ * 7 - 0.0, 2 + γ * 8 - 4.0]
    assert loss.item() == pytest.approx(0.5 * sum(map(huber, δ)) / 3, rel=1e-6)


def test_the_target_is_no_way_for_the_gradient():
    q = Q.clone().requires_grad_()
    loss, _ = q_learning().loss({"q": q}, ROLLOUT)
    (gradient,) = torch.autograd.grad(loss, q)
    taken = torch.zeros_like(Q[:-1], dtype=torch.bool).scatter(-1, ROLLOUT.action.unsqueeze(-1), True)
    assert (gradient[:-1][~taken] == 0).all() and (gradient[-1] == 0).all()


def test_epsilon_greedy_shares_among_the_best_and_explores_all():
    q = torch.tensor([[2.0, 2.0, 1.0], [0.0, 1.0, 0.5]])
    policy = q_learning().policy({"q": q})
    torch.testing.assert_close(policy.logits.exp(), torch.tensor([[0.45, 0.45, 0.1], [0.1, 0.8, 0.1]]))


def tabular(reward, state, action, num_states):
    """One slot's episode through `state` (one more than actions), cut at its end."""
    rollout = one_task([[r] for r in reward], [[False]] * len(reward), [[True]] * len(reward), [[a] for a in action])
    seen = torch.nn.functional.one_hot(torch.tensor(state), num_states).float().unsqueeze(1)
    return rollout._replace(observation=seen)


def test_a_step_of_size_one_moves_each_visited_entry_to_its_mean_target():
    learner = TabularQLearning(discount=γ, epsilon=0.1, epochs=1)
    rollout = tabular([1.0, 2.0, 6.0], state=[0, 1, 0, 2], action=[1, 0, 1], num_states=3)
    table = torch.tensor([[0.5, 1.5], [3.0, 2.0], [4.0, 0.0]], requires_grad=True)
    loss, _ = learner.loss({"q": rollout.observation @ table}, rollout)
    (gradient,) = torch.autograd.grad(loss, table)
    first, second = 1 + γ * 3.0, 6 + γ * 4.0  # both visits to (0, 1)
    expected = torch.tensor([[0.5, (first + second) / 2], [2 + γ * 1.5, 2.0], [4.0, 0.0]])
    torch.testing.assert_close(table - gradient, expected)


def test_sweeps_over_all_transitions_lead_to_the_optimal_values():
    """A ring of three states; action 1 goes on, action 0 stays; only staying in state 2 pays."""
    steps = [(s, a, (s + a) % 3, float(s == 2 and a == 0)) for s in range(3) for a in range(2)]
    learner = TabularQLearning(discount=γ, epsilon=0.1, epochs=1)
    rollouts = [tabular([r], state=[s, after], action=[a], num_states=3) for s, a, after, r in steps]
    side_by_side = {
        name: torch.cat([getattr(r, name) for r in rollouts], 1) for name in Rollout._fields if name != "memory"
    }
    rollout = Rollout(**side_by_side, memory={})
    table = torch.zeros(3, 2)
    for _ in range(300):
        table.requires_grad_()
        loss, _ = learner.loss({"q": rollout.observation @ table}, rollout)
        table = (table - torch.autograd.grad(loss, table)[0]).detach()
    stay = 1 / (1 - γ)
    expected = torch.tensor([[γ * γ * γ * stay, γ * γ * stay], [γ * γ * stay, γ * stay], [stay, γ * γ * γ * stay]])
    torch.testing.assert_close(table, expected, rtol=1e-4, atol=1e-4)
