"""Agents in a user's own loop: the same as in the lifetimes of a run, whatever kind they are of."""

import os
import random
import signal
import threading

import gymnasium
import numpy as np
import pytest
import torch
from agent_lab import agent_of
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarl_run.algo.maml import MAML
from metarl_run.api.agent import Agent
from metarl_run.env.standalone import FamilyEnv, FamilyVectorEnv
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import ConfigError, NumericalError, StateError
from metarl_run.lifetime import live

KINDS = (
    "maml learner.baseline=none",
    "maml env=pendulum_family normalise.reward_unit=3 learner.baseline=none learner.standardise=false",
    "learned_optimizer learner.baseline=none",
    "rl2",
    "varibad",
    "model_based",
    "thompson",
)
"""Gradient steps, a learned rule, networks with memory, a planner in a learned model, a posterior."""

K = 2


def environment(agent, task, number=None):
    """The agent's own family as an environment of Gymnasium."""
    config = {key: value for key, value in agent.plan.config["env"].items() if key not in ("_target_", "plugins")}
    option = agent.plan.choices["env"]
    if number is None:
        return FamilyEnv(option, task=task, **config)
    return FamilyVectorEnv(option, task=task, num_envs=number, **config)


def lived(agent, env, episodes):
    """The loop of `metarl_run.api.agent`; observations, actions and rewards of every step."""
    steps = []
    for k in range(K + 1):
        for _ in range(episodes):
            observation, _ = env.reset(seed=7 if not steps else None)
            ended = False
            while not ended:
                action = agent.act(observation)
                before = observation
                observation, reward, terminated, truncated, _ = env.step(action)
                agent.observe(reward, terminated, truncated, observation)
                ended = terminated or truncated
                steps.append((before, action, reward))
        if k < K:
            agent.adapt()
    return [np.array(x) for x in zip(*steps, strict=True)]


@pytest.mark.parametrize("algo", KINDS)
def test_a_loop_of_ones_own_is_the_lifetime_of_a_run(algo):
    agent = agent_of(*f"algo={algo}".split())
    task = agent.family.sample(1, "meta_test", torch.Generator().manual_seed(1))
    env = TaskVectorEnv(agent.family, task, episodes_per_task=1, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        lifetime = live(agent.algo, env, torch.Generator().manual_seed(3), adaptation_steps=K)
    own = environment(agent, task)
    agent.start(own, generator=torch.Generator().manual_seed(3))
    observation, action, reward = lived(agent, own, 1)
    rollouts, unit = lifetime.rollouts, agent.family.reward_unit
    assert len(reward) == sum(rollout.env_steps for rollout in rollouts)
    assert np.array_equal(observation, np.concatenate([x.observation[0, :-1, 0].numpy() for x in rollouts]))
    np.testing.assert_allclose(reward, unit * np.concatenate([x.reward[0, :, 0].numpy() for x in rollouts]), rtol=1e-6)
    chosen = torch.cat([x.action[0, :, 0] for x in rollouts])
    if isinstance(own.action_space, gymnasium.spaces.Box):
        chosen = chosen.clamp(*map(torch.from_numpy, (own.action_space.low, own.action_space.high)))
    assert np.array_equal(action, chosen.numpy())
    if not agent.remembers:
        assert any(not φ.equal(lifetime.agents[0].params[name]) for name, φ in agent.state.params.items())
        for name, φ in lifetime.agents[-1].params.items():
            assert torch.equal(φ, agent.state.params[name]), name


# --- Vectors ---


def stepped(agent, env, num_steps):
    """Steps of a vector of environments; what each showed, chose, got and whether it ended."""
    steps = []
    observation, _ = env.reset(seed=7)
    for _ in range(num_steps):
        action = agent.act(observation)
        after, reward, terminated, truncated, _ = env.step(action)
        agent.observe(reward, terminated, truncated)
        steps.append((observation, action, reward, terminated, truncated))
        observation = after
    return [np.array(x) for x in zip(*steps, strict=True)]


class Counter(gymnasium.Env):
    """Episodes of these lengths in turn; it shows its name, the episode e and the step t, and pays 10 e + t.

    Those of three steps are truncated, the others terminate.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, name, lengths):
        self.name, self.lengths, self.episode = name, lengths, -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._show(), {}

    def step(self, action):
        self.t += 1
        ended = self.t == self.lengths[self.episode % len(self.lengths)]
        reward = 10.0 * self.episode + self.t
        return self._show(), reward, ended and self.t != 3, ended and self.t == 3, {}

    def _show(self):
        return np.array([self.name, self.episode, self.t, 1], np.float32)


@pytest.fixture
def given(monkeypatch):
    """What agents adapt from and to, in order."""
    calls = []
    adapt = MAML.adapt

    def adapted(algo, agent, rollout):
        calls.append((agent, rollout, adapt(algo, agent, rollout)))
        return calls[-1][2]

    monkeypatch.setattr(MAML, "adapt", adapted)
    return calls


def counters(*lengths, mode=AutoresetMode.NEXT_STEP):
    return SyncVectorEnv(
        [lambda i=i, each=each: Counter(i, each) for i, each in enumerate(lengths)], autoreset_mode=mode
    )


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_an_adaptation_learns_from_whole_episodes(mode, given):
    """However they end and are reset: what is learned from is what happened, laid out as in meta-training."""
    agent = agent_of("algo=maml")
    env = counters([2, 3], [3, 2], mode=mode)
    agent.start(env, num_tasks=1)
    stepped(agent, env, 8 if mode is AutoresetMode.NEXT_STEP else 6)
    agent.adapt()
    ((_, rollout, _),) = given
    # Each env: episodes 0 and 1 whole, and of episode 2 less than it takes
    first, second = [1.0, 2.0], [11.0, 12.0]
    assert rollout.reward[0].T.tolist() == [[*first, 0], [*second, 13], [*first, 3], [*second, 0]]
    assert rollout.alive[0].sum(0).tolist() == [2, 3, 3, 2]
    assert rollout.terminated[0].any(0).tolist() == [True, False, False, True]
    assert rollout.truncated[0].any(0).tolist() == [False, True, True, False]
    assert torch.equal(rollout.ended.sum(1), torch.ones(1, 4))
    for column, (name, episode, length) in enumerate([(0, 0, 2), (0, 1, 3), (1, 0, 3), (1, 1, 2)]):
        seen = rollout.observation[0, :, column].tolist()
        assert seen[:length] == [[name, episode, t, 1] for t in range(length)]
        if mode is AutoresetMode.NEXT_STEP:
            assert seen[length] == [name, episode, length, 1]


def test_each_task_adapts_to_its_own_episodes(given):
    """Tasks with as many episodes adapt together, others apart."""
    agent = agent_of("algo=maml")
    env = counters([2, 3], [1], [2, 3])
    agent.start(env)
    stepped(agent, env, 5)
    agent.adapt()
    (_, alike, of_two), (_, other, of_one) = given
    assert alike.reward.tolist() == [[[1.0], [2.0]]] * 2
    assert other.reward.tolist() == [[[1.0, 11.0, 21.0]]]
    assert agent.adaptation_steps == 1
    for name, φ in agent.state.params.items():
        assert torch.equal(φ, torch.cat([of_two.params[name][:1], of_one.params[name], of_two.params[name][1:]]))
    # The first and the last are in the middle of an episode, whose rest is left out
    for ended in (False, False, True, True):
        agent.act(np.full((3, 4), 0.1))
        agent.observe([1.0] * 3, [ended] * 3, [False] * 3)
    with pytest.raises(StateError, match="task 0 has no finished episode yet"):
        agent.adapt()
    del given[:]
    for reward in (9.0, 7.0):
        agent.act(np.full((3, 4), 0.2))
        agent.observe([reward] * 3, [reward == 7.0] * 3, [False] * 3)
    agent.adapt()
    assert [rollout.reward.tolist() for _, rollout, _ in given] == [[[[9.0], [7.0]]] * 2, [[[1.0, 9.0], [1.0, 7.0]]]]


def test_environments_that_are_only_reset_neither_act_nor_remember():
    """As Gymnasium's vectors do in the step after an end: the agent goes on as if that had not been."""
    agent, alone = agent_of("algo=rl2"), agent_of("algo=rl2")
    agent.start(counters([2], [9]))
    alone.start()
    x, zero = np.ones((2, 4)), [False, False]
    memory = []
    for ended in (False, True, None, False):
        agent.act(x, greedy=True)
        agent.observe([5.0 if ended is None else 1.0, 1.0], [bool(ended), False], zero)
        memory.append({name: h[0].clone() for name, h in agent.state.memory.items()})
    for ended in (False, True, False):
        alone.act(x[0], greedy=True)
        alone.observe(1.0, ended, False)
    assert all(torch.equal(memory[1][name], memory[2][name]) for name in memory[0])
    assert not all(torch.equal(memory[2][name], memory[3][name]) for name in memory[0])
    for name, h in alone.state.memory.items():
        assert torch.allclose(h[0], memory[-1][name])


# --- What a user may do wrong, and what is left alone ---


class Other(Counter):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,))


class Wide(Counter):
    action_space = gymnasium.spaces.Discrete(5)


def test_other_spaces_are_one_line():
    agent = agent_of("algo=maml")
    for env, name, got in ((Other(0, [1]), "observation_space", "(3,)"), (Wide(0, [1]), "action_space", "Discrete(5)")):
        with pytest.raises(ConfigError) as caught:
            agent.start(env)
        line = str(caught.value)
        assert "\n" not in line and line.startswith(f"error: envs: {name} must be like that of CartPoleFamily")
        assert got in line
    agent.start()
    with pytest.raises(ConfigError, match=r"observation: must have the shape \(4,\), got \(3,\)"):
        agent.act(np.zeros(3))
    agent.start(2)
    with pytest.raises(ConfigError, match=r"must have the shape \(2, 4\), got \(4,\)"):
        agent.act(np.zeros(4))
    with pytest.raises(ConfigError, match="num_tasks: must divide the number of environments, 4, got 3"):
        agent.start(4, num_tasks=3)


def test_verbs_in_a_wrong_order_are_one_line():
    agent = agent_of("algo=rl2")
    plain = Agent(agent.algo, agent.family, agent.streams, agent.plan)
    for verb in (lambda: plain.act(np.zeros(4)), plain.adapt):
        with pytest.raises(StateError, match=r"the agent has not begun"):
            verb()
    agent.start()
    with pytest.raises(StateError, match="without act before it"):
        agent.observe(1.0, False, False)
    agent.act(np.zeros(4))
    with pytest.raises(StateError, match="twice without observe"):
        agent.act(np.zeros(4))
    with pytest.raises(ConfigError, match="reward: must hold one value per environment, 1, got 2"):
        agent.observe([1.0, 2.0], False, False)
    with pytest.raises(NumericalError, match="reward: must be finite, got nan"):
        agent.observe(np.nan, False, False)
    other = agent_of("algo=oracle")
    with pytest.raises(ConfigError, match="Oracle starts from the task itself"):
        other.start()


def test_a_critic_needs_what_a_truncated_episode_led_to():
    agent = agent_of("algo=maml", "learner=actor_critic")
    for last in (None, np.ones(4)):
        agent.start()
        agent.act(np.zeros(4))
        agent.observe(1.0, False, True, last)
        if last is None:
            with pytest.raises(StateError, match="needs what the environment showed at the end of an episode"):
                agent.adapt()
        else:
            agent.adapt()


def test_the_process_is_left_as_it_was():
    """Also where the defaults of the user's program are others."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    environment_, generator = dict(os.environ), torch.random.get_rng_state()
    numpy, python, threads = np.random.get_state()[1].copy(), random.getstate(), torch.get_num_threads()
    agents, results = [agent_of("algo=maml"), agent_of("algo=rl2")], []
    torch.set_default_dtype(torch.float64)
    try:
        for agent in agents:
            thread = threading.Thread(target=lambda agent=agent: results.append(used(agent)))
            thread.start()
            thread.join()
        assert results == [torch.float32, torch.float32] and torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert environment_ == dict(os.environ) and torch.equal(generator, torch.random.get_rng_state())
    assert (numpy == np.random.get_state()[1]).all() and python == random.getstate()
    assert threads == torch.get_num_threads() and torch.is_grad_enabled()


def used(agent):
    agent.start()
    for t in range(4):
        agent.act(np.zeros(4))
        agent.observe(1.0, t % 2 == 1, False)
    agent.adapt()
    return next(iter({**agent.state.params, **agent.state.memory}.values())).dtype
