"""REINFORCE: losses and baselines by hand."""

import math

import pytest
import torch
from two_episodes import LOGITS, RETURNS, ROLLOUT, reinforce, γ


def test_reinforce_by_hand():
    learner = reinforce()
    loss, _ = learner.loss({"policy": LOGITS}, ROLLOUT)
    assert loss.item() == pytest.approx(math.log(2) * sum(RETURNS) / 3)


def test_the_time_baseline_is_the_mean_return_of_running_episodes():
    returns, baseline = reinforce(baseline="time").returns_and_baseline({}, ROLLOUT)
    mean = (RETURNS[0] + RETURNS[1]) / 2
    expected = [[RETURNS[0] - mean, RETURNS[1] - mean], [0.0, 0.0]]  # alone at its step, the other is 0 too
    torch.testing.assert_close((returns - baseline) * ROLLOUT.alive, torch.tensor(expected))


def test_the_baseline_of_the_others_does_not_depend_on_the_own_return():
    returns, baseline = reinforce(baseline="others").returns_and_baseline({}, ROLLOUT)
    expected = [[RETURNS[0] - RETURNS[1], RETURNS[1] - RETURNS[0]], [RETURNS[2], 0.0]]  # alone: no baseline
    torch.testing.assert_close((returns - baseline) * ROLLOUT.alive, torch.tensor(expected))


def test_normalised_advantages_have_mean_0_and_standard_deviation_1_over_steps_taken():
    """With score, the loss's derivative by log π is −A / N: the normalised advantages can be read off it."""
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
