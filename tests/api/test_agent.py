"""Agents in a user's own loop: the same as in the lifetimes of a run, whatever kind they are of."""

import gymnasium
import numpy as np
import pytest
import torch
from agent_lab import agent_of

from metarl_run.env.standalone import FamilyEnv, FamilyVectorEnv
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live

KINDS = (
    "maml",
    "learned_optimizer",
    "meta_gradient",
    "scratch_adam",
    "rl2",
    "varibad",
    "rl3",
    "metric_based",
    "model_based",
    "thompson",
    "psrl",
    "q_learner",
    "random",
)
"""One of each: gradient steps, learned rules, inner rules with a memory, networks with memory, posteriors, planners."""

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
    agent = agent_of(f"algo={algo}")
    task = agent.family.sample(1, "meta_test", torch.Generator().manual_seed(1))
    env = TaskVectorEnv(agent.family, task, episodes_per_task=1, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        lifetime = live(agent.algo, env, torch.Generator().manual_seed(3), adaptation_steps=K)
    own = environment(agent, task)
    agent.start(own, generator=torch.Generator().manual_seed(3))
    observation, action, reward = lived(agent, own, 1)
    rollouts = lifetime.rollouts
    assert len(reward) == sum(rollout.env_steps for rollout in rollouts)
    assert np.array_equal(observation, np.concatenate([x.observation[0, :-1, 0].numpy() for x in rollouts]))
    assert np.array_equal(reward, np.concatenate([x.reward[0, :, 0].numpy() for x in rollouts]))
    chosen = torch.cat([x.action[0, :, 0] for x in rollouts])
    if isinstance(own.action_space, gymnasium.spaces.Box):
        chosen = chosen.clamp(*map(torch.from_numpy, (own.action_space.low, own.action_space.high)))
    assert np.array_equal(action, chosen.numpy())
    if not agent.remembers:
        for name, φ in lifetime.agents[-1].params.items():
            assert torch.equal(φ, agent.state.params[name]), name
