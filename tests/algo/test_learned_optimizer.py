"""Inner rules, made by hand and learned, and both ways to learn one, on recorded data in float64."""

import math

import pytest
import torch
from recorded import ALPHA, ROLLOUTS, M, Recorder, make, replay

from metarl_run.algo.gradient.evolution import Evolution
from metarl_run.algo.gradient.inner_rule import RULES, Adam
from metarl_run.algo.gradient.learned_rule import LearnedRule, flat, log_and_sign, rms
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
    """The algorithm; its rule's weights are moved by so large normal numbers."""
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


def lived(algo, steps=K):
    return replay(algo)(steps)


def gradients_of(algo, φ, rollout):
    losses, _ = algo.loss(φ, rollout)
    return dict(zip(φ, torch.autograd.grad(losses.sum(), list(φ.values())), strict=True))


def a_rule(base="adam", *, weights=1.0, seed=2):
    """A rule, ψ far from where it starts, and a few gradients."""
    rule = LearnedRule(base=RULES[base], names=list(SHAPES), hidden=5, bound=BOUND)
    g = torch.Generator().manual_seed(seed)
    ψ = {name: (w + weights * torch.randn(w.shape, generator=g)).double() for name, w in rule.init(g).items()}
    stack = {name: w.expand(M, *w.shape) for name, w in ψ.items()}
    gradients = [
        {name: torch.randn(M, *shape, generator=g, dtype=torch.float64) for name, shape in SHAPES.items()}
        for _ in range(K)
    ]
    return rule, stack, gradients


def directions_along(rule, ψ, gradients):
    memory, found = rule.initial_memory(gradients[0]), []
    for g in gradients:
        u, memory = rule.directions(ψ, g, memory)
        found.append(u)
    return found


# --- Rules made by hand ---


def test_sgd_is_a_step_against_the_gradient():
    algo = make(Scratch, rule="sgd")
    agent = algo.start(M)
    assert agent.memory == {}
    φ = {name: p.detach().requires_grad_() for name, p in agent.params.items()}
    adapted = algo.adapt(agent, ROLLOUTS[0]).params
    for name, g in gradients_of(algo, φ, ROLLOUTS[0]).items():
        assert torch.equal(adapted[name], φ[name] - ALPHA * g)


def test_adam_is_torchs_adam_in_every_task():
    algo = make(Scratch, rule="adam", inner_lr=0.05)
    agents = lived(algo).agents
    for task in range(M):
        φ = {name: p[task].detach().clone().requires_grad_() for name, p in agents[0].params.items()}
        torchs = torch.optim.Adam(φ.values(), lr=0.05)
        for rollout, after in zip(ROLLOUTS, agents[1:], strict=False):
            torchs.zero_grad()
            algo.loss({name: p.unsqueeze(0) for name, p in φ.items()}, rollout.tasks(slice(task, task + 1)))[
                0
            ].backward()
            torchs.step()
            for name in φ:
                torch.testing.assert_close(after.params[name][task], φ[name], rtol=1e-9, atol=1e-9)


def test_adams_first_step_is_the_gradients_sign_whatever_its_size():
    gradients = {"w": torch.tensor([[3.0, -1e-3, 700.0]])}
    d, memory = Adam().directions(gradients, Adam().initial_memory(gradients))
    torch.testing.assert_close(d["w"], torch.tensor([[1.0, -1.0, 1.0]]), rtol=1e-4, atol=0)
    assert memory["t"].tolist() == [1]


# --- The learned rule ---


@pytest.mark.parametrize("base", RULES)
@pytest.mark.parametrize("meta_gradient", ["truncated", "evolution"])
def test_before_any_learning_it_is_the_rule_made_by_hand(base, meta_gradient):
    ours, theirs = learned(rule=base, meta_gradient=meta_gradient), make(Scratch, rule=base)
    for one, other in zip(lived(ours).agents, lived(theirs).agents, strict=True):
        for name in other.params:
            assert torch.equal(one.params[name], other.params[name])


def test_with_other_weights_it_is_another_rule():
    ours, theirs = learned(weights=0.3), make(Scratch, rule="adam")
    one, other = lived(ours).agents[1], lived(theirs).agents[1]
    assert all((one.params[name] - other.params[name]).abs().min() > 0 for name in other.params)


@pytest.mark.parametrize("base", RULES)
def test_permuting_coordinates_permutes_their_updates(base):
    """Within a parameter: which one a coordinate belongs to is all that the rule knows of its place."""
    rule, ψ, gradients = a_rule(base)
    order = torch.tensor([2, 0, 3, 1])
    permuted = [{"w": g["w"][:, order], "b": g["b"]} for g in gradients]
    for straight, other in zip(*(directions_along(rule, ψ, each) for each in (gradients, permuted)), strict=True):
        torch.testing.assert_close(other["w"], straight["w"][:, order])
        torch.testing.assert_close(other["b"], straight["b"])


def test_equal_gradients_of_different_parameters_may_be_followed_differently():
    rule, ψ, _ = a_rule()
    same = [{name: torch.ones(M, *shape, dtype=torch.float64) for name, shape in SHAPES.items()}]
    (u,) = directions_along(rule, ψ, same)
    assert (u["w"].mean() - u["b"].mean()).abs() > 1e-3
    torch.testing.assert_close(u["w"], u["w"][:, :1, :1].expand_as(u["w"]))


def test_the_memory_of_a_coordinate_matters_to_its_later_updates():
    rule, ψ, (first, second, third) = a_rule("sgd")
    starts = first, {name: -g for name, g in first.items()}
    one, other = (directions_along(rule, ψ, [start, second, third]) for start in starts)
    for name in SHAPES:
        assert (one[2][name] - other[2][name]).abs().min() > 1e-6


@pytest.mark.parametrize("base", RULES)
def test_no_weights_make_a_step_longer_than_its_bound(base):
    rule, ψ, gradients = a_rule(base, weights=100.0)
    memory, reached = rule.initial_memory(gradients[0]), 0.0
    base_memory = rule.base.initial_memory(gradients[0])
    for g in gradients:
        u, memory = rule.directions(ψ, g, memory)
        d, base_memory = rule.base.directions(g, base_memory)
        g_hat = flat(g) / rms(flat(g), [12, 3])
        limit = BOUND * flat(d).abs() + rms(flat(d), [12, 3]) * g_hat.abs()
        assert (flat(u).abs() <= limit * (1 + 1e-12)).all()
        reached = max(reached, (flat(u).abs() / limit).max().item())
    assert reached > 0.9


def test_without_the_gradients_own_weight_a_step_is_the_rules_within_its_bound():
    rule, ψ, gradients = a_rule(weights=100.0)
    ψ = {name: w * torch.tensor([1.0, 0.0]) if name.startswith("output") else w for name, w in ψ.items()}
    memory = Adam().initial_memory(gradients[0])
    for g, u in zip(gradients, directions_along(rule, ψ, gradients), strict=True):
        d, memory = Adam().directions(g, memory)
        ratio = flat(u) / flat(d)
        assert ratio.min() >= (1 - 1e-12) / BOUND and ratio.max() <= BOUND * (1 + 1e-12)


def test_logarithm_and_sign_by_hand():
    g = torch.tensor([1.0, -math.e, math.exp(-9.999), -math.exp(-11), 0.0], dtype=torch.float64)
    size, sign = log_and_sign(g)
    assert size.tolist() == pytest.approx([0, 0.1, -0.9999, -1, -1])
    assert sign.tolist() == pytest.approx([1, -1, 1, -math.exp(-1), 0])


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
    lived = list(zip(outputs, ROLLOUTS, strict=True))[steps]
    shared = algo.learner.shared_normaliser([(*algo.learner.returns_and_baseline(*one), one[1]) for one in lived])
    return torch.stack([algo.learner.loss(*one, shared=shared)[0] for one in lived]).mean().item()


def meta_gradient_of(algo):
    algo.meta_update(replay(algo))
    return algo.meta_optimizer.gradients


def along(gradient, direction):
    return sum((gradient[name] * direction[name]).sum().item() for name in direction)


@pytest.mark.parametrize("base", RULES)
def test_the_whole_meta_gradient_is_the_derivative_at_fixed_data(base):
    algo = learned(rule=base, weights=0.3, first_order=False, inner_lr=0.1)
    expected, direction = slope(algo, lambda: objective(algo, lived(algo).agents))
    assert along(meta_gradient_of(algo), direction) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("base", RULES)
def test_to_first_order_it_is_the_derivative_at_fixed_data_and_fixed_gradients(base):
    algo = learned(rule=base, weights=0.3, first_order=True, inner_lr=0.1)
    gradients = []
    for agent, rollout in zip(lived(algo).agents[:-1], ROLLOUTS, strict=False):
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
    whole, _ = slope(algo, lambda: objective(algo, lived(algo).agents))
    assert abs(whole - expected) > 1e-4 * abs(expected)


def test_the_last_step_alone_counts_if_asked_for():
    """φ_K depends on the earlier updates: a sum that dropped these would be another number."""
    algo = learned(weights=0.3, objective="last_step", first_order=False, inner_lr=0.1)

    def last_loss():
        return objective(algo, lived(algo).agents, slice(-1, None))

    expected, direction = slope(algo, last_loss)
    assert along(meta_gradient_of(algo), direction) == pytest.approx(expected, rel=1e-6)
    lives = replay(algo, [r._replace(reward=r.reward * k) for k, r in enumerate(ROLLOUTS)])(K)
    returns = lives.rollouts[K].reward.sum(1).mean(-1)
    torch.testing.assert_close(algo.fitness_of(lives), returns)


def test_every_task_reaches_every_weight():
    algo = learned(weights=0.3)
    for task in range(M):
        losses, _ = algo.losses_along(lived(algo).agents, ROLLOUTS)
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


def test_evolution_estimates_the_gradient_of_a_quadratic():
    """Of a quadratic F the smoothed fitness is F and a constant: E ĝ = ∇F exactly; 5 standard errors are allowed."""
    g, pairs = torch.Generator().manual_seed(3), 40_000
    A, c = torch.randn(4, 4, generator=g), torch.randn(4, generator=g)

    def fitness(ψ):
        x = torch.cat([ψ["a"].flatten(1), ψ["b"].flatten(1)], 1) - c
        return -0.5 * (x * (x @ (A @ A.T))).sum(1)

    θ = {"a": torch.ones(3), "b": torch.full((1,), -2.0)}
    true = -(A @ A.T) @ (torch.cat([*θ.values()]) - c)
    evolution = Evolution(deviation=0.5, generator=g)
    stack = {name: w.expand(pairs, *w.shape) for name, w in θ.items()}
    values = []
    for evolution.sign in (1, -1):
        values.append(fitness(evolution.perturbed(stack)))
    found = torch.cat(evolution.gradients(values[0] - values[1]), 1)
    error = (found.mean(0) - true).abs()
    assert (error <= 5 * found.std(0) / pairs**0.5).all()
    assert (error <= 0.1 * true.norm()).all()


def test_a_pair_is_mirrored_and_nothing_is_perturbed_outside_of_it():
    evolution = Evolution(deviation=0.25, generator=torch.Generator().manual_seed(0))
    ψ = {"a": torch.arange(6.0).view(3, 2)}
    assert evolution.perturbed(ψ) is ψ
    evolution.sign = 1
    plus = evolution.perturbed(ψ)["a"]
    evolution.sign = -1
    minus = evolution.perturbed(ψ)["a"]
    torch.testing.assert_close((plus + minus) / 2, ψ["a"])
    assert (plus - minus).unique().numel() == 6


class Pays:
    """Lifetimes that pay each task −|w|², w being the rule's output weights: what evolution is to find out."""

    def __init__(self, algo):
        self.algo, self.calls = algo, []

    def __call__(self, adaptation_steps, *, again=False):
        agents = lived(self.algo, adaptation_steps).agents
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
    told = algo.meta_update(pays)
    assert [again for again, _ in pays.calls] == [False, True]
    (_, plus), (_, minus) = pays.calls
    tried = [memory[PREFIX + "output.weight"] for memory in (plus, minus)]
    assert (tried[0] - tried[1]).abs().amin() > 0 and not torch.equal(tried[0][0], tried[0][1])
    pay = -torch.stack([w.square().sum((1, 2)) for w in tried]).mean()
    assert told["fitness"].item() == pytest.approx(pay.item())
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
