"""The learned inner rule: symmetries, bounds and inputs."""

import math

import pytest
import torch
from recorded import M

from metarl_run.algo.gradient.inner_rule import RULES, Adam
from metarl_run.algo.gradient.learned_rule import LearnedRule, flat, log_and_sign, rms

BOUND = 10.0


SHAPES = {"w": (4, 3), "b": (1, 3)}


K = 3


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


@pytest.mark.parametrize("base", RULES)
def test_permuting_coordinates_permutes_their_updates(base):
    """Within a parameter: the rule's only positional input is the parameter that a coordinate belongs to."""
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
