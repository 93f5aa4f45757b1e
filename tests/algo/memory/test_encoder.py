"""The encoder: beliefs before any data, and the experience that they depend on."""

import torch
from belief_lab import ACTIONS, D, L, N, T, inputs, lifetimes, make
from torch import distributions

from metarl_run.algo.memory.encoder import surprises
from metarl_run.algo.varibad import VariBAD
from metarl_run.learner.inputs import encoded
from metarl_run.maths.distributions import Gaussian
from metarl_run.types import Percept


def first_percept(M=3, B=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Percept(
        torch.randn(M, B, D, generator=g),
        torch.zeros(M, B, dtype=torch.int64),
        torch.zeros(M, B),
        torch.ones(M, B, dtype=torch.bool),
    )


def test_before_any_data_the_belief_is_the_prior_whatever_the_encoder():
    algo = make(VariBAD)
    for seed in range(2):
        percept = first_percept(seed=seed)
        q, memory = algo.encoder(encoded(percept, ACTIONS), algo.start(3).memory)
        assert torch.equal(q.mean, torch.zeros(3, 2, L))
        assert torch.equal(q.log_deviation.exp(), torch.ones(3, 2, L))
        assert torch.equal(memory["encoder.h"], torch.zeros(3, 1, 6))
    q = algo.encoder.sequence(inputs(lifetimes()))
    assert not q.mean[0].any() and not q.log_deviation[0].any()
    assert (q.mean[1:].abs() > 1e-3).all()


def test_a_lifetime_of_one_step_has_the_prior_alone():
    q = make(VariBAD).encoder.sequence(inputs(lifetimes())[:1])
    assert torch.equal(q.mean, torch.zeros(1, N, L)) and torch.equal(q.log_deviation, torch.zeros(1, N, L))


def test_a_belief_depends_on_its_own_lifetime_alone():
    encoder, x = make(VariBAD).encoder, inputs(lifetimes())
    order = torch.tensor([2, 0, 3, 1])
    whole, some = encoder.sequence(x), encoder.sequence(x[:, order])
    for one, other in zip(whole, some, strict=True):
        torch.testing.assert_close(one[:, order], other)
    disturbed = x.clone()
    disturbed[:, 1:] += 1.0
    for one, other in zip(whole, encoder.sequence(disturbed), strict=True):
        torch.testing.assert_close(one[:, 0], other[:, 0])


def test_a_belief_does_not_know_what_comes():
    encoder, x = make(VariBAD).encoder, inputs(lifetimes())
    later = x.clone()
    later[3:] += 1.0
    for one, other in zip(encoder.sequence(x), encoder.sequence(later), strict=True):
        torch.testing.assert_close(one[:3], other[:3])
        assert not torch.isclose(one[3:], other[3:]).any()


def test_a_surprise_is_the_divergence_from_the_belief_before_and_both_ends_have_a_gradient():
    g = torch.Generator().manual_seed(0)
    mean, log_deviation = (torch.randn(T, N, L, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    before, now = (distributions.Normal(mean[at], log_deviation[at].exp()) for at in (slice(-1), slice(1, None)))
    expected = distributions.kl_divergence(now, before).sum(-1)
    ours = surprises(Gaussian(mean, log_deviation))
    assert torch.equal(ours[0], torch.zeros(N, dtype=torch.float64))
    torch.testing.assert_close(ours[1:], expected)
    for t in range(1, T):
        gradients = torch.autograd.grad(ours[t].sum(), (mean, log_deviation), retain_graph=True)
        theirs = torch.autograd.grad(expected[t - 1].sum(), (mean, log_deviation), retain_graph=True)
        for one, other in zip(gradients, theirs, strict=True):
            torch.testing.assert_close(one, other)
            assert one.abs().amax((1, 2)).gt(0).tolist() == [s in (t - 1, t) for s in range(T)]


def test_a_whole_lifetime_in_one_pass_has_the_beliefs_of_its_steps():
    """Mean and standard deviation are told apart: neither is 0, and they differ."""
    encoder, x = make(VariBAD).encoder, inputs(lifetimes())
    memory, steps = encoder.initial_memory(1), []
    memory = {name: tensor.expand(-1, N, *tensor.shape[2:]) for name, tensor in memory.items()}
    for t in range(T):
        q, memory = encoder(x[t].unsqueeze(0), memory)
        steps.append(q)
    whole = encoder.sequence(x)
    torch.testing.assert_close(whole.mean, torch.cat([q.mean for q in steps]))
    torch.testing.assert_close(whole.log_deviation, torch.cat([q.log_deviation for q in steps]))
    assert not torch.isclose(whole.mean[1:], whole.log_deviation[1:]).any()
