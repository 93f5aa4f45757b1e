"""Learned hyperparameters: exact derivatives at fixed data, values by hand, and what must not leak."""

import math

import gymnasium
import pytest
import torch
from recorded import ALPHA, ROLLOUTS, A, D, M, Recorder, replay

from metarl_run.algo.gradient.objective import MetaObjective
from metarl_run.algo.meta_gradient import REWARD, MetaGradient
from metarl_run.algo.scratch import Scratch
from metarl_run.config.compose import compose_points
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.learner.actor_critic import ActorCritic
from metarl_run.learner.reinforce import Reinforce
from metarl_run.lifetime import live
from metarl_run.network.mlp import MLP
from metarl_run.network.table import Table
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Rollout

SCALARS = ["step_size", "discount", "gae_lambda", "entropy_weight"]
ALL = [*SCALARS, "intrinsic_reward", "initialisation"]
OF_REINFORCE = ["step_size", "discount", "intrinsic_reward"]
LEARNER = {
    "action_space": gymnasium.spaces.Discrete(A),
    "surrogate": "loaded_dice",
    "discount": 0.9,
    "discount_steps": False,
    "standardise": True,
    "average": "steps",
    "policy": "auto",
    "initial_deviation": 1.0,
}
CRITIC = {"lifetime_discount": 0.5, "gae_lambda": 0.8, "value_scale": 2.0, "entropy_weight": 0.1}


def reinforce(**changes):
    return Reinforce(**LEARNER | {"baseline": "time"} | changes)


def actor_critic(**changes):
    return ActorCritic(**LEARNER | CRITIC | {"value_weight": 0.5} | changes)


def network_of(learner):
    network = MLP(num_inputs=D, heads=learner.heads(LEARNER["action_space"]), hidden=[5], activation="tanh")
    g = torch.Generator().manual_seed(9)
    return network, {name: torch.randn(p.shape, generator=g).double() for name, p in network.init(g).items()}


def make(learner, learned, **changes):
    """In float64, with an intrinsic reward that is not near 0."""
    network, initial = network_of(learner)
    usual = {
        "learner": learner,
        "network": network,
        "meta_params": initial,
        "observation_space": gymnasium.spaces.Box(-1, 1, (D,)),
        "action_space": LEARNER["action_space"],
        "streams": Streams(0, torch.device("cpu")),
        "adaptation_steps": 2,
        "inner_lr": ALPHA,
        "learned": learned,
        "scheduled": [],
        "by_layer": False,
        "step_size_bounds": [0.01, 100],
        "discount_bounds": [0, 1],
        "gae_lambda_bounds": [0, 1],
        "entropy_weight_bounds": [0, 1],
        "reward_scale": 2.0,
        "reward_hidden": [4],
        "reward_activation": "tanh",
        "outer_discount": 0.95,
        "outer_steps": "all",
        "meta_optimizer": Recorder(),
        "network_optimizer": Recorder(),
    }
    algo = MetaGradient(**usual | changes)
    g = torch.Generator().manual_seed(4)
    for name, x in algo.meta_params.items():
        if name.startswith(REWARD):
            x.data = torch.randn(x.shape, generator=g, dtype=torch.float64)
        else:
            x.data = x.data.double()
    return algo


def objective_of(algo):
    return MetaObjective(algo, algo.meta_losses, replay(algo)(algo.adaptation_steps))


# --- What is switched off stays as configured ---


@pytest.mark.parametrize("maker", [reinforce, actor_critic])
def test_with_nothing_learned_agents_are_those_of_scratch_bit_for_bit(maker):
    algo = make(maker(), [])
    network, initial = network_of(maker())
    scratch = Scratch(learner=maker(), network=network, meta_params=initial, rule="sgd", inner_lr=ALPHA)
    mine, theirs = algo.start(M), scratch.start(M)
    for rollout in ROLLOUTS:
        mine, theirs = algo.adapt(mine, rollout), scratch.adapt(theirs, rollout)
        assert all(torch.equal(mine.params[name], theirs.params[name]) for name in theirs.params)
    assert algo.meta_params == {} and algo.meta_update(replay(algo)) == {}


@pytest.mark.parametrize("name", SCALARS)
def test_a_hyperparameter_that_has_not_moved_yet_is_the_configured_one(name):
    algo, plain = make(actor_critic(), [name], scheduled=SCALARS), make(actor_critic(), [])
    for rollout in ROLLOUTS[:3]:  # also in steps beyond the schedule
        mine, theirs = (one.adapt(one.start(M), rollout).params for one in (algo, plain))
        for parameter in theirs:
            torch.testing.assert_close(mine[parameter], theirs[parameter], rtol=1e-5, atol=1e-6)


def test_step_k_has_the_kth_values_and_later_steps_the_last():
    algo = make(reinforce(), ["step_size", "discount"], scheduled=["step_size", "discount"])
    step_sizes, discounts = (0.5, 0.1), (0.3, 0.8)
    for name, values in (("step_size", step_sizes), ("discount", discounts)):
        raw = [algo.hyperparameters.hyperparameters[name].raw(q) for q in values]
        algo.meta_params[name].data = torch.tensor(raw, dtype=torch.float64)
    network, initial = network_of(reinforce())
    mine = algo.start(M)
    theirs = Scratch(learner=reinforce(), network=network, meta_params=initial, rule="sgd", inner_lr=1.0).start(M)
    for k, rollout in enumerate(ROLLOUTS):
        α, γ = step_sizes[min(k, 1)], discounts[min(k, 1)]
        scratch = Scratch(learner=reinforce(discount=γ), network=network, meta_params=initial, rule="sgd", inner_lr=α)
        mine, theirs = algo.adapt(mine, rollout), scratch.adapt(theirs, rollout)
        for name in theirs.params:
            torch.testing.assert_close(mine.params[name], theirs.params[name], rtol=1e-10, atol=1e-12)
    assert mine.memory["step"].tolist() == [len(ROLLOUTS)] * M


def test_by_layer_every_parameter_follows_its_own_step_size():
    algo, plain = make(reinforce(), ["step_size"], by_layer=True), make(reinforce(), [])
    factors = torch.arange(1, len(algo.adapted) + 1, dtype=torch.float64)
    raw = [algo.hyperparameters.hyperparameters["step_size"].raw(ALPHA * factor) for factor in factors.tolist()]
    algo.meta_params["step_size"].data = torch.tensor([raw], dtype=torch.float64)
    mine, theirs = (one.adapt(one.start(M), ROLLOUTS[0]).params for one in (algo, plain))
    for factor, name in zip(factors, algo.adapted, strict=True):
        θ = algo.initial[name]
        torch.testing.assert_close(mine[name] - θ, factor * (theirs[name] - θ), rtol=1e-9, atol=1e-12)


# --- Bounds ---


@pytest.mark.parametrize("raw", [-1e30, -50.0, 0.0, 50.0, 1e30])
def test_no_meta_parameters_lead_out_of_the_bounds(raw):
    bounds = {"step_size": [0.5, 3], "discount": [0.2, 0.9], "gae_lambda": [0, 1], "entropy_weight": [-0.1, 0.1]}
    algo = make(
        actor_critic(),
        [*SCALARS, "intrinsic_reward"],
        **{f"{name}_bounds": of_it for name, of_it in bounds.items()},
    )
    for x in algo.meta_params.values():
        x.data.fill_(raw)
    for name, (low, high) in bounds.items():
        values = algo.hyperparameters.values(algo.meta_params)[name]
        assert ((values >= low) & (values <= high)).all()
    paid = algo.with_intrinsic_reward(ROLLOUTS[0]).reward - ROLLOUTS[0].reward
    assert (paid.abs() <= 2.0 + 1e-12).all() and (paid[~ROLLOUTS[0].alive] == 0).all()
    assert all(φ.isfinite().all() for φ in algo.adapt(algo.start(M), ROLLOUTS[0]).params.values())


# --- Meta-gradients ---

EVERYTHING = {
    # V is held constant in the loss, so it must not move with the meta-parameters: of a critic one step, or no weight.
    "reinforce": (reinforce, OF_REINFORCE, {"adaptation_steps": 3, "scheduled": ["step_size", "discount"]}),
    "by layer": (reinforce, OF_REINFORCE, {"by_layer": True, "outer_steps": "last"}),
    "actor_critic": (actor_critic, ALL, {"adaptation_steps": 1}),
    "schedules": (
        lambda: actor_critic(value_weight=0.0),
        [*SCALARS, "intrinsic_reward"],
        {"scheduled": SCALARS},
    ),
    "unscaled": (
        lambda: actor_critic(value_weight=0.0, standardise=False, average="episodes"),
        [*SCALARS, "intrinsic_reward"],
        {"inner_lr": 0.1},
    ),
}


@pytest.mark.parametrize("case", EVERYTHING)
def test_the_meta_gradient_is_the_derivative_of_the_meta_loss_on_recorded_data(case):
    maker, learned, changes = EVERYTHING[case]
    algo = make(maker(), learned, **changes)
    objective = objective_of(algo)
    tensors = algo.meta_params
    gradients = torch.autograd.grad(objective.own_losses()[0].mean(), list(tensors.values()))

    def value():
        return algo.meta_losses(objective.agents(), objective.rollouts, objective.behaviours)[0].mean().item()

    g, ε = torch.Generator().manual_seed(5), 1e-5
    for (name, x), gradient in zip(tensors.items(), gradients, strict=True):
        if name.startswith("value"):
            continue  # the derivative of a constant
        direction = torch.randn(x.shape, generator=g, dtype=torch.float64)
        start, ends = x.data.clone(), []
        for sign in (1, -1):
            x.data = start + sign * ε * direction
            ends.append(value())
        x.data = start
        slope = (ends[0] - ends[1]) / (2 * ε)
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-9), name


def two_steps(action=0, reward=(0.5, 2.0)):
    """One env that takes two steps, in states 0 and 1, and ends."""
    return Rollout(
        observation=torch.tensor([[1.0, 0], [0, 1], [1, 0]]).double().view(1, 3, 1, 2),
        action=torch.full((1, 2, 1), action),
        reward=torch.tensor(reward).double().view(1, 2, 1),
        terminated=torch.tensor([False, True]).view(1, 2, 1),
        truncated=torch.zeros(1, 2, 1, dtype=torch.bool),
        alive=torch.ones(1, 2, 1, dtype=torch.bool),
        memory={},
    )


@pytest.mark.parametrize("v", [(0.0, 0.0), (0.3, -0.4)])
def test_discount_and_lambda_by_hand(v):
    """Two steps of a uniform policy over two actions, action 0 both times, then one look at state 0.

    A₀ = r₀ + γ v₁ − v₀ + γ λ (r₁ − v₁),        φ₁(state 0) = (u, −u),    u = α A₀ / 4
    L′ = −½ [R₀ log π(0 | state 0) + R₁ log π(0 | state 1)] with R₀ = R, R₁ = 0 undiscounted
    dL′/du = −½ R · 2 (1 − π(0 | state 0)),    dA₀/dγ = v₁ + λ (r₁ − v₁),    dA₀/dλ = γ (r₁ − v₁)
    """
    γ, λ, α, R = 0.9, 0.8, ALPHA, 3.0
    r0, r1 = 0.5, 2.0
    two = gymnasium.spaces.Discrete(2)
    plain = {"action_space": two, "standardise": False, "surrogate": "score"}
    learner = actor_critic(**plain, value_scale=1.0, value_weight=0.0, entropy_weight=0.0)
    algo = make(
        learner,
        ["discount", "gae_lambda"],
        network=Table(num_inputs=2, heads={"policy": 2, "value": 1}, initial_value=0.0),
        meta_params={"policy": torch.zeros(2, 2).double(), "value": torch.tensor(v).double().view(2, 1)},
        action_space=two,
        adaptation_steps=1,
        outer_discount=0.0,
    )
    agent = algo.adapt(algo.start(1), two_steps())
    loss = algo.meta_losses([algo.start(1), agent], [two_steps(), two_steps(reward=(R, 0.0))])[0].mean()
    u = α * (r0 + γ * v[1] - v[0] + γ * λ * (r1 - v[1])) / 4
    torch.testing.assert_close(agent.params["policy"][0, 0], torch.tensor([u, -u]).double(), rtol=1e-6, atol=1e-9)
    dL_du = -R * (1 - 1 / (1 + math.exp(-2 * u)))
    gradients = torch.autograd.grad(loss, [algo.meta_params["discount"], algo.meta_params["gae_lambda"]])
    by_hand = [
        dL_du * α / 4 * (v[1] + λ * (r1 - v[1])) * γ * (1 - γ),  # and the sigmoid's slope
        dL_du * α / 4 * γ * (r1 - v[1]) * λ * (1 - λ),
    ]
    assert [g.item() for g in gradients] == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("outer_steps", ["all", "last"])
@pytest.mark.parametrize("maker", [reinforce, actor_critic])
def test_every_task_reaches_every_meta_parameter(maker, outer_steps):
    """V is held constant in every loss: neither where it starts nor how it steps has a derivative."""
    learned = ALL if maker is actor_critic else [*OF_REINFORCE, "initialisation"]
    algo = make(maker(), learned, scheduled=SCALARS, by_layer=True, outer_steps=outer_steps)
    losses, _ = objective_of(algo).own_losses()
    steps_of_policy = [name.startswith("policy") for name in algo.adapted]
    for task in range(M):
        gradients = torch.autograd.grad(losses[task], list(algo.meta_params.values()), retain_graph=True)
        for name, gradient in zip(algo.meta_params, gradients, strict=True):
            match name.partition(".")[0]:
                case "step_size":
                    assert (gradient != 0).all(0).tolist() == steps_of_policy
                case "policy" | "intrinsic_reward":
                    assert gradient.any(), name
                case "value":
                    assert not gradient.any(), name
                case _:
                    assert (gradient != 0).all(), name


def test_a_part_of_the_tasks_at_a_time_gives_the_same_meta_gradient():
    algo = make(actor_critic(), ALL, scheduled=SCALARS)
    gradients = []
    for tasks_at_once in (None, 2):
        algo.meta_update(replay(algo, tasks_at_once=tasks_at_once))
        gradients.append(algo.meta_optimizer.gradients | algo.network_optimizer.gradients)
    assert gradients[0].keys() == algo.meta_params.keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-9, atol=1e-12)


# --- Only the inner learner sees the intrinsic reward ---


def shifted(algo):
    for name, x in algo.meta_params.items():
        if name.startswith(REWARD):
            x.data.mul_(-3)
    return algo


def test_the_meta_loss_of_given_agents_depends_on_no_learned_hyperparameter():
    score = {"surrogate": "score"}  # its value is not 0
    learner, other = actor_critic(**score), actor_critic(**score, discount=0.2, gae_lambda=0.1, entropy_weight=0.9)
    agents = make(learner, ALL).start(M)
    experience = [agents] * 3, ROLLOUTS[:3]
    algos = make(learner, ALL), shifted(make(learner, ALL)), make(other, ALL)
    losses = [algo.meta_losses(*experience)[0] for algo in algos]
    assert all(torch.equal(losses[0], other) for other in losses)
    paid = [ROLLOUTS[0], *(algos[0].with_intrinsic_reward(rollout) for rollout in ROLLOUTS[1:3])]
    assert not torch.isclose(losses[0], algos[0].meta_losses(experience[0], paid)[0]).any()


def test_what_is_reported_is_the_tasks_own_reward():
    """A CartPole pays 1 for every step, whatever the learner sees."""
    arguments = ["experiment=smoke", "algo=meta_gradient", "env=cartpole_family", "algo.reward_scale=50"]
    family, algo = build_agent(compose_points(arguments).points[0].config, Streams(0, torch.device("cpu")))
    generator = torch.Generator().manual_seed(0)
    for name, ψ in algo.meta_params.items():
        if name.startswith(REWARD):
            ψ.data.uniform_(-1, 1, generator=generator)
    tasks = family.sample(3, "meta_train", generator)
    env = TaskVectorEnv(family, tasks, episodes_per_task=2, generator=generator)
    lifetime = live(algo, env, generator, adaptation_steps=2)
    assert all(torch.equal(rollout.reward, rollout.alive.float()) for rollout in lifetime.rollouts)
    first = lifetime.rollouts[0]
    assert (algo.with_intrinsic_reward(first).reward - first.reward).abs().max() > 1
    adapted = algo.adapt(lifetime.agents[0], first), shifted(algo).adapt(lifetime.agents[0], first)
    assert not torch.equal(adapted[0].params["policy.0.weight"], adapted[1].params["policy.0.weight"])


# --- Saving ---


def test_a_saved_state_holds_the_start_of_the_agents_too():
    one, other = make(actor_critic(), SCALARS), make(actor_critic(), SCALARS)
    for θ in other.initial.values():
        θ.data.add_(1)
    assert not any(name in one.meta_params for name in one.initial)
    other.load_state(one.state())
    agents = [algo.adapt(algo.start(M), ROLLOUTS[0]) for algo in (one, other)]
    assert all(torch.equal(agents[0].params[name], agents[1].params[name]) for name in one.initial)
