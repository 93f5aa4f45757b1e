"""Compiled rollouts are the rollouts that they replace."""

import pytest
import torch
from suited import suited

from metarl_run import compiled
from metarl_run.compiled import CompiledRollouts
from metarl_run.compiled_act import CompiledAct
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.rollout import collect
from metarl_run.run import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Percept

pytestmark = pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # of the compiler itself

M, B = 3, 4
CARTPOLES = ("algo=maml", "env=cartpole_family", "network.hidden=[8]")


def lived(compiles, *overrides, steps=1):
    """A lifetime's rollouts, what its generators draw afterwards, and how many programs were made."""
    family, algo = build_agent(suited(*overrides)[0].config, Streams(0, torch.device("cpu")))
    dynamics, actions = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    env = TaskVectorEnv(family, family.sample(M, "meta_train", dynamics), episodes_per_task=B, generator=dynamics)
    how = CompiledRollouts(algo) if compiles else collect
    rollouts = live(algo, env, actions, adaptation_steps=steps, collect=how).rollouts
    drawn = [torch.rand(3, generator=generator) for generator in (dynamics, actions)]
    return rollouts, drawn, len(how.programs) + len(how.act.programs) if compiles else 0


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        for name in theirs._fields[:-1]:
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "overrides",
    [
        (*CARTPOLES, "env.horizon=61"),  # two rollouts by one program, and an adaptation in between
        ("algo=rl2", "env=cartpole_family", "env.horizon=61", "network.hidden=32"),
    ],
    ids=lambda overrides: " ".join(overrides[:2]),
)
def test_a_compiled_lifetime_is_the_lifetime(overrides, monkeypatch):
    """By the compiler itself."""
    monkeypatch.setattr(compiled, "STEPS", 2)  # compiled sooner
    eager, drawn, _ = lived(False, *overrides)
    found, drawn_too, programs = lived(True, *overrides)
    assert programs == 1
    assert any(rollout.terminated.any() for rollout in eager)
    assert_same(found, eager)
    assert all(map(torch.equal, drawn, drawn_too))


@pytest.mark.parametrize(
    "overrides",
    [
        *((*CARTPOLES, f"env.horizon={horizon}") for horizon in (8, 19, 200)),
        ("algo=reptile", "env=navigation", "env.horizon=21"),
        (
            "algo=maml",
            "env=navigation",
            "env.horizon=30",
            "env.goal_radius=0.3",
            "learner.policy=gaussian_state_dependent",
        ),
        ("algo=fomaml", "env=cartpole_family", "env.horizon=30", "learner=q_learning"),
        ("algo=rl2", "env=random_mdp", "network.hidden=5"),
        ("algo=rl2", "env=cartpole_family", "env.horizon=30", "network=lstm", "network.hidden=5"),
        ("algo=rl2", "env=navigation", "env.horizon=10", "network.hidden=5"),
    ],
    ids=lambda overrides: " ".join(overrides[:2]),
)
def test_what_is_compiled_is_the_lifetime(overrides, monkeypatch):
    """Traced, but not compiled: whatever is to be compiled, however episodes end."""
    monkeypatch.setattr("torch._inductor.compile", lambda graph, *_, **__: graph)
    eager, drawn, _ = lived(False, *overrides, steps=2)
    found, drawn_too, programs = lived(True, *overrides, steps=2)
    assert programs == 1
    assert_same(found, eager)
    assert all(map(torch.equal, drawn, drawn_too))


def test_a_compiled_agent_acts_by_parameters_as_they_are_now(monkeypatch):
    monkeypatch.setattr("torch._inductor.compile", lambda graph, *_, **__: graph)
    _, algo = build_agent(
        suited("algo=rl2", "env=random_mdp", "network.hidden=5")[0].config, Streams(0, torch.device("cpu"))
    )
    act, agent = CompiledAct(algo), algo.start(M)
    states = torch.eye(10).expand(M, 10, 10)
    percept = Percept(states, torch.zeros(M, 10).long(), torch.zeros(M, 10), torch.ones(M, 10, dtype=torch.bool))
    with torch.no_grad():
        agent = agent._replace(memory=act(agent, percept)[1])
        act(agent, percept)
        assert act.programs
        before = act(agent, percept)[0].logits
        for θ in algo.meta_params.values():
            θ.add_(0.1)
        after = act(agent, percept)[0].logits
        torch.testing.assert_close(after, algo.act(agent, percept)[0].logits)
    assert (after - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    "overrides",
    [
        ("algo=rl2", "env=cartpole_family", "network=transformer"),
        ("algo=rl3", "env=random_mdp", "network.hidden=4"),
        ("algo=maml", "env=random_mdp", "network=table"),
        ("algo=random", "env=cartpole_family"),
    ],
    ids=lambda overrides: " ".join(overrides[:2]),
)
def test_what_cannot_be_compiled_runs_as_ever(overrides):
    eager, drawn, _ = lived(False, *overrides)
    found, drawn_too, programs = lived(True, *overrides)
    assert programs == 0
    for ours, theirs in zip(found, eager, strict=True):
        assert all(map(torch.equal, ours[:-1], theirs[:-1]))
    assert all(map(torch.equal, drawn, drawn_too))
