"""T-mazes: places, signals and ends by hand."""

import pytest
from grid_lab import assert_steps_as_the_tables_say, family_of, generator, walk

from metarl_run.env.standalone import make_family
from metarl_run.env.tmaze import TMazeState
from metarl_run.exact import optimal_returns

UP, RIGHT, DOWN, LEFT = range(4)
NUMBERS = {"goal_reward": 4.0, "wrong_reward": -1.0, "step_reward": -0.125}


def test_every_step_is_what_the_tables_say():
    """Up to the final states, which no one sees."""
    family, task = family_of("tmaze", length=3, **NUMBERS)
    M, S, A = task.mean_reward.shape
    assert (M, S, A) == (2, 5, 4)
    assert_steps_as_the_tables_say(family, task, TMazeState)


def test_a_walk_by_hand():
    """States 0 and 1 are the start; walls hold; the junction, state 1 + 3, has arms on both sides."""
    family, task = family_of("tmaze", length=3, **NUMBERS)
    assert task.side.tolist() == [0, 1] and family.reset(task, 1, generator()).number.tolist() == [[0], [1]]
    numbers, rewards = walk(family, task, [UP, LEFT, RIGHT, DOWN, LEFT, RIGHT, RIGHT, RIGHT, RIGHT, UP], TMazeState)
    assert numbers[:9] == [[0, 1], [0, 1], [2, 2], [2, 2], [0, 1], [2, 2], [3, 3], [4, 4], [4, 4]]
    assert rewards == [[-0.125, -0.125]] * 9 + [[4.0, -1.0]]


@pytest.mark.parametrize("length", [1, 3, 50])
def test_the_best_return_is_to_walk_and_turn(length):
    family, task = family_of("tmaze", length=length, horizon=length + 1, **NUMBERS)
    assert optimal_returns(family, task) == pytest.approx([length * -0.125 + 4.0] * 2)


def test_both_sides_come_equally_often():
    task = make_family("tmaze").sample(10, "meta_test", generator())
    assert task.side.sum() == 5


def test_a_maze_longer_than_an_episode_is_refused():
    with pytest.raises(ValueError, match="horizon must be > length, which is 20, got 20"):
        make_family("tmaze", length=20)
