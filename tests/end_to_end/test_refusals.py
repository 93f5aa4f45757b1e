"""A bad configuration is refused in one line, with its own exit code, before anything is created."""

import black_box
import hints
import pytest
from black_box import SMALL
from forks import call

from metarl_run.config.compose import compose_points
from metarl_run.errors import ConfigError

BAD = {
    "unknown key": (["algo.inner_lrr=0.1"], "algo.inner_lrr", "inner_lr"),
    "added key": (["+algo.lrr=3"], "algo.lrr", "inner_lr"),
    "unknown option": (["env=cartpole_famly"], "env", "cartpole_family"),
    "unknown group": (["algos=maml"], "algos", "algo"),
    "wrong type": (["algo.adaptation_steps=two"], "algo.adaptation_steps", ""),
    "fraction where a count is wanted": (["meta_batch_size=2.5"], "meta_batch_size", ""),
    "out of range": (["learner.discount=1.5"], "learner.discount", ""),
    "negative step size": (["algo.inner_lr=-0.1"], "algo.inner_lr", ""),
    "nan": (["algo.inner_lr=nan"], "algo.inner_lr", ""),
    "inf": (["algo.meta_optimizer.lr=inf"], "algo.meta_optimizer.lr", ""),
    "missing": (["algo.inner_lr=???"], "algo.inner_lr", ""),
    "broken interpolation": (["algo.inner_lr=${nowhere}"], "algo.inner_lr", ""),
    "no adaptation": (["algo.adaptation_steps=0"], "algo.adaptation_steps", "algo=pretrain"),
    "no adaptation, without its group": (["adaptation_steps=0"], "adaptation_steps", "algo.adaptation_steps"),
    "no step size": (["algo.inner_lr=0"], "algo.inner_lr", ""),
    "step size without its group": (["inner_lr=-1"], "inner_lr", "algo.inner_lr"),
    "bounds the wrong way round": (["env.meta_test.gravity=[uniform,3,2]"], "env.meta_test", ""),
    "unknown distribution": (["env.meta_test.gravity=[unifrm,3,4]"], "env.meta_test", ""),
    "contradictory pair": (["network=table", "env=cartpole_family"], "network", "hint: env="),
    "oracle without a table": (["algo=oracle", "env=cartpole_family"], "algo", "hint: env="),
    "policy of the wrong kind": (
        ["learner.policy=gaussian"],
        "learner.policy: gaussian requires continuous actions, which env=cartpole_family does not",
        "; or learner.policy=auto",
    ),
    "table learner without a table": (["learner=tabular_q_learning"], "learner", "hint: env="),
    "correction without a policy": (
        ["algo.sampling_correction=true", "learner=q_learning"],
        "algo.sampling_correction: true requires a policy-gradient learner, which learner=q_learning",
        "algo.sampling_correction=false",
    ),
    "trust region without a policy": (
        ["algo=maml_trpo", "learner=q_learning"],
        "algo.meta_optimizer: TrustRegion requires a policy-gradient learner, which learner=q_learning",
        "learner=reinforce",
    ),
    "a few tasks at a time, with a memory": (
        ["algo=rl2", "meta_batch_chunk=4"],
        "meta_batch_chunk: must be null with algo=rl2, which cannot learn from a few tasks at a time, got 4",
        "algo.minibatches",
    ),
    "read by a state that cannot be indexed": (
        ["algo=rl2", "env=cartpole_family", "network.read=observation"],
        "network.read: observation requires a tabular family, which env=cartpole_family does not provide",
        "or network.read=linear",
    ),
    "transitions between states that cannot be counted": (
        ["algo=rl2", "env=navigation", "algo.encoding=transition"],
        "algo.encoding: transition requires a tabular family, which env=navigation does not provide",
        "or algo.encoding=step",
    ),
    "read by a state that the agent does not show its network": (
        ["algo=rl3_markov", "env=random_mdp", "network=gru", "network.read=observation"],
        "network.read: observation requires an agent whose inputs begin with the observation, which algo=rl3_markov",
        "algo.inputs=all",
    ),
    "attention read by a state that cannot be indexed": (
        ["algo=rl2", "env=navigation", "network=transformer", "network.read=observation"],
        "network.read: observation requires a tabular family, which env=navigation does not provide",
        "or network.read=linear",
    ),
    "a network of an observation that the agent does not show": (
        ["algo=rl3_markov", "env=random_mdp", "network=ssd", "network.read=hypernetwork"],
        "network.read: hypernetwork requires an agent whose inputs begin with the observation, which algo=rl3_markov",
        "algo.inputs=all",
    ),
    "one episode to learn from, which is its own baseline": (
        ["episodes_per_task=1"],
        "episodes_per_task: must be at least 2 with learner.baseline=time",
        "learner.baseline=none",
    ),
    "one episode to adapt to, in the meta-test alone": (
        ["algo=scratch", "meta_test.episodes_per_task=1"],
        "meta_test.episodes_per_task: must be at least 2 with learner.baseline=time",
        "learner.baseline=none",
    ),
    "one episode of stored tasks": (
        ["algo=metric_based", "episodes_per_task=1"],
        "episodes_per_task: must be at least 2 with learner.baseline=time",
        "learner.baseline=none",
    ),
    "no tasks at a time": (["meta_batch_chunk=0"], "meta_batch_chunk", ""),
    "budget where there are none": (["budget=paper"], "budget: must be null", "experiment"),
    "foreign target": (["algo._target_=shutil.copy"], "algo._target_", ""),
    "foreign nested target": (["algo.meta_optimizer._target_=os.system"], "algo.meta_optimizer._target_", ""),
    "twice": (["seed=1", "seed=2"], "seed", ""),
    "both at once": (["checkpoint=a", "resume=b"], "checkpoint", ""),
    "one bad point of a sweep": (["-m", "seed=0,1", "algo.inner_lr=0.1,-1"], "algo.inner_lr", ""),
    "no such flag": (["--frobnicate"], "--frobnicate", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_it_is_refused(name, tmp_path):
    arguments, key, hint = BAD[name]
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert key in lines[0]
    assert len(lines) <= 2
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert hint in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
    where, _, reason = lines[0].removeprefix("error: ").partition(": ")
    for command in hints.followed(arguments, where, "".join(lines[1:]).removeprefix("hint: ")):
        try:
            compose_points(command)
        except ConfigError as error:
            assert (error.where, error.reason) != (where, reason), f"{lines[1]}: {command}"


@pytest.mark.parametrize(
    ("argument", "bound"),
    [
        ("algo.adaptation_steps=0", "an integer >= 1"),
        ("algo.inner_lr=-1", "a finite number > 0"),
        ("algo.inner_lr=0", "a finite number > 0"),
    ],
)
def test_a_bad_number_is_told_with_its_key_its_option_and_its_bound(argument, bound, tmp_path):
    done = call(argument, cwd=tmp_path)
    key, _, got = argument.partition("=")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == f"error: {key}: must be {bound} with algo=maml, got {got}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["checkpoint", "resume"])
def test_a_folder_that_is_not_there_is_another_kind_of_error(key, tmp_path):
    done = call(f"{key}=nowhere", cwd=tmp_path)
    assert done.returncode == 3
    assert "nowhere" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_is_never_silently_another(tmp_path):
    """Here there is none: where there is one, it is hidden."""
    for arguments in (["device=cuda"], ["-m", "device=cpu,cuda"]):
        done = black_box.call(*arguments, "experiment=smoke", cwd=tmp_path, CUDA_VISIBLE_DEVICES="")
        assert done.returncode == 2
        assert done.stderr.startswith("error: device: must be one of the devices available: cpu, got cuda\nhint: ")
        assert done.stdout == ""
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compiler", ["nowhere", "false"])
def test_without_a_compiler_nothing_is_begun_that_wants_one(compiler, tmp_path):
    done = black_box.call(*SMALL, "compile=true", cwd=tmp_path, CXX=compiler, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 2
    first, second = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert first.startswith(f"error: compile: must be false here: the C++ compiler '{compiler}' ")
    assert second.startswith("hint: install a C++ compiler")
    assert "metarl_run.cli.train" in done.stderr and "torch" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_begun_on_a_device_does_not_silently_go_on_on_another(tmp_path):
    assert call(*SMALL, "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    folder = tmp_path / "run"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    done = black_box.call("resume=run", "device=cuda", "allow_changes=true", cwd=tmp_path, **hidden)
    assert done.returncode == 2
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("device: cpu", "device: cuda"))
    begun_on_a_gpu = black_box.call("resume=run", cwd=tmp_path, **hidden)
    assert begun_on_a_gpu.returncode == 2
    assert begun_on_a_gpu.stderr.startswith("error: device: ")
    (folder / "config.yaml").write_text(text)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_jobs_whose_folders_hold_other_runs_are_not_taken_for_theirs(tmp_path):
    sweep = ("-m", *SMALL, "algo=random", "env=random_mdp", "hydra.sweep.dir=s", "hydra.sweep.subdir=${hydra:job.num}")
    assert call(*sweep, "seed=0,1", cwd=tmp_path).returncode == 0
    again = call(*sweep, "seed=0,2", cwd=tmp_path)
    assert again.returncode == 6
    assert again.stderr.count("was begun with another configuration: seed: 1 → 2") == 1


def test_a_folder_that_is_no_runs_is_refused_without_torch(tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("run.json", "config.yaml"):
        (tmp_path / "run" / name).write_text("{}")
    done = black_box.call("resume=run", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 3 and said[0].startswith("error: run: is not a run folder: ")
    assert "metarl_run.cli.train" in done.stderr and "torch" not in done.stderr
