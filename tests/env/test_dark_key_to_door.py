"""Dark Key-to-Door: stages, payments and best returns by hand."""

import pytest
import torch
from grid_lab import assert_steps_as_the_tables_say, family_of, return_of_optimal_actions, walk

from metarl_run.env.dark_key_to_door import DarkKeyToDoorState
from metarl_run.env.standalone import make_family
from metarl_run.exact import optimal_returns

UP, RIGHT, DOWN, LEFT, STAY = range(5)
SMALL = {"size": 3, "start": "corner", "meta_train": {"tasks": "all"}, "meta_test": {"tasks": "all"}}


@pytest.mark.parametrize("ends", [False, True])
def test_every_step_is_what_the_tables_say(ends):
    family, task = family_of("dark_key_to_door", ends=ends, **SMALL)
    assert task.num_tasks == 81 == len(set(task.hashes()))
    assert_steps_as_the_tables_say(family, task, DarkKeyToDoorState)


def test_a_walk_by_hand():
    """Key in cell 1, door in cell 4 of 3 × 3: the door pays nothing before the key does, and each pays once."""
    family, task = family_of("dark_key_to_door", **SMALL)
    one = task.select((task.key == 1) & (task.door == 4))
    numbers, rewards = walk(family, one, [UP, RIGHT, DOWN, STAY, UP, DOWN], DarkKeyToDoorState)
    assert numbers == [[3], [4], [9 + 1], [9 + 1], [18 + 4], [18 + 1]]
    assert rewards == [[0.0], [0.0], [1.0], [0.0], [1.0], [0.0]]


def test_key_and_door_in_one_cell_pay_one_after_the_other():
    family, task = family_of("dark_key_to_door", **SMALL)
    one = task.select((task.key == 1) & (task.door == 1))
    assert walk(family, one, [RIGHT, STAY, STAY], DarkKeyToDoorState)[1] == [[1.0], [1.0], [0.0]]


def test_the_best_return_counts_what_can_be_reached():
    """Key d steps away, door e steps further (1 at least each): both within d + e steps."""
    family, task = family_of("dark_key_to_door", horizon=4, **SMALL)
    y, x = task.key // 3, task.key % 3
    d = (y + x).clamp(min=1)
    e = ((task.door // 3 - y).abs() + (task.door % 3 - x).abs()).clamp(min=1)
    wanted = (d <= 4).float() + (d + e <= 4).float()
    assert optimal_returns(family, task) == wanted.tolist() == return_of_optimal_actions(family, task)


def test_the_papers_room_always_allows_both():
    family, task = family_of("dark_key_to_door")
    assert task.num_tasks == 2000 and family.all_tasks("meta_test").num_tasks == 1000
    assert not set(task.hashes()) & set(family.all_tasks("meta_test").hashes())
    assert optimal_returns(family, task.select(slice(0, None, 1000))) == pytest.approx([2.0] * 2)
    assert not make_family("dark_key_to_door").fixed_starts
    torch.testing.assert_close(task.start[0], torch.tensor([1 / 81] * 81 + [0.0] * 162))
