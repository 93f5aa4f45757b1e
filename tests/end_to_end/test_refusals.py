"""A bad configuration is refused in one line, with its own exit code, before anything is created."""

import pytest
from black_box import call

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
    done = call("device=cuda", "experiment=smoke", cwd=tmp_path)
    if done.returncode != 0:  # on a machine with a GPU it runs
        assert done.returncode == 2
        assert done.stderr.startswith("error: device: ")
        assert list(tmp_path.iterdir()) == []
