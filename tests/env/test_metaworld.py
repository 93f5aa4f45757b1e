"""Meta-World by a stand-in with its names: tasks, splits, episodes, workers and refusals.

The package itself needs an environment of its own, in which scripts/studies/meta_world examines it.
"""

import importlib.metadata
import importlib.util
import multiprocessing
import sys

import metaworld_lab
import pytest
import torch

from metarl_run.env import metaworld, metaworld_envs
from metarl_run.env.standalone import make_family
from metarl_run.env.vector import parallel
from metarl_run.errors import ConfigError
from metarl_run.evaluation import episode_outcomes
from metarl_run.maths.distributions import Gaussian
from metarl_run.rollout import collect
from metarl_run.types import AgentState


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Install the stand-in as `metaworld`, which asks for this version of MuJoCo."""

    def installed(mujoco):
        (tmp_path / "metaworld").mkdir()
        (tmp_path / "metaworld/__init__.py").write_text("from metaworld_lab import *\n")
        (tmp_path / "metaworld-3.1.dist-info").mkdir()
        about = f"Metadata-Version: 2.1\nName: metaworld\nVersion: 3.1\nRequires-Dist: mujoco=={mujoco}\n"
        (tmp_path / "metaworld-3.1.dist-info/METADATA").write_text(about)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "metaworld", raising=False)

    metaworld._tasks.cache_clear()
    metaworld_envs.IDLE.clear()
    yield installed
    sys.modules.pop("metaworld", None)
    for child in multiprocessing.active_children():
        child.terminate()


@pytest.fixture
def package(install):
    install(importlib.metadata.version("mujoco"))


def family_of(**changes):
    return make_family("metaworld", **{"horizon": 5, **changes})


def env_of(family, num_tasks=4, split="meta_train", episodes_per_task=2):
    generator = torch.Generator().manual_seed(0)
    task = family.sample(num_tasks, split, generator)
    return parallel(family, task, episodes_per_task=episodes_per_task, generator=generator)


def still(agent, percept):
    mean = torch.zeros(*percept.last_reward.shape, 4)
    return Gaussian(mean, mean), {}


def lived(env, episodes=1):
    return collect(env, still, AgentState({}, {}), torch.Generator().manual_seed(1), episodes=episodes)


def test_every_variation_is_drawn_before_any_is_drawn_again(package):
    family = family_of()
    drawn = family.sample(6, "meta_train", torch.Generator().manual_seed(0))
    assert drawn.positions.flatten().sort().values.tolist() == [0, 0, 1, 1, 2, 2]
    assert drawn.positions.dtype == torch.float64


def test_every_class_is_drawn_as_often_as_any_other(package):
    family = family_of(benchmark="ML10", task=None)
    index = family.sample(4, "meta_train", torch.Generator().manual_seed(0)).values.flatten().long()
    assert sorted((index // metaworld_lab.GOALS).tolist()) == [0, 0, 1, 1] and len(set(index.tolist())) == 4


@pytest.mark.parametrize("changes", [{}, {"benchmark": "ML10", "task": None}, {"goals_seed": 4}])
def test_no_task_of_meta_test_is_among_those_of_meta_training(package, changes):
    """Trap 9."""
    family = family_of(**changes)
    train, test = (family.all_tasks(split) for split in ("meta_train", "meta_test"))
    assert not {*train.hashes()} & {*test.hashes()}
    assert (family_of(goals_seed=0).all_tasks("meta_train").hashes() == train.hashes()) == (not changes)


@pytest.mark.parametrize("split", ["meta_train", "meta_test"])
def test_every_env_is_of_its_tasks_class_with_its_positions(package, split):
    env = env_of(family_of(benchmark="ML10", task=None), split=split)
    first = env.start()
    width = env.task.positions.shape[1]
    places = [torch.tensor(metaworld_lab.CLASSES[e.env.name].width) for e in env.family._pool.chunks.envs]
    for row, position, own in zip(first.flatten(0, 1), env.task.positions.repeat_interleave(2, 0), places, strict=True):
        assert row[:own].tolist() == position[:own].tolist() and not position[own:width].any()


def test_an_environment_is_made_once_and_then_handed_on(package):
    family = family_of(benchmark="ML10", task=None)
    before = {kind: kind.made for kind in metaworld_lab.CLASSES.values()}
    for split in ("meta_train", "meta_test") * 3:
        env_of(family, split=split).start()
    made = sum(kind.made - before[kind] for kind in before)
    assert made <= 2 * 8 + 1


def test_an_episode_has_succeeded_if_any_of_its_steps_has(package):
    env = env_of(family_of(), num_tasks=3)
    rollout = lived(env, episodes=2)
    assert rollout.outcomes["success"].sum(1).flatten().tolist() == [
        2.0 * (x % 2 == 0) for x in env.task.positions.flatten().tolist() for _ in range(2)
    ]
    succeeded = episode_outcomes(rollout, env.family.outcomes)["success"]
    at_the_end = episode_outcomes(rollout, {"success": "last"})["success"]
    assert torch.equal(succeeded, (env.task.positions % 2 == 0).float().unsqueeze(1).expand(-1, 2, 2))
    assert not at_the_end.any() and not rollout.terminated.any()


def test_workers_change_nothing(package):
    sync, workers = (lived(env_of(family_of(vector=vector, workers=2)), 2) for vector in ("sync", "async"))
    for one, other in zip(
        [*sync.of_steps, sync.outcomes["success"]], [*workers.of_steps, workers.outcomes["success"]], strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("changes", "where", "text"),
    [
        ({"task": "reach-v2"}, "env.task", "did you mean reach-v3?"),
        ({"task": None}, "env.task", "must name a class of environments with ML1, got null"),
        ({"benchmark": "ML10"}, "env.task", "must be null unless with ML1, got reach-v3"),
        ({"horizon": 8}, "env.horizon", "must be at most Meta-World's own 7, got 8"),
        ({"outcomes": {"split": "max"}}, "env.outcomes", "must have names that no column has, got split"),
    ],
)
def test_what_a_benchmark_does_not_have_is_refused(package, changes, where, text):
    with pytest.raises(ConfigError) as caught:
        family_of(**changes)
    assert caught.value.where == where and text in str(caught.value)


def test_a_mixture_of_mujocos_is_refused_with_the_command_that_mends_it(install):
    install("3.3.0")
    with pytest.raises(ConfigError) as caught:
        family_of()
    assert (
        caught.value.where == "env" and "needs mujoco 3.3.0 and no part of another, got mujoco 4" in caught.value.reason
    )
    assert caught.value.hint == "pip uninstall -y mujoco mujoco-core mujoco-studio && pip install mujoco==3.3.0"
    assert "metaworld" not in sys.modules


def test_a_missing_package_is_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="metaworld is not installed") as caught:
        family_of()
    assert "pip install 'metarl-run[metaworld]'" in str(caught.value)
