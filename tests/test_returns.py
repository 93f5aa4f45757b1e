"""Returns and advantages: numbers by hand, independent loops, identities."""

import pytest
import torch

from metarl_run.returns import discounted_returns, generalized_advantages, masked_mean, standardised


def column(*numbers, dtype=torch.float64):
    """One episode slot: `[T, 1]`."""
    return torch.tensor(numbers, dtype=dtype)[:, None]


def ends(*numbers):
    return column(*numbers, dtype=torch.bool)


def assert_equal(ours, expected):
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def random_steps(seed, T=12, B=5):
    """Rewards, values, terminated and ended of slots that live several episodes."""
    generator = torch.Generator().manual_seed(seed)
    reward = torch.randn(2, T, B, generator=generator, dtype=torch.float64)
    value = torch.randn(2, T + 1, B, generator=generator, dtype=torch.float64)
    ended = torch.rand(2, T, B, generator=generator) < 0.3
    terminated = ended & (torch.rand(2, T, B, generator=generator) < 0.5)
    return reward, value, terminated, ended


def test_returns_by_hand():
    """1 + .5·(2 + .5·4) = 3; after the end a new episode begins: 8 + .5·16 = 16."""
    returns = discounted_returns(column(1, 2, 4, 8, 16), ends(0, 0, 1, 0, 0), discount=0.5)
    assert returns.flatten().tolist() == [3, 4, 4, 16, 16]


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_returns_by_double_loop(discount):
    reward, _, _, ended = random_steps(0)
    returns = discounted_returns(reward, ended, discount=discount)
    M, T, B = reward.shape
    for i in range(M):
        for b in range(B):
            for t in range(T):
                total, factor = 0.0, 1.0
                for u in range(t, T):
                    total += factor * reward[i, u, b].item()
                    factor *= discount
                    if ended[i, u, b]:
                        break
                assert returns[i, t, b].item() == pytest.approx(total, abs=1e-12)


def test_gae_by_hand():
    """γ = λ = ½, v = 2, 4, 8, 16: δ = 1 + 2 − 2, 1 + 4 − 4, 1 + 8 − 8, each 1; A = 1 + ¼(1 + ¼), 1 + ¼, 1."""
    never = ends(0, 0, 0)
    steps = column(1, 1, 1), column(2, 4, 8, 16), never, never
    advantage = generalized_advantages(*steps, discount=0.5, gae_lambda=0.5)
    assert advantage.flatten().tolist() == [1.3125, 1.25, 1]


def test_gae_at_each_kind_of_end_by_hand():
    """The middle step ends it. Termination drops the bootstrap of 8, truncation keeps it; neither lets A through."""
    last = ends(0, 1, 0)
    arguments = {"discount": 0.5, "gae_lambda": 0.5}
    terminated = generalized_advantages(column(1, 1, 1), column(2, 4, 8, 16), last, last, **arguments)
    truncated = generalized_advantages(column(1, 1, 1), column(2, 4, 8, 16), ends(0, 0, 0), last, **arguments)
    assert terminated.flatten().tolist() == [1 + (1 - 4) / 4, 1 - 4, 1]
    assert truncated.flatten().tolist() == [1 + 1 / 4, 1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_lambda_0_is_the_td_error(seed):
    reward, value, terminated, ended = random_steps(seed)
    advantage = generalized_advantages(reward, value, terminated, ended, discount=0.9, gae_lambda=0.0)
    following = torch.where(terminated, 0.0, value[:, 1:])
    assert_equal(advantage, reward + 0.9 * following - value[:, :-1])


@pytest.mark.parametrize("seed", range(3))
def test_lambda_1_is_returns_minus_values(seed):
    """The returns bootstrap from the value where an episode was cut, by truncation or by the end of the data."""
    reward, value, terminated, ended = random_steps(seed)
    advantage = generalized_advantages(reward, value, terminated, ended, discount=0.9, gae_lambda=1.0)
    cut = ended & ~terminated
    cut[:, -1] |= ~ended[:, -1]
    returns = discounted_returns(reward + 0.9 * torch.where(cut, value[:, 1:], 0.0), ended, discount=0.9)
    assert_equal(advantage, returns - value[:, :-1])


@pytest.mark.parametrize("seed", range(3))
def test_gae_is_the_weighted_sum_of_n_step_advantages(seed):
    """A = (1 − λ) Σₙ λⁿ⁻¹ A⁽ⁿ⁾ with the last one taking the rest of the weight, of one episode without an end."""
    γ, λ, T = 0.9, 0.7, 12
    reward, value, _, _ = (x[0] if x.ndim == 3 else x for x in random_steps(seed, T, 1))
    never = torch.zeros(T, 1, dtype=torch.bool)
    advantage = generalized_advantages(reward, value, never, never, discount=γ, gae_lambda=λ)
    for t in range(T):
        n_step = [
            sum(γ**k * reward[t + k] for k in range(n)) + γ**n * value[t + n] - value[t] for n in range(1, T - t + 1)
        ]
        weights = [(1 - λ) * λ ** (n - 1) for n in range(1, T - t)] + [λ ** (T - t - 1)]
        expected = sum(w * a for w, a in zip(weights, n_step, strict=True))
        assert_equal(advantage[t], expected)


def test_trap_7_what_never_terminates_is_worth_1_over_1_minus_discount():
    """One state, reward 1, horizon 5: values become 1/(1 − γ), and (1 − γ⁵)/(1 − γ) if the 5th step terminates."""
    γ, T = 0.9, 5
    limit, never = ends(0, 0, 0, 0, 1), ends(0, 0, 0, 0, 0)

    def fixed_point(terminated):
        value = torch.zeros(T + 1, 1, dtype=torch.float64)
        for _ in range(400):
            target = value[:-1] + generalized_advantages(
                torch.ones_like(value[:-1]), value, terminated, limit, discount=γ, gae_lambda=0.95
            )
            # One state: where the episode is only cut, what follows is worth what the first step is worth.
            value = torch.cat([target, target[:1]])
        return value[0].item()

    assert fixed_point(never) == pytest.approx(1 / (1 - γ))
    assert fixed_point(limit) == pytest.approx((1 - γ**T) / (1 - γ))


def test_nothing_flows_from_padding_or_across_slots():
    reward, value, terminated, ended = random_steps(0)
    ended[:, 5], terminated[:, 5] = True, False
    arguments = {"discount": 0.9, "gae_lambda": 0.8}
    before = generalized_advantages(reward, value, terminated, ended, **arguments)
    reward[:, 6:], value[:, 7:] = 1e6, -1e6
    after = generalized_advantages(reward, value, terminated, ended, **arguments)
    assert_equal(before[:, :6], after[:, :6])
    alone = generalized_advantages(
        reward[1, :, 2:3], value[1, :, 2:3], terminated[1, :, 2:3], ended[1, :, 2:3], **arguments
    )
    torch.testing.assert_close(after[1, :, 2:3], alone)


def test_masked_mean_by_hand():
    x, mask = (
        torch.tensor([[[1.0, 2.0], [3.0, 100.0]], [[1.0, 1.0], [1.0, 1.0]]]),
        torch.ones(2, 2, 2, dtype=torch.bool),
    )
    mask[0, 1, 1], mask[1] = False, False
    assert masked_mean(x, mask).tolist() == [2, 0]


def test_standardised_has_mean_0_and_deviation_1_where_the_mask_is_true():
    x = torch.randn(3, 10, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5 + 2
    mask = torch.rand(3, 10, 4, generator=torch.Generator().manual_seed(1)) < 0.6
    z = standardised(x, mask)
    assert not z[~mask].any()
    for i in range(3):
        assert z[i][mask[i]].mean().item() == pytest.approx(0, abs=1e-9)
        assert z[i][mask[i]].std(correction=0).item() == pytest.approx(1, abs=1e-6)
    scaled = standardised(torch.where(mask, 3 * x + 7, 1e3), mask)
    torch.testing.assert_close(scaled, z, rtol=1e-6, atol=1e-6)
    assert not standardised(torch.ones(1, 3, 2), torch.ones(1, 3, 2, dtype=torch.bool)).any()
