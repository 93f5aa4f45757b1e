"""Compiled rollouts are the rollouts that they replace."""

import pytest
import torch
from suited import suited

from metarl_run import compiled
from metarl_run.compiled import CompiledRollouts, rational_tanh
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.rollout import collect
from metarl_run.run import build_agent
from metarl_run.seeding import Streams

pytestmark = pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # of the compiler itself

M, B = 3, 4
FALLING = ("algo=maml", "env=cartpole_family", "env.horizon=61", "network.hidden=[8]", "algo.inner_lr=0.5")


def lived(how, *overrides, steps=1):
    """A lifetime, and what the generators draw after it."""
    family, algo = build_agent(suited(*overrides)[0].config, Streams(0, torch.device("cpu")))
    dynamics, actions = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    env = TaskVectorEnv(family, family.sample(M, "meta_train", dynamics), episodes_per_task=B, generator=dynamics)
    rollouts = live(algo, env, actions, adaptation_steps=steps, collect=how(algo)).rollouts
    return rollouts, [torch.rand(3, generator=generator) for generator in (dynamics, actions)]


def test_a_compiled_lifetime_is_the_lifetime():
    """CartPoles, of which some fall early, all fall before the horizon, or some last; and an adaptation in between."""
    eager, drawn = lived(lambda algo: collect, *FALLING)
    programs = []
    found, drawn_too = lived(lambda algo: programs.append(CompiledRollouts(algo)) or programs[0], *FALLING)
    assert len(programs[0].programs) == 1
    for x, y in zip(drawn, drawn_too, strict=True):
        assert torch.equal(x, y)
    for ours, theirs in zip(found, eager, strict=True):
        assert not theirs.alive.all() and theirs.terminated.any()
        for name in theirs._fields[:-1]:
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-6)
