"""Surrogates by hand: their values, their derivatives, and how episodes stay apart."""

import math

import pytest
import torch
from torch.autograd.functional import hessian, jacobian

from metarl_run.learner.surrogate import SURROGATES, clipped, dice, loaded_dice, ratio, score

ALL = {**SURROGATES, "clipped": clipped(0.2)}


def column(*numbers, dtype=torch.float64):
    """One env: `[T, 1]`."""
    return torch.tensor(numbers, dtype=dtype)[:, None]


def flags(*numbers):
    return column(*numbers, dtype=torch.bool)


def steps(seed, *shape):
    """log π, log π_old, G, b and ended of random steps; several episodes per env, the last one unfinished."""
    g = torch.Generator().manual_seed(seed)
    log_prob, old = -torch.rand(2, *shape, generator=g, dtype=torch.float64)
    returns, baseline = torch.randn(2, *shape, generator=g, dtype=torch.float64)
    return log_prob, old, returns, baseline, torch.rand(shape, generator=g) < 0.3


# --- Values ---


def test_values_by_hand():
    """ρ = 2 and 3, so □ = 2 and 6; G = 5 and 7, b = 1 and 4."""
    old = column(-1.0, -2.0)
    log_prob = old + column(2.0, 3.0).log()
    arguments = log_prob, old, column(5.0, 7.0), column(1.0, 4.0), flags(0, 1)
    assert score(*arguments).flatten().tolist() == pytest.approx([4 * (math.log(2) - 1), 3 * (math.log(3) - 2)])
    assert ratio(*arguments).flatten().tolist() == pytest.approx([2 * 4, 3 * 3])
    assert dice(*arguments).flatten().tolist() == pytest.approx([1 * 5 - 1 * 1, 4 * 7 - 2 * 4])
    assert loaded_dice(*arguments).flatten().tolist() == pytest.approx([1 * 4, 4 * 3])


def test_the_ratio_gains_nothing_from_leaving_the_clip_and_loses_all():
    """ε = .2: ρ = 1.5 counts as 1.2 where A > 0 and as 1.5 where A < 0; ρ = .5 as .5 and as .8."""
    log_prob = column(1.5, 1.5, 0.5, 0.5, 1.1, 0.9).log()
    A, zero = column(1.0, -1.0, 1.0, -1.0, 1.0, -1.0), torch.zeros(6, 1, dtype=torch.float64)
    gain = clipped(0.2)(log_prob, zero, A, zero, flags(0, 0, 0, 0, 0, 1))
    assert gain.flatten().tolist() == pytest.approx([1.2, -1.5, 0.5, -0.8, 1.1, -0.9])


def test_dice_is_the_discounted_reward_through_the_magic_box():
    """Σ γᵗ gainₜ = Σ γᵗ (□ₜ − 1) rₜ + Σ γᵗ (1 − ρₜ) bₜ, if G is the sum of rewards to go."""
    g, T, γ = torch.Generator().manual_seed(0), 5, 0.9
    log_prob, old, reward, baseline = (torch.randn(T, 1, generator=g, dtype=torch.float64) for _ in range(4))
    returns = torch.stack([sum(γ ** (u - t) * reward[u] for u in range(t, T)) for t in range(T)])
    weights = γ ** torch.arange(T, dtype=torch.float64)[:, None]
    box, ρ = (log_prob - old).cumsum(0).exp(), (log_prob - old).exp()
    total = (weights * dice(log_prob, old, returns, baseline, flags(0, 0, 0, 0, 1))).sum()
    torch.testing.assert_close(total, (weights * ((box - 1) * reward + (1 - ρ) * baseline)).sum())


@pytest.mark.parametrize("name", ["dice", "loaded_dice"])
def test_nothing_is_gained_where_the_policy_has_not_moved(name):
    log_prob, _, returns, baseline, ended = steps(0, 6, 3)
    assert (ALL[name](log_prob, log_prob, returns, baseline, ended) == 0).all()


# --- Derivatives where the policy has not moved ---


@pytest.mark.parametrize("name", ALL)
def test_all_have_the_first_derivative_of_the_score_function(name):
    log_prob, _, returns, baseline, ended = steps(0, 6, 3)
    slope = jacobian(lambda x: ALL[name](x, log_prob, returns, baseline, ended).sum(), log_prob)
    torch.testing.assert_close(slope, returns - baseline, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("score", [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
        ("ratio", [[1, 0, 0], [0, 2, 0], [0, 0, 4]]),
        ("clipped", [[1, 0, 0], [0, 2, 0], [0, 0, 4]]),
        ("dice", [[1, 10, 20], [10, 2, 20], [20, 20, 4]]),
        ("loaded_dice", [[1, 2, 4], [2, 2, 4], [4, 4, 4]]),
    ],
)
def test_second_derivatives_by_hand(name, expected):
    """In log πₜ and log π_u: G − b = 1, 2, 4 on the diagonal; off it the weight of the later step: its G or G − b."""
    log_prob, G, b = column(-1.0, -2.0, -0.5), column(6.0, 10.0, 20.0), column(5.0, 8.0, 16.0)

    def total(x):
        return ALL[name](x.view(3, 1), log_prob, G, b, flags(0, 0, 1)).sum()

    curvature = hessian(total, log_prob.flatten())
    torch.testing.assert_close(curvature, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


# --- Episodes, envs and tasks stay apart ---


@pytest.mark.parametrize("name", ALL)
def test_the_sum_along_an_episode_neither_wraps_around_nor_goes_on_into_the_next(name):
    """Three episodes in one env, of 2, 1 and 3 steps, are what each is alone."""
    log_prob, old, returns, baseline, _ = steps(1, 6, 1)
    ended = flags(0, 1, 1, 0, 0, 1)
    together = ALL[name](log_prob, old, returns, baseline, ended)
    alone = [
        ALL[name](*(x[first:last] for x in (log_prob, old, returns, baseline, ended)))
        for first, last in ((0, 2), (2, 3), (3, 6))
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_leading_axes_and_envs_are_carried_along(name):
    together = ALL[name](*(arguments := steps(2, 2, 3, 6, 4)))
    for i in range(2):
        for j in range(3):
            for b in range(4):
                alone = ALL[name](*(x[i, j, :, b : b + 1] for x in arguments))
                torch.testing.assert_close(together[i, j, :, b : b + 1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["dice", "loaded_dice"])
def test_steps_of_another_episode_have_no_part_in_the_second_derivative(name):
    log_prob, _, returns, baseline, _ = steps(3, 5, 1)
    ended = flags(0, 0, 1, 0, 1)

    def total(x):
        return ALL[name](x.view(5, 1), log_prob, returns, baseline, ended).sum()

    curvature = hessian(total, log_prob.flatten())
    assert curvature[:3, 3:].abs().max() < 1e-15
    assert curvature[:3, :3].abs().min() > 1e-3 and curvature[3:, 3:].abs().min() > 1e-3
