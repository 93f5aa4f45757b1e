"""Computed returns are what sampled ones tend to: for every tabular family and every algorithm that suits it."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import gymnasium
import pytest
import torch
from conftest import VARIANTS
from diagnostic import NUM_ACTIONS, Bonus, CountsAdaptations, CountsEpisodes, PaysAction
from suited import composed, learns_from_data, options, provided, suits
from torch import Tensor
from torch.nn.functional import one_hot

from metarl_run.algo.random import Random
from metarl_run.env.base import Task, TaskFamily
from metarl_run.env.random_mdp import RandomMDP
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.evaluation import episode_sums
from metarl_run.exact import expected_returns, optimal_returns
from metarl_run.lifetime import live
from metarl_run.maths.planning import policy_value
from metarl_run.rollout import collect
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import AgentState

M, B = 4, 4000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_sampled(returns, algo, agent, family, tasks, seed=0):
    """The mean of many sampled episodes lies within 4 standard errors of `returns`, in every task.

    Where all episodes return the same, as where policy and task are deterministic, whatever else may happen has a
    probability below 10 / B, or it would have been seen; `returns` is as near as that.

    Returns:
        The standard errors.
    """
    env = TaskVectorEnv(family, tasks, episodes_per_task=B, generator=generator(seed))
    rollout = collect(env, algo.act, agent, generator(seed + 1))
    sampled = episode_sums(rollout.reward, rollout)[:, 0].double()
    error = sampled.std(-1) / B**0.5
    apart = (sampled.mean(-1) - torch.tensor(returns)).abs()
    allowed = torch.where(error > 0, 4 * error, 10 / B * spans(family, tasks))
    assert (apart < allowed).all()
    return error


def spans(family, tasks):
    """The largest episode return less the smallest, in each task, at most."""
    largest, smallest = tasks.mean_reward.flatten(1).clamp(min=0).amax(-1), tasks.mean_reward.flatten(1).clamp(max=0)
    return family.horizon * (largest - smallest.amin(-1))


# --- What every family and algorithm promises ---


def tabular_pairs():
    """Every option of each group with a tabular family of each kind, by a table if not by the default network.

    Families of one kind provide the same; the options take turns with them.
    """
    pairs = []
    for group in ("algo", "learner", "network"):
        for turn, option in enumerate(options(group)):
            kinds = {}
            if learns_from_data(group, option):
                continue
            for env in (env for env in options("env") if env not in VARIANTS and "tabular" in provided("env", env)):
                chosen = {"env": env, group: option}
                suited = [one for one in (chosen, {**chosen, "network": "table"}) if suits(**one)]
                if suited and (group != "network" or suited[0] is chosen):
                    arguments = [f"{key}={value}" for key, value in suited[0].items()]
                    kinds.setdefault(provided("env", env), []).append(arguments)
            pairs += [alike[turn % len(alike)] for alike in kinds.values()]
    return [pytest.param(arguments, id=" ".join(arguments[:2])) for arguments in pairs]


@pytest.mark.parametrize("arguments", tabular_pairs())
def test_sampled_episodes_agree_with_the_computed_return(arguments):
    """Of agents off from where they start, if not so far that chance is gone; of agents that remember, none."""
    config = composed("experiment=smoke", *arguments).config
    family, algo = build_agent(config, Streams(0, torch.device("cpu")))
    tasks = family.sample(M, "meta_test", generator())
    agent = algo.begin(tasks)
    if agent.memory and algo.acts_on_memory:
        assert expected_returns(algo, [agent], family, tasks) is None
        return
    noise = generator(7)
    shaken = {name: φ.detach() + 0.3 * torch.randn(φ.shape, generator=noise) for name, φ in agent.params.items()}
    agents = [agent, AgentState(shaken, {})]
    with torch.no_grad():
        returns = expected_returns(algo, agents, family, tasks)
    assert len(returns) == len(agents)
    optimum = optimal_returns(family, tasks)
    for k, agent in enumerate(agents):
        assert_sampled(returns[k], algo, agent, family, tasks, seed=2 * k)
        assert all(value <= best + 1e-9 for value, best in zip(returns[k], optimum, strict=True))
    if agent.params:
        assert returns[0] != returns[1]


def test_the_task_of_a_tabular_family_is_what_the_family_does(family):
    """First states and what follows them, by frequency, within 4 standard errors."""
    if "tabular" not in family.provides:
        return
    tasks = family.sample(M, "meta_test", generator())
    S, A = family.observation_space.shape[0], int(family.action_space.n)
    assert tasks.start.shape == (M, S)
    torch.testing.assert_close(tasks.start.sum(-1), torch.ones(M))
    assert ((tasks.transition >= 0) & (tasks.start[:, :, None, None] >= 0)).all()
    assert (tasks.transition.sum(-1) <= 1 + 1e-5).all()
    rng = generator(1)
    state = family.reset(tasks, B, rng)
    first = family.observe(tasks, state)
    assert_frequencies(first.mean(1), tasks.start, B)
    action = torch.randint(A, (M, B), generator=rng)
    now, reward, terminated = family.step(tasks, state, action, family.noise(M, B, rng))
    went_on = family.observe(tasks, now) * ~terminated.unsqueeze(-1)
    follows = torch.einsum("ms,msan->mn", tasks.start, tasks.transition) / A
    assert_frequencies(went_on.mean(1), follows, B)
    paid = torch.einsum("ms,msa->m", tasks.start, tasks.mean_reward) / A
    assert ((reward.mean(1) - paid).abs() <= 4 * reward.std(1) / B**0.5 + 1e-6).all()


def assert_frequencies(found, probability, count):
    assert ((found - probability).abs() <= 4 * (probability * (1 - probability) / count).sqrt() + 1e-6).all()


# --- Known values ---


@functools.cache
def mdps():
    distributions = {"mean_reward": ["normal", 1, 1], "concentration": 1.0}
    return RandomMDP(
        horizon=5,
        num_states=3,
        num_actions=NUM_ACTIONS,
        reward_deviation=1.0,
        meta_train=distributions,
        meta_test=distributions,
    )


def test_random_actions_are_the_uniform_policy():
    tasks = mdps().sample(M, "meta_test", generator())
    algo = Random(action_space=mdps().action_space)
    agent = algo.begin(tasks)
    uniform = torch.full((M, 3, NUM_ACTIONS), 1 / NUM_ACTIONS, dtype=torch.float64)
    value = policy_value(tasks.transition, tasks.mean_reward, uniform, horizon=5)[:, 0]
    computed = expected_returns(algo, [agent, agent], mdps(), tasks)
    torch.testing.assert_close(torch.tensor(computed), value.expand(2, M).float())
    assert computed[0] == pytest.approx(value.tolist(), abs=1e-12)


def test_row_k_is_of_agent_k():
    """An agent that always takes action k after k adaptations."""
    family, algo = mdps(), CountsAdaptations()
    tasks = family.sample(M, "meta_test", generator())
    env = TaskVectorEnv(family, tasks, episodes_per_task=2, generator=generator())
    agents = live(algo, env, generator(), adaptation_steps=3).agents
    computed = expected_returns(algo, agents, family, tasks)
    for k in range(4):
        always = one_hot(torch.full((M, 3), k), NUM_ACTIONS)
        value = policy_value(tasks.transition, tasks.mean_reward, always, horizon=5)[:, 0]
        assert computed[k] == pytest.approx(value.tolist(), abs=1e-12)


def test_the_oracle_gets_what_is_said_to_be_the_optimum():
    config = composed("algo=oracle", "env=random_mdp").config
    family, algo = build_agent(config, Streams(0, torch.device("cpu")))
    tasks = family.sample(M, "meta_test", generator())
    assert (assert_sampled(optimal_returns(family, tasks), algo, algo.begin(tasks), family, tasks) > 0).all()


def test_what_chance_has_no_part_in_is_sampled_as_computed():
    """One state, the same reward for the same action, and an agent that always takes the first."""
    distributions = {"mean_reward": ["normal", 1, 1], "concentration": 1.0}
    family = RandomMDP(
        horizon=5,
        num_states=1,
        num_actions=NUM_ACTIONS,
        reward_deviation=0.0,
        meta_train=distributions,
        meta_test=distributions,
    )
    tasks, algo = family.sample(M, "meta_test", generator()), CountsAdaptations()
    (returns,) = expected_returns(algo, [algo.begin(tasks)], family, tasks)
    assert returns == pytest.approx((5 * tasks.mean_reward[:, 0, 0]).tolist())
    assert not assert_sampled(returns, algo, algo.begin(tasks), family, tasks).any()
    with pytest.raises(AssertionError):
        assert_sampled([value + 0.1 for value in returns], algo, algo.begin(tasks), family, tasks)


def test_agents_that_remember_have_no_table():
    tasks = mdps().sample(M, "meta_test", generator())
    algo = CountsEpisodes()
    assert expected_returns(algo, [algo.begin(tasks)], mdps(), tasks) is None
    assert len(optimal_returns(mdps(), tasks)) == M


def test_families_that_are_not_tabular_have_no_exact_returns():
    family, algo = PaysAction(horizon=5), CountsAdaptations()
    tasks = Bonus(torch.zeros(M))
    assert optimal_returns(family, tasks) is None
    assert expected_returns(algo, [algo.begin(tasks)], family, tasks) is None


class Diverged(CountsAdaptations):
    """Its policy in the second task is no distribution."""

    def act(self, agent, percept):
        distribution, memory = super().act(agent, percept)
        distribution.logits[1, 0, 0] = torch.nan
        return distribution, memory


def test_a_policy_that_is_not_finite_has_no_return_and_leaves_the_others_theirs():
    tasks = mdps().sample(M, "meta_test", generator())
    sound, diverged = (
        expected_returns(algo, [algo.begin(tasks)], mdps(), tasks)[0] for algo in (CountsAdaptations(), Diverged())
    )
    assert diverged == [sound[0], None, *sound[2:]]


def test_nothing_is_drawn_at_random():
    tasks = mdps().sample(M, "meta_test", generator())
    algo = Random(action_space=mdps().action_space)
    before = torch.get_rng_state()
    one, again = (expected_returns(algo, [algo.begin(tasks)], mdps(), tasks) for _ in range(2))
    assert one == again and torch.equal(torch.get_rng_state(), before)


# --- A family that starts anywhere and ends by itself ---


@dataclass(frozen=True)
class Rooms(Task):
    transition: Tensor
    mean_reward: Tensor
    start: Tensor


class Room(NamedTuple):
    number: Tensor


class Mortal(TaskFamily):
    """Random starts; what a row of `transition` lacks to one is the probability that the step is the last."""

    provides = ("discrete_actions", "tabular")
    horizon = 6

    def __init__(self):
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (3,))
        self.action_space = gymnasium.spaces.Discrete(2)

    def sample(self, num_tasks: int, split: str, generator: torch.Generator) -> Rooms:
        going = torch.rand(num_tasks, 3, 2, 4, generator=generator).softmax(-1)[..., :3]
        reward = torch.randn(num_tasks, 3, 2, generator=generator)
        return Rooms(going, reward, torch.rand(num_tasks, 3, generator=generator).softmax(-1))

    def reset(self, task: Rooms, num_episodes: int, generator: torch.Generator) -> Room:
        return Room(torch.multinomial(task.start, num_episodes, replacement=True, generator=generator))

    def noise(self, num_tasks: int, num_episodes: int, generator: torch.Generator) -> Tensor:
        return torch.rand(1, num_tasks, num_episodes, generator=generator)

    def step(self, task: Rooms, state: Room, action: Tensor, noise: Tensor) -> tuple[Room, Tensor, Tensor]:
        index = torch.arange(len(action)).unsqueeze(-1)
        row = task.transition[index, state.number, action]
        then = (row.cumsum(-1) <= noise[0].unsqueeze(-1)).sum(-1)
        return Room(then.clamp(max=2)), task.mean_reward[index, state.number, action], then == 3

    def observe(self, task: Rooms, state: Room) -> Tensor:
        return one_hot(state.number, 3).float()


def test_random_starts_and_ends_count():
    family = Mortal()
    tasks = family.sample(M, "meta_test", generator())
    algo = Random(action_space=family.action_space)
    (returns,) = expected_returns(algo, [algo.begin(tasks)], family, tasks)
    assert (assert_sampled(returns, algo, algo.begin(tasks), family, tasks) > 0).all()
