"""Families under Gymnasium's names: made by `make` and `make_vec`, with the numbers of their YAML files."""

import math
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from omegaconf import OmegaConf

from metarl_run.env import registration
from metarl_run.env.base import TaskFamily
from metarl_run.env.random_mdp import RandomMDP
from metarl_run.env.registration import configuration, register
from metarl_run.errors import ConfigError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Box observation space (min|max)imum value is .*infinity"),
    # Advice, which Gymnasium's own environments do not follow: Pendulum's torque is within ±2
    pytest.mark.filterwarnings("ignore:.*we recommend using a symmetric and normalized space"),
]
CARTPOLE, MDP, NAVIGATION = (f"metarl_run/{name}-v0" for name in ("CartPoleFamily", "RandomMDP", "Navigation"))
ROOT = Path(__file__).parents[2]


@pytest.fixture
def env_id(env_option, family_config):
    """The name of each option whose file is called like its module; variants have no name of their own."""
    module, _, name = family_config._target_.rpartition(".")
    return f"metarl_run/{name}-v0" if module.endswith(f".{env_option}") else CARTPOLE


def test_the_configuration_is_what_hydra_composes(env_option, family_config):
    assert configuration(env_option) == OmegaConf.to_container(family_config, resolve=True)


def test_interpolations_follow_overrides():
    lunar = configuration("cartpole_family", meta_train={"gravity": 1.6})
    assert lunar["meta_test"]["gravity"] == lunar["meta_train"]["gravity"] == 1.6
    assert lunar["meta_train"]["force"] == lunar["meta_test"]["force"] == ["uniform", 5, 15]
    apart = configuration("cartpole_family", meta_test={"gravity": 1.6})
    assert apart["meta_test"] == lunar["meta_test"]
    assert apart["meta_train"]["gravity"] == ["uniform", 5, 15]


def test_interpolations_of_any_depth(tmp_path, monkeypatch):
    text = "a: {b: {c: 1, d: '${.c}'}, e: '${..f.g}'}\nf: {g: '${..a.b.d}'}\nh: '${.a}'\ni: 3 ${.a}\n"
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "deep.yaml").write_text(text)
    monkeypatch.setattr(registration, "CONFIG_DIR", tmp_path)
    a = {"b": {"c": 1, "d": 1}, "e": 1}
    assert configuration("deep") == {"a": a, "f": {"g": 1}, "h": a, "i": "3 ${.a}"}


def test_registering_twice_changes_nothing(env_id):
    spec = gymnasium.spec(env_id)
    register()
    assert gymnasium.spec(env_id) is spec
    assert isinstance(spec.entry_point, str) and isinstance(spec.vector_entry_point, str)


def test_gymnasiums_checker_is_content(env_id):
    """Pictures of MuJoCo need a library for drawing, which there may not be."""
    env = gymnasium.make(env_id).unwrapped
    check_env(env, skip_render_check=env.batch.family.simulated)


def test_an_environment_draws_itself_and_keeps_the_last_picture_of_an_episode():
    env = gymnasium.make(NAVIGATION, render_mode="rgb_array", horizon=2, split="meta_test")
    env.reset(seed=0)
    first, _, second, _, third = env.render(), env.step(np.ones(2)), env.render(), env.step(np.ones(2)), env.render()
    assert first.shape == (240, 240, 3) and first.dtype == np.uint8
    assert (first != second).any() and (second == third).all()
    env.reset(seed=0)
    assert (env.render() == first).all()
    assert env.metadata["render_fps"] == 20
    many = gymnasium.make_vec(NAVIGATION, num_envs=2, render_mode="rgb_array")
    many.reset(seed=0)
    assert len({picture.tobytes() for picture in many.render()}) == 2  # their goals differ


def test_pictures_show_the_way_of_the_episode():
    """Whoever moved elsewhere and back gets another picture; the next episode begins without it."""
    env = gymnasium.make_vec(NAVIGATION, num_envs=1, render_mode="rgb_array", horizon=3)
    env.reset(seed=0)
    (first,) = env.render()
    env.step(np.full((1, 2), 0.05))
    env.step(np.full((1, 2), -0.05))
    (back,) = env.render()
    env.step(np.zeros((1, 2)))  # the last of its episode
    env.step(np.zeros((1, 2)))
    (anew,) = env.render()
    assert (back != first).any() and (anew == first).all()


def test_pictures_of_a_bandit_count_pulls_until_its_arms_change():
    env = gymnasium.make("metarl_run/Bandit-v0", render_mode="rgb_array")
    env.reset(seed=0)
    pictures = [env.render()]
    for _ in range(3):
        env.step(1)
        pictures.append(env.render())
        env.reset()
    assert len({picture.tobytes() for picture in pictures}) == 4
    env.reset(seed=0)
    assert (env.render() == pictures[0]).all()


def test_a_family_that_draws_nothing_says_so(monkeypatch):
    monkeypatch.setattr(RandomMDP, "render", TaskFamily.render)
    assert gymnasium.make(MDP).unwrapped.metadata["render_modes"] == []
    with pytest.raises(ConfigError, match="RandomMDP cannot be drawn"):
        gymnasium.make(MDP, render_mode="rgb_array")


def test_a_list_of_seeds_gives_each_environment_what_it_has_alone(env_id):
    alone, together = gymnasium.make(env_id), gymnasium.make_vec(env_id, num_envs=3)
    together.reset(seed=9)
    before = together.task.hashes()
    for seeds in ([5, 6, 5], [5, None, 7]):
        first, _ = together.reset(seed=seeds)
        for i, seed in enumerate(seeds):
            if seed is None:
                assert together.task.hashes()[i] == before[i]
                continue
            np.testing.assert_array_equal(first[i], alone.reset(seed=seed)[0])
            assert together.task.hashes()[i] == alone.unwrapped.batch.task.hashes()[0]
        before = together.task.hashes()


def test_the_same_list_of_seeds_gives_the_same_histories():
    env = gymnasium.make_vec(MDP, num_envs=2)

    def history(seeds):
        env.reset(seed=seeds)
        return [env.step(np.zeros(2, int))[0].tolist() for _ in range(30)]

    assert history([1, 2]) == history([1, 2]) != history([1, 3])
    with pytest.raises(ValueError, match="one seed per environment: 2, got 3"):
        env.reset(seed=[1, 2, 3])


def test_gymnasiums_checker_is_content_with_actions_of_any_size():
    check_env(gymnasium.make(NAVIGATION, max_step=2.0).unwrapped)


def number_of_tasks(env_id):
    """The number of tasks of a family that can list them; infinity for others."""
    every = gymnasium.make(env_id).unwrapped.batch.family.all_tasks("meta_train")
    return math.inf if every is None else every.num_tasks


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_make_vec_gives_each_environment_a_task_of_its_own(env_id, mode):
    env = gymnasium.make_vec(env_id, num_envs=3, vectorization_mode=mode)
    env.action_space.seed(0)
    histories = []
    for seed in (0, 0, 1):
        env.action_space.seed(0)
        steps = [env.reset(seed=seed)[0]]
        for _ in range(30):
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            assert env.observation_space.contains(observation)
            assert (reward.shape, reward.dtype, terminated.dtype, truncated.dtype) == ((3,), np.float64, bool, bool)
            steps.extend([observation, reward, terminated, truncated])
        tasks = env.task.hashes() if mode != "sync" else [e.unwrapped.batch.task.hashes()[0] for e in env.envs]
        assert len(set(tasks)) == 3 or number_of_tasks(env_id) < 3
        # The tasks, too: where rewards are sparse, other tasks may show nothing else
        histories.append(b"".join(step.tobytes() for step in steps) + "".join(tasks).encode())
    env.close()
    assert histories[0] == histories[1]
    assert histories[0] != histories[2] or number_of_tasks(env_id) < 3


def test_two_environments_with_one_seed_are_the_same_and_splits_are_not(env_id):
    def tasks(split):
        env = gymnasium.make_vec(env_id, num_envs=2, split=split)
        env.reset(seed=0)
        return env.unwrapped.task.hashes()

    assert tasks("meta_train") == tasks("meta_train")
    assert not set(tasks("meta_train")) & set(tasks("meta_test")) or number_of_tasks(env_id) < 3


def test_tasks_change_with_the_seed_or_on_request(env_id):
    env = gymnasium.make(env_id)

    def tasks_after(**arguments):
        env.reset(**arguments)
        return env.unwrapped.batch.task.hashes()

    first = tasks_after(seed=0)
    assert tasks_after() == first
    assert tasks_after(seed=1, options={"resample_tasks": False}) == first
    second = tasks_after(options={"resample_tasks": True})
    assert second != first
    assert tasks_after(seed=0) == first
    assert tasks_after(seed=1, options={"resample_tasks": False}) == first
    assert tasks_after(options={"resample_tasks": True}) == second


def test_given_tasks_stay(env_id):
    task = gymnasium.make_vec(env_id, num_envs=2).unwrapped.task
    env = gymnasium.make_vec(env_id, num_envs=2, task=task)
    env.reset(seed=5)
    assert env.unwrapped.task is task
    with pytest.raises(ValueError, match="task must hold one task per environment: 3, got 2"):
        gymnasium.make_vec(env_id, num_envs=3, task=task)


def test_numbers_are_the_files_unless_given():
    assert gymnasium.make(CARTPOLE).unwrapped.batch.horizon == 200
    env = gymnasium.make(CARTPOLE, horizon=5, meta_train={"gravity": 0.001, "force": 0.001, "pole_mass": 0.1})
    assert env.unwrapped.batch.task.gravity.item() == pytest.approx(0.001)
    env.reset(seed=0)
    steps = [env.step(0) for _ in range(5)]
    assert [truncated for _, _, _, truncated, _ in steps] == [False] * 4 + [True]
    assert not any(terminated for _, _, terminated, _, _ in steps)
    with pytest.raises(TypeError, match="horizn"):
        gymnasium.make(CARTPOLE, horizn=5)


def test_gymnasiums_wrappers_count_the_same_episodes():
    """Rewards of 1 make an episode's return its length; the recorder drops the steps that only reset."""
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(gymnasium.make_vec(CARTPOLE, num_envs=4))
    env.action_space.seed(0)
    env.reset(seed=0)
    episodes = 0
    for _ in range(300):
        *_, info = env.step(env.action_space.sample())
        if ended := info.get("episode"):
            mask = info["_episode"]
            assert (ended["r"][mask] == ended["l"][mask]).all() and (ended["l"][mask] >= 5).all()
            episodes += mask.sum()
    assert episodes > 10


def test_the_single_environment_equals_one_of_the_batch(env_id):
    """The same task and state, the same actions: the same numbers, to the end of the episode."""
    single, batch = gymnasium.make(env_id), gymnasium.make_vec(env_id, num_envs=1)
    first, _ = single.reset(seed=3)
    start, _ = batch.reset(seed=3)
    np.testing.assert_array_equal(first, start[0])
    batch.action_space.seed(3)
    ended = False
    while not ended:
        action = batch.action_space.sample()
        one, many = single.step(action[0]), batch.step(action)
        for x, y in zip(one[:4], many[:4], strict=True):
            np.testing.assert_array_equal(x, y[0])
        ended = one[2] or one[3]


def test_gymnasium_imports_the_module_it_is_told_and_torch_only_to_make(tmp_path: Path):
    """In a fresh process, from another folder."""
    check = f"""
import sys, gymnasium, metarl_run.env.registration
assert "torch" not in sys.modules
gymnasium.spec({CARTPOLE!r}), gymnasium.spec({MDP!r})
for name in list(gymnasium.registry):
    if name.startswith("metarl_run/"):
        del gymnasium.registry[name]
del sys.modules["metarl_run.env.registration"]
gymnasium.make("metarl_run.env.registration:{CARTPOLE}").reset(seed=0)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", check],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_the_global_generator_of_torch_is_left_alone(env_id):
    before = torch.get_rng_state()
    env = gymnasium.make(env_id)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert torch.equal(torch.get_rng_state(), before)
