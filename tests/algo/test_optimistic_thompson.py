"""Optimistic Thompson sampling: its densities, and the sample that it keeps."""

import pytest
import scipy
import torch
from bandit_lab import generator, make

from metarl_run.algo.optimistic_thompson import OptimisticThompson, log_density
from metarl_run.algo.thompson import Thompson
from metarl_run.maths.sampling import beta


def test_a_density_is_that_of_the_beta_distribution_up_to_what_does_not_depend_on_the_draw():
    s, f = torch.tensor([[[1.0, 3.0, 0.5]]]), torch.tensor([[[1.0, 7.0, 2.0]]])
    drawn = [torch.tensor([[[0.2, 0.4, 0.9]]]), torch.tensor([[[0.7, 0.1, 0.3]]])]
    ours = [log_density(x, 1 - x, s, f).item() for x in drawn]
    reference = [scipy.stats.beta(s, f).logpdf(x).sum() for x in drawn]
    assert ours[0] - ours[1] == pytest.approx(reference[0] - reference[1], rel=1e-5)


def test_a_density_is_finite_at_the_ends_of_a_uniform_prior():
    """0 log 0 = 0."""
    ends, one = torch.tensor([[[0.0, 1.0]]]), torch.ones(1, 1, 2)
    assert log_density(ends, 1 - ends, one, one).item() == 0


def test_optimistic_thompson_sampling_acts_on_the_most_probable_of_its_samples():
    """With N = 3 it draws what Thompson sampling draws three times, and keeps one by scipy's density."""
    M, s, f = 200, torch.tensor([3.0, 1.0, 5.0]), torch.tensor([1.0, 2.0, 5.0])
    counts = (s.expand(M, 1, 3), f.expand(M, 1, 3))
    rng = generator(4)
    drawn = torch.stack([beta(*counts, rng)[0] for _ in range(3)])
    density = torch.tensor(scipy.stats.beta(s, f).logpdf(drawn)).sum(-1)
    wanted = drawn.gather(0, density.argmax(0)[None, ..., None].expand(1, M, 1, 3))[0]
    kept = make(OptimisticThompson, 3, samples=3).hypothesis(*counts, generator(4))
    assert torch.equal(kept, wanted)
    assert not torch.equal(kept, drawn[0])


def test_optimistic_thompson_sampling_with_one_sample_is_thompson_sampling():
    counts = (torch.tensor([[[3.0, 1.0]]]).expand(50, 4, 2), torch.tensor([[[1.0, 2.0]]]).expand(50, 4, 2))
    one, other = (
        algo.hypothesis(*counts, generator()) for algo in (make(Thompson), make(OptimisticThompson, samples=1))
    )
    assert torch.equal(one, other)
