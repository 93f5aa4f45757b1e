"""Bandits: how arms are drawn, how they pay, and that a life of n pulls is n episodes."""

import pytest
import scipy
import torch

from metarl_run.algo.random import Random
from metarl_run.env.bandit import Bandit, BanditTask
from metarl_run.env.standalone import make_family as configured
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.exact import expected_returns, optimal_returns
from metarl_run.rollout import collect

UNIFORM, NORMAL = {"mean": ["uniform", 0, 1]}, {"mean": ["normal", 0, 1]}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_family(meta_train=UNIFORM, meta_test=UNIFORM, **changes):
    numbers = {"horizon": 1, "num_arms": 5, "reward": "bernoulli", "reward_deviation": 1.0} | changes
    return Bandit(meta_train=meta_train, meta_test=meta_test, **numbers)


def task_of(*means):
    """Tasks from the means of their arms."""
    return BanditTask(torch.tensor(means).unsqueeze(1))


def pull(family, task, action, seed=0):
    state = family.reset(task, action.shape[1], generator(seed))
    return family.step(task, state, action, family.noise(*action.shape, generator(seed + 1)))


def lifetime(family, task, *, slots, pulls):
    """Random pulls, and what the agent was told before each."""
    algo, told = Random(action_space=family.action_space), []

    def act(agent, percept):
        told.append(type(percept)(*(part.clone() for part in percept)))
        return algo.act(agent, percept)

    env = TaskVectorEnv(family, task, episodes_per_task=slots, generator=generator(1))
    return collect(env, act, algo.begin(task), generator(2), episodes=pulls), told


# --- Tasks ---


@pytest.mark.parametrize(
    ("arms", "reward", "reference"), [(UNIFORM, "bernoulli", "uniform"), (NORMAL, "gaussian", "norm")]
)
def test_arms_are_drawn_independently_from_their_distribution(arms, reward, reference):
    task = make_family(arms, arms, reward=reward).sample(4000, "meta_train", generator())
    assert task.mean_reward.shape == (4000, 1, 5)
    means = task.mean_reward.squeeze(1).double()
    assert scipy.stats.kstest(means.flatten().numpy(), reference).pvalue > 1e-3
    assert means.T.corrcoef().fill_diagonal_(0).abs().max() < 5 / 4000**0.5


def test_splits_may_have_arms_of_their_own():
    family = make_family({"mean": ["uniform", 0, 0.5]}, {"mean": ["uniform", 0.5, 1]})
    train, test = (family.sample(100, split, generator()).mean_reward for split in ("meta_train", "meta_test"))
    assert train.min() >= 0 and train.max() <= 0.5 <= test.min() and test.max() <= 1


@pytest.mark.parametrize(
    ("option", "arms", "best", "deviation"),
    [("bandit", 5, 5 / 6, (5 / 252) ** 0.5), ("bandit_gaussian", 10, 1.53875, 0.58681)],
)
def test_the_best_of_the_configured_arms_is_as_good_as_order_statistics_say(option, arms, best, deviation):
    """The largest of A uniforms is Beta(A, 1); of the largest of ten normals the moments are tabulated."""
    family = configured(option)
    task = family.sample(20_000, "meta_test", generator())
    largest = torch.tensor(optimal_returns(family, task))
    assert family.action_space.n == arms
    assert torch.equal(largest, task.mean_reward.amax((1, 2)))
    assert largest.mean().item() == pytest.approx(best, abs=5 * deviation / 20_000**0.5)
    assert largest.std().item() == pytest.approx(deviation, rel=0.03)


def test_a_policys_expected_return_is_the_mean_of_the_arms_it_pulls():
    family, task = make_family(num_arms=2), task_of([0.25, 0.75], [0.0, 0.5])
    algo = Random(action_space=family.action_space)
    assert expected_returns(algo, [algo.begin(task)], family, task) == [[pytest.approx(0.5), pytest.approx(0.25)]]
    assert optimal_returns(family, task) == [0.75, 0.5]


def test_as_an_mdp_it_has_one_state_and_ends_at_once():
    task = make_family().sample(3, "meta_train", generator())
    assert torch.equal(task.transition, torch.zeros(3, 1, 5, 1)) and torch.equal(task.start, torch.ones(3, 1))


# --- Pulls ---


def test_bernoulli_arms_pay_one_or_nothing_with_their_probability():
    N, family, task = 20_000, make_family(num_arms=3), task_of([0.0, 0.3, 1.0], [0.001, 0.5, 0.9])
    for arm in range(3):
        _, reward, _ = pull(family, task, torch.full((2, N), arm), seed=arm)
        assert set(reward.unique().tolist()) <= {0.0, 1.0}
        for i in range(2):
            wins, p = int(reward[i].sum()), task.mean_reward[i, 0, arm].item()
            assert scipy.stats.binomtest(wins, N, p).pvalue > 1e-4


def test_gaussian_arms_pay_their_mean_and_noise():
    N, family = 5000, make_family(NORMAL, NORMAL, num_arms=2, reward="gaussian", reward_deviation=0.5)
    task = task_of([-1.0, 3.0], [0.0, 0.25])
    for arm in range(2):
        _, reward, _ = pull(family, task, torch.full((2, N), arm), seed=arm)
        for i in range(2):
            reference = scipy.stats.norm(task.mean_reward[i, 0, arm].item(), 0.5)
            assert scipy.stats.kstest(reward[i].double().numpy(), reference.cdf).pvalue > 1e-3


@pytest.mark.parametrize("reward", ["bernoulli", "gaussian"])
def test_every_slot_of_every_task_pulls_its_own_arm(reward):
    """Arms without chance: a mean of 0 or 1, or a deviation of 0."""
    family = make_family(num_arms=3, reward=reward, reward_deviation=0.0)
    action = torch.tensor([[0, 1, 2, 2], [2, 0, 1, 0]])
    task = task_of([1.0, 0.0, 1.0], [1.0, 1.0, 0.0])
    state, paid, terminated = pull(family, task, action)
    assert paid.tolist() == [[1, 0, 1, 1], [0, 1, 1, 1]]
    assert terminated.all() and terminated.shape == (2, 4)
    assert torch.equal(family.observe(task, state), torch.ones(2, 4, 1))


@pytest.mark.parametrize("horizon", [1, 30])
def test_a_life_of_n_pulls_is_n_episodes_in_a_row(horizon):
    """Whatever the horizon: n rewards, an end after each, which the agent is told with the reward."""
    M, B, n = 3, 2, 40
    family = make_family(horizon=horizon)
    rollout, told = lifetime(family, family.sample(M, "meta_train", generator()), slots=B, pulls=n)
    assert rollout.reward.shape == (M, n, B) and rollout.alive.all()
    assert rollout.terminated.all() and not rollout.truncated.any()
    assert torch.equal(rollout.observation, torch.ones(M, n + 1, B, 1))
    assert len(told) >= n
    assert all(percept.last_ended.all() and (percept.observation == 1).all() for percept in told[:n])
    assert not told[0].last_reward.any() and not told[0].last_action.any()
    for t in range(1, n):
        assert torch.equal(told[t].last_reward, rollout.reward[:, t - 1])
        assert torch.equal(told[t].last_action, rollout.action[:, t - 1])


def test_ten_random_pulls_of_the_papers_bandits_are_worth_five():
    """The column "Random" of RL²'s Table 1: n / 2."""
    family = configured("bandit")
    rollout, _ = lifetime(family, family.sample(10_000, "meta_test", generator()), slots=1, pulls=10)
    total = rollout.reward.sum((1, 2))
    assert total.mean().item() == pytest.approx(5.0, abs=5 * total.std().item() / 100)


# --- Refusals ---


@pytest.mark.parametrize(
    "spec", [-0.1, 1.5, ["uniform", 0, 2], ["uniform", -1, 0, 0.5, 1], ["choice", 0.5, 7], ["normal", 0.5, 0.01]]
)
@pytest.mark.parametrize("split", ["meta_train", "meta_test"])
def test_a_probability_lies_between_zero_and_one(split, spec):
    with pytest.raises(ValueError, match=rf"^{split}\.mean must lie in \[0, 1\] wherever it can be drawn"):
        make_family(**{split: {"mean": spec}})
    assert make_family(**{split: {"mean": spec}}, reward="gaussian")


@pytest.mark.parametrize("spec", [0, 1, ["log_uniform", 0.01, 1], ["choice", 0, 0.5, 1], ["normal", 0.5, 0]])
def test_any_distribution_of_probabilities_will_do(spec):
    task = make_family({"mean": spec}).sample(50, "meta_train", generator())
    assert task.mean_reward.min() >= 0 and task.mean_reward.max() <= 1


def test_one_arm_is_no_choice():
    with pytest.raises(ValueError, match="num_arms must be an integer >= 2, got 1"):
        make_family(num_arms=1)
