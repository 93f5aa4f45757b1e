"""Returns and advantages: numbers by hand, independent loops, identities."""

import pytest
import torch

from metarl_run.maths.returns import (
    discount_weights,
    discounted_returns,
    first_step,
    generalized_advantages,
    masked_mean,
    mean_of_others,
    num_episodes,
    running_sum,
    unit_of,
)


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


def test_what_never_terminates_is_worth_1_over_1_minus_discount():
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


def test_a_spread_that_is_rounding_noise_is_divided_away_and_differentiable():
    square = torch.tensor([4.0, 0.0, 1e-9, 3.9e-6], requires_grad=True)
    unit = unit_of(square, torch.tensor([100.0, 100.0, 100.0, 4e4]))
    assert unit[0].item() == 2 and torch.isinf(unit[1:]).all()  # noise is 1e-5 of 10, 10 and 200
    (1 / unit).sum().backward()
    assert square.grad.tolist() == [pytest.approx(-1 / 16), 0, 0, 0]


# --- Several episodes in a slot ---

# Slot 0 lives episodes of 2, 1 and 3 steps; slot 1 one of 4, then padding; slot 2 one of 5 and begins another.
ENDED = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.bool)
ALIVE = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 0, 1]], dtype=torch.bool)


def test_first_steps_by_hand():
    assert first_step(ENDED).T.tolist() == [[0, 0, 2, 3, 3, 3], [0, 0, 0, 0, 4, 4], [0, 0, 0, 0, 0, 5]]


def test_running_sums_by_hand():
    x = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]]).T.expand(6, 3)
    expected = [[1, 3, 4, 8, 24, 56], [1, 3, 7, 15, 16, 48], [1, 3, 7, 15, 31, 32]]
    assert running_sum(x, ENDED).T.tolist() == expected


def test_weights_count_from_the_beginning_of_each_episode():
    γ = 0.5
    weights = discount_weights(ENDED, discount=γ, dtype=torch.float64)
    ages = [[0, 1, 0, 0, 1, 2], [0, 1, 2, 3, 0, 1], [0, 1, 2, 3, 4, 0]]
    assert weights.T.tolist() == [[γ**t for t in slot] for slot in ages]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_have_the_type_asked_for_and_begin_with_1_whatever_the_discount(dtype):
    for discount in (0.0, 0.3, 1.0):
        weights = discount_weights(ENDED, discount=discount, dtype=dtype)
        assert weights.dtype == dtype
        assert (weights[0] == 1).all()
        assert weights[1, 0] == torch.tensor(discount, dtype=dtype)


def test_weights_times_rewards_sum_to_the_return_of_each_episodes_first_step():
    reward, _, _, ended = random_steps(0)
    total = running_sum(reward * discount_weights(ended, discount=0.9, dtype=reward.dtype), ended)
    ended[:, -1] = True  # the data ends there
    first = discounted_returns(reward, ended, discount=0.9).gather(1, first_step(ended))
    assert_equal(total[ended], first[ended])


@pytest.mark.parametrize("seed", range(3))
def test_running_sums_by_loop(seed):
    x, _, _, ended = random_steps(seed)
    sums = running_sum(x, ended)
    M, T, B = x.shape
    for i in range(M):
        for b in range(B):
            total = 0.0
            for t in range(T):
                total += x[i, t, b].item()
                assert sums[i, t, b].item() == pytest.approx(total, abs=1e-12)
                total = 0.0 if ended[i, t, b] else total


def test_episodes_are_counted_where_they_begin():
    assert num_episodes(ALIVE, ENDED).item() == 3 + 1 + 2
    assert num_episodes(ALIVE[:, :1], ENDED[:, :1]).item() == 3
    assert num_episodes(torch.zeros_like(ALIVE), ENDED).item() == 0


def test_the_mean_of_others_by_hand():
    """At step 0 all three live; at step 1 the last does not; at step 2 the first is alone."""
    x = torch.tensor([[1.0, 2.0, 6.0], [1.0, 2.0, 1e6], [5.0, 1e6, 1e6]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.bool)
    others = mean_of_others(x, mask)
    assert others[0].tolist() == [4, 3.5, 1.5]
    assert others[1, :2].tolist() == [2, 1]
    assert others[2, 0].item() == 0


def test_the_mean_of_others_knows_nothing_of_its_own_slot():
    x, _, _, _ = random_steps(0)
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.7
    changed = x.clone()
    changed[:, :, 2] += 100
    before, after = mean_of_others(x, mask), mean_of_others(changed, mask)
    assert_equal(before[:, :, 2], after[:, :, 2])
    assert not torch.equal(before[:, :, 0], after[:, :, 0])


def test_leading_axes_are_carried_along():
    reward, _, _, ended = random_steps(0)
    alive = torch.rand(ended.shape, generator=torch.Generator().manual_seed(1)) < 0.7
    functions = {
        "first_step": lambda x, e, m: first_step(e),
        "running_sum": lambda x, e, m: running_sum(x, e),
        "discount_weights": lambda x, e, m: discount_weights(e, discount=0.9, dtype=torch.float64),
        "mean_of_others": lambda x, e, m: mean_of_others(x, m),
        "masked_mean": lambda x, e, m: masked_mean(x, m),
        "num_episodes": lambda x, e, m: num_episodes(m, e),
    }
    for name, f in functions.items():
        stack = [x.unflatten(0, (1, 2)) for x in (reward, ended, alive)]  # [1, M, T, B]
        for i in range(2):
            alone = f(reward[i], ended[i], alive[i])
            torch.testing.assert_close(f(*stack)[0, i], alone, rtol=1e-12, atol=1e-12, msg=name)
