"""scripts/studies/pairs distinguishes pairs that run, are refused, or fail."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "studies" / "pairs.py"
BROKEN = """
from metarl_run.algo.random import Random
class Breaks(Random):
    def act(self, agent, percept):
        raise RuntimeError("out of order")
class Picky(Random):
    def __init__(self, *, action_space):
        raise ValueError("action_space must be larger")
"""


@pytest.fixture
def pairs():
    spec = importlib.util.spec_from_file_location("pairs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_pair_that_suits_runs_with_the_usual_network(pairs):
    pair = pairs.examine("maml", "reinforce", "random_mdp")
    assert (pair.network, pair.outcome) == ("mlp", pairs.Outcome("ran"))


def test_another_network_is_taken_where_the_usual_one_is_refused(pairs):
    pair = pairs.examine("random", "tabular_q_learning", "random_mdp")
    assert (pair.network, pair.outcome) == ("table", pairs.Outcome("ran"))


def test_a_refusal_is_the_pairs_own_not_that_of_a_network(pairs):
    pair = pairs.examine("e_maml", "tabular_q_learning", "random_mdp")
    assert pair.outcome.kind == "refused"
    assert "requires a policy-gradient learner, which learner=tabular_q_learning does not" in pair.outcome.line


@pytest.mark.parametrize(
    ("name", "line"), [("Breaks", "error: bug: RuntimeError: out of"), ("Picky", "error: algo.act")]
)
def test_a_pair_that_is_accepted_and_then_breaks_is_a_failure(pairs, tmp_path, monkeypatch, name, line):
    (tmp_path / "pairs_toy.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    outcome = pairs.outcome_of("algo=random", "plugins=[pairs_toy]", f"algo._target_=pairs_toy.{name}")
    assert outcome.kind == "failed"
    assert outcome.line.startswith(line)


def test_the_table_names_networks_and_numbers_each_refusal_once(pairs):
    ran, no, broken = pairs.Outcome("ran"), pairs.Outcome("refused", "error: no"), pairs.Outcome("failed", "error: bug")
    cells = [("a", "x", "mlp", ran), ("a", "y", "mlp", no), ("b", "x", "table", ran), ("b", "y", "mlp", broken)]
    text = pairs.table(
        [
            pairs.Pair(algo, learner, env, network, outcome)
            for env in ("one", "two")
            for algo, learner, network, outcome in cells
        ]
    )
    matrix = ["| | x | y |", "|---|---|---|", "| a | ✓ | 1 |", "| b | ✓ table | ✗ 2 |"]
    lines = [line for line in text.splitlines()[text.splitlines().index("## one") :] if line]
    assert lines == ["## one", *matrix, "## two", *matrix, "## Why not", "1. `error: no`", "2. `error: bug`"]


@pytest.mark.parametrize(("kind", "code"), [("ran", 0), ("refused", 0), ("failed", 1)])
def test_a_failure_has_an_exit_code(pairs, tmp_path, monkeypatch, kind, code):
    outcomes = {"algo=maml": pairs.Outcome(kind, "" if kind == "ran" else "error: because")}
    monkeypatch.setattr(pairs, "outcome_of", lambda algo, *others: outcomes.get(algo, pairs.Outcome("ran")))
    monkeypatch.setattr(sys, "argv", ["pairs", "--out", str(tmp_path / "made")])
    assert pairs.main() == code
    assert ("because" in (tmp_path / "made" / "pairs.md").read_text()) == (kind != "ran")
