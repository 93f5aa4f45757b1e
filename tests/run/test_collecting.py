"""Collecting learning histories: what is written, whatever happens meanwhile."""

import hashlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import KILLED, Operations
from forks import Running, call
from suited import composed

from metarl_run.config.point import Point
from metarl_run.dataset.card import Card, read_card
from metarl_run.dataset.dataset import Dataset, Sample
from metarl_run.errors import ConfigError, ResourceError, StateError
from metarl_run.run import collecting
from metarl_run.run.collecting import collect_histories
from metarl_run.system.interruption import StopRequest

TINY = ("env=random_mdp", "env.num_states=3", "env.num_actions=2", "env.horizon=4", "algo=psrl", "collect=histories")
SIZES = ("collect.tasks=3", "collect.tasks_per_shard=2", "collect.histories=2", "collect.episodes=3", "collect.jobs=1")


def point(*arguments: str) -> Point:
    given = {text.partition("=")[0]: text for text in (*TINY, *SIZES, *arguments)}
    return composed(*given.values())


def collected(folder: Path, *arguments: str, told: Callable[[int, int], None] = lambda done, total: None) -> Card:
    of = point(*arguments)
    return collect_histories(of.config, of.choices, folder, StopRequest(), told)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def every(folder: Path) -> Sample:
    dataset = Dataset.open(folder)
    return dataset.read(torch.arange(dataset.num_histories))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "whole"
    collected(folder)
    return folder


def test_card_and_content(whole: Path) -> None:
    card, found = read_card(whole), every(whole)
    assert (card.num_tasks, card.num_histories, card.steps, card.longest) == (3, 6, 6 * 12, 12)
    assert [shard.histories for shard in card.shards] == [4, 2]
    assert (card.num_features, card.num_actions, card.one_hot, card.labels) == (3, 2, True, True)
    assert card.choices == {"env": "random_mdp", "algo": "psrl"} and card.config["episodes"] == 3
    assert {path.name for path in whole.iterdir()} == {"dataset.json", *(shard.file for shard in card.shards)}
    for shard in card.shards:
        data = (whole / shard.file).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)
    assert found.task.tolist() == [0, 0, 1, 1, 2, 2] and found.rollout.alive.all()
    by_episode = found.rollout.reward.view(3, 4, 6).sum(1)
    assert card.first_return == pytest.approx(float(by_episode[0].mean()))
    assert card.last_return == pytest.approx(float(by_episode[2].mean()))
    assert found.rollout.truncated.nonzero()[:, 0].unique().tolist() == [3, 7, 11]
    assert not found.rollout.terminated.any()


def test_histories_of_a_task_differ_and_its_optimal_actions_agree(whole: Path) -> None:
    found = every(whole)
    assert not torch.equal(found.rollout.reward[:, 0], found.rollout.reward[:, 1])
    state = found.rollout.observation[:-1].argmax(-1)
    for task, s in itertools.product(range(3), range(3)):
        where = (state == s) & (found.task == task)
        assert len(found.optimal_action[where].unique()) <= 1


def test_one_of_so_many_episodes_is_kept(tmp_path: Path, whole: Path) -> None:
    card = collected(tmp_path, "collect.every=2")
    some, all_of_them = every(tmp_path).rollout, every(whole).rollout
    assert (card.episodes_per_history, card.longest) == (1, 4)
    assert torch.equal(some.reward, all_of_them.reward[4:8]) and torch.equal(some.action, all_of_them.action[4:8])
    assert torch.equal(some.observation, all_of_them.observation[4:9])


def test_agent_that_adapts_between_rollouts_lives_its_episodes_in_a_row(tmp_path: Path) -> None:
    arguments = ("algo=scratch", "learner=reinforce", "network=mlp", "episodes_per_task=2", "collect.labels=false")
    card = collected(tmp_path, *arguments, "collect.episodes=4")
    found = every(tmp_path).rollout
    assert card.longest == 16 and found.alive.all() and not card.labels
    assert found.observation[[0, 4, 8, 12]].argmax(-1).eq(0).all()  # every episode begins in state 0
    assert found.truncated.nonzero()[:, 0].unique().tolist() == [3, 7, 11, 15]


def test_episodes_that_terminate_make_histories_of_different_lengths(tmp_path: Path) -> None:
    own = ("env.meta_train.tasks=6", "env.meta_test.tasks=2", *SIZES[1:], "collect.tasks=all")
    of = composed("env=darkroom_dr9", "env.size=3", "algo=random", "collect=histories", *own)
    card = collect_histories(of.config, of.choices, tmp_path, StopRequest())
    found = every(tmp_path).rollout
    lengths = found.alive.sum(0)
    assert card.longest == int(lengths.max()) > int(lengths.min()) and card.steps == int(lengths.sum())
    assert found.ended.sum(0).eq(3).all() and torch.equal(found.terminated, found.reward > 0)
    assert len({*card.tasks}) == len(card.tasks) == card.num_tasks


@pytest.mark.parametrize("jobs", [2])
def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path, whole: Path, jobs: int) -> None:
    told: list[tuple[int, int]] = []
    collected(tmp_path, f"collect.jobs={jobs}", told=lambda done, total: told.append((done, total)))
    assert content(tmp_path) == content(whole) and told == [(0, 2), (1, 2), (2, 2)]


def test_killed_at_operations_on_files_it_goes_on_to_the_same_bytes(tmp_path: Path, whole: Path) -> None:
    number = operations(tmp_path / "count", None, "before")
    assert number > 20
    for at in range(0, number, 4):  # of those, each way to be killed in turn
        folder = tmp_path / str(at)
        operations(folder, at, KILLED[at % 3])
        collected(folder)
        assert content(folder) == content(whole), f"{KILLED[at % 3]} operation {at}"


def operations(folder: Path, at: int | None, how: str) -> int:
    """Collect in a fork that is killed at an operation on files; the number of operations."""
    counted = Operations(folder.absolute(), at, how)
    child = os.fork()
    if child == 0:
        try:
            counted.install()
            collected(folder)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) == (at is not None)
    return counted.shared[0]


def test_a_command_that_is_killed_goes_on(tmp_path: Path, whole: Path) -> None:
    arguments = ["collect", *TINY, *SIZES, "collect.folder=data"]
    running = Running(*arguments, cwd=tmp_path)
    running.wait_until(lambda: any((tmp_path / "data").glob("shard-000000.json")))
    running.kill()
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("data: 6 histories of 3 episodes in 3 tasks")
    assert content(tmp_path / "data") == content(whole)


def test_a_damaged_shard_of_unfinished_data_is_collected_again(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any, **named: Any) -> None:
        raise ResourceError("disk", "is full")

    with monkeypatch.context() as patch, pytest.raises(ResourceError):
        patch.setattr(collecting, "finish", stopped)
        collected(tmp_path)
    path = tmp_path / "shard-000001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    told: list[int] = []
    collected(tmp_path, told=lambda done, total: told.append(done))
    assert told == [1, 2] and content(tmp_path) == content(whole)


def test_a_folder_with_anything_else_is_left_alone(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(StateError, match=r"holds other histories: episodes=3, not 2"):
        collected(whole, "collect.episodes=2")
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(StateError, match="holds notes, but no dataset"):
        collected(tmp_path)
    assert content(tmp_path) == {"notes": b"mine"}


def test_all_tasks_of_a_continuum_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"collect\.tasks: must be a number with RandomMDP"):
        collected(tmp_path, "collect.tasks=all")


def test_a_run_collects_its_data_first_and_others_reuse_them(tmp_path: Path) -> None:
    sizes = ("experiment=smoke", "threads=1", "algo.updates=1", "algo.sequences=4", "algo.window=6")
    few = ("env=random_mdp", "env.horizon=4", "collect=histories", "algo@collect.algo=psrl", "collect.tasks=4")
    done = call(*sizes, *few, "algo=dpt", "collect.seed=0", "hydra.run.dir=one", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (data,) = (tmp_path / "outputs" / "datasets").iterdir()
    before = {path: path.stat().st_mtime_ns for path in data.iterdir()}
    done = call(*sizes, *few, "algo=ad", "collect.seed=0", "seed=1", "hydra.run.dir=two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in data.iterdir()} == before
