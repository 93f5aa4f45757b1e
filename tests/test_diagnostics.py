"""Diagnostics of agents with memory: of numbers by hand, and of agents whose dependence is known."""

import math

import pytest
import torch
from context_lab import rollout_of

from metarl_run.config.compose import compose_points
from metarl_run.diagnostics import entropy_per_episode, posterior_distance
from metarl_run.env.bandit import Bandit
from metarl_run.evaluation import Evaluation, evaluate, joined
from metarl_run.exact import optimal_returns, reference_returns
from metarl_run.learner.actor_critic import explained_variance, net_of_time
from metarl_run.maths.distributions import Categorical
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Rollout


def diagnosed(*overrides, num_tasks=30, steps=3):
    streams = Streams(0, torch.device("cpu"))
    family, algo = build_agent(compose_points(overrides).points[0].config, streams)
    sizes = {"num_tasks": num_tasks, "adaptation_steps": steps, "episodes_per_task": 1}
    parts = evaluate(algo, family, streams, split="meta_test", iteration=0, diagnosed=True, **sizes)
    return joined(list(parts)).diagnostics


@pytest.mark.parametrize("overrides", [["algo=rl2", "env=random_mdp"], ["algo=varibad", "env=gridworld"]])
def test_a_fresh_agent_depends_on_nothing_and_has_every_number(overrides):
    found = diagnosed(*overrides, num_tasks=200)
    assert found["action_share"][0] == pytest.approx(found["action_share_states_shuffled"][0], abs=0.03)
    assert found["action_share"][0] == pytest.approx(found["action_share_memory_shuffled"][0], abs=0.03)
    assert len(found["entropy"]) == 4
    assert found["entropy"] == pytest.approx([torch.log(torch.tensor(5.0)).item()] * 4, abs=0.01)
    assert abs(found["explained_variance_net_of_time"][0]) < 0.1
    assert found["constant_action"][0] <= found["myopic"][0]


def test_agents_without_memory_and_families_without_tables_have_no_diagnostics():
    assert diagnosed("algo=maml", "env=random_mdp", "episodes_per_task=2", num_tasks=2, steps=1) == {}
    assert diagnosed("algo=rl2", "env=cartpole_family", "env.horizon=5", num_tasks=2, steps=1) == {}


def test_a_family_that_knows_the_bayes_optimum_tells_it_of_every_episode():
    found = diagnosed("algo=rl2", "env=bandit", "env.num_arms=2", num_tasks=2)
    assert found["bayes_optimal"] == pytest.approx([1 / 2, 7 / 12, 7 / 12, 11 / 18])
    gaussian = ["env=bandit", "env.reward=gaussian"]
    assert "bayes_optimal" not in diagnosed("algo=rl2", *gaussian, num_tasks=2)
    assert "bayes_optimal" not in diagnosed("algo=rl2", "env=bandit", "env.meta_test.mean=0.5", num_tasks=2)


def test_reference_returns_are_those_of_the_best_action_and_of_the_best_next_reward():
    """Bandits: the best constant action and the myopic one are the optimum."""
    streams = Streams(0, torch.device("cpu"))
    family, _ = build_agent(compose_points(["env=bandit"]).points[0].config, streams)
    task = family.sample(5, "meta_test", torch.Generator().manual_seed(0))
    best = optimal_returns(family, task)
    assert reference_returns(family, task) == {"constant_action": best, "myopic": best}


def test_reference_returns_of_the_published_mdps():
    """The best constant action earns 14.0 per episode and myopic play 21.67, of an optimum of 21.8."""
    streams = Streams(0, torch.device("cpu"))
    family, _ = build_agent(compose_points(["env=random_mdp"]).points[0].config, streams)
    task = family.sample(2000, "meta_test", torch.Generator().manual_seed(0))
    means = {name: sum(x) / len(x) for name, x in reference_returns(family, task).items()}
    assert means == pytest.approx({"constant_action": 14.0, "myopic": 21.67}, abs=0.25)
    optimum = optimal_returns(family, task)
    assert means["myopic"] < sum(optimum) / len(optimum)


def test_a_value_function_that_knows_the_time_alone_explains_nothing_net_of_it():
    """Returns fall from 2 to 1 to 0, up to what differs between three environments."""
    differs = torch.tensor([-0.1, 0.0, 0.1], dtype=torch.float64)
    returns = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)[:, None] + differs
    time_alone = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)[:, None].expand(3, 3)
    alive = torch.ones(3, 3, dtype=torch.bool)
    assert explained_variance(time_alone, returns, alive) > 0.98
    net = [net_of_time(x, alive) for x in (time_alone, returns)]
    assert explained_variance(*net, alive) == pytest.approx(0.0, abs=1e-12)
    assert explained_variance(net[1], net[1], alive) == 1.0


def test_padding_does_not_count_as_time():
    x, alive = torch.tensor([[1.0, 5.0]]), torch.tensor([[True, False]])
    assert net_of_time(x, alive)[0, 0] == 0.0


def test_entropy_of_each_episode_by_hand():
    """Two environments with episodes of two and one, and of one and two steps."""
    ended = torch.tensor([[[False, True], [True, False], [True, True]]])
    nothing = torch.zeros(1, 3, 2)
    alive = torch.ones(1, 3, 2, dtype=torch.bool)
    rollout = Rollout(torch.zeros(1, 4, 2, 1), nothing, nothing, ended, torch.zeros_like(ended), alive, {})
    entropy = torch.tensor([[[1.0, 4.0], [3.0, 8.0], [5.0, 6.0]]])
    assert entropy_per_episode(entropy, rollout) == pytest.approx([(1 + 3 + 4) / 3, (5 + 8 + 6) / 3])


def test_parts_count_by_their_tasks():
    parts = [Evaluation([], [], ["a"], 0, {"x": [1.0, 2.0]}), Evaluation([], [], ["b", "c"], 0, {"x": [4.0, 5.0]})]
    assert joined(parts).diagnostics == {"x": [pytest.approx(3.0), pytest.approx(4.0)]}


def bandit(reward, mean=("uniform", 0, 1)):
    arms = {"mean": [*mean]}
    return Bandit(horizon=1, num_arms=2, reward=reward, reward_deviation=0.5, meta_train=arms, meta_test=arms)


def test_the_distance_to_the_posterior_of_a_bandit_is_that_of_each_pull():
    """One success of the first arm: it is best with probability 2/3, of which a uniform policy is 1/6 away."""
    lifetimes = rollout_of([[0], [0]], [[1], [1]])
    uniform = Categorical(torch.zeros(2, 1, 2))
    assert posterior_distance(bandit("bernoulli"), lifetimes, uniform) == pytest.approx([0, 1 / 6], abs=1e-5)
    exact = Categorical(torch.tensor([[[0.5, 0.5]], [[2 / 3, 1 / 3]]]).log())
    assert posterior_distance(bandit("bernoulli"), lifetimes, exact) == pytest.approx([0, 0], abs=1e-5)
    first, second = posterior_distance(bandit("gaussian"), lifetimes, uniform)
    # ∫ μ p(μ), p a normal of mean 1 and deviation 1/2, truncated to [0, 1]
    density = [math.exp(-(((i + 0.5) / 1000 - 1) ** 2) * 2) for i in range(1000)]
    mean = sum((i + 0.5) / 1000 * p for i, p in enumerate(density)) / sum(density)
    assert first == pytest.approx(0, abs=1e-6) and second == pytest.approx(mean - 0.5, abs=1e-5)
    assert posterior_distance(bandit("gaussian", ("normal", 0, 1)), lifetimes, uniform) is None
