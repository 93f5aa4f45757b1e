"""An experiment with two budgets and a published result, from outside the package, run and resumed."""

import pytest
from black_box import summary
from forks import call

EXPERIMENT = """\
# @package _global_
# Two budgets of an experiment
defaults:
  - smoke
budget: cpu
budgets:
  cpu: {meta_iterations: 1, hidden: [4]}
  paper: {meta_iterations: 2, hidden: [8, 8]}
meta_iterations: ${budgets.${budget}.meta_iterations}
network:
  hidden: ${budgets.${budget}.hidden}
published: {lifetime_return: 1.5, source: "RL², Table 2"}
"""


@pytest.fixture
def two(tmp_path):
    """The arguments of an experiment with budgets."""
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "two.yaml").write_text(EXPERIMENT)
    return ["--config-dir=conf", "experiment=two", "threads=1"]


def test_each_budget_runs_and_is_told_from_the_other(two, tmp_path):
    done = call(*two, "-m", "budget=cpu,paper", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${budget}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    told = {budget: summary(tmp_path / "sweep" / budget) for budget in ("cpu", "paper")}
    assert {budget: result["meta_iterations"] for budget, result in told.items()} == {"cpu": 1, "paper": 2}
    for result in told.values():
        returns = result["lifetime_returns"]["meta_test"]
        assert result["lifetime_return"]["mean"] == pytest.approx(sum(returns) / len(returns))
        unknown = {"deviation": None, "num_tasks": None}  # so nothing can be matched
        assert result["published"] == {"lifetime_return": 1.5, "source": "RL², Table 2", **unknown}
    lines = (tmp_path / "sweep" / "comparison.md").read_text().splitlines()
    rows = [line for line in lines if "1.5, undecided |" in line]
    assert [row.split(" | ")[1] for row in rows] == ["maml budget=cpu", "maml budget=paper"]


def test_a_run_goes_on_with_its_own_budget(two, tmp_path):
    assert call(*two, "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    other = call("--config-dir=conf", "resume=run", "budget=paper", cwd=tmp_path)
    assert other.returncode == 3 and "meta_iterations: 1 → 2" in other.stderr
    unknown = call("--config-dir=conf", "resume=run", "budget=papre", cwd=tmp_path)
    assert unknown.returncode == 2 and "must be one of cpu, paper, got 'papre'" in unknown.stderr
    same = call("--config-dir=conf", "resume=run", "budget=cpu", cwd=tmp_path)
    assert (same.returncode, same.stderr) == (0, "")


def test_a_budget_that_there_is_not_is_refused(two, tmp_path):
    done = call(*two, "budget=papre", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    told = ["error: budget: must be one of cpu, paper, got 'papre'", "hint: did you mean paper?"]
    assert done.stderr.splitlines() == told
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]
