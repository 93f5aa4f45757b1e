"""Tabular dynamics: the exact posterior for parameters set by hand, and the actions of value iteration."""

import math

import pytest
import torch
from suited import composed

from metarl_run.algo.bayes.tabular_posterior import Experience, Prior
from metarl_run.algo.planning.tabular_dynamics import COUNTS, TabularDynamics
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.maths.planning import finite_horizon_q
from metarl_run.rollout import collect
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Percept

SMALL = ("env=random_mdp", "env.num_states=3", "env.num_actions=2", "env.horizon=4")
μ0, τ0, τ, α0 = 0.5, 2.0, 4.0, 0.7


def make(*overrides, seed=0):
    config = composed("logger=files", "algo=model_based", *SMALL, *overrides).config
    return build_agent(config, Streams(seed, torch.device("cpu")))


def bayesian(algo):
    """Parameters with which each member is the same conjugate posterior: Dirichlet(α₀), N(μ₀, 1 / τ₀), noise 1 / τ."""
    params = {name: torch.zeros_like(θ) for name, θ in algo.meta_params.items()}
    last = max(name for name in params if name.startswith("prior.") and name.endswith("bias"))
    params[last][..., 1] = math.log(math.expm1(τ0 / τ - TabularDynamics.LEAST_WEIGHT)) - TabularDynamics.START_WEIGHT
    params["log_concentration"] += math.log(α0)
    params["prior_mean"] += μ0
    params["log_deviation"] += math.log(τ**-0.5)
    params["reward.variance"] += 1
    return params


def lifetimes(family, episodes=5, M=3, B=2):
    """Experience of random agents, and the percepts one by one."""
    generator = torch.Generator().manual_seed(0)
    env = TaskVectorEnv(family, family.sample(M, "meta_train", generator), episodes_per_task=B, generator=generator)
    config = composed("logger=files", "algo=random", *SMALL).config
    _, random = build_agent(config, Streams(0, torch.device("cpu")))
    rollout = collect(env, random.act, random.start(M), generator, episodes=episodes)
    percepts = rollout.percepts()
    return rollout, [Percept(*(x[:, t] for x in percepts)) for t in range(rollout.reward.shape[1])]


def test_with_hand_set_parameters_it_is_the_exact_posterior():
    """At the first step of every episode, when the reference has counted all of them."""
    family, algo = make()
    _, percepts = lifetimes(family)
    params = bayesian(algo)
    prior = Prior(reward_mean=μ0, reward_precision=τ0, noise_precision=τ, concentration=α0)
    exact = Experience(num_states=3, num_actions=2, horizon=4, prior=prior)
    known, memory = exact.initial_memory(3, torch.device("cpu")), algo.dynamics.initial_memory(params, 3)
    for percept in percepts:
        known, memory = exact.observe(known, percept), algo.dynamics.observe(params, memory, percept)
        if not percept.last_ended.all():
            continue
        belief = exact.belief(known, torch.ones(3, 2, dtype=torch.bool))
        P, mean, unknown = algo.dynamics.decode(params, {name: memory[name].flatten(0, 1) for name in COUNTS})
        torch.testing.assert_close(P, belief.mean()[0])
        torch.testing.assert_close(mean, belief.mean()[1])
        torch.testing.assert_close(unknown, belief.reward_precision.rsqrt())
    assert memory["visits"].sum() == 3 * 2 * 19, "the last step is reported after it"


def test_the_loss_is_minus_the_logarithm_of_the_exact_posterior_predictive(monkeypatch):
    """Dirichlet-multinomial and normal-normal, step by step, each step to come predicted from the first t."""
    family, algo = make("algo.tabular.contexts=1")
    rollout, _ = lifetimes(family, M=2, B=2)
    merged, params, t = rollout.merged(), bayesian(algo), 9
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.full((4, 1), (t + 0.5) / 20))
    monkeypatch.setattr(algo.dynamics, "bootstrap_weights", lambda number, _: torch.ones(algo.dynamics.members, number))
    loss, _ = algo.dynamics.loss(params, merged, torch.Generator())
    T, N = merged.reward.shape
    of_transitions, of_rewards, followed = 0.0, 0.0, 0
    for i in range(N):
        s = merged.observation[:, i].argmax(-1).tolist()
        a, r, ended = (x[:, i].tolist() for x in (merged.action, merged.reward, merged.ended))
        followed += sum(not end for end in ended)
        for j in range(t, T):
            same = [k for k in range(t) if (s[k], a[k]) == (s[j], a[j])]
            precision = τ0 + τ * len(same)
            mean = (τ0 * μ0 + τ * sum(r[k] for k in same)) / precision
            predictive = torch.distributions.Normal(mean, (1 / τ + 1 / precision) ** 0.5)
            of_rewards -= predictive.log_prob(torch.tensor(r[j])).item()
            if not ended[j]:
                led = [s[k + 1] for k in same if not ended[k]]
                of_transitions -= math.log((α0 + led.count(s[j + 1])) / (3 * α0 + len(led)))
    torch.testing.assert_close(loss, torch.tensor(of_transitions / followed + of_rewards / (N * T)))


def test_it_acts_on_the_optimal_values_of_its_posterior():
    """So much experience that the posterior is the task; at every step of an episode, in every state."""
    family, algo = make("algo.tabular.optimism=0")
    tasks = family.sample(20, "meta_train", torch.Generator().manual_seed(3))
    q = finite_horizon_q(tasks.transition, tasks.mean_reward, horizon=4)
    n = 1e5
    memory = algo.start(20).memory
    memory |= {
        "transitions": n * tasks.transition.unsqueeze(1),
        "visits": torch.full((20, 1, 3, 2), n),
        "total_reward": n * tasks.mean_reward.unsqueeze(1),
    }
    for t in range(4):
        for s in range(3):
            observation = torch.nn.functional.one_hot(torch.full((20, 1), s), 3).float()
            began = {**memory, "step": torch.full((20, 1), t)}
            percept = Percept(observation, torch.zeros(20, 1).long(), torch.zeros(20, 1), torch.full((20, 1), t == 0))
            distribution, _ = algo.act(algo.start(20)._replace(memory=began), percept)
            assert torch.equal(distribution.logits[:, 0].argmax(-1), q[:, t, s].argmax(-1))


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_the_members_disagreement_adds_to_the_uncertainty(shift):
    """Two members with prior means μ₀ ± d of weight w: after n rewards they are ± w d / (w + n) off the middle."""
    family, algo = make("algo.tabular.members=2")
    params, w = bayesian(algo), τ0 / τ
    last = max(name for name in params if name.startswith("prior.") and name.endswith("bias"))
    params[last][..., 0] += shift * torch.tensor([1.0, -1.0]).view(2, *[1] * (params[last].dim() - 2))
    rollout, _ = lifetimes(family)
    merged = rollout.merged()
    s, alive = merged.observation.argmax(-1).T, merged.alive.T.float()
    steps = (s[:, :-1], merged.action.T, s[:, 1:], merged.reward.T, alive, (~merged.ended).T.float())
    counts = algo.dynamics.counted(*steps)
    _, mean, unknown = algo.dynamics.decode(params, counts)
    n = counts["visits"]
    assert n.min() == 0 and n.max() > 5
    torch.testing.assert_close(mean, (w * μ0 + counts["total_reward"]) / (w + n))
    torch.testing.assert_close(unknown, (1 / (τ * (w + n)) + (w * shift / (w + n)) ** 2).sqrt())


@pytest.mark.parametrize("optimism", [0, 2])
def test_it_plans_with_so_many_standard_deviations_added_to_every_expected_reward(optimism):
    family, algo = make(f"algo.tabular.optimism={optimism}")
    params = {name: θ + 0.3 for name, θ in algo.meta_params.items()}
    _, percepts = lifetimes(family)
    memory = algo.dynamics.initial_memory(params, 3)
    for t, percept in enumerate(percepts):
        distribution, memory = algo.dynamics.act(params, memory, percept)
        P, mean, unknown = algo.dynamics.decode(params, {name: memory[name].flatten(0, 1) for name in COUNTS})
        q = finite_horizon_q(P, mean + optimism * unknown, horizon=4)[:, t % 4]  # episodes of 4 steps
        here = q.gather(1, percept.observation.argmax(-1).view(-1, 1, 1).expand(-1, 1, 2)).squeeze(1)
        assert torch.equal(distribution.logits.flatten(0, 1) == 0, here == here.amax(-1, keepdim=True))


@pytest.mark.parametrize("axis", ["state", "action"])
def test_permuting_states_or_actions_permutes_the_posterior(axis):
    family, algo = make()
    rollout, _ = lifetimes(family)
    merged = rollout.merged()
    params = {name: θ + 0.3 for name, θ in algo.meta_params.items()}  # the same for all states and actions
    renamed = torch.tensor([2, 0, 1]) if axis == "state" else torch.tensor([1, 0])
    s, a = merged.observation.argmax(-1).T, merged.action.T
    alive, followed, r = torch.ones_like(s[:, 1:]).float(), (~merged.ended).T.float(), merged.reward.T

    def decoded(s, a):
        return algo.dynamics.decode(params, algo.dynamics.counted(s[:, :-1], a, s[:, 1:], r, alive, followed))

    P, mean, unknown = decoded(s, a)
    other = decoded(renamed[s], a) if axis == "state" else decoded(s, renamed[a])
    dim = 1 if axis == "state" else 2
    wanted = other[0].index_select(dim, renamed)
    torch.testing.assert_close(wanted.index_select(3, renamed) if axis == "state" else wanted, P)
    for x, y in zip(other[1:], (mean, unknown), strict=True):
        torch.testing.assert_close(x.index_select(dim, renamed), y)


def test_acting_and_learning_count_the_same():
    family, algo = make()
    rollout, percepts = lifetimes(family)
    merged, memory = rollout.merged(), algo.start(3).memory
    s, ended = merged.observation.argmax(-1).T, merged.ended.T
    for t, percept in enumerate(percepts):
        memory = algo.dynamics.observe(algo.meta_params, memory, percept)
        past = (torch.arange(len(percepts)) < t).float().expand(len(s), -1)
        counts = algo.dynamics.counted(
            s[:, :-1], merged.action.T, s[:, 1:], merged.reward.T * past, past, past * ~ended
        )
        for name in COUNTS:
            torch.testing.assert_close(memory[name].flatten(0, 1), counts[name])
