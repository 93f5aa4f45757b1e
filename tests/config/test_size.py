"""Sizes that no memory holds are refused from the configuration alone, and none that fits."""

import pytest

from metarl_run.config import size
from metarl_run.config.compose import compose_points
from metarl_run.config.size import check_sizes, largest_keys, parts
from metarl_run.config.validation import validate
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import ConfigError
from metarl_run.rollout import collect
from metarl_run.run.agent import set_up

SMOKE = "experiment=smoke"


@pytest.mark.parametrize(
    ("overrides", "where", "said"),
    [
        (
            "meta_batch_size=1000000000000",
            "meta_batch_size",
            "the rollouts of meta-training take at least 960 TB, this",
        ),
        ("network.hidden=[1000000000]", "network.hidden", "the parameters and their gradients take at least 48 GB"),
        ("env=bandit env.num_arms=100000000000", "env.num_arms", "the tasks of meta_test take at least 1.6 TB"),
        ("meta_test.num_tasks=1000000000000", "meta_test.num_tasks", "the rows of meta_test take at least 900 TB"),
        ("env=gridworld env.size=1000000", "env.size", "the rollouts of meta_test take at least 2.88 PB"),
        ("env=random_mdp env.num_states=1000000", "env.num_states", "the tasks of meta_test take at least 80 TB"),
        ("env.horizon=1000000000000", "env.horizon", "the rollouts of meta_test take at least 384 TB"),
        ("algo=rl2 network.hidden=1000000", "network.hidden", "the parameters and their gradients take at least 8 TB"),
        (
            "algo=rl2 algo.episodes=1000000000000",
            "algo.episodes",
            "the rollouts of meta-training take at least 2.88 PB",
        ),
    ],
)
def test_a_size_beyond_memory_is_refused_with_bytes_and_keys(
    overrides: str, where: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size, "memory", lambda: 32 * 10**9)
    with pytest.raises(ConfigError) as caught:
        compose_points([SMOKE, *overrides.split()])
    assert caught.value.where == where
    assert caught.value.reason.startswith(said)
    assert "this machine has 32 GB: " in caught.value.reason
    monkeypatch.setattr(size, "memory", lambda: None)
    compose_points([SMOKE, *overrides.split()])  # where nothing is known, nothing is refused


@pytest.mark.parametrize("name", ["rl3_mdp_n50_paper", "rl2_bandit_n100_k5", "varibad_gridworld"])
def test_large_experiments_are_not_refused_on_a_small_machine(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "memory", lambda: 4 * 10**9)
    compose_points([f"experiment={name}"])


@pytest.mark.parametrize("env", ["cartpole_family", "pendulum_family", "navigation", "gridworld", "random_mdp"])
def test_the_estimate_of_rollouts_and_tasks_is_a_lower_bound(env: str) -> None:
    (point,) = compose_points([SMOKE, f"env={env}"]).points
    config = point.config
    components = {one.path: one for one in validate(config, point.choices)}
    expected = {part.what: part.bytes for part in parts(config, components)}
    _, streams, family, algo = set_up(config)
    task = family.sample(config["meta_batch_size"], "meta_train", streams("t"))
    vector = TaskVectorEnv(family, task, episodes_per_task=config["episodes_per_task"], generator=streams("e"))
    rollout = collect(vector, algo.act, algo.begin(task), streams("a"))
    storage = sum(x.untyped_storage().nbytes() for x in rollout if hasattr(x, "untyped_storage"))
    assert storage / 8 < expected["the rollouts of meta-training"] <= storage
    assert expected["the tasks of meta-training"] <= sum(
        x.untyped_storage().nbytes() for x in vars(task).values() if hasattr(x, "untyped_storage")
    )


def test_gpus_have_memory_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "memory", lambda: 10**6)
    (point,) = compose_points([SMOKE, "device=cuda", "env.horizon=100000"]).points
    with pytest.raises(ConfigError):
        check_sizes({**point.config, "device": "cpu"}, validate(point.config, point.choices))


def test_the_largest_keys_are_named_where_memory_runs_out() -> None:
    (point,) = compose_points([SMOKE, "network.hidden=[7,900]", "env.horizon=800"]).points
    assert largest_keys(point.config)[:2] == ["network.hidden", "env.horizon"]


def test_this_machine_has_memory() -> None:
    known = size.memory()
    assert known is None or known > 10**8
