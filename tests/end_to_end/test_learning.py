"""The point of it all: meta-training makes one gradient step worth a great deal."""

import pytest
from black_box import call, summary

SHORT = (
    "logger=files",
    "threads=1",
    "meta_iterations=25",
    "meta_batch_size=10",
    "episodes_per_task=10",
    "validate_every=0",
    "meta_test={num_tasks: 40, adaptation_steps: 1, episodes_per_task: 10}",
    "env=cartpole_family",
    "env.horizon=100",
)


@pytest.fixture(scope="module")
def curve(tmp_path_factory):
    def of(algo):
        folder = tmp_path_factory.mktemp(algo)
        done = call(f"algo={algo}", *SHORT, "hydra.run.dir=run", cwd=folder)
        assert done.returncode == 0, done.stderr
        return summary(folder / "run")["meta_test"]

    return {algo: of(algo) for algo in ("maml", "scratch")}


def test_after_meta_training_one_gradient_step_helps_on_held_out_tasks(curve):
    maml = curve["maml"]
    assert maml["mean"][1] > maml["mean"][0] + 30
    assert maml["low"][1] > maml["high"][0]  # by more than chance


def test_without_meta_training_it_does_not(curve):
    maml, scratch = curve["maml"], curve["scratch"]
    assert scratch["mean"][1] < scratch["mean"][0] + 15
    assert maml["low"][1] > scratch["high"][1] + 30
