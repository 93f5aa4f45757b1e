"""Compiled rollouts are the rollouts that they replace."""

import pytest
import torch
from suited import suited

from metarl_run.compiled import decompositions, scan
from metarl_run.compiled.act import CompiledAct
from metarl_run.compiled.rollouts import CompiledRollouts
from metarl_run.env.vector import TaskVectorEnv, by_env
from metarl_run.lifetime import live
from metarl_run.maths.parallel import use_threads
from metarl_run.rollout import collect
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Percept

pytestmark = pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # of the compiler itself

M, B = 3, 4
CARTPOLES = ("algo=maml", "env=cartpole_family", "network.hidden=[8]")


def lived(compiles, *overrides, steps=1, kind=None):
    """A lifetime, what its generators draw afterwards, and how many programs were made."""
    family, algo = build_agent(suited(*overrides)[0].config, Streams(0, torch.device("cpu")))
    dynamics, actions = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    kind = kind or (TaskVectorEnv if compiles or not algo.remembers else StartsInAdvance)
    env = kind(family, family.sample(M, "meta_train", dynamics), episodes_per_task=B, generator=dynamics)
    how = CompiledRollouts(algo) if compiles else collect
    lifetime = live(algo, env, actions, adaptation_steps=steps, collect=how)
    drawn = [torch.rand(3, generator=generator) for generator in (dynamics, actions)]
    return lifetime, drawn, len(programs(how)) if compiles else 0


def programs(how):
    scans = [scan for scan in (how.scan, how.lifetimes.scan) if scan is not None]
    return [*how.act.programs, *(shapes for scan in scans for shapes in scan.programs)]


class StartsInAdvance(TaskVectorEnv):
    """Eager environments that draw the start states of all episodes of a lifetime in advance, as compiled ones do."""

    def start(self, episodes=1):
        self.starts, self.episodes = [], episodes
        observation = super().start(episodes)
        if not self.family.fixed_starts:
            drawn = [self.family.reset(self.task, self.episodes_per_task, self.generator) for _ in range(1, episodes)]
            self.starts = [[x.clone() for x in by_env(state)] for state in drawn]
        return observation

    def _first_states(self):
        return super()._first_states() if self.starts == [] else self._all_starts(torch.arange(self.num_envs))

    def _all_starts(self, where):
        new = self._new_starts(where)
        return type(self._state)(*(x.view(old.shape) for x, old in zip(new, self._state, strict=True)))

    def _new_starts(self, where):
        if self.family.fixed_starts:
            return super()._new_starts(where)
        number = (self.episodes - self._lefts[where]).clamp(max=len(self.starts) - 1).long()
        return [torch.stack(x)[number, where] for x in zip(*self.starts, strict=True)]


def assert_same(found, expected):
    for ours, theirs in zip(found.rollouts, expected.rollouts, strict=True):
        assert ours.memory.keys() == theirs.memory.keys()
        for x, y in zip(
            (*ours.of_steps, *ours.memory.values()), (*theirs.of_steps, *theirs.memory.values()), strict=True
        ):
            torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-6)
    assert (found.policy is None) == (expected.policy is None)
    for x, y in zip(found.policy or (), expected.policy or (), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "overrides",
    [
        (*CARTPOLES, "env.horizon=61"),  # two rollouts by one program, and an adaptation in between
        ("algo=rl2", "env=cartpole_family", "env.horizon=31", "network.hidden=32"),
        ("algo=rl2", "env=random_mdp", "env.horizon=6", "network.hidden=32"),
    ],
    ids=lambda overrides: " ".join(overrides[:2]),
)
def test_a_compiled_lifetime_is_the_lifetime(overrides, monkeypatch):
    """By the compiler itself, and in blocks side by side."""
    monkeypatch.setattr(scan, "ENVS", B)
    monkeypatch.setattr(decompositions, "LARGE", 1)  # oneDNN's products, where there are any
    eager, drawn, _ = lived(False, *overrides)
    use_threads(3)
    try:
        found, drawn_too, number = lived(True, *overrides)
    finally:
        use_threads(1)
    assert number == 1
    assert any((rollout.terminated | rollout.truncated).any() for rollout in eager.rollouts)
    assert_same(found, eager)
    assert all(map(torch.equal, drawn, drawn_too))


@pytest.mark.parametrize(
    "overrides",
    [
        *((*CARTPOLES, f"env.horizon={horizon}") for horizon in (8, 19, 200)),
        ("algo=reptile", "env=navigation", "env.horizon=21", "algo.inner_lr=1"),  # larger steps amplify rounding
        (
            "algo=maml",
            "env=navigation",
            "env.horizon=30",
            "env.goal_radius=0.3",
            "learner.policy=gaussian_state_dependent",
        ),
        ("algo=fomaml", "env=cartpole_family", "env.horizon=30", "learner=q_learning"),
        ("algo=maml", "env=random_mdp", "env.horizon=23", "network=table"),
        ("algo=maml", "env=bandit", "network.hidden=[3]"),
        ("algo=rl2", "env=random_mdp", "network.hidden=5"),
        ("algo=rl2", "env=random_mdp", "env.horizon=11", "network.hidden=5"),
        ("algo=rl2", "env=bandit", "network.hidden=5"),
        ("algo=rl2", "env=bandit_gaussian", "network.hidden=5"),
        ("algo=rl2", "env=gridworld", "network=lstm", "network.hidden=5"),
        ("algo=rl2", "env=random_mdp", "network=min_gru", "network.hidden=5", "network.read=hypernetwork"),
        ("algo=rl2", "env=navigation", "env.horizon=40", "env.goal_radius=0.3", "network.hidden=5"),
        ("algo=rl2", "env=cartpole_family", "env.horizon=12", "network=lstm", "network.hidden=5"),
        ("algo=rl2", "env=navigation", "env.horizon=10", "network.hidden=5"),
    ],
    ids=lambda overrides: " ".join(overrides[:2]),
)
def test_what_is_compiled_is_the_lifetime(overrides, monkeypatch):
    """Traced, but not compiled: whatever is to be compiled, however episodes end."""
    monkeypatch.setattr("metarl_run.compiled.compiler.cached", lambda graph, *_: graph)
    eager, drawn, _ = lived(False, *overrides, steps=2)
    found, drawn_too, number = lived(True, *overrides, steps=2)
    assert number == 1
    assert_same(found, eager)
    assert all(map(torch.equal, drawn, drawn_too))


def test_compiled_lifetimes_are_lived_by_parameters_as_they_are_now(monkeypatch):
    monkeypatch.setattr("metarl_run.compiled.compiler.cached", lambda graph, *_: graph)
    overrides = "algo=rl2", "env=random_mdp", "network.hidden=5"
    family, algo = build_agent(suited(*overrides)[0].config, Streams(0, torch.device("cpu")))
    how, lives = CompiledRollouts(algo), []
    for change in (0.0, 0.1):
        with torch.no_grad():
            for θ in algo.meta_params.values():
                θ.add_(change)
        for collects in (how, collect):
            dynamics, actions = (torch.Generator().manual_seed(seed) for seed in (1, 2))
            env = TaskVectorEnv(
                family, family.sample(M, "meta_train", dynamics), episodes_per_task=B, generator=dynamics
            )
            lives.append(live(algo, env, actions, adaptation_steps=1, collect=collects))
    assert len(programs(how)) == 1
    assert_same(lives[0], lives[1])
    assert_same(lives[2], lives[3])
    assert (lives[2].policy.logits - lives[0].policy.logits).abs().max() > 1e-3


def test_a_compiled_agent_acts_by_parameters_as_they_are_now(monkeypatch):
    monkeypatch.setattr("metarl_run.compiled.compiler.cached", lambda graph, *_: graph)
    _, algo = build_agent(
        suited("algo=rl2", "env=random_mdp", "network.hidden=5")[0].config, Streams(0, torch.device("cpu"))
    )
    act, agent = CompiledAct(algo), algo.start(M)
    states = torch.eye(10).expand(M, 10, 10)
    percept = Percept(states, torch.zeros(M, 10).long(), torch.zeros(M, 10), torch.ones(M, 10, dtype=torch.bool))
    with torch.no_grad():
        agent = agent._replace(memory=act(agent, percept)[1])
        first = act(agent, percept)[0].logits
        assert act.programs
        before = act(agent, percept)[0].logits
        assert torch.equal(first, before), "a resumed run compiles anew"
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
        ("algo=rl2", "env=random_mdp", "network=transformer"),
        ("algo=random", "env=cartpole_family"),
    ],
    ids=lambda overrides: " ".join(overrides[:2]),
)
def test_what_cannot_be_compiled_runs_as_ever(overrides):
    eager, drawn, _ = lived(False, *overrides, kind=TaskVectorEnv)
    found, drawn_too, number = lived(True, *overrides)
    assert number == 0
    for ours, theirs in zip(found.rollouts, eager.rollouts, strict=True):
        assert all(map(torch.equal, ours.of_steps, theirs.of_steps))
    assert all(map(torch.equal, drawn, drawn_too))
