"""A point in the plane: steps by hand and by numpy, and the best that can be done."""

import math

import gymnasium
import numpy as np
import pytest
import torch

from metarl_run.env.actions import dynamics_of
from metarl_run.env.check import CHECKED
from metarl_run.env.navigation import Navigation, NavigationTask
from metarl_run.env.point import PointState
from metarl_run.env.vector import TaskVectorEnv

MAML = {"goal_x": ["uniform", -0.5, 0.5], "goal_y": ["uniform", -0.5, 0.5], "start_x": 0, "start_y": 0}
VARYING = MAML | {"start_x": ["uniform", -0.5, 0.5], "start_y": ["uniform", -0.5, 0.5]}
NO_RANDOMNESS = torch.Generator()
REWARDS = ["distance", "squared_distance"]


def make_family(meta_train=MAML, meta_test=MAML, **changes):
    numbers = {"horizon": 100, "max_step": 0.1, "reward": "distance", "goal_radius": 0.0} | changes
    return Navigation(meta_train=meta_train, meta_test=meta_test, **numbers)


def task_of(*places, dtype=torch.float64):
    """Tasks from rows of goal x, goal y, start x, start y."""
    return NavigationTask(*torch.tensor(places, dtype=dtype).T.contiguous())


def env_of(family, task, slots=1):
    CHECKED.add(family)  # float64, which training refuses
    return TaskVectorEnv(family, task, episodes_per_task=slots, generator=NO_RANDOMNESS)


def straight(task, position):
    """The action that goes to the goal in one step, unless it is clipped."""
    return task.goal - position


def lived_return(family, task, policy, slots=1):
    """The sum of rewards of one episode in every slot."""
    env = env_of(family, task, slots)
    position, total = env.start(), 0
    for _ in range(family.horizon):
        step = env.advance(policy(task, position))
        position, total = step.observation, total + step.reward
    assert not env.alive.any()
    return total


# --- Steps ---


@pytest.mark.parametrize(("reward", "power"), [("distance", 1), ("squared_distance", 2)])
def test_steps_by_hand(reward, power):
    """Start (0, 0), goal (0.3, −0.4); the second action is too long along x, the third in both directions."""
    family, task = make_family(reward=reward), task_of([0.3, -0.4, 0.0, 0.0])
    state = family.reset(task, 1, NO_RANDOMNESS)
    assert state.position.tolist() == [[[0.0, 0.0]]]
    for action, position, square in [
        ((0.1, -0.1), (0.1, -0.1), 0.2**2 + 0.3**2),
        ((5.0, 0.05), (0.2, -0.05), 0.1**2 + 0.35**2),
        ((-math.inf, 0.11), (0.1, 0.05), 0.2**2 + 0.45**2),
        ((0.0, 0.0), (0.1, 0.05), 0.2**2 + 0.45**2),
    ]:
        chosen = torch.tensor([[action]], dtype=torch.float64)
        state, r, terminated = dynamics_of(family, chosen.device)(task, state, chosen, None)
        assert family.observe(task, state)[0, 0].tolist() == pytest.approx(position)
        assert r.item() == pytest.approx(-(square ** (power / 2)))
        assert not terminated


@pytest.mark.parametrize("reward", REWARDS)
def test_many_tasks_and_slots_step_as_numpy_says_each_alone(reward):
    M, B, rng = 5, 3, np.random.default_rng(0)
    family = make_family(VARYING, reward=reward, max_step=0.25, goal_radius=0.3)
    task = family.sample(M, "meta_train", torch.Generator().manual_seed(0))
    state = family.reset(task, B, NO_RANDOMNESS)
    goal = np.stack([task.goal_x, task.goal_y], -1).astype(np.float64)
    place = np.stack([np.stack([task.start_x, task.start_y], -1)] * B, 1).astype(np.float64)
    step, ended = dynamics_of(family, torch.device("cpu")), 0
    for _ in range(200):
        action = rng.normal(0, 0.3, (M, B, 2))
        state, r, terminated = step(task, state, torch.tensor(action).float(), None)
        for i in range(M):
            for b in range(B):
                place[i, b] += np.maximum(-0.25, np.minimum(0.25, action[i, b]))
                distance = math.hypot(*(place[i, b] - goal[i]))
                assert r[i, b].item() == pytest.approx(-distance if reward == "distance" else -(distance**2), abs=1e-4)
                assert terminated[i, b].item() == (distance < 0.3)
        np.testing.assert_allclose(family.observe(task, state).numpy(), place, atol=1e-4)
        ended += int(terminated.sum())
    assert 0 < ended < 200 * M * B


def test_a_radius_of_zero_never_ends_an_episode_and_another_ends_it_within():
    on_the_goal = task_of([0.25, -0.5, 0.25, -0.5])
    still = torch.zeros(1, 1, 2, dtype=torch.float64)
    for radius, ends in [(0.0, False), (0.01, True)]:
        family = make_family(goal_radius=radius)
        _, reward, terminated = family.step(on_the_goal, family.reset(on_the_goal, 1, NO_RANDOMNESS), still, None)
        assert reward.item() == 0 and terminated.item() is ends
    diagonal = task_of([0.008, 0.008, 0.0, 0.0])  # 0.0113 away: within 0.01 along each axis, not within the circle
    family = make_family(goal_radius=0.01)
    assert not family.step(diagonal, family.reset(diagonal, 1, NO_RANDOMNESS), still, None)[2]


def test_the_goal_is_hidden_and_every_episode_starts_at_its_tasks_start():
    family = make_family()
    here, there = (
        task_of([0.5, 0.5, 0.1, -0.2], dtype=torch.float32),
        task_of([-0.5, 0.1, 0.1, -0.2], dtype=torch.float32),
    )
    for env in (env_of(family, here, slots=3), env_of(family, there, slots=3)):
        seen = [env.start(2)]
        for _ in range(101):
            seen.append(env.advance(torch.full((1, 3, 2), 0.01)).observation)
        for t in (0, 100):  # the first, and the first after the reset
            assert torch.equal(seen[t], torch.tensor([0.1, -0.2]).expand(1, 3, 2))
        torch.testing.assert_close(seen[99], torch.tensor([1.09, 0.79]).expand(1, 3, 2))


def test_the_spaces_are_the_plane_and_the_steps():
    family = make_family(max_step=0.25)
    assert family.action_space == gymnasium.spaces.Box(-0.25, 0.25, (2,))
    assert family.observation_space == gymnasium.spaces.Box(-np.inf, np.inf, (2,))


# --- The best that can be done ---


@pytest.mark.parametrize(
    ("places", "distance", "squared"),
    [
        ([0.25, 0.0, 0.0, 0.0], 0.15 + 0.05, 0.15**2 + 0.05**2),
        ([-0.05, 0.25, 0.0, 0.0], 0.15 + 0.05, 0.15**2 + 0.05**2),
        ([0.2, -0.3, 0.0, 0.0], math.hypot(0.1, 0.2) + 0.1, 0.1**2 + 0.2**2 + 0.1**2),
        ([0.5, 0.5, 0.4, 0.6], 0.0, 0.0),
    ],
)
def test_the_best_return_by_hand(places, distance, squared):
    task = task_of(places)
    assert make_family().optimal_return(task).item() == pytest.approx(-distance, abs=1e-12)
    assert make_family(reward="squared_distance").optimal_return(task).item() == pytest.approx(-squared, abs=1e-12)
    assert make_family(horizon=1).optimal_return(task_of([0.3, 0.4, 0.0, 0.0])).item() == pytest.approx(
        -math.hypot(0.2, 0.3)
    )


@pytest.mark.parametrize("goal_radius", [0.0, 0.01, 0.07])
@pytest.mark.parametrize("reward", REWARDS)
def test_going_straight_earns_the_best_return_and_nothing_earns_more(reward, goal_radius):
    sizes = {"max_step": 0.125, "horizon": 20}  # a bound that float32 holds exactly
    family = make_family(VARYING, reward=reward, goal_radius=goal_radius, **sizes)
    task = family.sample(50, "meta_train", torch.Generator().manual_seed(0))
    task = task_of(*zip(*task.tensors().values(), strict=True))
    best = family.optimal_return(task)
    generator = torch.Generator().manual_seed(1)

    def wandering(task, position):
        """Straight, but for noise of a different size in every slot."""
        noise = torch.randn(*position.shape[:2], 2, dtype=torch.float64, generator=generator)
        return straight(task, position) + noise * torch.linspace(0, 0.05, 20).view(1, -1, 1)

    torch.testing.assert_close(lived_return(family, task, straight).squeeze(1), best)
    others = lived_return(family, task, wandering, slots=20)
    assert (others <= best[:, None] + 1e-9).all() and (others.mean(1) < best).all()


def test_standing_still_at_the_centre_costs_the_mean_distance_to_a_square():
    """E‖goal‖ = (√2 + ln(1 + √2)) / 6 and E‖goal‖² = 1/6 for a goal uniform in the square of side 1."""
    for reward, mean in [("distance", (math.sqrt(2) + math.log(1 + math.sqrt(2))) / 6), ("squared_distance", 1 / 6)]:
        family = make_family(reward=reward, horizon=1)
        task = family.sample(20_000, "meta_train", torch.Generator().manual_seed(0))
        r = lived_return(family, task, lambda _, position: torch.zeros_like(position))
        assert r.mean().item() == pytest.approx(-mean, abs=5 * r.std().item() / 20_000**0.5)


# --- Distributions ---


def test_meta_train_and_meta_test_have_distributions_of_their_own():
    far = {"goal_x": ["uniform", 1, 2], "goal_y": 0.3, "start_x": ["choice", -1, 1], "start_y": ["uniform", -3, -2]}
    family = make_family(VARYING, far)
    train, test = (
        family.sample(2000, split, torch.Generator().manual_seed(0)) for split in ("meta_train", "meta_test")
    )
    for place in train.tensors().values():
        assert -0.5 <= place.min() < -0.49 and 0.49 < place.max() <= 0.5
        assert place.mean().item() == pytest.approx(0, abs=5 / 12**0.5 / 2000**0.5)
    assert torch.stack(list(train.tensors().values())).corrcoef().fill_diagonal_(0).abs().max() < 5 / 2000**0.5
    assert test.goal_x.min() >= 1 and test.goal_x.max() <= 2 and test.start_x.unique().tolist() == [-1, 1]
    assert test.goal_y.unique().tolist() == pytest.approx([0.3])
    assert test.start_y.min() >= -3 and test.start_y.max() <= -2
    assert len(set(train.hashes() + test.hashes())) == 4000


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"reward": "sparse"}, "reward must be one of distance, squared_distance, got 'sparse'"),
        ({"max_step": 0}, "max_step must be a finite number > 0, got 0"),
        ({"goal_radius": -0.01}, "goal_radius must be a finite number >= 0, got -0.01"),
        ({"horizon": 0}, "horizon must be an integer >= 1, got 0"),
        ({"meta_test": {"goal_x": 0, "goal_y": 0, "start_x": 0}}, "meta_test lacks 'start_y'"),
    ],
)
def test_bad_arguments_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        make_family(**bad)


def test_a_selection_of_tasks_has_its_own_goals_and_starts():
    task = task_of([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0])
    assert task.goal.tolist() == [[[1.0, 2.0]], [[5.0, 6.0]]] and task.start.tolist() == [[[3.0, 4.0]], [[7.0, 8.0]]]
    other = task.select(slice(1, 2))
    assert other.goal.tolist() == [[[5.0, 6.0]]] and other.start.tolist() == [[[7.0, 8.0]]]


def test_states_are_consumed_but_neither_tasks_nor_actions_are():
    family, task = make_family(), task_of([0.3, 0.4, 0.1, 0.2])
    state, action = family.reset(task, 4, NO_RANDOMNESS), torch.full((1, 4, 2), 7.0, dtype=torch.float64)
    hashes = task.hashes()
    family.step(task, state, action, None)
    assert task.hashes() == hashes and task.start.tolist() == [[[0.1, 0.2]]] and (action == 7).all()
    again = family.observe(task, family.reset(task, 4, NO_RANDOMNESS))
    assert torch.equal(again, torch.tensor([0.1, 0.2], dtype=torch.float64).expand(1, 4, 2))
    assert not torch.equal(family.observe(task, PointState(state.position)), again)
