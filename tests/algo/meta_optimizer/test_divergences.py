"""Divergences of TRPO and ProMP against numbers by hand: one state, two actions, logits from (0, 0) to (log 3, 0).

KL(old ‖ new) = ½ log(½ / ¾) + ½ log(½ / ¼) = ½ log(4/3) ≈ .144,        KL(new ‖ old) = ¾ log(3/2) − ¼ log 2 ≈ .131
"""

import math

import gymnasium
import pytest
import torch

from metarl_run.algo.gradient.objective import MetaObjective
from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.algo.meta_optimizer.trust_region import TrustRegion
from metarl_run.algo.promp import ProMP
from metarl_run.learner.reinforce import Reinforce
from metarl_run.network.table import Table
from metarl_run.types import Lifetime, Rollout

M, T, B = 2, 3, 4
FORTH, BACK = 0.5 * math.log(4 / 3), 0.75 * math.log(1.5) - 0.25 * math.log(2)
HALF_WAY = -0.5 * math.log(4 * math.sqrt(3) / (1 + math.sqrt(3)) ** 2)  # KL(old ‖ new) at (½ log 3, 0)
STEP = torch.tensor([math.log(3), 0.0], dtype=torch.float64)


def make(kind, **changes):
    """A method whose agents never adapt, since nothing is paid: φ_K = θ."""
    learner = Reinforce(
        action_space=gymnasium.spaces.Discrete(2),
        surrogate="ratio",
        discount=0.9,
        discount_steps=False,
        baseline="none",
        standardise=False,
        average="steps",
        policy="auto",
        initial_deviation=1.0,
    )
    network = Table(num_inputs=1, heads={"policy": 2}, initial_value=0.0)
    θ = {name: x.double() for name, x in network.init(torch.Generator()).items()}
    return kind(learner=learner, network=network, meta_params=θ, adaptation_steps=1, inner_lr=0.1, **changes)


def unpaid(algo):
    no = torch.zeros(M, T, B, dtype=torch.bool)
    ones = torch.ones(M, T + 1, B, 1, dtype=torch.float64)
    rollout = Rollout(ones, no.long(), torch.zeros(M, T, B, dtype=torch.float64), no, no, ~no, {})
    agents = [algo.start(M)]
    agents.append(algo.adapt(agents[0], rollout))
    return Lifetime(agents, [rollout, rollout])


# --- TRPO ---


@pytest.mark.parametrize(
    ("max_kl", "share", "kl"),
    [(FORTH * 1.001, 1.0, FORTH), ((FORTH + BACK) / 2, 0.5, HALF_WAY), (HALF_WAY * 0.9, 0.0, 0.0)],
    ids=["all of it fits", "half of it fits", "nothing that is tried fits"],
)
def test_the_search_takes_the_longest_step_whose_divergence_from_the_old_policy_is_within_its_bound(max_kl, share, kl):
    """Whatever the loss: any is better than the one before."""
    rule = TrustRegion(max_kl=max_kl, iterations=5, damping=0.0, backtracks=2, backtrack=0.5, episodes=1.0)
    flags = {"first_order": False, "head_only": False, "sampling_correction": False}
    algo = make(MAML, meta_optimizer=rule, **flags)
    objective = MetaObjective(algo, algo.meta_losses, unpaid(algo))
    objective.agents()  # those that lived; the next are adapted anew from where θ is then
    taken, divergence = rule.search(objective, torch.tensor(math.inf), STEP)
    assert taken.item() == share
    assert divergence.item() == pytest.approx(kl, rel=1e-9, abs=1e-12)
    torch.testing.assert_close(algo.meta_params["policy"][0], share * STEP)


# --- ProMP ---


class Arrives(GradientRule):
    """Takes θ by one step to (log 3, 0)."""

    def __init__(self):
        super().__init__(max_grad_norm=1.0)

    def update(self, gradients):
        self.tensors[0].copy_(STEP)


def promp(kl_target=1.0):
    return make(ProMP, epochs=2, clip=0.3, kl_weight=0.7, kl_target=kl_target, meta_optimizer=Arrives())


def test_promps_divergence_is_from_the_policies_that_lived_to_those_of_today():
    told = (algo := promp()).meta_update(lambda _: unpaid(algo))
    assert told["kl"].item() == pytest.approx(FORTH, rel=1e-9)


def test_promps_penalty_is_that_divergence_of_each_task_times_its_weight():
    algo = promp()
    objective = MetaObjective(algo, algo.meta_losses, unpaid(algo))
    with torch.no_grad():
        algo.meta_params["policy"].copy_(STEP)
    objective.agents()
    losses, _ = algo.penalised_losses(objective)
    torch.testing.assert_close(losses, torch.full((M,), 0.7 * FORTH, dtype=torch.float64))


@pytest.mark.parametrize(("kl_target", "weight"), [(FORTH / 1.45, 0.7), (FORTH / 1.6, 1.4), (FORTH * 1.6, 0.35)])
def test_promps_weight_changes_outside_a_band_of_one_and_a_half_around_its_target(kl_target, weight):
    algo = promp(kl_target)
    told = algo.meta_update(lambda _: unpaid(algo))
    assert told["kl_weight"].item() == pytest.approx(weight)
