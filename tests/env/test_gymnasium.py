"""Any Gymnasium environment as a family: tasks, spaces, episodes, workers and what may go wrong in them."""

import multiprocessing
import time

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium_lab import SPACES, Toy

from metarl_run.algo.random import Random
from metarl_run.env.gymnasium_spaces import flat_action_space, from_flat
from metarl_run.env.normalisation import Normalisation
from metarl_run.env.standalone import make_family
from metarl_run.env.vector import parallel
from metarl_run.errors import ConfigError, NumericalError, ResourceError
from metarl_run.lifetime import live


def toy(**changes):
    kwargs = changes.pop("kwargs", {})
    made = {"id": None, "make": "gymnasium_lab:make", "horizon": 5, "kwargs": kwargs, "timeout": 60.0}
    return make_family("gymnasium", **{**made, **changes})


def env_of(family, num_tasks=3, episodes_per_task=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    task = family.sample(num_tasks, "meta_train", generator)
    return parallel(family, task, episodes_per_task=episodes_per_task, generator=generator)


def action(env):
    space = env.single_action_space
    shape = (env.num_tasks, env.episodes_per_task)
    return (
        torch.zeros(shape, dtype=torch.int64)
        if isinstance(space, spaces.Discrete)
        else torch.zeros(*shape, *space.shape)
    )


def history(family, steps, episodes=2, **sizes):
    env = env_of(family, **sizes)
    seen = [env.start(episodes)]
    for _ in range(steps):
        *step, outcomes = env.advance(action(env))
        seen += [x for x in (*step, *outcomes.values()) if x is not None]
    return seen


@pytest.fixture(autouse=True)
def _closed():
    """No test leaves a worker behind."""
    yield
    for child in multiprocessing.active_children():
        child.terminate()


@pytest.mark.parametrize("name", SPACES)
def test_observations_of_every_kind_are_flat(name):
    family = toy(kwargs={"observation": name})
    first = env_of(family).start()
    assert first.shape == (3, 2, spaces.flatdim(SPACES[name])) and first.dtype == torch.float32
    env = Toy(observation=name)
    seeds = torch.randint(2**31, (6,), generator=torch.Generator().manual_seed(0))
    alone, _ = env.reset(seed=int(seeds[0]))
    np.testing.assert_allclose(first[0, 0].numpy(), spaces.flatten(SPACES[name], alone))


@pytest.mark.parametrize("name", ["box", "discrete", "multi_discrete", "multi_binary"])
def test_every_choice_of_a_policy_is_an_action_of_the_environment(name):
    space = SPACES[name]
    flat = flat_action_space(space)
    if isinstance(flat, spaces.Discrete):
        made = [from_flat(space, np.array([float(i)])) for i in range(int(flat.start), int(flat.start + flat.n))]
        assert len({np.asarray(x).tobytes() for x in made}) == flat.n
    else:
        made = [from_flat(space, np.arange(6.0))]
        assert made[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert all(space.contains(x) for x in made)
    env = env_of(toy(kwargs={"action": name}))
    env.start()
    env.advance(action(env))  # the toy asserts that it is in its space


def test_a_vector_of_actions_is_clipped_and_kept_by_the_environment():
    """It gets a part of an array with all actions, which the next step must not overwrite."""
    env = env_of(toy(kwargs={"action": "vector"}))
    env.start()
    for value in (0.25, 5.0):
        env.advance(torch.full((3, 2, 2), value))
    for each in env.family._pool.chunks.envs[:6]:
        assert [taken.tolist() for taken in each.env.unwrapped.actions] == [[0.25, 0.25], [1.0, 1.0]]
        assert {taken.dtype for taken in each.env.unwrapped.actions} == {np.dtype(np.float32)}


def test_episodes_in_a_row_count_every_step_once():
    """Episodes of three steps: rewards 1, 2, 3, 1, 2, 3, no step lost or counted twice at a reset (trap 8)."""
    env = env_of(toy())
    env.start(2)
    rewards, ended, alive = [], [], []
    for _ in range(8):
        step = env.advance(action(env))
        rewards.append(step.reward[0, 0].item())
        ended.append(bool(step.ended[0, 0]))
        alive.append(step.alive is None or bool(step.alive[0, 0]))
    assert rewards == [1, 2, 3, 1, 2, 3, 0, 0]
    assert ended == [False, False, True, False, False, True, False, False]
    assert alive == [True] * 6 + [False] * 2


def test_an_episode_cut_at_the_horizon_is_truncated_and_not_terminated():
    """Trap 7."""
    env = env_of(toy(kwargs={"length": 100}, horizon=2))
    env.start(1)
    first, second = env.advance(action(env)), env.advance(action(env))
    assert first.truncated is None and not first.terminated.any()
    assert second.truncated.all() and not second.terminated.any()


def test_the_final_observation_is_kept_and_the_next_episode_begins_with_its_own():
    env = env_of(toy(), num_tasks=1, episodes_per_task=1)
    env.start(2)
    first = [env.advance(action(env)).observation for _ in range(3)]
    rows = env.family._pool.chunks.rows[:, :-3]
    np.testing.assert_array_equal(first[-1].view(1, -1), rows)  # of the reset, which came after the third step
    final = [env.advance(action(env)).observation for _ in range(3)][-1]
    assert torch.equal(env.advance(action(env)).observation, final)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        ("gymnasium_lab:make", {"scale": ["choice", 2, 4]}),  # an attribute
        ("gymnasium_lab:Toy", {"bonus": ["choice", 2, 4]}),  # a keyword of the constructor
        ("gymnasium_lab:make_with_task", {"goal": ["choice", 2, 4]}),  # an entry of set_task
    ],
)
def test_every_env_has_its_tasks_parameters(make, names):
    family = toy(make=make, vary=names)
    env = env_of(family, num_tasks=8)
    env.start()
    value = env.task.values
    assert set(value.flatten().tolist()) == {2.0, 4.0}
    paid = env.advance(action(env)).reward
    torch.testing.assert_close(paid, (value if "scale" in names else value + 1).expand(-1, 2))


def test_parameters_drawn_from_integers_are_integers_and_dictionaries_are_reached():
    family = toy(vary={"options.floor.tiles": ["choice", 3, 4], "scale": ["choice", 2.0, 4]})
    env = env_of(family)
    env.start()
    inner = [e.env.unwrapped for e in family._pool.chunks.envs[::2]]
    assert [e.options["floor"]["tiles"] for e in inner] == env.task.values[:, 0].tolist()
    assert {type(e.options["floor"]["tiles"]) for e in inner} == {int}
    assert {type(e.scale) for e in inner} == {float}


@pytest.mark.parametrize("vector", ["sync", "async"])
def test_wrappers_are_put_around_in_order(vector):
    wrappers = ["gymnasium.wrappers:FlattenObservation", "gymnasium_lab:Negative"]
    env = env_of(toy(wrappers=wrappers, plugins=["gymnasium_lab"], vector=vector, workers=1))
    assert env.start().shape == (3, 2, 6)
    assert (env.advance(action(env)).reward == -1).all()


def test_an_id_may_name_the_module_that_registers_it():
    family = toy(id="gymnasium_lab:LabToy-v0", make=None, horizon=None, plugins=["gymnasium_lab"])
    assert family.horizon == 7
    env = env_of(family)
    env.start()
    assert (env.advance(action(env)).reward == 1).all()


def test_a_keyword_makes_the_environment_anew_and_derived_numbers_with_it():
    """Trap 21: attributes that a constructor derives are only right if it is called."""
    family = toy(make="gymnasium_lab:Toy", vary={"bonus": ["uniform", 1, 2]})
    env = env_of(family)
    env.start()
    inner = family._pool.chunks.envs
    assert [e.env.unwrapped.constructed_with for e in inner[::2]] == pytest.approx(env.task.values[:, 0].tolist())


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_number_of_workers_changes_nothing(workers):
    vary = {"scale": ["uniform", 1, 2]}
    here = history(toy(vary=vary), 7)
    there = history(toy(vary=vary, vector="async", workers=workers), 7)
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a, b)


def test_each_env_has_a_seed_of_its_own_from_the_runs_stream():
    first, again, other = (history(toy(), 4, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert len({row.numpy().tobytes() for row in first[0].view(-1, 6)}) == 6  # trap 15


@pytest.mark.parametrize(("make", "warnings"), [("gymnasium_lab:make", 0), ("gymnasium_lab:Unseeded", 1)])
def test_an_environment_that_is_not_reproducible_is_warned_of_once(make, warnings, caplog):
    family = toy(make=make)
    for sizes in ({}, {"num_tasks": 5}):
        env_of(family, **sizes).start()
    assert [record.message for record in caplog.records] == [
        f"{make} is not reproducible: with the same seed it gives other episodes"
    ] * warnings


@pytest.mark.parametrize("vector", ["sync", "async"])
def test_an_environment_that_raises_is_named(vector):
    env = env_of(toy(kwargs={"fault": "raise"}, vector=vector, workers=2))
    env.start()
    env.advance(action(env))
    with pytest.raises(ResourceError, match=r"env 0: step: ValueError: broken gearbox"):
        env.advance(action(env))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("normalise", [False, True])
def test_a_reward_that_is_not_a_number_is_named_by_task_and_step(normalise):
    family = toy(kwargs={"fault": "nan", "observation": "vector"})
    if normalise:
        family.normalisation = Normalisation(
            2, torch.device("cpu"), observations=True, rewards=True, reward_unit=1.0, discount=1.0
        )
    algo = Random(action_space=family.action_space)
    with pytest.raises(NumericalError, match=r"reward of GymnasiumFamily.*nan") as caught:
        live(algo, env_of(family), torch.Generator().manual_seed(0), adaptation_steps=0)
    assert caught.value.task == 0


def test_a_worker_that_hangs_is_given_up_after_its_time_out():
    env = env_of(toy(kwargs={"fault": "hang"}, vector="async", workers=2, timeout=1.0))
    env.family._pool = env.family.pool(6)  # starting processes is not part of the time-out
    env.family._pool.timeout = 30.0
    env.start()
    env.family._pool.timeout = 1.0
    env.advance(action(env))
    begun = time.monotonic()
    with pytest.raises(ResourceError, match=r"worker 0, 1 did not answer within 1 s"):
        env.advance(action(env))
    assert time.monotonic() - begun < 5
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_is_named():
    env = env_of(toy(kwargs={"fault": "die"}, vector="async", workers=2))
    env.start()
    env.advance(action(env))
    with pytest.raises(ResourceError, match=r"worker [01] \(exit code 9\).* died"):
        env.advance(action(env))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("changes", "where", "text"),
    [
        ({"id": "CartPol-v1", "make": None}, "env.id", "CartPole"),
        ({"id": "CartPole-v1"}, "env", "needs either id or make"),
        ({"make": None}, "env", "needs either id or make"),
        ({"horizon": None}, "env.horizon", "must be given"),
        ({"vary": {"no_such": 1}}, "env.vary", "neither a keyword nor an attribute 'no_such'"),
        ({"vary_in_meta_test": {"scale": 1}}, "env.vary_in_meta_test", "must name the parameters of vary, nothing"),
        ({"kwargs": {"action": "tuple"}}, "env", "must be Discrete, MultiDiscrete, MultiBinary or Box"),
        ({"kwargs": {"nonsense": 1}}, "env", "cannot be made: TypeError"),
        ({"outcomes": {"name": "max"}}, "env.outcomes", "does not report 'name'\nhint: it reports is_success, steps"),
        ({"outcomes": {"seed": "max"}}, "env.outcomes", "must have names that no column has, got seed"),
        ({"wrappers": ["gymnasium:make"]}, "env", "gymnasium:make must be a gymnasium.Wrapper"),
        ({"wrappers": ["gymnasium_lab.Negative"]}, "env.wrappers", "must be package.module:Wrapper"),
        ({"wrappers": ["gymnasium_lab:Negative"], "make": "six:x", "plugins": ["six"]}, "env.wrappers", "plugins"),
        ({"id": "no_such_module:CartPole-v1", "make": None}, "env.id", "No module named 'no_such_module'"),
        ({"vary": {"options.floor.walls": 1}}, "env.vary", "an attribute 'options.floor.walls'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(changes, where, text):
    with pytest.raises(ConfigError) as caught:
        toy(**changes)
    assert caught.value.where == where and text in str(caught.value)


@pytest.mark.parametrize("vector", ["sync", "async"])
def test_outcomes_are_what_each_step_reports(vector):
    """Of the step itself, also where another episode begins at once."""
    env = env_of(toy(vector=vector, workers=2, outcomes={"is_success": "max", "steps": "last"}))
    first = env.start(2)
    assert torch.equal(first, env_of(toy()).start(2))
    told = [env.advance(action(env)).outcomes for _ in range(4)]
    assert [x["is_success"][2, 1].item() for x in told] == [0, 1, 0, 0]
    assert [x["steps"][0, 0].item() for x in told] == [1, 2, 3, 1]


def test_an_action_is_held_and_the_rewards_are_added():
    """Episodes of three steps with rewards 1, 2, 3, an action held for two of them: 3, then 3 and the end."""
    env = env_of(toy(action_repeat=2, outcomes={"is_success": "max", "steps": "mean"}))
    env.start(1)
    first, second = env.advance(action(env)), env.advance(action(env))
    assert first.reward[0, 0] == 3 and not first.ended.any()
    assert second.reward[0, 0] == 3 and second.ended.all()
    told = [[step.outcomes[name][0, 0].item() for step in (first, second)] for name in ("is_success", "steps")]
    assert told == [[1, 0], [1.5, 3]]
    assert make_family("gymnasium", id="Acrobot-v1", action_repeat=3).horizon == 167  # of 500 steps


def test_a_registered_environment_ends_where_its_family_says():
    family = make_family("gymnasium", id="Acrobot-v1", vary={"LINK_LENGTH_1": ["uniform", 0.5, 2.0]}, horizon=7)
    env = env_of(family)
    env.start()
    steps = [env.advance(action(env)) for _ in range(7)]
    assert [step.truncated is not None for step in steps] == [False] * 6 + [True]
    assert make_family("gymnasium", id="Acrobot-v1").horizon == gymnasium.spec("Acrobot-v1").max_episode_steps
