"""Random MDPs: the distribution they are drawn from, and that they behave as their tables say."""

import pytest
import scipy
import torch

from metarl_run.env.random_mdp import RandomMDP, RandomMDPState, RandomMDPTask, symmetric_dirichlet

S, A = 4, 2


def make_family(num_states=S, num_actions=A, reward_deviation=1.0, **changes):
    distributions = {"mean_reward": ["normal", 1, 1], "concentration": 1.0}
    return RandomMDP(
        horizon=10,
        num_states=num_states,
        num_actions=num_actions,
        reward_deviation=reward_deviation,
        meta_train=distributions | changes,
        meta_test=distributions,
    )


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_rows_are_distributions():
    task = make_family(10, 5).sample(100, "meta_train", generator())
    assert task.transition.shape == (100, 10, 5, 10) and task.mean_reward.shape == (100, 10, 5)
    assert (task.transition >= 0).all()
    torch.testing.assert_close(task.transition.sum(-1), torch.ones(100, 10, 5))


@pytest.mark.parametrize("c", [0.1, 1.0, 7.5])
def test_transitions_are_dirichlet(c):
    """Each entry of a Dirichlet(c, …, c) over S states is Beta(c, (S − 1) c); two covary by −1/S²(Sc+1)."""
    p = make_family(concentration=c).sample(1000, "meta_train", generator()).transition.flatten(0, 2).double()
    for s in (0, S - 1):
        assert scipy.stats.kstest(p[:, s].numpy(), scipy.stats.beta(c, (S - 1) * c).cdf).pvalue > 1e-3
    covariance = p.T.cov()
    expected = (torch.eye(S) * S - 1) / (S**2 * (S * c + 1))
    torch.testing.assert_close(covariance, expected.double(), atol=3e-3, rtol=0)


@pytest.mark.parametrize("c", [1e-4, 1e-2, 1e4])
def test_extreme_concentrations_still_give_distributions(c):
    p = symmetric_dirichlet(torch.full((1000, 10), c), generator())
    assert p.isfinite().all()
    torch.testing.assert_close(p.sum(-1), torch.ones(1000))
    assert p.mean(0).sub(0.1).abs().max() < 5 * 0.3 / 1000**0.5
    largest = p.amax(-1).mean()
    assert largest < 0.11 if c > 1 else largest > 0.9


def test_concentration_may_vary_between_tasks():
    task = make_family(concentration=["choice", 0.01, 100]).sample(200, "meta_train", generator())
    largest = task.transition.amax(-1).mean((1, 2))
    assert ((largest < 0.4) | (largest > 0.8)).all() and (largest < 0.4).any() and (largest > 0.8).any()


def test_mean_rewards_follow_their_distribution():
    reward = make_family().sample(1000, "meta_train", generator()).mean_reward.flatten()
    assert scipy.stats.kstest(reward.double().numpy(), scipy.stats.norm(1, 1).cdf).pvalue > 1e-3


def test_steps_follow_the_tables():
    """From every (s, a) of two tasks at once: next states by a χ² test, rewards by their mean and deviation."""
    N = 20_000
    family = make_family(reward_deviation=0.5)
    task = family.sample(2, "meta_train", generator())
    for s in range(S):
        for a in range(A):
            now = RandomMDPState(torch.full((2, N), s))
            then, reward, terminated = family.step(
                task, now, torch.full((2, N), a), family.noise(2, N, generator(s * A + a))
            )
            assert not terminated.any()
            for i in range(2):
                counts = then.number[i].bincount(minlength=S).double()
                expected = task.transition[i, s, a].double()
                assert scipy.stats.chisquare(counts.numpy(), (expected / expected.sum() * N).numpy()).pvalue > 1e-4
                assert reward[i].mean().item() == pytest.approx(task.mean_reward[i, s, a].item(), abs=5 * 0.5 / N**0.5)
                assert reward[i].std().item() == pytest.approx(0.5, rel=0.03)


def test_impossible_transitions_never_happen_and_certain_ones_always_do():
    """A deterministic cycle and a coin between its ends, in two tasks."""
    cycle = torch.eye(S).roll(1, 1)[:, None].expand(S, A, S)
    coin = torch.zeros(S, A, S)
    coin[..., 0] = coin[..., -1] = 0.5
    task = RandomMDPTask(transition=torch.stack([cycle, coin]), mean_reward=torch.arange(2.0 * S * A).view(2, S, A))
    family, rng = make_family(reward_deviation=0.0), generator()
    state = family.reset(task, 500, rng)
    assert (state.number == 0).all()
    for t in range(1, 50):
        action = torch.randint(A, (2, 500), generator=rng)
        expected = task.mean_reward[torch.arange(2)[:, None], state.number, action]
        state, reward, _ = family.step(task, state, action, family.noise(2, 500, rng))
        assert torch.equal(reward, expected)
        assert (state.number[0] == t % S).all()
        assert state.number[1].unique().tolist() == [0, S - 1]


def test_a_uniform_of_exactly_zero_skips_impossible_states():
    """It comes once in 2²⁴ draws: every state before the first possible one has a cumulative probability of 0, too."""
    third = torch.eye(S)[2].expand(1, S, A, S)
    task = RandomMDPTask(transition=third, mean_reward=torch.zeros(1, S, A))
    family = make_family()
    start = family.reset(task, 1, generator())
    state, _, _ = family.step(task, start, torch.zeros(1, 1, dtype=torch.int64), torch.zeros(2, 1, 1))
    assert state.number.item() == 2


def test_the_observation_is_one_hot():
    state = RandomMDPState(torch.tensor([[0, 3], [2, 1]]))
    task = make_family().sample(2, "meta_train", generator())
    assert torch.equal(make_family().observe(task, state), torch.eye(S)[state.number])


def test_one_state_is_a_bandit():
    family = make_family(num_states=1)
    task = family.sample(3, "meta_train", generator())
    start, action = family.reset(task, 5, generator()), torch.ones(3, 5, dtype=torch.int64)
    state, _, _ = family.step(task, start, action, family.noise(3, 5, generator()))
    assert not state.number.any() and (family.observe(task, state) == 1).all()


@pytest.mark.parametrize("spec", [0, ["uniform", 0, 1], ["normal", 1, 1]])
def test_a_concentration_that_can_be_zero_is_refused(spec):
    with pytest.raises(ValueError, match=r"^meta_train concentration: must be > 0"):
        make_family(concentration=spec)


def test_negative_deviation_is_refused():
    with pytest.raises(ValueError, match="reward_deviation must be a finite number >= 0, got -1"):
        make_family(reward_deviation=-1)


def test_one_action_is_no_choice():
    with pytest.raises(ValueError, match="num_actions must be an integer >= 2, got 1"):
        make_family(num_actions=1)
