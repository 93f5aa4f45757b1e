"""Continuous dynamics: plans against enumeration in a model set by hand, and the data it learns from."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from metarl_run.algo.planning.continuous_loss import regression_data, sums_after, value_loss
from metarl_run.config.compose import compose_points
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import ConfigError
from metarl_run.lifetime import live
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Rollout

M, B = 3, 2
LINEAR = ("algo.continuous.hidden=[]", "algo.continuous.end_hidden=[]", "algo.continuous.value_hidden=[]")


def make(*overrides):
    arguments = ["logger=files", "algo=model_based", "env=cartpole_family", "env.horizon=30", *overrides]
    return build_agent(compose_points(arguments).points[0].config, Streams(0, torch.device("cpu")))


def collected(family, algo, episodes=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    env = TaskVectorEnv(family, family.sample(M, "meta_train", generator), episodes_per_task=B, generator=generator)
    return live(algo, env, generator, adaptation_steps=episodes - 1).rollouts[0]


@pytest.fixture(scope="module")
def agent():
    """One after a meta-update, so that no parameter is where it started."""
    family, algo = make()
    seeds = iter(range(100))
    algo.meta_update(lambda steps: SimpleNamespace(rollouts=[collected(family, algo, seed=next(seeds))]))
    return family, algo, collected(family, algo, seed=50)


def linear_agent(H):
    """φ(s, a) = (s, a) in each of 2 members, and K, e and V drawn at random; states are not normalised."""
    family, algo = make(*LINEAR, "algo.continuous.features=6", f"algo.continuous.planner.horizon={H}")
    generator = torch.Generator().manual_seed(1)
    params = algo.meta_params
    with torch.no_grad():
        for θ in params.values():
            θ.normal_(generator=generator)
        params["features.0.weight"].copy_(torch.eye(6).expand(2, -1, -1))
        params["features.0.bias"].zero_()
        for variable in ("state", "change", "reward"):
            params[f"{variable}.mean"].zero_()
            params[f"{variable}.variance"].fill_(1)
    K = 0.2 * torch.randn(2, 3, 6, 5, generator=generator)  # [E, N, F, D + 1]
    return family, algo, K, torch.randn(3, 4, generator=generator)


def by_hand(algo, K, s, actions):
    """J, step by step."""
    θ, γ = {name: x.double() for name, x in algo.meta_params.items()}, algo.dynamics.discount
    total = 0.0
    for k in K.double():
        z, alive = s.double(), 1.0
        for h, a in enumerate(actions):
            x = torch.cat([z, torch.eye(2).double()[a]])
            y = x @ k
            total += γ**h * alive * y[4].item() / 2
            z = z + y[:4]
            odds = torch.cat([x, z]) @ θ["end.0.weight"] + θ["end.0.bias"]
            alive *= 1 / (1 + math.exp(odds.item()))
        value = (z @ θ["value.0.weight"] + θ["value.0.bias"]).item() / (1 - γ)
        total += γ ** len(actions) * alive * value / 2
    return total


def test_the_return_of_a_plan_is_that_of_its_equation():
    _, algo, K, s = linear_agent(3)
    every = list(itertools.product(range(2), repeat=3))
    with torch.no_grad():
        returns = algo.dynamics.plan_returns(algo.meta_params, K, s, torch.tensor(every).expand(3, -1, -1))
    wanted = torch.tensor([[by_hand(algo, K[:, n], s[n], actions) for actions in every] for n in range(3)])
    torch.testing.assert_close(returns, wanted, rtol=1e-4, atol=1e-4)


def test_the_action_that_is_taken_begins_the_best_of_all_plans():
    """32 draws twice over, of 2⁴ sequences."""
    _, algo, K, s = linear_agent(4)
    every = torch.tensor(list(itertools.product(range(2), repeat=4))).expand(3, -1, -1)
    with torch.no_grad():
        returns = algo.dynamics.plan_returns(algo.meta_params, K, s, every)
        best, _ = algo.dynamics.planner.search(
            lambda a: algo.dynamics.plan_returns(algo.meta_params, K, s, a),
            torch.full((3, 4, 2), 0.5),
            torch.Generator(),
        )
    assert torch.equal(best, every[0][returns.argmax(1)])


def test_acting_and_learning_accumulate_the_same_sums(agent):
    """The sums after every step of a lifetime but the last, which no percept reports."""
    _, algo, rollout = agent
    memory, merged, percepts = algo.start(M).memory, rollout.merged(), rollout.percepts()
    with torch.no_grad():
        steps = regression_data(algo.dynamics.model, algo.meta_params, merged)
        for t in range(rollout.reward.shape[1]):
            memory = algo.dynamics.observe(algo.meta_params, memory, type(percepts)(*(x[:, t] for x in percepts)))
            squares, products = sums_after(steps, torch.full((M * B, 1), t))
            here = rollout.alive[:, t].flatten()
            torch.testing.assert_close(memory["squares"].flatten(0, 1)[here], squares[here], rtol=1e-4, atol=1e-3)
            torch.testing.assert_close(memory["products"].flatten(0, 1)[here], products[here], rtol=1e-4, atol=1e-3)


def test_statistics_and_all_parameters_stay_as_they_are_in_new_tasks(agent):
    family, algo, _ = agent
    before = {name: θ.clone() for name, θ in algo.meta_params.items()}
    assert before["state.count"][0] > 0
    collected(family, algo, seed=7)
    assert all(torch.equal(before[name], θ) for name, θ in algo.meta_params.items())


def test_statistics_are_those_of_all_experience():
    family, algo = make()
    parts = [collected(family, algo, seed=seed) for seed in (1, 2)]
    for part in parts:
        algo.dynamics.measure(algo.meta_params, part.merged())
    states = torch.cat([part.observation[:, :-1][part.alive] for part in parts])
    torch.testing.assert_close(algo.meta_params["state.mean"], states.mean(0))
    torch.testing.assert_close(algo.meta_params["state.variance"], states.var(0, correction=0))
    assert algo.meta_params["reward.count"].item() == len(states)
    reward = torch.ones(1, 1, requires_grad=False)
    outputs = algo.dynamics.model.outputs(algo.meta_params, torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), reward)
    assert outputs[..., -1].abs().max() == 0, "a reward that never varies is normalised to 0"


def test_every_task_reaches_every_parameter(agent):
    _, algo, rollout = agent
    for task in range(M):
        alone = rollout.tasks(slice(task, task + 1)).merged()
        loss, _ = algo.dynamics.loss(algo.meta_params, alone, torch.Generator().manual_seed(0))
        gradients = torch.autograd.grad(loss, algo.meta_optimizer.tensors)
        for name, gradient in zip(algo.meta_optimizer.names, gradients, strict=True):
            assert gradient.isfinite().all() and gradient.any(), name


def test_the_data_of_a_task_depends_on_no_other(agent):
    _, algo, rollout = agent
    other = rollout._replace(reward=rollout.reward.clone())
    other.reward[1:] += 1
    with torch.no_grad():
        one, changed = (
            regression_data(algo.dynamics.model, algo.meta_params, part.merged()) for part in (rollout, other)
        )
        sums = [sums_after(steps, torch.full((M * B, 1), 9)) for steps in (one, changed)]
    for x, y in zip(*sums, strict=True):
        assert torch.equal(x[:B], y[:B])
    assert not torch.equal(sums[0][1][B:], sums[1][1][B:])


@pytest.mark.parametrize("terminated", [False, True])
def test_an_episode_cut_off_goes_on_and_one_that_ends_does_not(terminated):
    """One state, reward 1 at each of T steps: V = 1 / (1 − γ), or what is left of (1 − γᵀ) / (1 − γ)."""
    _, algo = make(*LINEAR, "algo.continuous.value_lambda=1", "algo.continuous.discount=0.9")
    T = 6
    last = torch.zeros(T, 1, dtype=torch.bool)
    last[-1] = True
    no = torch.zeros_like(last)
    observation = torch.zeros(T + 1, 1, 4)
    observation[:, 0, 0] = torch.arange(T + 1)  # time, so that V can tell the steps apart
    ends = (last, no) if terminated else (no, last)
    rollout = Rollout(observation, no.long(), torch.ones(T, 1), *ends, ~no, {})
    γ, params = 0.9, {name: θ.detach() * 0 for name, θ in algo.meta_params.items()}
    params["value.0.bias"] += 1
    left = torch.arange(T, 0, -1)
    wanted = (1 - γ**left) if terminated else torch.ones(T)  # in units of 1 / (1 − γ)
    loss = value_loss(algo.dynamics.model, params, rollout, value_lambda=algo.dynamics.value_lambda)
    torch.testing.assert_close(loss, 0.5 * (1 - wanted).square().mean())


def test_a_sampled_last_layer_has_the_posteriors_mean_and_variance(agent):
    """Before any experience the covariance of a column is σ² I."""
    _, algo, _ = agent
    dynamics, params, generator = algo.dynamics, algo.meta_params, torch.Generator().manual_seed(0)
    memory = {name: x.expand(4000, *x.shape[1:]) for name, x in algo.start(1).memory.items()}
    with torch.no_grad():
        mean = dynamics.last_layers(params, memory, generator)
        dynamics.belief = "sample"
        draws = dynamics.last_layers(params, memory, generator)
        dynamics.belief = "mean"
    σ = dynamics.model.noise(params).detach()[:, None, None]
    standard = (draws - mean) / σ
    assert standard.mean(1).abs().max() < 0.1
    torch.testing.assert_close(standard.var(1), torch.ones_like(standard[:, 0]), rtol=0.15, atol=0)


def test_a_discount_of_one_is_refused():
    with pytest.raises(ConfigError, match=r"discount: must be a finite number in \[0, 1\)"):
        make("algo.continuous.discount=1")
