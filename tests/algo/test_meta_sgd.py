"""Meta-SGD: one step size per parameter, on recorded data in float64."""

import torch
from recorded import ALPHA, ROLLOUTS, M, Recorder, make, meta_gradient

from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_sgd import PREFIX, MetaSGD


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
