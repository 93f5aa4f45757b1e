"""The variants of MAML and the rules by which θ follows, on recorded data in float64."""

import pytest
import torch
from recorded import ALPHA, ROLLOUTS, M, Overflows, Recorder, make, meta_gradient, replay

from metarl_run.algo.gradient.objective import MetaObjective
from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.algo.meta_optimizer.trust_region import TrustRegion, conjugate_gradients, flat
from metarl_run.algo.meta_sgd import PREFIX, MetaSGD
from metarl_run.algo.pretrain import Pretrain
from metarl_run.algo.promp import ProMP
from metarl_run.errors import NumericalError
from metarl_run.learner.surrogate import SURROGATES, clipped, ratio
from metarl_run.network.tanh_network import Back

TRUST_REGION = {"max_kl": 1e-10, "iterations": 60, "damping": 0.0, "backtracks": 10, "backtrack": 0.8, "episodes": 1.0}
PROMP = {"epochs": 3, "clip": 0.3, "kl_weight": 0.5, "kl_target": 0.01}


def objective_of(algo, steps=1):
    return MetaObjective(algo, algo.meta_losses, replay(algo)(steps))


def moved(algo, direction, ε):
    """The algorithm with θ a little further along `direction`."""
    with torch.no_grad():
        for name, θ in algo.meta_params.items():
            θ.add_(direction[name], alpha=ε)
    return algo


def random_direction(meta_params, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(θ.shape, generator=g, dtype=torch.float64) for name, θ in meta_params.items()}


def slope(algo, objective, value, direction, ε=1e-5):
    """d value / d direction by central differences; θ ends where it was."""
    ends = []
    for shift in (ε, -2 * ε):
        moved(algo, direction, shift)
        ends.append(value(objective).item())
    moved(algo, direction, ε)
    return (ends[0] - ends[1]) / (2 * ε)


def along(gradients, direction):
    return sum((g * d).sum().item() for g, d in zip(gradients, direction.values(), strict=True))


# --- The objective as a function of θ ---


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("kind", [MAML, MetaSGD])
@pytest.mark.parametrize("head_only", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_meta_gradient_is_the_derivative_of_the_objective_on_recorded_data(kind, surrogate, head_only, steps):
    """The inner gradients' ratios are relative to the agents that collected: those stay where they were."""
    algo = make(kind, surrogate, head_only=head_only, adaptation_steps=steps, meta_optimizer=Recorder())
    objective = objective_of(algo, steps)

    def value(objective):
        outer = SURROGATES[surrogate]
        return objective.proximal_losses(objective.agents(), outer)[0].mean()

    losses, _ = objective.losses(objective.agents(), objective.rollouts)
    gradients = torch.autograd.grad(losses.mean(), list(algo.meta_params.values()))
    for seed in range(2):
        direction = random_direction(algo.meta_params, seed)
        expected = slope(algo, objective, value, direction)
        assert along(gradients, direction) == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_adapting_anew_from_an_unchanged_theta_changes_nothing(surrogate):
    algo = make(MAML, surrogate, adaptation_steps=2, meta_optimizer=Recorder())
    objective = objective_of(algo, 2)
    lived, anew = objective.agents(), objective.agents()
    for one, other in zip(lived, anew, strict=True):
        for name in one.params:
            torch.testing.assert_close(one.params[name], other.params[name], rtol=1e-12, atol=1e-12)


def test_adapted_policies_follow_theta_in_every_epoch():
    algo = make(MAML, "ratio", meta_optimizer=Recorder())
    objective = objective_of(algo)
    before = objective.agents()[-1].params
    moved(algo, random_direction(algo.meta_params), 0.1)
    after = objective.agents()[-1].params
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert (objective.divergence(objective.agents(), 1) > 0).all()


# --- Variants ---


def test_meta_sgd_with_equal_step_sizes_is_maml():
    ours, theirs = meta_gradient(MetaSGD, adaptation_steps=2), meta_gradient(MAML, adaptation_steps=2)
    for name, g in theirs.items():
        torch.testing.assert_close(ours[name], g)
    assert set(ours) == {*theirs, *(PREFIX + name for name in theirs)}
    assert all(g.abs().max() > 0 for g in ours.values())


def test_each_parameter_moves_by_its_own_step_size():
    algo = make(MetaSGD, meta_optimizer=Recorder())
    plain = make(MAML, meta_optimizer=Recorder())
    name = "policy.0.weight"
    with torch.no_grad():
        algo.meta_params[PREFIX + name][0, 0] = -3 * ALPHA
        φ, plain_φ = (a.adapt(a.start(M), ROLLOUTS[0]).params for a in (algo, plain))
    θ = algo.initial[name]
    torch.testing.assert_close((φ[name] - θ)[:, 0, 0], -3 * (plain_φ[name] - θ)[:, 0, 0])
    torch.testing.assert_close(φ[name][:, 1:], plain_φ[name][:, 1:])


def test_anil_adapts_the_last_layer_and_meta_learns_all():
    algo = make(MAML, head_only=True, meta_optimizer=Recorder())
    with torch.no_grad():
        adapted = algo.adapt(algo.start(M), ROLLOUTS[0]).params
    changed = {name for name, θ in algo.initial.items() if not torch.equal(adapted[name], θ.expand_as(adapted[name]))}
    assert changed == {"policy.1.weight", "policy.1.bias"} == algo.network.head_names()
    gradient = meta_gradient(MAML, head_only=True)
    assert all(g.abs().max() > 0 for g in gradient.values())


def test_anil_adapts_without_a_derivative_of_the_layers_below(monkeypatch):
    passed = []
    back = Back.forward
    monkeypatch.setattr(Back, "forward", lambda *arguments: passed.append(True) or back(*arguments))
    for head_only, expected in [(False, [True]), (True, [])]:
        algo = make(MAML, head_only=head_only, meta_optimizer=Recorder())
        with torch.no_grad():
            algo.adapt(algo.start(M), ROLLOUTS[0])
        assert passed == expected
        passed.clear()


def test_anil_is_not_maml():
    ours, theirs = meta_gradient(MAML, head_only=True), meta_gradient(MAML)
    assert any((ours[name] - theirs[name]).abs().max() > 1e-3 for name in ours)


# --- ProMP ---


class EveryGradient(Recorder):
    """Remembers all gradients and takes small steps."""

    def __init__(self):
        super().__init__()
        self.all = []

    def step(self, gradients, task_at_fault=None):
        self.all.append([g.clone() for g in gradients])
        with torch.no_grad():
            for θ, g in zip(self.tensors, gradients, strict=True):
                θ.sub_(g, alpha=0.5)
        return torch.zeros(())


def promp(**changes):
    algo = make(ProMP, "ratio", **(PROMP | changes), meta_optimizer=EveryGradient())
    return algo, algo.meta_update(replay(algo))


def test_promps_first_epoch_is_mamls_and_the_next_is_another():
    algo, _ = promp()
    first, second, _ = algo.meta_optimizer.all
    for g, expected in zip(first, meta_gradient(MAML, surrogate="ratio").values(), strict=True):
        torch.testing.assert_close(g, expected)  # all ratios are 1: nothing is clipped, and the KL has no gradient
    assert any((g - h).abs().max() > 1e-4 for g, h in zip(first, second, strict=True))


def test_promps_second_epoch_is_the_derivative_of_its_objective():
    algo, _ = promp(epochs=1)
    lived = make(ProMP, "ratio", **PROMP, meta_optimizer=EveryGradient())
    objective = MetaObjective(lived, lived.meta_losses, replay(lived)(1))
    objective.agents()
    with torch.no_grad():
        for name, θ in lived.meta_params.items():
            θ.copy_(algo.meta_params[name])

    def value(objective):
        agents = objective.agents()
        return (objective.proximal_losses(agents, clipped(0.3))[0] + 0.5 * lived.divergence(objective, agents)).mean()

    both, _ = promp(epochs=2)
    direction = random_direction(lived.meta_params)
    expected = slope(lived, objective, value, direction, ε=1e-6)
    assert along(both.meta_optimizer.all[1], direction) == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_the_penalty_doubles_when_policies_move_too_far_and_halves_when_they_hardly_move():
    algo, metrics = promp(kl_target=1e-9)
    assert metrics["kl"] > 0 and algo.η.item() == 1.0
    algo, metrics = promp(kl_target=1e9)
    assert algo.η.item() == 0.25
    kl = metrics["kl"].item()
    algo, _ = promp(kl_target=kl * 1.2)
    assert algo.η.item() == 0.5


def test_promps_penalty_survives_saving():
    algo, _ = promp(kl_target=1e-9)
    other = make(ProMP, "ratio", **PROMP, meta_optimizer=EveryGradient())
    other.load_state(algo.state())
    assert other.η.item() == algo.η.item() == 1.0


# --- Trust region ---


def test_conjugate_gradients_solve_a_linear_system():
    g = torch.Generator().manual_seed(0)
    root = torch.randn(12, 12, generator=g, dtype=torch.float64)
    A, b = root @ root.T + torch.eye(12), torch.randn(12, generator=g, dtype=torch.float64)
    x = conjugate_gradients(lambda v: A @ v, b, iterations=40, tolerance=1e-24)
    torch.testing.assert_close(x, torch.linalg.solve(A, b))


@pytest.mark.parametrize("kind", [MAML, MetaSGD])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_fisher_product_is_the_hessian_of_the_kl_through_adaptation(kind, steps):
    """Against third derivatives by brute force."""
    rule = TrustRegion(**TRUST_REGION)
    algo = make(kind, "loaded_dice", adaptation_steps=steps, meta_optimizer=rule)
    objective = objective_of(algo, steps)
    agents = objective.agents()
    kl = objective.divergence(agents, steps).mean()
    slope = flat(torch.autograd.grad(kl, rule.tensors, create_graph=True))
    assert slope.abs().max() < 1e-12
    product = rule.fisher(objective, agents)
    for seed in range(3):
        v = flat(list(random_direction(algo.meta_params, seed).values()))
        expected = flat(torch.autograd.grad(slope @ v, rule.tensors, retain_graph=True))
        torch.testing.assert_close(product(v), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", [MAML, MetaSGD, Pretrain])
def test_a_trust_region_step_improves_and_goes_to_the_edge_of_the_region(kind):
    rule = TrustRegion(**TRUST_REGION)
    algo = make(kind, "ratio", meta_optimizer=rule)
    recorded = make(kind, "ratio", meta_optimizer=Recorder())
    metrics = algo.meta_update(replay(algo))
    losses = algo.meta_losses if kind is not Pretrain else algo.joint_losses
    lifetime = replay(recorded)(0 if kind is Pretrain else 1)
    objective = MetaObjective(algo, losses, lifetime)
    objective.agents()
    after = objective.proximal_losses(objective.agents(), ratio)[0].mean()
    assert after < metrics["loss"]
    share, kl = metrics["step_taken"].item(), metrics["kl"].item()
    assert share >= 0.8 and kl <= TRUST_REGION["max_kl"]
    assert kl == pytest.approx(share**2 * TRUST_REGION["max_kl"], rel=0.05)  # quadratic so near to the old policy


def test_a_step_that_helps_nowhere_is_not_taken():
    rule = TrustRegion(**(TRUST_REGION | {"max_kl": 1e9, "backtracks": 1}))  # far beyond what a gradient knows
    algo = make(MAML, "ratio", meta_optimizer=rule)
    before = {name: θ.detach().clone() for name, θ in algo.meta_params.items()}
    metrics = algo.meta_update(replay(algo))
    assert metrics["step_taken"] == 0
    assert all(torch.equal(before[name], θ) for name, θ in algo.meta_params.items())


# --- Numbers that are not finite ---


@pytest.mark.parametrize("rule", [SGD(lr=0.1, max_grad_norm=1.0), TrustRegion(**TRUST_REGION)], ids=["sgd", "trpo"])
@pytest.mark.parametrize("task", range(M))
def test_a_meta_gradient_that_is_not_finite_names_its_task(rule, task, monkeypatch):
    algo = make(MAML, "ratio", meta_optimizer=rule)
    before = {name: θ.detach().clone() for name, θ in algo.meta_params.items()}
    plain = algo.meta_losses

    def losses(*arguments, **named):
        values, metrics = plain(*arguments, **named)
        return Overflows.apply(values, torch.arange(M) == task), metrics

    monkeypatch.setattr(algo, "meta_losses", losses)
    with pytest.raises(NumericalError, match=rf"meta-gradient: must be finite, got nan or inf in .* in task {task}"):
        algo.meta_update(replay(algo))
    assert all(torch.equal(before[name], θ) for name, θ in algo.meta_params.items())
