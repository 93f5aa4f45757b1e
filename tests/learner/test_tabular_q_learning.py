"""Tabular Q-learning: single updates, and the fixed point of sweeps."""

import torch
from two_episodes import one_task, γ

from metarl_run.learner.tabular_q_learning import TabularQLearning
from metarl_run.types import Rollout


def tabular(reward, state, action, num_states):
    """One env's episode through `state` (one more than actions), cut at its end."""
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
    rollout = Rollout(*(torch.cat(x, 1) for x in zip(*(r.of_steps for r in rollouts), strict=True)), memory={})
    table = torch.zeros(3, 2)
    for _ in range(300):
        table.requires_grad_()
        loss, _ = learner.loss({"q": rollout.observation @ table}, rollout)
        table = (table - torch.autograd.grad(loss, table)[0]).detach()
    stay = 1 / (1 - γ)
    expected = torch.tensor([[γ * γ * γ * stay, γ * γ * stay], [γ * γ * stay, γ * stay], [stay, γ * γ * γ * stay]])
    torch.testing.assert_close(table, expected, rtol=1e-4, atol=1e-4)
