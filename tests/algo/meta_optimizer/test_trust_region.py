"""Trust regions: conjugate gradients, products with the Fisher matrix, and the line search, in float64.

The search is checked by hand: one state, two actions, logits from (0, 0) to (log 3, 0), see `shifted_policy`.
"""

import math

import pytest
import torch
from derivatives import objective_of, random_direction
from recorded import Recorder, make, replay
from shifted_policy import BACK, FORTH, HALF_WAY, STEP, static, unpaid

from metarl_run.algo.gradient.objective import MetaObjective
from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_optimizer.trust_region import TrustRegion, conjugate_gradients, flat
from metarl_run.algo.meta_sgd import MetaSGD
from metarl_run.algo.pretrain import Pretrain
from metarl_run.learner.surrogate import ratio

TRUST_REGION = {"max_kl": 1e-10, "iterations": 60, "damping": 0.0, "backtracks": 10, "backtrack": 0.8, "episodes": 1.0}


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


@pytest.mark.parametrize(
    ("max_kl", "share", "kl"),
    [(FORTH * 1.001, 1.0, FORTH), ((FORTH + BACK) / 2, 0.5, HALF_WAY), (HALF_WAY * 0.9, 0.0, 0.0)],
    ids=["all of it fits", "half of it fits", "nothing that is tried fits"],
)
def test_the_search_takes_the_longest_step_whose_divergence_from_the_old_policy_is_within_its_bound(max_kl, share, kl):
    """Whatever the loss: any is better than the one before."""
    rule = TrustRegion(max_kl=max_kl, iterations=5, damping=0.0, backtracks=2, backtrack=0.5, episodes=1.0)
    flags = {"first_order": False, "head_only": False, "sampling_correction": False}
    algo = static(MAML, meta_optimizer=rule, **flags)
    objective = MetaObjective(algo, algo.meta_losses, unpaid(algo))
    objective.agents()  # the recorded ones; the next are adapted anew from the current θ
    taken, divergence = rule.search(objective, torch.tensor(math.inf), STEP)
    assert taken.item() == share
    assert divergence.item() == pytest.approx(kl, rel=1e-9, abs=1e-12)
    torch.testing.assert_close(algo.meta_params["policy"][0], share * STEP)
