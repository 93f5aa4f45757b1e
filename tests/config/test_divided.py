"""Keys of runs that are distributed: what they stand for, and what is refused before torch is imported."""

import pytest

from metarl_run.cli.distributed import ranks_of
from metarl_run.config.compose import compose_points
from metarl_run.errors import ConfigError

SMOKE = ("experiment=smoke", "meta_batch_size=8")


@pytest.mark.parametrize(("ranks", "parts"), [("null", None), (1, 4), (2, 4), (3, 4), (4, 4), (5, 8), (8, 8)])
def test_the_number_of_parts_is_the_same_for_1_2_and_4_ranks(ranks, parts):
    (point,) = compose_points([*SMOKE, f"distributed={ranks}"]).points
    assert point.config["meta_batch_parts"] == parts


BAD = {
    "more ranks than tasks": (["distributed=9"], "distributed: must be <= meta_batch_size = 8 tasks, got 9"),
    "no rank": (["distributed=0"], "distributed: "),
    "more ranks than parts": (["distributed=3", "meta_batch_parts=2"], "distributed: must be <= meta_batch_parts = 2"),
    "ranks without parts": (["distributed=2", "meta_batch_parts=null"], "meta_batch_parts: must be a number"),
    "parts without ranks": (["meta_batch_parts=9"], "meta_batch_parts: must be <= meta_batch_size = 8 tasks, got 9"),
    "parts of parts": (["distributed=2", "meta_batch_chunk=2"], "meta_batch_chunk: must be null with distributed=2"),
    "algorithm": (["algo=varibad", "distributed=2"], "distributed: must be null with algo=varibad, which cannot"),
    "classical": (["algo=random", "distributed=2"], "distributed: must be null with algo=random, which cannot"),
    "several meta-updates": (["algo=promp", "distributed=2"], "distributed: must be null with algo=promp"),
    "correction over tasks": (["algo=e_maml", "distributed=2"], "distributed: must be null with algo=e_maml"),
    "distillation": (
        ["algo=distilled_rl2", "env=random_mdp", "distributed=2"],
        "distributed: must be null with algo=distilled_rl2",
    ),
    "trust region": (
        ["algo=maml_trpo", "distributed=2"],
        "distributed: must be null with algo.meta_optimizer=TrustRegion",
    ),
    "means over lifetimes": (
        ["algo=rl2", "learner.net_of_time=true", "distributed=2"],
        "distributed: must be null with learner.net_of_time=true",
    ),
    "a sweep": (["-m", "seed=0,1", "distributed=2"], "distributed: divides one run among processes, got 2 in a sweep"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_divided_is_refused(name):
    arguments, words = BAD[name]
    with pytest.raises(ConfigError) as refused:
        ranks_of(compose_points([*arguments, *SMOKE]))
    assert f"{refused.value.where}: {refused.value.reason}".startswith(words)


def test_another_number_of_ranks_than_torchrun_started_is_refused(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="must be 4, the ranks that torchrun started, got 2"):
        ranks_of(compose_points([*SMOKE, "distributed=2"]))
    assert ranks_of(compose_points([*SMOKE, "distributed=4"])) == 4
    assert ranks_of(compose_points([*SMOKE])) is None
