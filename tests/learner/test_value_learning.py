"""The value function learns: the optimiser changes the parameters in use, not a stale copy of them."""

import pytest
import torch

from metarl_run.config.compose import compose_points
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Lifetime


@pytest.mark.parametrize("learner", ["actor_critic", "ppo"])
def test_the_parameters_behind_the_value_change_and_explain_more_and_more(learner):
    arguments = ["env=cartpole_family", f"learner={learner}", "algo=pretrain", "algo.meta_optimizer.lr=0.01"]
    family, algo = build_agent(compose_points(arguments).points[0].config, Streams(0, torch.device("cpu")))
    g = torch.Generator().manual_seed(0)
    env = TaskVectorEnv(family, family.sample(5, "meta_train", g), episodes_per_task=10, generator=g)
    recorded = live(algo, env, g, adaptation_steps=0).rollouts

    def same_experience_again(steps):
        return Lifetime([algo.start(5)], recorded)

    before = {name: θ.detach().clone() for name, θ in algo.meta_params.items() if name.startswith("value.")}
    explained = [algo.meta_update(same_experience_again)["explained_variance"].item()]
    assert before and all(not torch.equal(θ, algo.meta_params[name]) for name, θ in before.items())
    explained += [algo.meta_update(same_experience_again)["explained_variance"].item() for _ in range(80)]
    assert explained[0] == pytest.approx(0, abs=0.02)  # a network that starts near 0 everywhere
    assert explained[-1] > 0.3
