"""The dynamics model of continuous observations: the statistics that it normalises by, computed anew."""

import torch

from metarl_run.algo.planning import running_statistics as running
from metarl_run.config.compose import compose_points
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams


def test_states_changes_and_rewards_are_measured_where_agents_lived():
    """Over steps that were taken; a change across the end of an episode is none."""
    point = compose_points(["logger=files", "algo=model_based", "env=cartpole_family", "env.horizon=30"]).points[0]
    family, algo = build_agent(point.config, Streams(0, torch.device("cpu")))
    generator = torch.Generator().manual_seed(0)
    task = family.sample(3, "meta_train", generator)
    env = TaskVectorEnv(family, task, episodes_per_task=2, generator=generator)
    lifetimes = live(algo, env, generator, adaptation_steps=1).rollouts[0].merged()
    algo.dynamics.model.measure(algo.meta_params, lifetimes)

    alive, s = lifetimes.alive, lifetimes.observation
    within = alive & ~lifetimes.ended
    assert within.sum() < alive.sum()  # some episode ended
    wanted = {
        "state": s[:-1][alive],
        "change": (s[1:] - s[:-1])[within],
        "reward": lifetimes.reward[alive].unsqueeze(-1),
    }
    for name, x in wanted.items():
        torch.testing.assert_close(algo.meta_params[f"{name}.mean"], x.mean(0), rtol=1e-4, atol=1e-5)
        if name != "reward":  # which is always 1
            torch.testing.assert_close(
                running.std(algo.meta_params, name), x.std(0, correction=0), rtol=1e-4, atol=1e-5
            )
