"""A grid with a hidden goal: moves, rewards and best returns by hand, and which goals are drawn how often."""

from collections import Counter

import pytest
import scipy
import torch

from metarl_run.env.gridworld import GridWorld, GridWorldState, GridWorldTask
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.exact import optimal_returns

UP, RIGHT, DOWN, LEFT, STAY = range(5)
ALL = {"goals": "all"}
PAPER = [2, 3, 4, 7, 8, 9, *range(10, 25)]  # all 25 cells but (0, 0), (1, 0), (0, 1) and (1, 1)
NO_RANDOMNESS = torch.Generator()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_family(meta_train=ALL, meta_test=ALL, **changes):
    numbers = {"horizon": 15, "size": 5, "step_reward": -0.1, "goal_reward": 1.0} | changes
    return GridWorld(meta_train=meta_train, meta_test=meta_test, **numbers)


def with_goals(*goals, **changes):
    """A family and one task for each of these goals, in this order."""
    family = make_family({"goals": list(goals)}, **changes)
    task = family.sample(len(goals), "meta_train", generator())
    return family, task.select(torch.stack([(task.goal == goal).nonzero()[0, 0] for goal in goals]))


def walk(family, task, actions):
    """One episode slot per task: the cells it comes to and what it gets, `[T][M]`."""
    env = TaskVectorEnv(family, task, episodes_per_task=1, generator=NO_RANDOMNESS)
    assert env.start(99).argmax(-1).eq(0).all()
    steps = [env.advance(torch.full((task.num_tasks, 1), action)) for action in actions]
    return [step.observation.argmax(-1).flatten().tolist() for step in steps], steps


# --- Moves ---


def test_every_move_in_a_grid_of_nine_cells():
    """
    6 7 8
    3 4 5
    0 1 2
    """
    _, task = with_goals(8, size=3)
    assert task.next_cell.tolist() == [
        # up, right, down, left, stay
        [3, 1, 0, 0, 0],
        [4, 2, 1, 0, 1],
        [5, 2, 2, 1, 2],
        [6, 4, 0, 3, 3],
        [7, 5, 1, 3, 4],
        [8, 5, 2, 4, 5],
        [6, 7, 3, 6, 6],
        [7, 8, 4, 6, 7],
        [8, 8, 5, 7, 8],
    ]


def test_a_walk_by_hand():
    """To the goal at x = 2, y = 1, into a wall on the way, about on it, away and back; another task pays nothing."""
    family, task = with_goals(7, 24)
    actions = [DOWN, RIGHT, UP, RIGHT, STAY, LEFT, RIGHT, UP]
    cells, steps = walk(family, task, actions)
    assert [cell for cell, _ in cells] == [other for _, other in cells] == [0, 1, 6, 7, 7, 6, 7, 12]
    paid = torch.stack([step.reward.flatten() for step in steps]).T
    torch.testing.assert_close(paid, torch.tensor([[-0.1, -0.1, -0.1, 1, 1, -0.1, 1, -0.1], [-0.1] * 8]))


def test_a_wall_behind_the_goal_holds_the_agent_on_it():
    family, task = with_goals(4)
    _, steps = walk(family, task, [RIGHT] * 4 + [RIGHT, DOWN, STAY])
    torch.testing.assert_close(torch.stack([s.reward for s in steps]).flatten(), torch.tensor([-0.1] * 3 + [1.0] * 4))


def test_an_episode_lasts_its_horizon_goal_or_not_and_the_next_one_begins_in_the_corner():
    family, task = with_goals(2, 24)
    cells, steps = walk(family, task, ([RIGHT, RIGHT] + [STAY] * 13) * 2)
    assert [step.truncated is not None and bool(step.truncated.all()) for step in steps] == ([False] * 14 + [True]) * 2
    assert not any(step.terminated.any() for step in steps)
    assert [one for one, _ in cells] == ([1] + [2] * 13 + [0]) * 2
    returns = torch.stack([step.reward.flatten() for step in steps]).view(2, 15, 2).sum(1)
    torch.testing.assert_close(returns, torch.tensor([[-0.1 + 14, -1.5]] * 2))


def test_every_step_is_what_the_tables_say():
    """From each cell by each action, in all tasks at once."""
    family = make_family(step_reward=0.5, goal_reward=2.0)
    task = family.sample(21, "meta_train", generator())
    assert torch.equal(task.start, torch.eye(25)[0].expand(21, 25))
    cell, action = torch.arange(25).repeat_interleave(5), torch.arange(5).repeat(25)
    before = GridWorldState(cell.repeat(21, 1))
    then, reward, terminated = family.step(task, before, action.repeat(21, 1), None)
    assert torch.equal(family.observe(task, then), task.transition[:, cell, action])
    assert torch.equal(reward, task.mean_reward[:, cell, action]) and not terminated.any()
    assert torch.equal(reward == 2, then.cell == task.goal.unsqueeze(-1)) and ((reward == 0.5) | (reward == 2)).all()


# --- What can be reached ---


@pytest.mark.parametrize(
    ("goal", "best"),
    [
        (2, 1 * -0.1 + 14),  # 2 steps away
        (10, 1 * -0.1 + 14),  # x = 0, y = 2
        (4, 3 * -0.1 + 12),
        (18, 5 * -0.1 + 10),  # x = 3, y = 3
        (24, 7 * -0.1 + 8),  # the opposite corner, 8 steps away
    ],
)
def test_the_best_return_by_hand(goal, best):
    family, task = with_goals(goal)
    assert optimal_returns(family, task) == [pytest.approx(best, abs=1e-6)]
    _, steps = walk(family, task, [UP] * (goal // 5) + [RIGHT] * (goal % 5) + [STAY] * (15 - goal // 5 - goal % 5))
    assert sum(step.reward.item() for step in steps) == pytest.approx(best, abs=1e-5)


def test_a_goal_beyond_the_horizon_is_out_of_reach():
    family, task = with_goals(24, 13, horizon=5)  # 8 and 5 steps away
    assert optimal_returns(family, task) == pytest.approx([-0.5, 4 * -0.1 + 1])


@pytest.mark.parametrize("size", [3, 6])
def test_the_best_return_is_that_of_going_straight(size):
    """(d − 1) step_reward + (H − d + 1) goal_reward, if the goal is d ≤ H steps away."""
    family = make_family(size=size, horizon=12, step_reward=0.2, goal_reward=0.7)
    task = family.sample(size**2 - 4, "meta_test", generator())
    d = task.goal // size + task.goal % size
    expected = (d - 1) * 0.2 + (12 - d + 1) * 0.7
    assert optimal_returns(family, task) == pytest.approx(expected.tolist(), abs=1e-5)


# --- Goals ---


@pytest.mark.parametrize("split", ["meta_train", "meta_test"])
def test_the_papers_goals_are_never_near_the_start(split):
    """21 of 25 cells, each as often as any other, as far as their number allows."""
    family = make_family()
    for times in (1, 3):
        assert sorted(family.sample(21 * times, split, generator()).goal.tolist()) == sorted(PAPER * times)
    assert len(family.sample(20, split, generator()).goal.unique()) == 20
    counts = Counter(family.sample(50, split, generator()).goal.tolist())  # 2 · 21 + 8
    assert Counter(counts.values()) == {2: 13, 3: 8}


@pytest.mark.parametrize(("size", "number"), [(3, 5), (4, 12), (7, 45)])
def test_grids_of_other_sizes_leave_out_the_same_four_cells(size, number):
    goal = make_family(size=size).sample(number, "meta_train", generator()).goal
    assert len(goal.unique()) == number
    assert not set(goal.tolist()) & {0, 1, size, size + 1}


def test_each_task_of_a_batch_alone_is_uniform():
    """Goals at every place of batches of 24, which begin a second round, by χ² tests; at two places, too."""
    family, rng = make_family(), generator()
    goals = torch.stack([family.sample(24, "meta_train", rng).goal for _ in range(2100)])
    for place in (0, 1, 20, 21, 23):
        counts = goals[:, place].bincount(minlength=25)[PAPER]
        assert counts.sum() == 2100 and scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert (goals[:, 0] != goals[:, 1]).all()
    second = goals[goals[:, 0] == 24, 1].bincount(minlength=25)[PAPER[:-1]]
    assert scipy.stats.chisquare(second.numpy()).pvalue > 1e-3
    assert scipy.stats.binomtest(int((goals[:, 0] == goals[:, 21]).sum()), 2100, 1 / 21).pvalue > 1e-3, "rounds mix"


def test_splits_may_have_goals_of_their_own():
    family = make_family({"goals": [1, 6, 12]}, {"goals": (24, 20)})
    train, test = (family.sample(30, split, generator()) for split in ("meta_train", "meta_test"))
    assert Counter(train.goal.tolist()) == {1: 10, 6: 10, 12: 10} and Counter(test.goal.tolist()) == {24: 15, 20: 15}
    assert not set(train.hashes()) & set(test.hashes())


def test_the_goal_of_a_task_is_where_it_pays():
    task = GridWorldTask(torch.tensor([[0.0, 0.0, 0.0, 9.0], [-1.0, -0.5, -1.0, -1.0]]))
    assert task.goal.tolist() == [3, 1]
    assert task.select(torch.tensor([1])).goal.tolist() == [1]


def test_what_must_pay_less_may_pay_much_less():
    _, task = with_goals(7, step_reward=-10, goal_reward=0)
    assert task.goal.tolist() == [7] and task.reward.sum() == -240 and task.reward.dtype == torch.float32


# --- Refusals ---


@pytest.mark.parametrize(
    "goals", ["none", 3, None, [], [2, 2], [2.0], [True], ["all"], {"cell": 2}, [2, 0], [2, -1], [25]]
)
@pytest.mark.parametrize("split", ["meta_train", "meta_test"])
def test_goals_are_all_or_different_cells_besides_the_start(split, goals):
    with pytest.raises(
        ValueError, match=rf"^{split}\.goals must be all or a list of different cells in \[1, 24\], got"
    ):
        make_family(**{split: {"goals": goals}})


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({}, "lacks 'goals'"),
        ({"goal": "all"}, "lacks 'goals'"),
        ({"goals": "all", "walls": [3]}, "has an unknown key 'walls'; it takes goals"),
        ("all", "must be a mapping of goals, got 'all'"),
    ],
)
def test_a_split_says_its_goals_and_nothing_else(places, said):
    with pytest.raises(ValueError, match=f"^meta_test {said}$"):
        make_family(meta_test=places)


@pytest.mark.parametrize("goal_reward", [-0.1, -2])
def test_the_goal_must_pay_more(goal_reward):
    with pytest.raises(ValueError, match=rf"^goal_reward must be > step_reward, which is -0.1, got {goal_reward}$"):
        make_family(goal_reward=goal_reward)


def test_a_grid_without_room_for_goals_is_refused():
    with pytest.raises(ValueError, match="size must be an integer >= 3, got 2"):
        make_family(size=2)
