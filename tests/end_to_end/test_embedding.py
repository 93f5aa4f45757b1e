"""scripts/studies/embedding: ranks and returns computed by hand, exact places, and a whole run."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from metarl_run.config.compose import compose_points
from metarl_run.config.plan import Plan
from metarl_run.run.agent import build_agent
from metarl_run.run.run import run
from metarl_run.seeding import Streams
from metarl_run.system.interruption import StopRequest

SCRIPT = Path(__file__).parents[2] / "scripts" / "studies" / "embedding.py"
SMALL = ("algo=metric_based", "env.horizon=3", "learner=reinforce", "meta_batch_size=5", "logger=files", "threads=1")
GRID = (*SMALL, "env=gridworld", "env.size=3")
MDP = (*SMALL, "env=random_mdp", "env.num_states=3", "env.num_actions=2", "algo.embedding=6")
"""Embeddings have as many entries as there are mean rewards."""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("embedding", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def agent(script, *arguments):
    streams = Streams(0, torch.device("cpu"))
    return script.Run(*build_agent(compose_points(arguments).points[0].config, streams), streams)


@pytest.mark.parametrize(
    ("x", "y", "wanted"),
    [
        ([1.0, 2, 3, 4], [10.0, 20, 300, 4000], 1),
        ([1.0, 2, 3, 4], [9.0, 7, 1, 0], -1),
        ([1.0, 2, 3, 4, 5], [2.0, 1, 4, 3, 5], 1 - 6 * 4 / (5 * 24)),  # 1 − 6 Σ d² / (n (n² − 1))
        ([1.0, 2, 3, 4], [5.0, 5, 6, 7], 4.5 / (5 * 4.5) ** 0.5),  # the latter's ranks are 1½, 1½, 3 and 4
    ],
)
def test_correlations_of_ranks_are_spearmans(script, x, y, wanted):
    assert script.spearman(torch.tensor(x), torch.tensor(y)) == pytest.approx(wanted)


def test_distances_that_are_all_equal_are_refused(script):
    with pytest.raises(SystemExit, match="all distances are equal"):
        script.spearman(torch.tensor([1.0, 2.0, 3.0]), torch.ones(3))


def test_each_pair_counts_once(script):
    assert script.pairwise(torch.tensor([[0.0, 0], [3, 4], [0, 1]])).tolist() == pytest.approx([5, 1, 18**0.5])


def test_a_stored_policy_earns_what_its_actions_lead_to(script):
    """Policy i always takes action i: up to cells 3, 6, 6; right to 1, 2, 2; down, left and staying to 0, 0, 0."""
    grid = agent(script, *GRID)
    for θ in grid.algo.policies.values():
        θ.detach().zero_()
    last = max(name for name in grid.algo.policies if name.endswith("bias"))
    grid.algo.policies[last].detach().copy_(1e3 * torch.eye(5).unsqueeze(1))
    task = grid.family.sample(40, "meta_test", torch.Generator().manual_seed(0))
    wanted = task.reward[:, [[3, 6, 6], [1, 2, 2], [0, 0, 0], [0, 0, 0], [0, 0, 0]]].sum(-1)
    assert len(wanted.unique(dim=0)) == 3, "the goal should be 2, 6, or neither"
    torch.testing.assert_close(script.served(grid, task), wanted)


@pytest.mark.parametrize("name", ["mean rewards", "optimal action values"])
def test_exact_embeddings_correlate_perfectly(script, monkeypatch, name):
    """Stored tasks are those that meta-training draws; here a policy earns the less the farther its task is."""
    mdp = agent(script, *MDP)
    task = mdp.family.sample(12, "meta_test", torch.Generator().manual_seed(0))
    standing = mdp.family.sample(5, "meta_train", mdp.streams("meta_train/standing_tasks"))
    places = script.truths(mdp.family, task)[name]
    mdp.algo.task_embeddings.copy_(script.truths(mdp.family, standing)[name])
    monkeypatch.setattr(script, "served", lambda run, task: 7 - torch.cdist(places, run.algo.task_embeddings).square())
    found = script.correlations(mdp, task, places)
    for key in (name, f"stored tasks: {name}", "a stored policy's return, negative"):
        assert found[key] == pytest.approx(1), key


def test_a_run_is_correlated_and_pictured(script, tmp_path, monkeypatch, capsys):
    point = compose_points([*MDP, "seed=3", "meta_iterations=2"]).points[0]
    folder, out = tmp_path / "run", tmp_path / "made"
    run(Plan(point.config, point.choices, list(point.overrides), in_sweep=True), folder, StopRequest())
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["embedding", str(folder), "--tasks", "6", "--episodes", "2", "--out", str(out)])
    script.main()
    record = json.loads((out / "random_mdp.json").read_text())
    assert (record["env"], record["tasks"], record["episodes"], record["seeds"]) == ("random_mdp", 6, 2, [3])
    trained = script.run_of(folder)
    row = script.correlations(trained, *script.embedded(trained, 6, 2))
    assert record["spearman"] == [pytest.approx(row)]
    assert capsys.readouterr().out.splitlines() == [f"{name:<45} {ρ:.2f}   {ρ:.2f}" for name, ρ in row.items()]
    for end in ("png", "svg"):
        assert (out / f"random_mdp_embedding.{end}").stat().st_size > 0


def test_other_algorithms_have_no_embedding(script, tmp_path, monkeypatch):
    config = compose_points(["algo=random", "env=random_mdp", "logger=files"]).points[0].config
    monkeypatch.setattr(script, "stored_plan", lambda folder: Plan(config, {}, []))
    with pytest.raises(SystemExit, match="no run of algo=metric_based"):
        script.run_of(tmp_path)
