"""Data that a run learns from: what is refused, before torch, and where they are."""

import re
from pathlib import Path

import pytest
from suited import composed

from metarl_run.cli.impossible import refuse_absent
from metarl_run.config.collection import collecting, dataset_folder, identity_of
from metarl_run.config.compose import compose_points
from metarl_run.dataset.card import Card, ShardRecord, write_card
from metarl_run.errors import ConfigError

MDP = "env=random_mdp"
LEARN = (MDP, "algo=dpt", "collect=histories", "algo@collect.algo=psrl")


@pytest.mark.parametrize(
    ("arguments", "where", "reason", "hint"),
    [
        (
            (MDP, "algo=dpt"),
            "dataset",
            "must be a folder of learning histories with algo=dpt, got null",
            "metarl-run collect env=random_mdp algo=AGENT collect.folder=FOLDER makes one",
        ),
        ((MDP, "algo=psrl", "dataset=x"), "dataset", "must be null with algo=psrl, which learns from no", None),
        ((MDP, "algo=dpt", "collect=histories"), "collect.algo", "must be given with algo=dpt", "algo@collect.algo="),
        ((*LEARN, "collect.labels=false"), "collect.labels", "must be true with algo=dpt", None),
        ((*LEARN, "algo.window=201"), "algo.window", "must be at most 200, .* by collect.episodes, got 201", None),
        ((*LEARN, "collect.tasks=some"), "collect.tasks", "must be all or an integer >= 1, got 'some'", None),
        ((*LEARN, "collect.every=21"), "collect.every", "must be <= collect.episodes = 20, got 21", None),
        ((*LEARN, "+collect.size=3"), "collect.size", "unknown key", None),
        ((*LEARN[:3], "algo@collect.algo=rl2"), "collect.algo", "must be an agent that learns within", "algo@collect"),
        (
            (*LEARN[:3], "algo@collect.algo=scratch"),
            "collect.network",
            "transformer requires an agent that adapts by memory",
            None,
        ),
        (
            ("env=point_robot", "algo=random", "collect=histories", "collect.labels=true"),
            "collect.labels",
            "must be false with env=point_robot, whose optimal actions are not known",
            None,
        ),
        (
            (MDP, "algo=maml", "collect=histories"),
            "algo",
            "must be an agent that learns within each task",
            "algo=q_lea",
        ),
    ],
)
def test_data_that_cannot_be_are_refused(arguments: tuple[str, ...], where: str, reason: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as refusal:
        compose_points(arguments)
    assert refusal.value.where == where and re.search(reason, refusal.value.reason)
    assert hint is None or hint in (refusal.value.hint or "")


def test_parts_that_the_agent_does_not_use_are_no_part_of_the_data() -> None:
    config = composed(*LEARN).config
    other = composed(*LEARN, "network=gru", "seed=0", "meta_iterations=3", "collect.jobs=2").config
    assert identity_of(config) == identity_of(other) and dataset_folder(config) == dataset_folder(other)
    assert "network" not in identity_of(config) and "learner" not in identity_of(config)
    learner = ("algo@collect.algo=scratch", "learner@collect.learner=ppo", "network@collect.network=mlp")
    found = composed(*LEARN[:3], *learner)
    assert identity_of(found.config)["network"]["_target_"] == "metarl_run.network.mlp.MLP"
    assert collecting(found.config)["learner"]["_target_"] == "metarl_run.learner.ppo.PPO"


def test_seed_of_the_data_is_the_runs_unless_it_has_its_own() -> None:
    assert composed(*LEARN, "seed=3").config["collect"]["seed"] == 3
    shared = [composed(*LEARN, f"seed={seed}", "collect.seed=7").config for seed in (1, 2)]
    assert dataset_folder(shared[0]) == dataset_folder(shared[1])
    assert dataset_folder(shared[0]) != dataset_folder(composed(*LEARN, "seed=1").config)


def test_folder_is_the_one_that_is_named(tmp_path: Path) -> None:
    assert dataset_folder(composed(*LEARN, f"dataset={tmp_path}").config) == tmp_path
    assert dataset_folder(composed(*LEARN, "collect.folder=mine").config) == Path("mine")
    assert dataset_folder(composed(MDP, "algo=psrl").config) is None
    unnamed = dataset_folder(composed(*LEARN, "output_root=there").config)
    assert unnamed is not None and re.fullmatch(r"there/datasets/psrl_random_mdp_[0-9a-f]{8}", str(unnamed))


def test_annealing_lasts_as_long_as_the_histories() -> None:
    config = composed(*LEARN[:3], "algo@collect.algo=annealed_q_learner", "collect.episodes=33").config
    assert config["collect"]["algo"]["episodes"] == 33
    assert composed(MDP, "algo=annealed_q_learner").config["algo"]["episodes"] == 20


def stored(folder: Path, *arguments: str, labels: bool = True) -> None:
    """The card of a dataset that the arguments would have made."""
    card = Card(
        config=identity_of(composed(*arguments, "algo=psrl", "collect=histories").config),
        choices={},
        spaces={},
        num_features=10,
        num_actions=5,
        action_size=None,
        one_hot=True,
        labels=labels,
        family_version="1",
        tasks=["a"],
        histories_per_task=1,
        episodes_per_history=20,
        shards=[
            ShardRecord(
                file="a", histories=1, steps=200, longest=200, bytes=0, sha256="", first_return=0.0, last_return=0.0
            )
        ],
    )
    write_card(folder, card)


def refused(folder: Path, *arguments: str) -> str:
    with pytest.raises(ConfigError) as refusal:
        refuse_absent(composed(*arguments, "algo=dpt", f"dataset={folder}").config)
    return str(refusal.value)


def test_dataset_that_does_not_suit_the_run_is_refused_by_its_card(tmp_path: Path) -> None:
    assert refused(tmp_path, MDP).startswith(f"error: dataset: {tmp_path} is no dataset")
    stored(tmp_path, MDP)
    refuse_absent(composed(MDP, "algo=dpt", f"dataset={tmp_path}").config)
    refuse_absent(composed(MDP, "env.meta_test.concentration=2", "algo=dpt", f"dataset={tmp_path}").config)
    other = refused(tmp_path, "env=bandit")
    assert "must be a dataset of the run's task family" in other and "RandomMDP" in other
    assert "hint: metarl-run collect" in other
    assert "env.num_states=10, not 4" in refused(tmp_path, MDP, "env.num_states=4")
    assert "error: algo.window: must be at most 200" in refused(tmp_path, MDP, "algo.window=201")
    stored(tmp_path, MDP, labels=False)
    assert "must hold the optimal actions that algo=DPT learns from" in refused(tmp_path, MDP)


def test_what_only_acts_needs_no_data() -> None:
    config = composed(MDP, "algo=dpt", "meta_iterations=0").config
    refuse_absent(config)
    assert dataset_folder(config) is None


def test_data_that_nobody_learns_from_are_another_commands() -> None:
    with pytest.raises(ConfigError, match="collect: is for algorithms that learn from a dataset"):
        refuse_absent(composed(MDP, "algo=psrl", "collect=histories").config)


@pytest.mark.parametrize("wrong", ["episodes=none", "every=0", "seed=-1", "labels=perhaps", "jobs=0", "histories=1.5"])
def test_values_of_another_kind_are_refused_before_they_are_used(wrong: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        compose_points([*LEARN, f"collect.{wrong}"])
    assert refusal.value.where == f"collect.{wrong.partition('=')[0]}" and "must be" in refusal.value.reason
