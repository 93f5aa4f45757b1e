"""Families on MuJoCo against Gymnasium's v5 environments, and against numbers computed by hand."""

import math

import gymnasium
import numpy as np
import pytest
import torch

from metarl_run.env.mujoco.simulator import _with_endless_floor
from metarl_run.env.standalone import make_family
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.maths.parallel import use_threads


def task_of(family, **values):
    """One task, some of whose fields are given."""
    drawn = family.sample(1, "meta_train", torch.Generator().manual_seed(0))
    return type(drawn)(**{**drawn.tensors(), **{name: torch.tensor([value]) for name, value in values.items()}})


def unchanged(family):
    """The task whose parameters are the model's."""
    fields = task_of(family).tensors()
    values = {name: torch.from_numpy(getattr(family.model, name).copy()).unsqueeze(0) for name in fields}
    return type(task_of(family))(**values)


def made(env_id, **arguments):
    env = gymnasium.make(env_id, **arguments).unwrapped
    env.reset(seed=0)
    return env


def half_cheetah():
    family = make_family("half_cheetah_dir", observe_torso=False)
    return family, task_of(family, direction=1.0), made("HalfCheetah-v5", ctrl_cost_weight=0.05)


def ant():
    """Without contact costs: Gymnasium's contact forces are of the last Runge-Kutta stage, ours of the first."""
    family = make_family("ant_dir", contact_cost=0.0)
    env = made("Ant-v5", contact_cost_weight=0.0, include_cfrc_ext_in_observation=False)
    return family, task_of(family, angle=0.0), env


def humanoid():
    family = make_family("humanoid_dir", contact_cost=0.0)
    return family, task_of(family, angle=0.0), made("Humanoid-v5", contact_cost_weight=0.0)


def hopper():
    family = make_family("hopper_params")
    return family, unchanged(family), made("Hopper-v5")


def walker():
    family = make_family("walker_params")
    return family, unchanged(family), made("Walker2d-v5")


@pytest.mark.parametrize("pair", [half_cheetah, ant, humanoid, hopper, walker])
def test_a_thousand_steps_equal_gymnasiums_to_the_last_bit(pair):
    """Gymnasium pays the reward for health only while the robot is healthy; the papers' environments always do."""
    family, task, env = pair()
    draws = np.random.default_rng(0)
    qpos, qvel = (torch.from_numpy(x.copy()).view(1, 1, -1) for x in (env.data.qpos, env.data.qvel))
    state = family.simulator.forward(qpos, qvel, family.parameters(task))
    for _ in range(200 if pair is humanoid else 1000):
        action = draws.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
        observation, reward, terminated, _, info = env.step(action)
        state, paid, ended = family.step(task, state, torch.from_numpy(action).view(1, 1, -1), None)
        np.testing.assert_array_equal(state.qpos[0, 0].numpy(), env.data.qpos)
        np.testing.assert_array_equal(state.qvel[0, 0].numpy(), env.data.qvel)
        health = family.healthy_reward if pair in (hopper, walker, humanoid) else 0.0
        unpaid = health - info.get("reward_survive", 0.0) if health else 0.0
        assert paid.item() == pytest.approx(reward + unpaid, abs=1e-6, rel=1e-6)
        assert ended.item() == terminated
        if pair is not humanoid:  # which observes other bodies than Gymnasium
            seen = family.observe(task, state)[0, 0].numpy()
            np.testing.assert_array_equal(seen, observation.astype(np.float32))


def test_every_task_is_simulated_with_its_own_parameters():
    """Of two tasks, the one whose every mass and inertia is doubled accelerates half as much under the same torques."""
    family = make_family("hopper_params")
    plain = unchanged(family).tensors()
    both = {name: torch.cat([x, x * (2 if "body" in name else 1)]) for name, x in plain.items()}
    both["dof_damping"] = torch.zeros_like(both["dof_damping"])
    task = type(unchanged(family))(**both)
    aloft = family.init_qpos.clone()
    aloft[1] += 1.0  # no contact
    qpos, rest = aloft.repeat(2, 3, 1), torch.zeros(2, 3, family.model.nv, dtype=torch.float64)
    push, none = torch.ones(2, 3, 3), torch.zeros(2, 3, 3)
    start = family.simulator.forward(qpos, rest, family.parameters(task))
    pushed, fallen = (family.step(task, start, action, None)[0].qvel for action in (push, none))
    armature = float(family.model.dof_armature[-1])
    assert armature > 0  # of the joints, which no mass changes: so not exactly half
    change = (pushed - fallen)[:, 0, 3:].abs().sum(-1)
    assert 1.0 < change[0] / change[1] < 2.0
    torch.testing.assert_close(fallen[0], fallen[1], rtol=1e-6, atol=1e-6)  # all fall alike


def test_what_follows_from_the_masses_is_derived_anew():
    family = make_family("hopper_params")
    plain = unchanged(family)
    heavy = type(plain)(**{**plain.tensors(), "body_mass": 2 * plain.body_mass})
    rest = family.init_qpos.new_zeros(1, 1, family.model.nv)
    family.simulator.forward(family.init_qpos.view(1, 1, -1), rest, family.parameters(heavy))
    derived = family.simulator._batch.expanded("body_subtreemass")[0]
    np.testing.assert_allclose(derived, 2 * family.model.body_subtreemass)


@pytest.mark.parametrize("option", ["half_cheetah_vel", "walker_params"])
def test_the_number_of_threads_changes_nothing(option):
    def history(threads):
        use_threads(threads)
        try:
            family, generator = make_family(option, horizon=10), torch.Generator().manual_seed(1)
            task = family.sample(3, "meta_train", generator)
            env = TaskVectorEnv(family, task, episodes_per_task=4, generator=generator)
            env.start(2)
            actions = torch.rand(15, 3, 4, 6, generator=generator) * 2 - 1
            return [x for action in actions for x in env.advance(action)[:2]]
        finally:
            use_threads(1)

    for a, b in zip(history(1), history(2), strict=True):
        assert torch.equal(a, b)


def test_the_envs_of_a_task_do_not_mix():
    """One env stepped alone equals the same env among many."""
    family = make_family("walker_params")
    generator = torch.Generator().manual_seed(2)
    task = family.sample(3, "meta_train", generator)
    state = family.reset(task, 4, generator)
    alone = type(state)(*(x[1:2, 2:3].clone() for x in state))
    action = torch.rand(3, 4, 6, generator=generator)
    many, reward, _ = family.step(task, state, action, None)
    one, paid, _ = family.step(task.select(slice(1, 2)), alone, action[1:2, 2:3], None)
    for a, b in zip(many, one, strict=True):
        assert torch.equal(a[1:2, 2:3], b)
    assert torch.equal(reward[1:2, 2:3], paid)


def test_envs_without_an_episode_left_are_not_simulated():
    family = make_family("half_cheetah_dir")
    generator = torch.Generator().manual_seed(3)
    task = family.sample(2, "meta_train", generator)
    state = family.reset(task, 2, generator)
    before = type(state)(*(x.clone() for x in state))
    alive = torch.tensor([[True, False], [False, True]])
    after, reward, _ = family.step(task, state, torch.ones(2, 2, 6), None, alive)
    assert torch.equal(after.qpos[~alive], before.qpos[~alive])
    assert (after.qpos[alive] != before.qpos[alive]).any(-1).all() and reward.isfinite().all()


def test_an_action_is_held_until_the_episode_ends():
    """Two held steps are two steps; a hopper that falls in the first is left where it fell."""
    one, two = (make_family("hopper_params", action_repeat=n) for n in (1, 2))
    task = unchanged(one)
    start = one.reset(task, 2, torch.Generator().manual_seed(0))
    start.qpos[0, 1, 2] = 0.21  # rad; past 0.2 it has fallen
    action = torch.full((1, 2, 3), 0.5)
    held, total, fallen = two.step(task, start, action, None)
    first, paid, ended = one.step(task, start, action, None)
    second, more, _ = one.step(task, first, action, None)
    assert ended.tolist() == fallen.tolist() == [[False, True]]
    assert torch.equal(held.qpos[0, 0], second.qpos[0, 0]) and torch.equal(held.qpos[0, 1], first.qpos[0, 1])
    torch.testing.assert_close(total, torch.stack([paid[0, 0] + more[0, 0], paid[0, 1]]).view(1, 2))


def test_rewards_of_directions_and_velocities_by_hand():
    family = make_family("half_cheetah_vel", control_cost=0.1)
    start = family.reset(task_of(family, velocity=0.0), 1, torch.Generator().manual_seed(0))
    moved = start._replace(qpos=start.qpos + torch.tensor([0.1] + [0.0] * 8))  # 2 m/s over 0.05 s
    assert family.reward(task_of(family, velocity=0.5), start, moved).item() == pytest.approx(-1.5)
    backward = make_family("half_cheetah_dir")
    assert backward.reward(task_of(backward, direction=-1.0), start, moved).item() == pytest.approx(-2.0)
    ant = make_family("ant_goal", contact_cost=0.0)
    task = task_of(ant, angle=math.pi / 2, squared_distance=4.0)
    begin = ant.reset(task, 1, torch.Generator().manual_seed(0))
    x, y = ant.position(begin)[0, 0].tolist()
    assert ant.reward(task, begin, begin).item() == pytest.approx(-abs(x) - abs(y - 2), abs=1e-6)


def test_two_directions_are_drawn_in_turn():
    family = make_family("half_cheetah_dir")
    drawn = family.sample(7, "meta_train", torch.Generator().manual_seed(0)).direction
    assert sorted(drawn.tolist())[3] in (-1.0, 1.0) and abs(drawn.sum().item()) == 1.0
    assert family.all_tasks("meta_test").direction.tolist() == [-1.0, 1.0]
    assert make_family("ant_dir").all_tasks("meta_test") is None


def test_a_state_that_diverges_is_warned_of_once(caplog):
    family = make_family("hopper_params")
    task = unchanged(family)
    state = family.reset(task, 2, torch.Generator().manual_seed(0))
    for _ in range(2):
        family.step(task, state._replace(qvel=state.qvel + 1e12), torch.zeros(1, 2, 3), None)
    assert [record.message for record in caplog.records] == [
        "hopper.xml: MuJoCo reset 2 simulations whose state had diverged, and goes on so"
    ]


def test_nothing_is_written_beside_the_run(tmp_path, monkeypatch, capfd):
    """MuJoCo's own log would fill the terminal, and a file in the working directory."""
    monkeypatch.chdir(tmp_path)
    family = make_family("half_cheetah_dir")
    generator = torch.Generator().manual_seed(0)
    task = family.sample(1, "meta_train", generator)
    state = family.reset(task, 1, generator)
    family.step(task, state._replace(qvel=state.qvel + 1e12), torch.ones(1, 1, 6), None)
    assert not list(tmp_path.iterdir()) and capfd.readouterr() == ("", "")


def test_pearls_tasks_are_those_of_its_code():
    """130 draws of numpy's legacy generator: the first 100 are for meta-training, the last 30 for meta-testing."""
    draws = np.random.RandomState(1337).uniform(0, 3, 130)
    family = make_family("half_cheetah_vel_pearl")
    for split, wanted in (("meta_train", draws[:100]), ("meta_test", draws[-30:])):
        np.testing.assert_allclose(family.all_tasks(split).velocity, np.sort(wanted), atol=6e-5)
        drawn = family.sample(len(wanted), split, torch.Generator().manual_seed(0)).velocity
        np.testing.assert_allclose(drawn.sort().values, family.all_tasks(split).velocity)


@pytest.mark.parametrize(
    ("option", "features", "horizon"),
    [
        ("half_cheetah_vel", 20, 200),  # 8 angles and heights, 9 velocities, 3 coordinates of the torso
        ("half_cheetah_vel_promp", 17, 100),
        ("half_cheetah_dir_promp", 17, 100),
        ("ant_dir", 27, 200),  # 13 positions, 14 velocities
        ("ant_dir_promp", 27 + 6 * 13, 100),  # forces and torques on 13 bodies
        ("ant_goal", 29 + 6 * 13, 200),
    ],
)
def test_variants_observe_what_the_published_code_does(option, features, horizon):
    family = make_family(option)
    assert family.observation_space.shape == (features,) and family.horizon == horizon


def test_varibads_ants_run_one_radian_to_either_side():
    directions = make_family("ant_dir_varibad").all_tasks("meta_test").direction[:, 0]
    right, up = math.cos(1), math.sin(1)
    np.testing.assert_allclose(directions, [[right, -up], [right, up]])


def test_the_floor_in_pictures_has_no_end():
    """A robot that has run 40 m would leave the model's; the physics keeps it."""
    model = make_family("half_cheetah_dir").model
    drawn = _with_endless_floor(model)
    floor = model.geom("floor").id
    assert model.geom_size[floor, :2].tolist() == [40, 40] and drawn.geom_size[floor, :2].tolist() == [0, 0]
