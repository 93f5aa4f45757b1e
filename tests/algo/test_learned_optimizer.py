"""Learned optimizers by truncated meta-gradients and by evolution, on recorded data in float64."""

import pytest
import torch
from recorded import ROLLOUTS, M, Recorder, make, replay

from metarl_run.algo.gradient.inner_rule import RULES
from metarl_run.algo.learned_optimizer import PREFIX, LearnedOptimizer, normalised_difference
from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.algo.scratch import Scratch
from metarl_run.errors import NumericalError
from metarl_run.seeding import Streams
from metarl_run.types import Lifetime

BOUND = 10.0
SHAPES = {"w": (4, 3), "b": (1, 3)}
K = 3


def learned(*, weights=0.0, dtype=torch.float64, **arguments):
    """The algorithm; its rule's weights are perturbed by normal noise of this size."""
    usual = {
        "streams": Streams(0, torch.device("cpu")),
        "rule": "adam",
        "hidden": 5,
        "bound": BOUND,
        "adaptation_steps": K,
        "meta_gradient": "truncated",
        "objective": "every_step",
        "first_order": True,
        "deviation": 0.1,
        "meta_optimizer": Recorder(),
    }
    algo = make(LearnedOptimizer, **(usual | arguments))
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for ψ in algo.meta_params.values():
            ψ.data = ψ.data.to(dtype) + weights * torch.randn(ψ.shape, generator=g, dtype=dtype)
    return algo


def lifetime_of(algo, steps=K):
    return replay(algo)(steps)


def gradients_of(algo, φ, rollout):
    losses, _ = algo.loss(φ, rollout)
    return dict(zip(φ, torch.autograd.grad(losses.sum(), list(φ.values())), strict=True))


# --- The learned rule ---


@pytest.mark.parametrize("base", RULES)
@pytest.mark.parametrize("meta_gradient", ["truncated", "evolution"])
def test_before_meta_training_it_is_the_hand_designed_rule(base, meta_gradient):
    ours, theirs = learned(rule=base, meta_gradient=meta_gradient), make(Scratch, rule=base)
    for one, other in zip(lifetime_of(ours).agents, lifetime_of(theirs).agents, strict=True):
        for name in other.params:
            assert torch.equal(one.params[name], other.params[name])


def test_with_other_weights_it_is_another_rule():
    ours, theirs = learned(weights=0.3), make(Scratch, rule="adam")
    one, other = lifetime_of(ours).agents[1], lifetime_of(theirs).agents[1]
    assert all((one.params[name] - other.params[name]).abs().min() > 0 for name in other.params)


# --- Truncated meta-gradients ---


def slope(algo, value, ε=1e-5):
    """Central differences of `value` along one direction in ψ, and the direction."""
    g = torch.Generator().manual_seed(7)
    direction = {name: torch.randn(ψ.shape, generator=g, dtype=ψ.dtype) for name, ψ in algo.meta_params.items()}
    ends = []
    for shift in (ε, -2 * ε, ε):
        with torch.no_grad():
            for name, ψ in algo.meta_params.items():
                ψ.add_(direction[name], alpha=shift)
            ends.append(value())
    return (ends[0] - ends[1]) / (2 * ε), direction


def objective(algo, agents, steps=slice(1, None)):
    """(1/M) Σᵢ (1/K) Σₖ L(φₖⁱ, rolloutₖⁱ), k in [1, K], over constants of all tasks and steps."""
    outputs = [algo.output(agent.params, rollout) for agent, rollout in zip(agents, ROLLOUTS, strict=True)]
    experience = list(zip(outputs, ROLLOUTS, strict=True))[steps]
    shared = algo.learner.shared_normaliser([(*algo.learner.returns_and_baseline(*one), one[1]) for one in experience])
    return torch.stack([algo.learner.loss(*one, shared=shared)[0] for one in experience]).mean().item()


def meta_gradient_of(algo):
    algo.meta_update(replay(algo))
    return algo.meta_optimizer.gradients


def along(gradient, direction):
    return sum((gradient[name] * direction[name]).sum().item() for name in direction)


@pytest.mark.parametrize("base", RULES)
def test_the_whole_meta_gradient_is_the_derivative_at_fixed_data(base):
    algo = learned(rule=base, weights=0.3, first_order=False, inner_lr=0.1)
    expected, direction = slope(algo, lambda: objective(algo, lifetime_of(algo).agents))
    assert along(meta_gradient_of(algo), direction) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("base", RULES)
def test_to_first_order_it_is_the_derivative_at_fixed_data_and_fixed_gradients(base):
    algo = learned(rule=base, weights=0.3, first_order=True, inner_lr=0.1)
    gradients = []
    for agent, rollout in zip(lifetime_of(algo).agents[:-1], ROLLOUTS, strict=False):
        φ = {name: p.detach().requires_grad_() for name, p in agent.params.items()}
        gradients.append(gradients_of(algo, φ, rollout))

    def value():
        agents = [algo.start(M)]
        for g in gradients:
            agents.append(algo.move(agents[-1], g))
        return objective(algo, agents)

    expected, direction = slope(algo, value)
    ours = along(meta_gradient_of(algo), direction)
    assert ours == pytest.approx(expected, rel=1e-6)
    whole, _ = slope(algo, lambda: objective(algo, lifetime_of(algo).agents))
    assert abs(whole - expected) > 1e-4 * abs(expected)


def test_the_last_step_alone_counts_if_asked_for():
    """φ_K depends on the earlier updates: a sum that dropped these would differ."""
    algo = learned(weights=0.3, objective="last_step", first_order=False, inner_lr=0.1)

    def last_loss():
        return objective(algo, lifetime_of(algo).agents, slice(-1, None))

    expected, direction = slope(algo, last_loss)
    assert along(meta_gradient_of(algo), direction) == pytest.approx(expected, rel=1e-6)
    lifetime = replay(algo, [r._replace(reward=r.reward * k) for k, r in enumerate(ROLLOUTS)])(K)
    returns = lifetime.rollouts[K].reward.sum(1).mean(-1)
    torch.testing.assert_close(algo.fitness_of(lifetime), returns)


def test_every_task_reaches_every_weight():
    algo = learned(weights=0.3)
    for task in range(M):
        losses, _ = algo.losses_along(lifetime_of(algo).agents, ROLLOUTS)
        gradients = torch.autograd.grad(losses[task], list(algo.meta_params.values()))
        assert all(g.abs().max() > 0 for g in gradients)


def test_the_random_initialisation_is_not_learned():
    algo = learned(meta_optimizer=SGD(lr=0.1, max_grad_norm=1.0))
    before = {name: φ.detach().clone() for name, φ in algo.initial.items()}
    rule = {name: ψ.detach().clone() for name, ψ in algo.meta_params.items()}
    algo.meta_update(replay(algo))
    assert all(torch.equal(before[name], φ) for name, φ in algo.initial.items())
    assert not torch.equal(rule["output.weight"], algo.meta_params["output.weight"])


# --- Evolution ---


class Pays:
    """Lifetimes that pay each task −|w|², w being the rule's output weights: unknown to evolution."""

    def __init__(self, algo):
        self.algo, self.calls = algo, []

    def __call__(self, adaptation_steps, *, again=False):
        agents = lifetime_of(self.algo, adaptation_steps).agents
        self.calls.append((again, {name: x.detach() for name, x in agents[0].memory.items()}))
        pay = -agents[0].memory[PREFIX + "output.weight"].square().sum((1, 2))
        reward = torch.zeros_like(ROLLOUTS[0].reward) + pay.view(M, 1, 1) / ROLLOUTS[0].reward.shape[1]
        return Lifetime(agents, [rollout._replace(reward=reward) for rollout in ROLLOUTS])


def test_evolution_tries_both_of_a_pair_in_the_same_tasks_and_follows_the_better():
    algo = learned(weights=1.0, meta_gradient="evolution", meta_optimizer=SGD(lr=0.02, max_grad_norm=1e9))
    pays = Pays(algo)

    def length():
        return algo.meta_params["output.weight"].square().sum().item()

    before = length()
    metrics = algo.meta_update(pays)
    assert [again for again, _ in pays.calls] == [False, True]
    (_, plus), (_, minus) = pays.calls
    tried = [memory[PREFIX + "output.weight"] for memory in (plus, minus)]
    assert (tried[0] - tried[1]).abs().amin() > 0 and not torch.equal(tried[0][0], tried[0][1])
    pay = -torch.stack([w.square().sum((1, 2)) for w in tried]).mean()
    assert metrics["fitness"].item() == pytest.approx(pay.item())
    for _ in range(60):
        algo.meta_update(pays)
    assert length() < 0.5 * before
    start = algo.start(M).memory
    assert all(torch.equal(start[PREFIX + name][1], ψ) for name, ψ in algo.meta_params.items())


def test_evolution_goes_on_from_its_saved_state_with_the_same_noise():
    one, other = (learned(meta_gradient="evolution", meta_optimizer=SGD(lr=0.1, max_grad_norm=1.0)) for _ in range(2))
    one.meta_update(Pays(one))
    other.load_state(one.state())
    for algo in (one, other):
        algo.meta_update(Pays(algo))
    assert all(torch.equal(ψ, other.meta_params[name]) for name, ψ in one.meta_params.items())
    assert torch.equal(one.state()["evolution"], other.state()["evolution"])


def test_evolution_names_a_task_that_adapts_to_nonsense_and_stays_unperturbed():
    algo = learned(meta_gradient="evolution", meta_optimizer=SGD(lr=0.1, max_grad_norm=1.0))
    before = {name: ψ.detach().clone() for name, ψ in algo.meta_params.items()}
    reward = ROLLOUTS[0].reward.clone()
    reward[2, 0, 0] = torch.nan
    spoilt = [ROLLOUTS[0]._replace(reward=reward), *ROLLOUTS[1:]]
    with pytest.raises(NumericalError, match="task 2"):
        algo.meta_update(lambda steps, *, again=False: replay(algo, spoilt)(steps))
    start = algo.start(M).memory
    assert all(torch.equal(start[PREFIX + name][0], ψ) for name, ψ in before.items())
    assert all(torch.equal(ψ, before[name]) for name, ψ in algo.meta_params.items())


def test_a_meta_loss_that_is_not_finite_names_its_task():
    algo = learned(meta_optimizer=SGD(lr=0.1, max_grad_norm=1.0))
    reward = ROLLOUTS[1].reward.clone()
    reward[1, 0, 0] = torch.inf
    with pytest.raises(NumericalError, match="task 1"):
        algo.meta_update(replay(algo, [ROLLOUTS[0], ROLLOUTS[1]._replace(reward=reward), *ROLLOUTS[2:]]))


def test_rounding_noise_of_equal_fitness_is_no_difference():
    g = torch.Generator().manual_seed(0)
    returns = torch.full((20,), 200.0)
    noise = 1e-5 * torch.randn(20, generator=g)
    assert (normalised_difference(returns + noise, returns) == 0).all()
    apart = normalised_difference(returns + 1000 * noise, returns)
    assert apart.square().mean().sqrt().item() == pytest.approx(1, rel=1e-3)
