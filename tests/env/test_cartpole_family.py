"""CartPoles against Gymnasium's own, step by step."""

import gymnasium
import numpy as np
import pytest
import torch

from metarl_run.env.cartpole_family import CartPoleFamily, CartPoleState, CartPoleTask
from metarl_run.env.vector import TaskVectorEnv

GYMNASIUM = {
    "gravity": 9.8,
    "cart_mass": 1.0,
    "pole_mass": 0.1,
    "half_length": 0.5,
    "force": 10.0,
    "force_sign": 1.0,
}
PHYSICS = {
    "gymnasium": GYMNASIUM,
    "reversed": GYMNASIUM | {"force_sign": -1.0},
    "heavy pole": GYMNASIUM | {"pole_mass": 0.5},
    "heavy cart": GYMNASIUM | {"cart_mass": 2.0},
    "long": GYMNASIUM | {"half_length": 1.0},
    "strong": GYMNASIUM | {"force": 15.0},
    "moon": GYMNASIUM | {"gravity": 1.6},
    "all": {
        "gravity": 5.0,
        "cart_mass": 0.5,
        "pole_mass": 0.4,
        "half_length": 0.25,
        "force": 5.0,
        "force_sign": -1.0,
    },
}
NO_RANDOMNESS = torch.Generator()


def make_family(**changes):
    """A family whose every task has Gymnasium's physics, up to `changes` of meta-training."""
    return CartPoleFamily(horizon=200, meta_train=GYMNASIUM | changes, meta_test=GYMNASIUM)


def task_of(*physics, dtype=torch.float64):
    return CartPoleTask(**{name: torch.tensor([p[name] for p in physics], dtype=dtype) for name in GYMNASIUM})


def reference_of(physics):
    """Gymnasium's CartPole with other physics, everything derived computed anew."""
    env = gymnasium.make("CartPole-v1").unwrapped
    env.gravity, env.masscart, env.masspole = physics["gravity"], physics["cart_mass"], physics["pole_mass"]
    env.length, env.force_mag = physics["half_length"], physics["force"] * physics["force_sign"]
    env.total_mass = env.masspole + env.masscart
    env.polemass_length = env.masspole * env.length
    env.reset(seed=0)
    return env


def state_of(x: torch.Tensor) -> CartPoleState:
    """x, ẋ, θ, θ̇, Gymnasium's order, `[4, M, B]`, as a state with memory of its own."""
    return CartPoleState(x.clone().movedim(0, -1))


def numbers(state: CartPoleState) -> torch.Tensor:
    """The state in Gymnasium's order, `[4, M, B]`."""
    return state.values.clone().movedim(-1, 0)


@pytest.mark.parametrize("physics", PHYSICS.values(), ids=PHYSICS.keys())
def test_every_step_equals_gymnasiums(physics):
    """200 steps from one state to the next, and again from states all over the place, in float64."""
    family, task, reference = make_family(), task_of(physics), reference_of(physics)
    rng = np.random.default_rng(0)
    state = np.zeros(4)
    for step in range(400):
        if step >= 200 or np.abs(state).max() > 10:
            state = rng.uniform([-2.5, -3, -0.25, -3], [2.5, 3, 0.25, 3])
        action = int(rng.integers(2))
        reference.state, reference.steps_beyond_terminated = state, None
        _, reward, terminated, _, _ = reference.step(action)
        ours, our_reward, our_terminated = family.step(
            task, state_of(torch.tensor(state).view(4, 1, 1)), torch.tensor([[action]]), None
        )
        state = reference.state
        np.testing.assert_allclose(numbers(ours).flatten(), state, rtol=1e-12, atol=1e-12)
        assert our_reward.item() == reward == 1
        assert our_terminated.item() == terminated


def test_derived_physics_follow_the_parameters():
    """What is derived is computed from the parameters of the task at hand, also after a selection."""
    task = task_of(*PHYSICS.values())
    for i, physics in enumerate(PHYSICS.values()):
        assert task.total_mass[i] == physics["cart_mass"] + physics["pole_mass"]
        assert task.pole_mass_length[i] == physics["pole_mass"] * physics["half_length"]
        assert task.signed_force[i] == physics["force"] * physics["force_sign"]
    constants = task.constants
    backwards = task.select(torch.arange(len(PHYSICS)).flip(0)).constants
    for ours, theirs in zip(constants, backwards, strict=True):
        assert torch.equal(ours.flip(0), theirs)


def test_tasks_and_slots_do_not_mix():
    """One batch of all tasks × 3 slots equals each (task, slot) alone, in float32 and to 1e-5 of float64."""
    family, physics = make_family(), list(PHYSICS.values())
    states = torch.rand(4, len(physics), 3, generator=torch.Generator().manual_seed(0)) * 0.2 - 0.1
    actions = torch.randint(2, (100, len(physics), 3), generator=torch.Generator().manual_seed(1))
    together = state_of(states)
    for action in actions:
        before = numbers(together)
        together, _, _ = family.step(task_of(*physics, dtype=torch.float32), together, action, None)
        for i, one in enumerate(physics):
            for b in range(3):
                alone, _, _ = family.step(
                    task_of(one), state_of(before[:, i, b].double().view(4, 1, 1)), action[i, b].view(1, 1), None
                )
                expected = numbers(alone).flatten()
                torch.testing.assert_close(numbers(together)[:, i, b].double(), expected, rtol=1e-5, atol=1e-5)


def test_whole_episodes_equal_gymnasiums():
    """From Gymnasium's own first states to its last, through the environment that adds resets and ends."""
    family = make_family()
    env = TaskVectorEnv(family, task_of(GYMNASIUM), episodes_per_task=1, generator=torch.Generator())
    reference = gymnasium.make("CartPole-v1")
    for seed in range(10):
        reference.reset(seed=seed)
        env.start()
        env._state = state_of(torch.tensor(reference.unwrapped.state).view(4, 1, 1))
        reference.action_space.seed(seed)
        ended = False
        while not ended:
            action = reference.action_space.sample()
            observation, reward, terminated, truncated, _ = reference.step(action)
            ours = env.advance(torch.tensor([[int(action)]]))
            np.testing.assert_allclose(ours.observation.flatten(), observation, rtol=1e-6, atol=1e-6)
            assert (ours.reward.item(), ours.terminated.item()) == (reward, terminated)
            assert (ours.truncated is not None and ours.truncated.item()) == truncated
            ended = terminated or truncated
        assert not env.alive.any()


def test_the_sign_of_the_force_swaps_the_actions():
    family = make_family()
    task = task_of(GYMNASIUM, PHYSICS["reversed"])
    start = torch.full((4, 2, 1), 0.01, dtype=torch.float64)
    swapped, _, _ = family.step(task, state_of(start), torch.tensor([[0], [1]]), None)
    for variable in numbers(swapped):
        assert torch.equal(variable[0], variable[1])


def test_first_states_are_uniform_in_a_small_box():
    state = numbers(make_family().reset(task_of(GYMNASIUM), 20_000, torch.Generator().manual_seed(0)))
    assert state.abs().max() <= 0.05
    assert state.mean((1, 2)).abs().max() < 5 * 0.1 / 12**0.5 / 20_000**0.5
    assert state.std((1, 2)).sub(0.1 / 12**0.5).abs().max() < 1e-3
    assert state.flatten(1).corrcoef().fill_diagonal_(0).abs().max() < 0.05


def test_the_observation_space_is_gymnasiums():
    reference = gymnasium.make("CartPole-v1")
    assert make_family().observation_space == reference.observation_space
    assert make_family().action_space == reference.action_space


def test_meta_test_may_have_distributions_of_its_own():
    """Extrapolation is a matter of configuration."""
    family = CartPoleFamily(
        horizon=10,
        meta_train=GYMNASIUM | {"force": ["uniform", 5, 15], "half_length": ["uniform", 0.25, 0.75]},
        meta_test=GYMNASIUM | {"force": ["uniform", 1, 5, 15, 20], "gravity": ["choice", 5, 20]},
    )
    train = family.sample(1000, "meta_train", torch.Generator().manual_seed(0))
    test = family.sample(1000, "meta_test", torch.Generator().manual_seed(0))
    assert train.force.min() >= 5 and train.force.max() <= 15
    assert bool(((test.force <= 5) | (test.force >= 15)).all()) and test.force.min() < 2 and test.force.max() > 19
    assert train.gravity.unique().tolist() == pytest.approx([9.8]) and test.gravity.unique().tolist() == [5, 20]
    assert train.half_length.unique().numel() > 900 and test.half_length.unique().tolist() == [0.5]


@pytest.mark.parametrize("name", ["cart_mass", "pole_mass", "half_length", "force"])
@pytest.mark.parametrize("spec", [0, -1.0, ["uniform", 0, 1], ["choice", 1, -1], ["normal", 5, 1]])
def test_what_must_be_positive_is_refused_otherwise(name, spec):
    with pytest.raises(ValueError, match=rf"^meta_train {name}: must be > 0"):
        make_family(**{name: spec})


@pytest.mark.parametrize("spec", [0, 0.5, ["uniform", -1, 1], ["choice", -1, 0, 1], ["normal", 1, 1]])
def test_a_sign_is_plus_or_minus_one(spec):
    with pytest.raises(ValueError, match=r"^meta_train force_sign: must be one of -1, 1"):
        make_family(force_sign=spec)


def test_a_missing_parameter_and_a_horizon_of_zero_are_refused():
    with pytest.raises(ValueError, match="meta_test lacks 'gravity'"):
        CartPoleFamily(
            horizon=1, meta_train=GYMNASIUM, meta_test={k: v for k, v in GYMNASIUM.items() if k != "gravity"}
        )
    with pytest.raises(ValueError, match="horizon must be an integer >= 1, got 0"):
        CartPoleFamily(horizon=0, meta_train=GYMNASIUM, meta_test=GYMNASIUM)
