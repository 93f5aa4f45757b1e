"""Reading learning histories: windows, labels, padding, damage."""

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch

from metarl_run.dataset.card import Card, ShardRecord, read_card, write_card
from metarl_run.dataset.dataset import Dataset
from metarl_run.dataset.shard import packed, to_bytes
from metarl_run.errors import StateError
from metarl_run.types import Rollout

STATES = [[[0, 1, 2, 0, 1, 2], [2, 1, 0, 2, 2, 2]], [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 2, 2]]]
"""Of two tasks with two histories each, of five steps; the second history of the first task ends after three."""

ACTIONS = [[[0, 1, 0, 1, 1], [1, 1, 1, 0, 0]], [[0, 0, 0, 0, 0], [1, 0, 1, 0, 1]]]
LENGTHS = [5, 3, 5, 5]


def rollout() -> Rollout:
    """The histories above; the reward of step t of history h is 10 h + t, and every second step ends an episode."""
    alive = (torch.arange(5) < torch.tensor(LENGTHS).view(2, 2, 1)).transpose(1, 2)
    reward = (torch.arange(5) + 10 * torch.arange(4).view(2, 2, 1)).transpose(1, 2).float() * alive
    truncated = (torch.arange(5) % 2 == 1).view(1, 5, 1) & alive
    observation = torch.nn.functional.one_hot(torch.tensor(STATES), 3).float().transpose(1, 2)
    action = torch.tensor(ACTIONS).transpose(1, 2)
    return Rollout(observation, action, reward, torch.zeros_like(alive), truncated, alive, {})


def stored(folder: Path, *, labels: bool = True) -> Path:
    """A dataset with a shard for each task; the best action of every step is 1 − the one that was taken."""
    whole, shards = rollout(), []
    for task in range(2):
        part = whole.tasks(slice(task, task + 1))
        best = 1 - part.action if labels else None
        data = to_bytes(packed(part, best, one_hot=True, num_actions=2))
        path = folder / f"shard-{task:06d}.safetensors"
        path.write_bytes(data)
        lengths = LENGTHS[2 * task : 2 * task + 2]
        digest = hashlib.sha256(data).hexdigest()
        shards.append(ShardRecord(file=path.name, histories=2, steps=sum(lengths), longest=5, bytes=len(data),
                                  sha256=digest, first_return=1.0, last_return=2.0))  # fmt: skip
    card = Card(
        config={},
        choices={},
        spaces={},
        num_features=3,
        num_actions=2,
        action_size=None,
        one_hot=True,
        labels=labels,
        family_version="1",
        tasks=["a", "b"],
        histories_per_task=2,
        episodes_per_history=3,
        shards=shards,
    )
    write_card(folder, card)
    return folder


def test_whole_histories_are_read_back(tmp_path: Path) -> None:
    found = Dataset.open(stored(tmp_path)).read(torch.tensor([2, 1, 0]))
    written = rollout().merged()
    for name, x in zip(Rollout._fields[:6], found.rollout.of_steps, strict=True):
        wanted = getattr(written, name)[:, [2, 1, 0]]
        where = found.rollout.alive if len(x) == 5 else torch.cat([torch.ones(1, 3).bool(), found.rollout.alive])
        assert torch.equal(x[where], wanted[where].to(x.dtype)), name
    assert found.rollout.alive.sum(0).tolist() == [5, 3, 5]
    assert found.task.tolist() == [1, 0, 0] and found.history.tolist() == [2, 1, 0]
    assert torch.equal(found.optimal_action, 1 - found.rollout.action)
    assert found.rollout.action.dtype == torch.int64 and found.rollout.observation.dtype == torch.float32


def test_windows_lie_within_one_history(tmp_path: Path) -> None:
    found = Dataset.open(stored(tmp_path)).sample(400, 2, torch.Generator().manual_seed(0))
    rewards = found.rollout.reward
    assert found.rollout.alive.all() and rewards.shape == (2, 400)
    assert torch.equal(rewards[0], 10 * found.history + found.start)
    assert torch.equal(rewards[1], rewards[0] + 1)
    assert torch.equal(found.task, found.history // 2)
    assert torch.equal(found.rollout.truncated, rewards % 10 % 2 == 1)
    states = torch.tensor(STATES).view(4, 6)
    wanted = states[found.history[None], found.start[None] + torch.arange(3)[:, None]]
    assert torch.equal(found.rollout.observation.argmax(-1), wanted)
    places = {(int(h), int(s)) for h, s in zip(found.history, found.start, strict=True)}
    assert places == {(h, s) for h, length in enumerate(LENGTHS) for s in range(length - 1)}


def test_short_history_is_padded(tmp_path: Path) -> None:
    found = Dataset.open(stored(tmp_path)).sample(40, 4, torch.Generator().manual_seed(0))
    short = found.history == 1
    assert found.rollout.alive[:, short].sum(0).eq(3).all() and found.start[short].eq(0).all()
    assert found.rollout.alive[:, ~short].all() and set(found.start[~short].tolist()) == {0, 1}
    assert not found.rollout.reward[3, short].any() and not found.rollout.ended[3, short].any()


def test_dataset_without_labels(tmp_path: Path) -> None:
    dataset = Dataset.open(stored(tmp_path, labels=False))
    assert not dataset.labels and dataset.read(torch.tensor([0])).optimal_action is None


@pytest.mark.parametrize("damage", ["flipped bit", "truncated", "missing", "card"])
def test_damage_is_refused_with_file_and_reason(tmp_path: Path, damage: str) -> None:
    path = stored(tmp_path) / "shard-000001.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "flipped bit":
        data[-3] ^= 1
        path.write_bytes(data)
        dataset = Dataset.open(tmp_path)
        assert dataset.read(torch.tensor([0, 1])).task.tolist() == [0, 0]  # of the other shard
        with pytest.raises(StateError, match=r"shard-000001\.safetensors: is damaged"):
            dataset.read(torch.tensor([2]))
        return
    if damage == "truncated":
        path.write_bytes(data[:-1])
    elif damage == "missing":
        path.unlink()
    else:
        path = tmp_path / "dataset.json"
        path.write_text(path.read_text().replace('"num_features": 3', '"num_features": 4'))
    with pytest.raises(StateError, match=rf"{path.name}: (must have|is missing|is damaged)"):
        Dataset.open(tmp_path)


def test_tensors_that_do_not_fit_the_card_are_refused(tmp_path: Path) -> None:
    card = read_card(stored(tmp_path))
    for wrong, named in (
        ({"num_actions": 1}, "action"),
        ({"one_hot": False}, "observation"),
        ({"labels": False}, "optimal_action"),
    ):
        write_card(tmp_path, dataclasses.replace(card, **wrong))
        with pytest.raises(StateError, match=f"than its card says: {named}"):
            Dataset.open(tmp_path).read(torch.tensor([0]))


def test_content_of_a_shard() -> None:
    """Header and data as the format of safetensors wants them, by hand."""
    one = rollout().tasks(slice(0, 1)).merged().envs(slice(1, 2))  # history 1: states 2 1 0 2, actions 1 1 1
    one = Rollout(*(x[None] for x in one.of_steps), {})
    data = to_bytes(packed(one, None, one_hot=True, num_actions=2))
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0 and data[8 : 8 + length].rstrip() == (
        b'{"first":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},'
        b'"reward":{"dtype":"F32","shape":[3],"data_offsets":[16,28]},'
        b'"action":{"dtype":"U8","shape":[3],"data_offsets":[28,31]},'
        b'"ended":{"dtype":"U8","shape":[3],"data_offsets":[31,34]},'
        b'"observation":{"dtype":"U8","shape":[4],"data_offsets":[34,38]}}'
    )
    assert data[8 + length :] == (
        (0).to_bytes(8, "little") + (3).to_bytes(8, "little")
        + bytes.fromhex("00002041 00003041 00004041")  # rewards 10, 11, 12 as little-endian float32
        + bytes([1, 1, 1]) + bytes([0, 2, 0]) + bytes([2, 1, 0, 2])
    )  # fmt: skip
