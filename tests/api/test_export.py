"""Exported policies: they act as the agent does, read by a file that needs torch alone."""

import ast
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from agent_lab import agent_of

from metarl_run.api import exported
from metarl_run.errors import ConfigError


def observations(agent):
    generator = np.random.default_rng(0)
    while True:
        yield generator.normal(size=agent.observation_space.shape).astype(np.float32)


def lived(agent, num_steps=12):
    """An agent after three episodes and, if it adapts between them, an adaptation."""
    agent.start(2, num_tasks=2)
    seen = observations(agent)
    for t in range(num_steps):
        agent.act([next(seen), next(seen)])
        ended = [t % 4 == 3, t % 3 == 2]
        agent.observe([1.0, -1.0], [False, False], ended, [next(seen), next(seen)])
    agent.adapt()
    return agent


def reader(folder):
    """The reader that lies beside an exported policy, as a module."""
    spec = importlib.util.spec_from_file_location("metarl_policy", folder / "metarl_policy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "arguments", [["algo=maml", "env=pendulum_family"], ["algo=rl2"], ["algo=varibad"]], ids=" ".join
)
def test_an_exported_policy_acts_as_the_agent_does(arguments, tmp_path):
    agent = lived(agent_of(*arguments))
    path = agent.export(tmp_path / "new" / "policy.pt2", env=1)
    policy = reader(path.parent).Policy(str(path))
    seen, actions = observations(agent), []
    for t in range(20):
        observation = next(seen)
        ours = agent.act([observation, observation], greedy=True)[1]
        theirs = policy.act(observation, greedy=True)
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6)
        actions.append(ours)
        reward, ended = float(observation.sum()), t % 7 == 6
        agent.observe([0.0, reward], [False, False], [False, ended], [observation] * 2)
        agent.waiting = None  # the other environment's episodes are not looked at
        policy.observe(reward, False, ended)
    assert len(np.unique(actions)) > 1
    policy.start()
    assert {type(policy.act(observation)) for _ in range(5)} <= {int, np.ndarray}


def test_the_reader_needs_torch_alone():
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(Path(exported.__file__).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported - set(sys.stdlib_module_names) == {"torch"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["algo=thompson"], "Thompson draws or plans before it acts"),
        (["algo=rl3"], "RL3 is no program of torch.export"),
        (["algo=rl2", "network=transformer", "env=random_mdp"], "the memory of RL2 grows"),
    ],
    ids=lambda x: x if isinstance(x, str) else " ".join(x),
)
def test_what_is_no_program_is_refused_in_one_line(arguments, reason, tmp_path, capfd):
    agent = agent_of(*arguments)
    agent.start()
    with pytest.raises(ConfigError, match=reason):
        agent.export(tmp_path / "policy.pt2")
    assert [*tmp_path.iterdir()] == [] and capfd.readouterr() == ("", "")
    with pytest.raises(ConfigError, match=r"must end with \.pt2"):
        agent.export(tmp_path / "policy.onnx")
