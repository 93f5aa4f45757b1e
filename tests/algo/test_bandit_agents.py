"""Agents made by hand for Bernoulli bandits: their counts, their choices, and what they earn, against exact numbers."""

import itertools
import math

import gymnasium
import pytest
import scipy
import torch

from metarl_run.algo.epsilon_greedy import EpsilonGreedy
from metarl_run.algo.gittins import Gittins
from metarl_run.algo.optimistic_thompson import OptimisticThompson, log_density
from metarl_run.algo.thompson import Thompson
from metarl_run.algo.ucb1 import UCB1
from metarl_run.config.compose import compose_points
from metarl_run.env.bandit import Bandit, BanditTask
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import ConfigError
from metarl_run.lifetime import live
from metarl_run.maths.sampling import beta
from metarl_run.types import Percept


def make(kind, arms=2, successes=1.0, failures=1.0, **numbers):
    space = gymnasium.spaces.Discrete(arms)
    return kind(action_space=space, prior_successes=successes, prior_failures=failures, **numbers)


def agents(arms=2, **prior):
    return {
        "gittins": make(Gittins, arms, discount=0.9, **prior),
        "thompson": make(Thompson, arms, **prior),
        "optimistic_thompson": make(OptimisticThompson, arms, samples=3, **prior),
        "ucb1": make(UCB1, arms, exploration=0.5, **prior),
        "epsilon_greedy": make(EpsilonGreedy, arms, epsilon=0.3, **prior),
        "greedy": make(EpsilonGreedy, arms, epsilon=0.0, **prior),
    }


AGENTS = sorted(agents())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def percept(arm, reward):
    """What is told after each task's pull, with one slot per task."""
    arm, reward = torch.as_tensor(arm).view(-1, 1), torch.as_tensor(reward, dtype=torch.float32).view(-1, 1)
    return Percept(torch.ones(len(arm), 1, 1), arm, reward, torch.ones_like(arm, dtype=torch.bool))


def after(algo, pulls, rng=None):
    """The distribution of the next pull and the memory, in one task, after pulls `[(arm, reward), …]`."""
    agent = algo.start(1)
    for arm, reward in [(0, 0), *pulls]:
        told = percept([arm], [reward])
        agent = algo.draw(agent, told, rng) if rng else agent
        distribution, memory = algo.act(agent, told)
        agent = agent._replace(memory=memory)
    return distribution, memory


def probabilities(algo, pulls):
    return after(algo, pulls)[0].logits.softmax(-1).flatten().tolist()


# --- What they count ---


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_counts_what_each_arm_paid_and_nothing_before_its_first_pull(name):
    algo = agents(3, successes=2.0, failures=0.5)[name]
    _, memory = after(algo, [])
    assert memory["successes"].tolist() == [[[2, 2, 2]]] and memory["failures"].tolist() == [[[0.5, 0.5, 0.5]]]
    _, memory = after(algo, [(1, 1), (1, 0), (2, 0), (1, 1), (0, 1)])
    assert memory["successes"].tolist() == [[[3, 4, 2]]]
    assert memory["failures"].tolist() == [[[0.5, 1.5, 1.5]]]
    assert memory["pulls"].tolist() == [[6]]


@pytest.mark.parametrize("name", AGENTS)
def test_every_slot_of_every_task_counts_for_itself(name):
    algo, M, B, n = agents(4)[name], 3, 2, 12
    family = family_of(4)
    env = TaskVectorEnv(family, family.sample(M, "meta_test", generator()), episodes_per_task=B, generator=generator(1))
    rollout = live(algo, env, generator(2), adaptation_steps=n).rollouts[0]
    action, reward = rollout.action[:, :n], rollout.reward[:, :n]  # the last pull was not told
    for arm in range(4):
        pulled = action == arm
        assert torch.equal(rollout.memory["successes"][..., arm], 1 + (pulled * reward).sum(1))
        assert torch.equal(rollout.memory["failures"][..., arm], 1 + (pulled * (1 - reward)).sum(1))


def family_of(arms):
    mean = {"mean": ["uniform", 0, 1]}
    return Bandit(horizon=1, num_arms=arms, reward="bernoulli", reward_deviation=1.0, meta_train=mean, meta_test=mean)


# --- What they choose ---


def test_ucb1_by_hand():
    """After a win of arm 0 and a loss of arm 1: t = 2, m = 3, 3 and 2."""
    told = [(0, 1), (1, 0)]
    for c, best in ((0.0, 0), (0.5, 0), (1.2, 2)):
        bounds = [
            2 / 3 + c * math.sqrt(2 * math.log(2) / 3),
            1 / 3 + c * math.sqrt(2 * math.log(2) / 3),
            1 / 2 + c * math.sqrt(2 * math.log(2) / 2),
        ]
        assert bounds.index(max(bounds)) == best
        assert probabilities(make(UCB1, 3, exploration=c), told)[best] == 1


def test_ucb1_has_no_bonus_before_its_first_two_pulls():
    algo = make(UCB1, 3, exploration=1000.0)
    assert probabilities(algo, []) == [1, 0, 0]
    assert probabilities(algo, [(0, 1)]) == [1, 0, 0]  # ln 1 = 0: the mean alone
    assert probabilities(algo, [(0, 0)]) == [0, 1, 0]
    assert probabilities(algo, [(0, 1), (0, 1)]) == [0, 1, 0]


def test_epsilon_greedy_by_hand():
    algo = make(EpsilonGreedy, 5, epsilon=0.3)
    assert probabilities(algo, [(2, 1)]) == pytest.approx([0.06, 0.06, 0.76, 0.06, 0.06])
    assert probabilities(algo, []) == pytest.approx([0.76, 0.06, 0.06, 0.06, 0.06])
    assert probabilities(make(EpsilonGreedy, 4, epsilon=1.0), [(2, 1)]) == pytest.approx([0.25] * 4)


def test_greedy_pulls_the_first_of_the_best_and_never_another():
    algo = agents(3)["greedy"]
    assert probabilities(algo, []) == [1, 0, 0]
    assert probabilities(algo, [(0, 0)]) == [0, 1, 0]
    assert probabilities(algo, [(0, 0), (1, 0)]) == [0, 0, 1]
    assert probabilities(algo, [(0, 0), (1, 0), (2, 0)]) == [1, 0, 0]
    distribution, _ = after(algo, [])
    assert distribution.logits[0, 0, 1:].eq(-math.inf).all()


def test_gittins_leaves_an_arm_whose_index_fell_below_that_of_an_untried_one():
    """γ = .9: Beta(1, 1) .7029, Beta(2, 1) .8001, Beta(3, 2) .7072, Beta(3, 3) .6010."""
    algo = agents()["gittins"]
    assert probabilities(algo, []) == [1, 0]
    assert probabilities(algo, [(0, 1)]) == [1, 0]
    assert probabilities(algo, [(0, 1), (0, 1), (0, 0)]) == [1, 0]
    assert probabilities(algo, [(0, 1), (0, 1), (0, 0), (0, 0)]) == [0, 1]


def test_thompson_sampling_pulls_the_arm_of_the_largest_draw():
    algo = make(Thompson, 3)
    told = percept([0], [0])
    for seed in range(20):
        agent = algo.draw(algo.start(1), told, generator(seed))
        distribution, memory = algo.act(agent, told)
        assert distribution.logits.argmax() == memory["hypothesis"].argmax()
        assert torch.equal(memory["hypothesis"], agent.memory["hypothesis"])
    assert (
        len({float(algo.draw(algo.start(1), told, generator(seed)).memory["hypothesis"].max()) for seed in range(9)})
        == 9
    )


def test_thompson_sampling_matches_the_probability_that_an_arm_is_better():
    """P(X₀ > X₁) with X₀ ~ Beta(3, 2), X₁ ~ Beta(2, 4), by quadrature."""
    N = 100_000
    wanted, _ = scipy.integrate.quad(lambda x: scipy.stats.beta(3, 2).pdf(x) * scipy.stats.beta(2, 4).cdf(x), 0, 1)
    algo, told = make(Thompson), percept([0] * N, [0] * N)
    agent = algo.start(N)
    memory = {
        **agent.memory,
        "successes": torch.tensor([3.0, 2.0]).expand(N, 1, 2),
        "failures": torch.tensor([2.0, 4.0]).expand(N, 1, 2),
    }
    agent = algo.draw(agent._replace(memory=memory), told, generator())
    share = algo.act(agent, told)[0].logits[..., 0].eq(0).double().mean().item()
    assert share == pytest.approx(wanted, abs=5 * math.sqrt(wanted * (1 - wanted) / N))


def test_a_density_is_that_of_the_beta_distribution_up_to_what_does_not_depend_on_the_draw():
    s, f = torch.tensor([[[1.0, 3.0, 0.5]]]), torch.tensor([[[1.0, 7.0, 2.0]]])
    drawn = [torch.tensor([[[0.2, 0.4, 0.9]]]), torch.tensor([[[0.7, 0.1, 0.3]]])]
    ours = [log_density(x, 1 - x, s, f).item() for x in drawn]
    reference = [scipy.stats.beta(s, f).logpdf(x).sum() for x in drawn]
    assert ours[0] - ours[1] == pytest.approx(reference[0] - reference[1], rel=1e-5)


def test_a_density_is_finite_at_the_ends_of_a_uniform_prior():
    """0 log 0 = 0."""
    ends, one = torch.tensor([[[0.0, 1.0]]]), torch.ones(1, 1, 2)
    assert log_density(ends, 1 - ends, one, one).item() == 0


def test_optimistic_thompson_sampling_acts_on_the_most_probable_of_its_samples():
    """With N = 3 it draws what Thompson sampling draws three times, and keeps one by scipy's density."""
    M, s, f = 200, torch.tensor([3.0, 1.0, 5.0]), torch.tensor([1.0, 2.0, 5.0])
    counts = (s.expand(M, 1, 3), f.expand(M, 1, 3))
    rng = generator(4)
    drawn = torch.stack([beta(*counts, rng)[0] for _ in range(3)])
    density = torch.tensor(scipy.stats.beta(s, f).logpdf(drawn)).sum(-1)
    wanted = drawn.gather(0, density.argmax(0)[None, ..., None].expand(1, M, 1, 3))[0]
    kept = make(OptimisticThompson, 3, samples=3).hypothesis(*counts, generator(4))
    assert torch.equal(kept, wanted)
    assert not torch.equal(kept, drawn[0])


def test_optimistic_thompson_sampling_with_one_sample_is_thompson_sampling():
    counts = (torch.tensor([[[3.0, 1.0]]]).expand(50, 4, 2), torch.tensor([[[1.0, 2.0]]]).expand(50, 4, 2))
    one, other = (
        algo.hypothesis(*counts, generator()) for algo in (make(Thompson), make(OptimisticThompson, samples=1))
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["thompson", "optimistic_thompson"])
def test_a_hypothesis_is_drawn_from_what_was_just_told(name):
    """After 400 wins of arm 1, told one by one, it is close to 1; before, it is anywhere."""
    algo = agents()[name]
    _, memory = after(algo, [(1, 1)] * 400, generator())
    assert memory["hypothesis"][0, 0, 1] > 0.97
    told = percept([1], [1])
    agent = algo.start(1)._replace(memory=after(algo, [(1, 1)] * 400)[1])
    counts = agent.memory["successes"].clone()
    agent = algo.draw(agent, told, generator())
    assert torch.equal(agent.memory["successes"], counts), "to draw is not yet to count"


# --- What they earn ---


def expected(name, p, n):
    """The exact expected sum of rewards of n pulls of arms that pay with probabilities p, by enumeration."""

    def of_next(history):
        if name in ("thompson", "optimistic_thompson"):
            counts = [[1 + sum(r == won for a, r in history if a == arm) for won in (1, 0)] for arm in range(2)]
            better, _ = scipy.integrate.quad(
                lambda x: scipy.stats.beta(*counts[0]).pdf(x) * scipy.stats.beta(*counts[1]).cdf(x), 0, 1
            )
            return [better, 1 - better]
        return probabilities(agents()[name], history)

    total = 0.0
    for history in itertools.product(itertools.product((0, 1), (0, 1)), repeat=n):
        chance = 1.0
        for t, (arm, reward) in enumerate(history):
            chance *= p[arm] if reward else 1 - p[arm]
            if chance:
                chance *= of_next(list(history[:t]))[arm]
            if not chance:
                break
        total += chance * sum(reward for _, reward in history)
    return total


@pytest.mark.parametrize("name", ["gittins", "thompson", "ucb1", "epsilon_greedy", "greedy"])
def test_three_pulls_earn_what_enumeration_says(name):
    p, n, M = (0.3, 0.8), 3, 40_000
    family, algo = family_of(2), agents()[name]
    env = TaskVectorEnv(
        family, BanditTask(torch.tensor(p).expand(M, 1, 2)), episodes_per_task=1, generator=generator(3)
    )
    earned = live(algo, env, generator(4), adaptation_steps=n - 1).rollouts[0].reward.sum((1, 2))
    assert earned.mean().item() == pytest.approx(expected(name, p, n), abs=5 * earned.std().item() / M**0.5)


# --- Refusals ---


@pytest.mark.parametrize("algo", AGENTS)
def test_a_family_that_is_no_bernoulli_bandit_is_refused_in_one_line(algo):
    for env in ("cartpole_family", "random_mdp", "bandit_gaussian"):
        with pytest.raises(ConfigError) as refusal:
            compose_points(["logger=files", f"algo={algo}", f"env={env}"])
        assert refusal.value.where == "algo"
        assert f"which env={env} does not provide" in refusal.value.reason
        assert "env=bandit" in refusal.value.hint
    assert compose_points(["logger=files", f"algo={algo}", "env=bandit"]).points
