"""Squashed Gaussians against quadrature of their density, and torch's transformed distributions."""

import math

import pytest
import scipy
import torch

from metarl_run.maths.squashed_gaussian import SquashedGaussian


def box(low, high, mean, log_deviation):
    tensors = (torch.tensor(x, dtype=torch.float64) for x in (mean, log_deviation, low, high))
    return SquashedGaussian(*tensors)


ONE = ([-2.0], [3.0], [0.4], [-0.3])
TWO = ([-1.0, 0.0], [1.0, 4.0], [0.7, -1.5], [0.2, -1.0])


def of_torch(one):
    d = torch.distributions
    centre, half = 0.5 * (one.low + one.high), 0.5 * (one.high - one.low)
    maps = [d.TanhTransform(), d.AffineTransform(centre, half)]
    base = d.Normal(one.mean, one.log_deviation.exp())
    return d.Independent(d.TransformedDistribution(base, maps), 1)


@pytest.mark.parametrize("parts", [ONE, TWO])
def test_log_prob_is_torchs(parts):
    one, reference = box(*parts), of_torch(box(*parts))
    noise = torch.randn(100, len(parts[0]), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    action = one.sample(noise)
    torch.testing.assert_close(one.log_prob(action), reference.log_prob(action))


def test_the_density_integrates_to_one_and_gives_the_entropy():
    one = box(*ONE)

    def log_p(a):
        return one.log_prob(torch.tensor([a], dtype=torch.float64)).item()

    mass, _ = scipy.integrate.quad(lambda a: math.exp(log_p(a)), -2, 3)
    entropy, _ = scipy.integrate.quad(lambda a: -math.exp(log_p(a)) * log_p(a), -2 + 1e-5, 3 - 1e-5, limit=200)
    assert mass == pytest.approx(1, abs=1e-6)
    assert one.entropy().item() == pytest.approx(entropy, abs=1e-4)


def test_the_divergence_is_that_of_the_densities():
    one, other = box(*ONE), box(*ONE[:2], [-0.2], [0.1])

    def integrand(a):
        x = torch.tensor([a], dtype=torch.float64)
        p, q = one.log_prob(x).item(), other.log_prob(x).item()
        return math.exp(p) * (p - q)

    expected, _ = scipy.integrate.quad(integrand, -2 + 1e-7, 3 - 1e-7, limit=200)
    assert one.kl(other).item() == pytest.approx(expected, abs=1e-4)


def test_samples_lie_in_the_box_and_far_ones_have_finite_log_probs():
    one = box(*([x[0]] for x in ONE))
    float32 = SquashedGaussian(*(x.float() for x in one))
    action = float32.sample(torch.tensor([[-50.0], [50.0]]))
    assert ((action > -2) & (action < 3)).all()
    assert float32.log_prob(action).isfinite().all()


def test_the_gradient_of_the_entropy_is_that_of_its_value():
    mean = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([-0.3], dtype=torch.float64, requires_grad=True)
    low, high = torch.tensor([-2.0, 3.0], dtype=torch.float64).split(1)
    torch.autograd.gradcheck(lambda m, s: SquashedGaussian(m, s, low, high).entropy(), (mean, scale))
