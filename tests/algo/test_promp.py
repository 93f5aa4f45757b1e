"""ProMP: its objective, its KL penalty and the penalty's weight, in float64."""

import pytest
import torch
from derivatives import along, random_direction, slope
from recorded import Recorder, make, meta_gradient, replay
from shifted_policy import FORTH, STEP, static, unpaid

from metarl_run.algo.gradient.objective import MetaObjective
from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.algo.promp import ProMP
from metarl_run.learner.surrogate import clipped

PROMP = {"epochs": 3, "clip": 0.3, "kl_weight": 0.5, "kl_target": 0.01}


class EveryGradient(Recorder):
    """Records all gradients and takes small steps."""

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
    other = make(ProMP, "ratio", **PROMP, meta_optimizer=EveryGradient())
    objective = MetaObjective(other, other.meta_losses, replay(other)(1))
    objective.agents()
    with torch.no_grad():
        for name, θ in other.meta_params.items():
            θ.copy_(algo.meta_params[name])

    def value(objective):
        agents = objective.agents()
        return (objective.proximal_losses(agents, clipped(0.3))[0] + 0.5 * other.divergence(objective, agents)).mean()

    both, _ = promp(epochs=2)
    direction = random_direction(other.meta_params)
    expected = slope(other, objective, value, direction, ε=1e-6)
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


# --- Divergences by hand ---


class Arrives(GradientRule):
    """Takes θ by one step to (log 3, 0)."""

    def __init__(self):
        super().__init__(max_grad_norm=1.0)

    def update(self, gradients):
        self.tensors[0].copy_(STEP)


def shifted(kl_target=1.0):
    return static(ProMP, epochs=2, clip=0.3, kl_weight=0.7, kl_target=kl_target, meta_optimizer=Arrives())


def test_promps_divergence_is_from_the_policies_that_collected_to_the_current_ones():
    metrics = (algo := shifted()).meta_update(lambda _: unpaid(algo))
    assert metrics["kl"].item() == pytest.approx(FORTH, rel=1e-9)


def test_promps_penalty_is_that_divergence_of_each_task_times_its_weight():
    algo = shifted()
    objective = MetaObjective(algo, algo.meta_losses, unpaid(algo))
    with torch.no_grad():
        algo.meta_params["policy"].copy_(STEP)
    objective.agents()
    losses, _ = algo.penalised_losses(objective)
    torch.testing.assert_close(losses, torch.full_like(losses, 0.7 * FORTH))


@pytest.mark.parametrize(("kl_target", "weight"), [(FORTH / 1.45, 0.7), (FORTH / 1.6, 1.4), (FORTH * 1.6, 0.35)])
def test_promps_weight_changes_outside_a_band_of_one_and_a_half_around_its_target(kl_target, weight):
    algo = shifted(kl_target)
    metrics = algo.meta_update(lambda _: unpaid(algo))
    assert metrics["kl_weight"].item() == pytest.approx(weight)
