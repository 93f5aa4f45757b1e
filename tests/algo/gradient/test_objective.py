"""Meta-objectives as functions of θ, on recorded data in float64."""

import pytest
import torch
from derivatives import along, moved, objective_of, random_direction, slope
from recorded import M, Overflows, Recorder, make, replay

from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.algo.meta_optimizer.trust_region import TrustRegion
from metarl_run.algo.meta_sgd import MetaSGD
from metarl_run.errors import NumericalError
from metarl_run.learner.surrogate import SURROGATES

TRUST_REGION = {"max_kl": 1e-10, "iterations": 60, "damping": 0.0, "backtracks": 10, "backtrack": 0.8, "episodes": 1.0}


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
    recorded, anew = objective.agents(), objective.agents()
    for one, other in zip(recorded, anew, strict=True):
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
    with pytest.raises(NumericalError, match=rf"meta-gradient of \S+: must be finite, got \S+ in task {task}$"):
        algo.meta_update(replay(algo))
    assert all(torch.equal(before[name], θ) for name, θ in algo.meta_params.items())
