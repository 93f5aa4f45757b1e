"""The point of it all: meta-training makes one gradient step, or one reward that is remembered, worth a great deal."""

import pytest
from black_box import summary
from forks import call

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


BANDIT = (
    "logger=files",
    "threads=1",
    "meta_iterations=60",
    "meta_batch_size=256",
    "episodes_per_task=1",
    "validate_every=0",
    "meta_test={num_tasks: 400, adaptation_steps: 9, episodes_per_task: 1}",
    "env=bandit",
    "env.num_arms=3",
    "env.meta_train.mean=[choice, 0, 1]",
    "learner.epochs=4",
    "learner.value_scale=3",
    "algo.episodes=10",
    "algo.max_kl=0.05",
    "algo.meta_optimizer.lr=3e-3",
    "algo.belief_optimizer.lr=5e-3",
    "algo.belief_steps=5",
    "algo.belief_times=10",
)
"""Ten pulls of three arms, each of which always pays or never does: whoever remembers nothing earns ½ per pull."""


def meta_tested(folder, *arguments):
    done = call(*arguments, "hydra.run.dir=run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return summary(folder / "run")["meta_test"]


@pytest.fixture(scope="module")
def curve(tmp_path_factory):
    return {algo: meta_tested(tmp_path_factory.mktemp(algo), f"algo={algo}", *SHORT) for algo in ("maml", "scratch")}


def test_after_meta_training_one_gradient_step_helps_on_held_out_tasks(curve):
    maml = curve["maml"]
    assert maml["mean"][1] > maml["mean"][0] + 30
    assert maml["low"][1] > maml["high"][0]  # by more than chance


def test_without_meta_training_it_does_not(curve):
    maml, scratch = curve["maml"], curve["scratch"]
    assert scratch["mean"][1] < scratch["mean"][0] + 15
    assert maml["low"][1] > scratch["high"][1] + 30


def test_e_maml_adapts_to_nearly_the_best_return(tmp_path):
    """Of 100 at most; 97 to 100 with three seeds, 44 to 63 with a correction that does not hold the return."""
    longer = [argument for argument in SHORT if not argument.startswith(("meta_iterations", "meta_batch_size"))]
    curve = meta_tested(tmp_path, "algo=e_maml", *longer, "meta_iterations=60", "meta_batch_size=20")
    assert curve["low"][1] > 85
    assert curve["mean"][1] > curve["mean"][0] + 30


def test_varibad_pulls_what_has_paid_again(tmp_path):
    """¾ from the second pull on is what two of the arms are good for; a belief that learns nothing leaves it at ½."""
    curve = meta_tested(tmp_path, "algo=varibad", *BANDIT)
    assert abs(curve["mean"][0] - 0.5) < 0.1  # nothing is known yet: 4 standard errors of 400 tasks
    assert min(curve["low"][2:]) > 0.6
