"""RL²: learning from exactly the collected steps, over all episodes of a lifetime."""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
import torch
from diagnostic import NUM_ACTIONS, PaysAction
from suited import composed, suited
from torch import Tensor

from metarl_run.algo.meta_optimizer.adam import Adam
from metarl_run.algo.rl2 import RL2
from metarl_run.config.compose import compose_points
from metarl_run.env.base import Task, TaskFamily
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.learner.ppo import PPO
from metarl_run.lifetime import live
from metarl_run.network.constants import WithConstants
from metarl_run.network.gru import GRU
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Lifetime, Percept, Rollout

M, B = 5, 3


def ppo(action_space, **changes):
    numbers = {
        "clip": 0.2,
        "epochs": 3,
        "discount": 0.95,
        "discount_steps": False,
        "lifetime_discount": 0.95,
        "gae_lambda": 0.9,
        "value_weight": 0.5,
        "value_scale": 1.0,
        "entropy_weight": 0.0,
        "standardise": True,
        "average": "steps",
        "policy": "auto",
        "initial_deviation": 1.0,
    }
    return PPO(action_space=action_space, **{**numbers, **changes})


def rl2(family, *, episodes=2, hidden=16, lr=0.01, **changes):
    """An RL² agent with a GRU for `family`; `changes` are those of its learner."""
    learner = ppo(family.action_space, **changes)

    def make_network(num_inputs, heads, constants):
        gru = GRU(num_inputs=num_inputs, heads=heads, hidden=hidden)
        network = WithConstants(network=gru, constants=constants)
        return network, network.init(torch.Generator().manual_seed(0))

    return RL2(
        learner=learner,
        make_network=make_network,
        observation_space=family.observation_space,
        action_space=family.action_space,
        episodes=episodes,
        minibatches=2,
        max_kl=0.1,
        meta_optimizer=Adam(lr=lr, decay=0.0, max_grad_norm=10.0),
    )


def opinionated(algo):
    """The same agent with parameters far from where they start, so that what it does depends on what it remembers."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for θ in algo.meta_params.values():
            θ.add_(torch.randn(θ.shape, generator=generator), alpha=0.2)
    return algo


def lifetimes(family, algo, episodes, seed=0, tasks=M, envs=B):
    """The lifetime that `algo` collects, and the percepts and distributions of its every step."""
    generator = torch.Generator().manual_seed(seed)
    env = TaskVectorEnv(
        family, family.sample(tasks, "meta_train", generator), episodes_per_task=envs, generator=generator
    )
    percepts, chosen = [], []

    def noting(agent, percept):
        distribution, memory = type(algo).act(algo, agent, percept)
        percepts.append(Percept(*(part.clone() for part in percept)))
        chosen.append(distribution)
        return distribution, memory

    algo.act = noting
    lifetime = live(algo, env, generator, adaptation_steps=episodes - 1)
    del algo.act
    return lifetime, percepts, chosen


def built(env, network, *overrides):
    arguments = ["logger=files", "algo=rl2", f"env={env}", f"network={network}", *overrides]
    family, algo = build_agent(composed(*arguments).config, Streams(0, torch.device("cpu")))
    return family, opinionated(algo)


def along(steps, rollout):
    """One tensor per step, `[M, B, …]`, as one of all collected steps, `[M, T, B, …]`."""
    return torch.stack(steps, 1)[:, : rollout.reward.shape[1]]


# --- The memory is that of the lifetime, and learning starts from where acting did ---

NETWORKS = ["gru", "lstm", "min_gru", "transformer"]
FAMILIES = {  # the option, the episodes of a lifetime and further overrides
    "uneven": ("cartpole_family", 3, ["env.horizon=40"]),
    "many episodes": ("random_mdp", 12, ["env.horizon=5"]),
    "continuous": ("navigation", 2, ["env.horizon=20"]),
    "by state": ("random_mdp", 12, ["env.horizon=5", "algo.encoding=transition", "network.read=observation"]),
    "from a hypernetwork": (
        "random_mdp",
        12,
        ["env.horizon=5", "network.hidden=16", "network.read=hypernetwork", "network.read_units=4"],
    ),
}


CASES = [(network, case) for network in NETWORKS for case in [*FAMILIES][:4]]
CASES += [("ssd", "by state"), ("min_gru", "from a hypernetwork")]


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def remembered(request):
    """An agent, its rollout of several episodes, and log π of every action at the time, `[M, T, B]`."""
    network, case = request.param
    env, episodes, overrides = FAMILIES[case]
    family, algo = built(env, network, *overrides)
    lifetime, _, chosen = lifetimes(family, algo, episodes)
    (rollout,) = lifetime.rollouts
    actions = rollout.action.unbind(1)
    log_prob = torch.stack([π.log_prob(a) for π, a in zip(chosen, actions, strict=False)], 1)
    if case == "uneven":
        assert len(rollout.alive.sum(1).unique()) > 5
    return family, algo, rollout, log_prob


def recomputed(algo, rollout, dtype=torch.float32):
    """log π of every action by one pass over the lifetimes, `[T, N]`."""
    merged = rollout.merged()
    params = {name: tensor.to(dtype) for name, tensor in algo.meta_params.items()}
    with torch.no_grad():
        output = algo.network.sequence(params, algo.senses(merged).to(dtype))
    return algo.learner.policy(output).log_prob(merged.action)


def test_log_probs_recomputed_are_those_of_the_rollout(remembered):
    _, algo, rollout, log_prob = remembered
    merged = log_prob.transpose(0, 1).flatten(1, 2)
    alive = rollout.merged().alive
    assert merged[alive].std() > 0.05
    torch.testing.assert_close(recomputed(algo, rollout)[alive], merged[alive], rtol=0, atol=1e-5)


def test_the_order_and_number_of_tasks_do_not_matter(remembered):
    """In double precision: how a processor rounds a product may depend on how many rows it has."""
    _, algo, rollout, _ = remembered
    straight = recomputed(algo, rollout, torch.float64).unflatten(1, (M, B))
    for order in (torch.tensor([3, 0, 4, 1, 2]), torch.tensor([2])):
        some = Rollout(*(x[order] for x in rollout.of_steps), memory={})
        anew = recomputed(algo, some, torch.float64).unflatten(1, (-1, B))
        torch.testing.assert_close(anew, straight[:, order], rtol=0, atol=1e-12)


def test_a_memory_reset_between_episodes_would_be_seen(remembered):
    """So that the test above can fail: from the initial memory at the second episode, the log-probs are others."""
    _, algo, rollout, log_prob = remembered
    merged = rollout.merged()
    second = int(merged.ended[:, 0].nonzero()[0]) + 1
    with torch.no_grad():
        output = algo.network.sequence(algo.meta_params, algo.senses(merged)[second:, :1])
    forgetful = algo.learner.policy(output).log_prob(merged.action[second:, :1])[:, 0]
    alive = merged.alive[second:, 0]
    assert alive.any()
    assert (forgetful - log_prob[0, second:, 0])[alive].abs().max() > 1e-3


@pytest.mark.parametrize("network", NETWORKS)
def test_the_first_step_of_learning_starts_from_the_policy_that_acted(network):
    """The first minibatch: old log-probs are those of the rollout, so the ratio is 1 and the divergence 0."""
    family, algo = built("cartpole_family", network, "env.horizon=30", "algo.episodes=3", "algo.meta_optimizer.lr=1e-4")
    lifetime, _, chosen = lifetimes(family, algo, algo.episodes)
    merged, seen = lifetime.rollouts[0].merged(), []

    def noting(output, experience, behaviour):
        seen.append((output, experience, behaviour))
        return type(algo.learner).loss(algo.learner, output, experience, behaviour)

    algo.learner.loss = noting
    algo.meta_update(lambda adaptation_steps: lifetime)
    output, experience, behaviour = seen[0]
    new, old = algo.learner.log_prob(output, experience).detach(), behaviour.log_prob(experience.action)
    assert algo.learner.divergence(behaviour, output, experience).abs() < 1e-7
    logits = along([π.logits for π in chosen], lifetime.rollouts[0]).transpose(0, 1).flatten(1, 2)
    acted = chosen[0]._replace(logits=logits).log_prob(merged.action)[:, :: algo.outer.minibatches]
    torch.testing.assert_close(old, acted, rtol=0, atol=1e-6)  # how exp is rounded depends on a row's place
    torch.testing.assert_close(new[experience.alive], acted[experience.alive], rtol=0, atol=1e-5)
    assert len(seen) > 1 and not torch.equal(algo.learner.log_prob(seen[-1][0], seen[-1][1]), old), "it went on to move"


# --- Trap 5: every end and every last reward is observed ---


@dataclass(frozen=True)
class Secret(Task):
    """Tasks that pay for one action alone."""

    action: Tensor


class Clock(NamedTuple):
    time: Tensor


class PaysAtTheEnd(TaskFamily):
    """Three steps; the reward is 1 if the last action is the secret one, at the last step alone, else 0."""

    provides = ("discrete_actions",)

    def __init__(self, horizon: int = 3) -> None:
        self.horizon = horizon
        self.observation_space = gymnasium.spaces.Box(0, np.inf, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)

    def sample(self, num_tasks: int, split: str, generator: torch.Generator) -> Secret:
        return Secret(torch.randint(2, (num_tasks,), generator=generator))

    def reset(self, task: Secret, num_episodes: int, generator: torch.Generator) -> Clock:
        return Clock(torch.zeros(task.num_tasks, num_episodes))

    def step(self, task: Secret, state: Clock, action: Tensor, noise: None):
        time = state.time + 1
        over = time >= self.horizon
        return Clock(time), (over & (action == task.action[:, None])).float(), over

    def observe(self, task: Secret, state: Clock) -> Tensor:
        return state.time.unsqueeze(-1).clone()


def test_the_second_episode_begins_with_the_last_reward_of_the_first_and_its_end():
    family = PaysAtTheEnd()
    algo = opinionated(rl2(family))
    lifetime, _, _ = lifetimes(family, algo, episodes=2)
    (rollout,) = lifetime.rollouts
    x = algo.senses(rollout.merged())  # observation, action 0, action 1, reward, end
    paid = rollout.merged().reward[2]
    assert {0.0, 1.0} == set(paid.tolist())
    assert (x[0] == torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0])).all()  # a lifetime begins as if after action 0
    assert torch.equal(x[3, :, 0], torch.zeros(M * B))
    assert torch.equal(x[3, :, 1:3].argmax(-1), rollout.merged().action[2])
    assert torch.equal(x[3, :, 3], paid)
    assert x[:, :, 4].T.tolist() == [[1, 0, 0, 1, 0, 0]] * (M * B)
    assert (x[[1, 2, 4, 5], :, 3] == 0).all(), "nothing is paid before the last step"


def test_a_transition_is_told_by_its_pair_and_its_reward():
    """The pair (s, a) that was left behind and r times it, across the end of an episode as well; nothing at first."""
    family, algo = built("random_mdp", "gru", "env.horizon=3", "algo.encoding=transition")
    lifetime, _, _ = lifetimes(family, algo, episodes=2)
    merged = lifetime.rollouts[0].merged()
    x = algo.senses(merged)
    S, A = 10, 5
    assert x.shape[-1] == algo.num_inputs() == S + A + 2 + 2 * S * A
    pair, reward = x[..., S + A + 2 :].split(S * A, -1)
    assert not pair[0].any() and not reward[0].any()
    number = merged.observation[:-2].argmax(-1) * A + merged.action[:-1]
    assert torch.equal(pair[1:].argmax(-1), number) and torch.equal(pair[1:].sum(-1), torch.ones(5, M * B))
    assert torch.equal(reward[1:].gather(-1, number.unsqueeze(-1)).squeeze(-1), merged.reward[:-1])
    assert torch.equal((reward != 0).sum(-1)[1:], torch.ones(5, M * B, dtype=torch.int64))


@pytest.mark.parametrize("env", ["cartpole_family", "navigation", "random_mdp"])
def test_the_percepts_of_a_rollout_are_those_that_the_agent_saw(env):
    family, algo = built(env, "gru", "env.horizon=15")
    lifetime, percepts, _ = lifetimes(family, algo, episodes=3)
    (rollout,) = lifetime.rollouts
    for name, part in rollout.percepts()._asdict().items():
        assert torch.equal(part, along([getattr(percept, name) for percept in percepts], rollout)), name


def test_after_training_the_second_episode_profits_from_the_first():
    """Nothing but the reward at the end of the first episode tells what will pay at the end of the second."""
    family = PaysAtTheEnd(horizon=2)
    algo = rl2(family, lr=0.02)
    seeds = iter(range(1000))
    for _ in range(60):
        algo.meta_update(lambda adaptation_steps: lifetimes(family, algo, 2, next(seeds), tasks=100, envs=1)[0])
    reward = lifetimes(family, algo, 2, seed=5000, tasks=400, envs=1)[0].rollouts[0].reward
    first, second = reward[:, :2].sum(1).mean(), reward[:, 2:].sum(1).mean()
    assert abs(first - 0.5) < 0.1
    assert second > 0.95


# --- The value function learns ---


def test_the_parameters_behind_the_value_change_and_explain_more_and_more():
    family, algo = built("cartpole_family", "gru", "env.horizon=20", "algo.episodes=2")
    lifetime, _, _ = lifetimes(family, algo, algo.episodes)
    before = {name: θ.detach().clone() for name, θ in algo.meta_params.items() if not name.startswith("policy")}
    algo.outer.max_kl = math.inf  # the same lifetimes again and again
    explained = [algo.meta_update(lambda _: lifetime)["explained_variance"].item() for _ in range(15)]
    assert before.keys() > {"value.weight", "value.bias", "memory.weight"}
    assert all(not torch.equal(θ, algo.meta_params[name]) for name, θ in before.items())
    assert explained[-1] > max(explained[0] + 0.3, 0.5)


# --- The end of an episode, of a lifetime, and of what is known ---


def one_env(reward, terminated, truncated):
    T = len(reward)

    def column(numbers, dtype):
        return torch.tensor(numbers, dtype=dtype)[:, None]

    return Rollout(
        observation=torch.zeros(T + 1, 1, 1),
        action=torch.zeros(T, 1, dtype=torch.int64),
        reward=column(reward, torch.float64),
        terminated=column(terminated, torch.bool),
        truncated=column(truncated, torch.bool),
        alive=torch.ones(T, 1, dtype=torch.bool),
        memory={},
    )


def advantages(rollout, value, **changes):
    learner = ppo(gymnasium.spaces.Discrete(2), **changes)
    returns, baseline = learner.returns_and_baseline({"value": value[:, None, None]}, rollout)
    return (returns - baseline).squeeze(-1)


@pytest.mark.parametrize("lifetime_discount", [0.0, 0.25, 1.0])
def test_advantages_run_on_across_the_ends_of_episodes_by_hand(lifetime_discount):
    """Episodes of two steps, one and two, the first cut, the second ended, the third cut, and with it the lifetime."""
    rollout = one_env([1, 2, 4, 8, 16], terminated=[0, 0, 1, 0, 1], truncated=[0, 1, 0, 0, 0])
    v = torch.tensor([3.0, 5.0, 7.0, 9.0, 11.0, 1e6], dtype=torch.float64)
    γ, λ, g = 0.5, 0.5, lifetime_discount
    A4 = 16 - 11  # nothing follows the lifetime
    A3 = 8 + γ * 11 - 9 + γ * λ * A4
    A2 = 4 + g * 9 - 7 + g * λ * A3
    A1 = 2 + g * 7 - 5 + g * λ * A2
    A0 = 1 + γ * 5 - 3 + γ * λ * A1
    ours = advantages(rollout, v, discount=γ, gae_lambda=λ, lifetime_discount=g)
    assert ours.tolist() == [A0, A1, A2, A3, A4]


def test_within_a_lifetime_it_does_not_matter_why_an_episode_ended():
    """Cut or ended, what follows is the next episode's first state."""
    v = torch.tensor([3.0, 5.0, 7.0, 9.0], dtype=torch.float64)
    cut, ended = [0, 1, 0], [0, 0, 0]
    numbers = {"discount": 0.5, "gae_lambda": 0.5, "lifetime_discount": 0.75}
    one = advantages(one_env([1, 2, 4], terminated=ended, truncated=cut), v, **numbers)
    other = advantages(one_env([1, 2, 4], terminated=cut, truncated=ended), v, **numbers)
    assert torch.equal(one, other)


@pytest.mark.parametrize("lifetime_discount", [0.0, 0.9])
def test_what_never_terminates_is_worth_1_over_1_minus_discount(lifetime_discount):
    """One state, reward 1, lifetimes of one episode: cut, the state is worth 1/(1 − γ), however lifetimes go on."""
    γ, T = 0.9, 5

    def fixed_point(terminated, truncated):
        rollout, value = one_env([1] * T, terminated, truncated), torch.zeros(T + 1, dtype=torch.float64)
        for _ in range(150):
            target = value[:-1] + advantages(rollout, value, discount=γ, lifetime_discount=lifetime_discount)
            value = torch.cat([target, target[:1]])  # cut, it goes on in the only state there is
        return value[0].item()

    never, limit = [0] * T, [0] * (T - 1) + [1]
    assert fixed_point(never, limit) == pytest.approx(1 / (1 - γ))
    assert fixed_point(limit, never) == pytest.approx((1 - γ**T) / (1 - γ))


def test_the_lifetime_of_an_agent_ends_for_good():
    """The outer learner's view of rollouts: no value after the last step of an env, whichever end that was."""
    family = PaysAction(horizon=9, uneven=True)
    algo = opinionated(rl2(family, episodes=3))
    lifetime, _, _ = lifetimes(family, algo, 3)
    truncated = lifetime.rollouts[0]._replace(
        terminated=torch.zeros_like(lifetime.rollouts[0].terminated), truncated=lifetime.rollouts[0].terminated
    )
    seen = []

    def noting(output, experience, behaviour):
        seen.append((output, experience))
        return type(algo.learner).loss(algo.learner, output, experience, behaviour)

    algo.learner.loss = noting
    algo.outer.max_kl = math.inf  # the same lifetimes twice
    for rollout in (lifetime.rollouts[0], truncated):
        seen.clear()
        algo.meta_update(lambda _, rollout=rollout: Lifetime(lifetime.agents, [rollout], policy=lifetime.policy))
        output, experience = seen[0]
        returns, _ = algo.learner.returns_and_baseline(output, experience)
        assert experience.last.sum(0).tolist() == [1] * experience.reward.shape[1]
        torch.testing.assert_close(returns[experience.last], experience.reward[experience.last])


def test_nothing_flows_from_steps_after_a_lifetime():
    family = PaysAction(horizon=9, uneven=True)
    algo = opinionated(rl2(family, episodes=2))
    lifetime, _, _ = lifetimes(family, algo, 2)
    merged = lifetime.rollouts[0].merged()
    dead = ~merged.alive
    assert dead.any()
    generator = torch.Generator().manual_seed(0)
    output = {
        "policy": torch.randn(len(dead) + 1, dead.shape[1], NUM_ACTIONS, generator=generator),
        "value": torch.randn(len(dead) + 1, dead.shape[1], 1, generator=generator),
    }
    after_end = torch.cat([dead, torch.ones_like(dead[:1])])
    experience = merged._replace(terminated=merged.terminated | merged.last)
    others = {name: torch.where(after_end[..., None], x + 1e3, x) for name, x in output.items()}
    loss, _ = algo.learner.loss(output, experience)
    torch.testing.assert_close(algo.learner.loss(others, experience)[0], loss)


# --- Every step is a step ---


@pytest.mark.parametrize("uneven", [False, True])
def test_as_many_transitions_as_steps_and_none_across_a_reset(uneven):
    """Slots count their steps: up by one within an episode, to 0 where another begins."""
    family = PaysAction(horizon=9, length=4, uneven=uneven)
    episodes = 3
    lifetime, _, _ = lifetimes(family, opinionated(rl2(family)), episodes)
    (rollout,) = lifetime.rollouts
    length = torch.arange(1, B + 1) if uneven else torch.full((B,), 4)
    assert torch.equal(rollout.alive.sum(1), (episodes * length).expand(M, B))
    assert rollout.env_steps == M * episodes * int(length.sum())
    assert torch.equal((rollout.ended & rollout.alive).sum(1), torch.full((M, B), episodes))
    assert not (rollout.ended & ~rollout.alive).any()
    before, after = rollout.observation[:, :-1, :, 0], rollout.observation[:, 1:, :, 0]
    inside = rollout.alive & (~rollout.ended | rollout.last)  # the last of all leads to the true final observation
    assert torch.equal(after[inside], before[inside] + 1)
    assert (after[rollout.ended & ~rollout.last] == 0).all()
    steps = torch.arange(rollout.reward.shape[1])[:, None]
    assert torch.equal(before[0][rollout.alive[0]], (steps % length).float()[rollout.alive[0]])


def test_every_env_runs_the_given_number_of_episodes_truncated_or_terminated():
    family, algo = built("cartpole_family", "gru", "env.horizon=15")
    (rollout,) = lifetimes(family, algo, 4)[0].rollouts
    ends = [(each & rollout.alive).sum(1) for each in (rollout.terminated, rollout.truncated)]
    assert ((ends[0] > 0) & (ends[1] > 0)).any(), "some envs have both"
    assert (ends[0] + ends[1] == 4).all()
    assert (rollout.ended & rollout.last).sum(1).eq(1).all()


# --- Against the Bayes-optimal two-armed bandit, by dynamic programming ---

PULLS = 4


@functools.cache
def bayes_optimal(wins=(0, 0), losses=(0, 0), left=PULLS):
    """The largest expected number of wins, arms' probabilities being uniform: Beta(1 + wins, 1 + losses) afterwards."""
    if left == 0:
        return 0.0
    values = []
    for arm in range(2):
        p = (1 + wins[arm]) / (2 + wins[arm] + losses[arm])
        won, lost = (tuple(count + (other == arm) for other, count in enumerate(counts)) for counts in (wins, losses))
        values.append(p * (1 + bayes_optimal(won, losses, left - 1)) + (1 - p) * bayes_optimal(wins, lost, left - 1))
    return max(values)


def test_two_pulls_by_hand():
    """The first pull is even; after a win (2/3 on that arm) stay, after a loss (1/3) try the other (1/2)."""
    assert bayes_optimal(left=1) == 0.5
    assert bayes_optimal(left=2) == pytest.approx(0.5 * (1 + 2 / 3) + 0.5 * 0.5)


def test_rl2_approaches_the_bayes_optimal_bandit_within_three_per_cent():
    config = (
        compose_points(
            [
                *("algo=rl2", "env=bandit", "env.num_arms=2", "logger=files", "network.hidden=16"),
                *(f"algo.episodes={PULLS}", "algo.minibatches=2", "algo.max_kl=0.1", "algo.meta_optimizer.lr=1e-2"),
                *("learner.discount=1", "learner.epochs=4"),
            ]
        )
        .points[0]
        .config
    )
    family, algo = build_agent(config, Streams(0, torch.device("cpu")))
    generator = torch.Generator().manual_seed(0)

    def lives(adaptation_steps, num_tasks=512):
        tasks = family.sample(num_tasks, "meta_train", generator)
        env = TaskVectorEnv(family, tasks, episodes_per_task=1, generator=generator)
        with torch.no_grad():
            return live(algo, env, generator, adaptation_steps=adaptation_steps)

    def earned():
        reward = lives(PULLS - 1, num_tasks=20_000).rollouts[0].reward
        assert reward.shape[1] == PULLS
        return float(reward.sum(1).mean())

    assert earned() < 0.9 * bayes_optimal()  # it starts at random, which earns 2
    for _ in range(60):
        algo.meta_update(lives)
    assert 0.97 * bayes_optimal() < earned() < 1.02 * bayes_optimal()


@pytest.mark.parametrize("algo", ["rl2", "rl3", "varibad", "meta_q", "model_based"])
def test_meta_training_collects_lifetimes_of_as_many_episodes_as_configured(algo):
    """A lifetime of K adaptation steps has K + 1 episodes in each env."""
    point, _ = suited("logger=files", f"algo={algo}", "env=random_mdp", "algo.episodes=7")
    _, agent = build_agent(point.config, Streams(0, torch.device("cpu")))

    class Asked(Exception):
        pass

    def live(adaptation_steps, *more, **others):
        raise Asked(adaptation_steps)

    with pytest.raises(Asked, match=r"^6$"):
        agent.meta_update(live)


# --- Predicted rewards ---


def test_predicting_rewards_adds_its_weighted_gradient_and_leaves_the_rest_alone():
    """One optimiser step: with weight 0 that of an agent that predicts nothing, else the head and the memory move."""
    told = ["env.horizon=3", "algo.minibatches=1", "learner.epochs=1"]

    def updated(*more):
        family, algo = built("random_mdp", "gru", *told, *more)
        for name, θ in algo.meta_params.items():  # the same, whether there is one more head or not
            seed = sum(map(ord, name))
            θ.data = 0.3 * torch.randn(θ.shape, generator=torch.Generator().manual_seed(seed))
        metrics = algo.meta_update(lambda _: lifetimes(family, algo, algo.episodes)[0])
        return algo.meta_params, metrics

    plain, without = updated()
    still, ignored = updated("algo.predict=reward", "algo.prediction_weight=0")
    moved, told_error = updated("algo.predict=reward", "algo.prediction_weight=10")
    assert "reward_error" not in without and still.keys() - plain.keys() == {
        f"reward.{part}" for part in ("weight", "shortcut", "bias")
    }
    for name, θ in plain.items():
        torch.testing.assert_close(still[name], θ, rtol=0, atol=1e-5)
    assert told_error["reward_error"] == pytest.approx(ignored["reward_error"].item(), rel=1e-5)
    assert told_error["loss"] - ignored["loss"] == pytest.approx(10 * told_error["reward_error"].item(), rel=1e-4)
    assert not torch.equal(moved["memory.weight"], still["memory.weight"])


# --- Step size and entropy bonus along meta-training ---


def test_step_size_and_entropy_fall_as_they_are_told_and_go_on_where_they_were():
    """Three meta-iterations: geometrically from .1 over √(.1 · .001) to .001, linearly from .2 over .1 to 0, and γ."""
    told = ["meta_iterations=3", "algo.final_lr=0.001", "algo.final_entropy_weight=0.0", "learner.entropy_weight=0.2"]
    told += ["algo.meta_optimizer.lr=0.1", "algo.minibatches=1", "learner.epochs=1", "env.horizon=2"]
    told += ["learner.discount=0.5", "algo.final_discount=0.9"]

    def values(algo, times):
        seen = []
        for _ in range(times):
            algo.meta_update(lambda _: lifetimes(family, algo, algo.episodes)[0])
            learner = algo.outer.learner
            assert learner.lifetime_discount == learner.discount
            seen += [(algo.meta_optimizer.lr, learner.entropy_weight, learner.discount)]
        return seen

    family, algo = built("random_mdp", "gru", *told)
    wanted = [(0.1, 0.2, 0.5), (0.01, 0.1, 0.7), (0.001, 0.0, 0.9), (0.001, 0.0, 0.9)]
    for seen, pair in zip(values(algo, 4), wanted, strict=True):
        assert seen == pytest.approx(pair)
    _, first = built("random_mdp", "gru", *told)
    values(first, 1)
    _, again = built("random_mdp", "gru", *told)
    again.load_state(first.state())
    assert again.outer.learner.discount == 0.5
    assert values(again, 1)[0] == pytest.approx(wanted[1])
    assert (algo.learner.entropy_weight, algo.learner.discount) == (0.2, 0.5), "the learner itself stays as configured"


def test_an_agent_that_is_not_annealed_has_the_state_that_it_always_had():
    _, algo = built("random_mdp", "gru")
    assert algo.state().keys() == {"meta_params", "meta_optimizer"}
