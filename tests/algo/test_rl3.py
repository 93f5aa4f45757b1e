"""RL³: inputs from its model, identical in acting and learning."""

import pytest
import torch
from forks import call

from metarl_run.config.compose import compose_points
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.maths.planning import finite_horizon_q
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams

PRIORS = ("algo.reward_prior=1", "algo.reward_weight=1", "algo.transition_weight=1", "algo.optimism=[0,1]")


def agent(*overrides):
    config = compose_points(["logger=files", *overrides]).points[0].config
    return build_agent(config, Streams(0, torch.device("cpu")))


def lifetimes(family, algo, episodes, M=3, B=2):
    generator = torch.Generator().manual_seed(0)
    tasks = family.sample(M, "meta_train", generator)
    env = TaskVectorEnv(family, tasks, episodes_per_task=B, generator=generator)
    heard = []

    def noting(self, percept):
        heard.append(algo.sense(percept, self.memory)[0])
        return act(self, percept)

    act, algo.act = algo.act, noting
    with torch.no_grad():
        rollout = live(algo, env, generator, adaptation_steps=episodes - 1).rollouts[0]
    return tasks, rollout, torch.stack(heard, 1)


@pytest.mark.parametrize("env", ["random_mdp", "bandit", "gridworld"])
@pytest.mark.parametrize("algo", ["rl3", "rl3_markov", "rl3 algo.encoding=transition"])
def test_what_is_learned_from_is_what_was_acted_on(algo, env):
    family, algo = agent(*f"algo={algo}".split(), f"env={env}", *PRIORS)
    _, rollout, heard = lifetimes(family, algo, episodes=3)
    M, T, B, F = heard.shape
    torch.testing.assert_close(algo.senses(rollout.merged()), heard.transpose(0, 1).reshape(T, M * B, F))


def test_before_any_experience_all_actions_look_alike_and_the_clock_stands_at_zero():
    family, algo = agent("algo=rl3_markov", "env=random_mdp", *PRIORS)
    _, _, heard = lifetimes(family, algo, episodes=2)
    A, H = algo.model.num_actions, family.horizon
    advantages, level, unseen, clock = heard.split([2 * A, 2, A, 2], -1)
    assert advantages[:, 0].abs().max() < 1e-5
    torch.testing.assert_close(level[:, 0], torch.tensor([1.0, 2.0]).expand_as(level[:, 0]))  # μ, and μ + β
    assert (unseen[:, 0] == 1).all()
    episode_over = torch.arange(2 * H) % H / H
    lifetime_over = torch.arange(2 * H) / (algo.episodes * H)
    torch.testing.assert_close(clock, torch.stack([episode_over, lifetime_over], -1)[None, :, None].expand_as(clock))


def test_after_long_experience_the_advantages_are_those_of_the_task():
    """A random agent in a task without noise in its rewards; enough visits leave little doubt of its transitions."""
    small = ("env.reward_deviation=0", "env.num_states=3", "env.num_actions=2", "env.horizon=4")
    family, algo = agent("algo=rl3_markov", "env=random_mdp", *small)
    tasks, rollout, heard = lifetimes(family, algo, episodes=300, M=2, B=1)
    A, H = algo.model.num_actions, family.horizon
    q = finite_horizon_q(tasks.transition, tasks.mean_reward, horizon=H)  # [M, H, S, A]
    state = rollout.observation[:, :-1, 0].argmax(-1)
    for task, t in ((0, 1190), (1, 1190), (0, 1193), (1, 1199)):
        wanted = q[task, t % H, state[task, t]]
        torch.testing.assert_close(heard[task, t, 0, :A], wanted - wanted.mean(), atol=0.15, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "phrases"),
    [
        (("algo=rl3", "env=cartpole_family"), ("algo", "tabular family", "env=bandit")),
        (("algo=rl3", "env=navigation"), ("algo", "tabular family")),
        (("algo=rl3", "env=random_mdp", "network=mlp"), ("network with memory", "network=mlp", "network=gru")),
        (("algo=rl2", "network=mlp"), ("algo", "network with memory", "network=gru")),
        (("algo=rl2", "algo.episodes=0"), ("algo.episodes", ">= 1", "at least one episode")),
        (("algo=rl2", "learner=reinforce"), ("value function", "learner=ppo")),
        (("algo=maml", "network=gru"), ("adapts by memory", "algo=rl2")),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, phrases, tmp_path):
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    problem, *hint = done.stderr.strip().splitlines()
    assert problem.startswith("error: ") and len(hint) <= 1
    assert all(word in done.stderr for word in phrases)
    assert not list(tmp_path.iterdir())
