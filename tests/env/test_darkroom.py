"""Dark Rooms: moves, payments and best returns by hand, splits as published, permuted actions."""

import pytest
import torch
from grid_lab import assert_steps_as_the_tables_say, family_of, generator, return_of_optimal_actions, walk

from metarl_run.env.darkroom import DarkRoomState
from metarl_run.env.standalone import make_family
from metarl_run.exact import optimal_returns

UP, RIGHT, DOWN, LEFT, STAY = range(5)
ALL = {"tasks": "all"}
SMALL = {"size": 3, "meta_train": ALL, "meta_test": ALL}


@pytest.mark.parametrize("reward", ["every_step", "once", "end"])
@pytest.mark.parametrize("permuted", [False, True])
def test_every_step_is_what_the_tables_say(reward, permuted):
    family, task = family_of("darkroom", reward=reward, permuted_actions=permuted, **SMALL)
    assert task.num_tasks == (9 * 120 if permuted else 9)
    assert_steps_as_the_tables_say(family, task.select(slice(0, None, 37 if permuted else 1)), DarkRoomState)


@pytest.mark.parametrize(
    ("reward", "paid"), [("every_step", [0, 1, 1, 0, 1]), ("once", [0, 1, 0, 0, 0]), ("end", [0, 1, 1, 0, 1])]
)
def test_a_walk_by_hand(reward, paid):
    """To the goal, cell 4 of 3 × 3, about on it, away and back; an episode that ends there is walked on regardless."""
    family, task = family_of("darkroom", reward=reward, goal=4, **SMALL)
    numbers, rewards = walk(family, task, [UP, RIGHT, STAY, DOWN, UP], DarkRoomState)
    bit = 9 if reward == "once" else 0  # the goal has paid
    assert numbers == [[3], [4 + bit], [4 + bit], [1 + bit], [4 + bit]]
    assert rewards == [[float(x)] for x in paid]


def test_a_start_on_the_goal_pays_with_the_first_step_that_leads_there():
    family, task = family_of("darkroom", reward="once", goal=0, horizon=5, **SMALL)
    assert walk(family, task, [STAY, STAY], DarkRoomState)[1] == [[1.0], [0.0]]
    assert walk(family, task, [UP, DOWN], DarkRoomState)[1] == [[0.0], [1.0]]
    assert optimal_returns(family, task) == [1.0]


@pytest.mark.parametrize(
    ("option", "number", "mean"),
    [
        ("darkroom", 100, 91.99),
        ("darkroom_ad", 81, 16.543),
        ("darkroom_permuted", 120, 83.0),
        ("darkroom_dr9", 81, 1.0),
    ],
)
def test_the_best_returns_of_the_papers_rooms(option, number, mean):
    """Means over all goals; 83 is the paper's own figure for the far corner."""
    family, task = family_of(option, meta_train=ALL, meta_test=ALL)
    best = return_of_optimal_actions(family, task)
    assert len(best) == number and sum(best) / number == pytest.approx(mean, abs=1e-3)
    assert optimal_returns(family, task.select(slice(0, None, 12))) == best[::12]


def test_the_hard_room_pays_once_within_reach():
    """Of 17 × 17: from the centre no goal is more than 16 of 20 steps away."""
    family, task = family_of("darkroom_hard")
    assert optimal_returns(family, task.select(slice(1))) == [1.0]
    assert return_of_optimal_actions(family, task) == [1.0] * 231


def test_optimal_actions_go_up_or_down_first():
    """
    6 7 8
    3 4 5
    0 1 2
    """
    family, task = family_of("darkroom", goal=5, **SMALL)
    every = torch.arange(9).unsqueeze(0)
    assert family.optimal_action(task, every)[0].tolist() == [UP, UP, UP, RIGHT, RIGHT, STAY, DOWN, DOWN, DOWN]
    family, task = family_of("darkroom", goal=3, permuted_actions=True, **SMALL)
    move = task.moves.gather(1, family.optimal_action(task, every.expand(120, 9)))
    assert (move == torch.tensor([UP, UP, UP, STAY, LEFT, LEFT, DOWN, DOWN, DOWN])).all()


@pytest.mark.parametrize(
    ("option", "train", "test", "total"),
    [("darkroom", 80, 20, 100), ("darkroom_permuted", 100, 20, 120), ("darkroom_dr9", 70, 11, 81)],
)
def test_splits_are_the_published_ones_and_disjoint(option, train, test, total):
    family = make_family(option)
    seen, new = (set(family.all_tasks(split).hashes()) for split in ("meta_train", "meta_test"))
    assert (len(seen), len(new), len(seen | new)) == (train, test, total)
    assert set(family.sample(500, "meta_test", generator()).hashes()) == new
    assert sorted(make_family(option).numbers["meta_test"]) == sorted(family.numbers["meta_test"])


def test_the_split_of_dpts_goals_stays_what_it_is():
    """The same on every machine, whatever the version of any library."""
    wanted = [1, 7, 10, 11, 15, 24, 37, 54, 61, 70, 75, 76, 78, 80, 81, 84, 85, 94, 96, 97]
    assert sorted(make_family("darkroom").numbers["meta_test"]) == wanted


def test_uniform_starts_are_uniform_and_single_steps_can_be_collected():
    family, task = family_of("darkroom", start="uniform", horizon=1)
    assert not family.fixed_starts and make_family("darkroom").fixed_starts
    cells = family.reset(task, 1000, generator()).number
    counts = torch.bincount(cells.flatten(), minlength=100)
    assert counts.min() > 650 and counts.max() < 950  # 800 each, σ = 28
    torch.testing.assert_close(task.start, torch.full((80, 100), 0.01))
    assert family.optimal_action(task, cells).shape == cells.shape


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"meta_test": {"tasks": 21}}, r"meta_test\.tasks must be all or at most 20, which meta_train leaves of 100"),
        ({"size": 5}, r"meta_train\.tasks must be all or at most 25, the number of tasks, got 80"),
        ({"goal": 100}, r"goal must be any or a cell in \[0, 99\], got 100"),
        ({"meta_train": {"tasks": 0}}, "meta_train tasks: must be all or an integer >= 1, got 0"),
    ],
)
def test_more_tasks_than_there_are_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        make_family("darkroom", **changes)
